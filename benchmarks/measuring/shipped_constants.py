"""Writes fitted constants of one kind of hardware into the package's own file, in place of those it ships."""

from pathlib import Path

from wayra.plan.constants import as_toml
from wayra.plan.roofline import Constants

SHIPPED = Path(__file__).resolve().parents[2] / "src" / "wayra" / "plan" / "data" / "constants.toml"


def write_shipped(kind: str, constants: Constants) -> None:
    """Raises ValueError when the file has no such table."""
    text = SHIPPED.read_text("utf-8")
    head = f"[{kind}]\n"
    if head not in text:
        raise ValueError(f"{SHIPPED.name} has no table {kind}")
    before, _, rest = text.partition(head)
    _, _, after = rest.partition("\n\n")
    following = f"\n{after}" if after else ""
    SHIPPED.write_text(f"{before}{head}{_rounded(constants)}{following}", "utf-8")


def _rounded(constants: Constants) -> str:
    lines: list[str] = []
    for line in as_toml(constants).splitlines():
        name, _, value = line.partition(" = ")
        # The table's name is the kind.
        if name != "kind":
            lines.append(line if value.startswith('"') else f"{name} = {float(value):.4g}")
    return "\n".join(lines) + "\n"
