"""Whether two answers to a competition problem are the same expression, as texts: a normal form, no algebra."""

import re

REPLACED = (
    ("\n", ""), ("\\!", ""), ("\\,", ""), ("\\;", ""), ("\\ ", ""), ("~", ""), ("\\left", ""), ("\\right", ""),
    ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cfrac", "\\frac"), ("^{\\circ}", ""), ("^\\circ", ""),
    ("\\$", ""), ("$", ""), ("\\%", ""), ("%", ""), ("\\cdot", "*"), ("\\times", "*"), ("\\(", ""), ("\\)", ""),
    ("\\{", "{"), ("\\}", "}"),
)  # fmt: skip
UNIT = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s*\{\s*([^{}]*)\}")
SHORT_FRACTION = re.compile(r"\\frac\s*(\d|\{[^{}]*\})\s*(\d|\{[^{}]*\})")
SHORT_ROOT = re.compile(r"\\sqrt\s*(\d|[a-z])(?![a-z])")
SLASHED = re.compile(r"^(-?\d+)/(\d+)$")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
NAMED = re.compile(r"^[a-zA-Z](?:\([a-z]\))?=")
DECIMAL = re.compile(r"(?<![\d.])(-?)(\d*)\.(\d+)(?![\d.])")


def same_expression(found: str, target: str) -> bool:
    """Equal in normal form, or equal as numbers."""
    one, two = normal_form(found), normal_form(target)
    if one == two:
        return True
    first, second = _number(one), _number(two)
    return first is not None and second is not None and first == second


def normal_form(expression: str) -> str:
    """Without spacing, sizes of brackets, units, currency and a name before =; short fractions and roots spelt out."""
    form = expression.strip().rstrip(".")
    for old, new in REPLACED:
        form = form.replace(old, new)
    form = _without_units(form)
    form = SHORT_FRACTION.sub(lambda m: f"\\frac{_braced(m.group(1))}{_braced(m.group(2))}", form)
    form = SHORT_ROOT.sub(lambda m: f"\\sqrt{{{m.group(1)}}}", form)
    form = re.sub(r"\s+", "", form)
    form = NAMED.sub("", form)
    form = SLASHED.sub(r"\\frac{\1}{\2}", form)
    form = re.sub(r"^\\frac\{-", r"-\\frac{", form)
    form = THOUSANDS.sub("", form)
    return DECIMAL.sub(_decimal, form)


def _without_units(form: str) -> str:
    """Text after a number is a unit; text alone is the answer."""
    bare = UNIT.sub("", form)
    return bare if bare.strip() else UNIT.sub(r"\1", form)


def _braced(part: str) -> str:
    return part if part.startswith("{") else f"{{{part}}}"


def _decimal(match: re.Match[str]) -> str:
    whole, digits = match.group(2).lstrip("0") or "0", match.group(3).rstrip("0")
    return f"{match.group(1)}{whole}.{digits}" if digits else f"{match.group(1)}{whole}"


def _number(form: str) -> float | None:
    fraction = re.fullmatch(r"(-?)\\frac\{(-?[\d.]+)\}\{([\d.]+)\}", form)
    try:
        if fraction is not None:
            value = float(fraction.group(2)) / float(fraction.group(3))
            return -value if fraction.group(1) else value
        return float(form) if re.fullmatch(r"-?[\d.]+", form) else None
    except (ValueError, ZeroDivisionError):
        return None
