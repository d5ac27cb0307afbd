"""How a figure is written for people, everywhere the same."""


def shown(value: float | None) -> str:
    """Four figures that matter."""
    if value is None:
        return "unknown"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
