"""Numbers of tokens as people write them: 8192, 8k, 1.5k."""

import re

import click

_UNITS = {"k": 1024, "m": 1024**2}
_WITH_UNIT = re.compile(r"([+-]?\d+(?:\.\d+)?)([km])")


class TokenNumber(click.ParamType):
    """A number of tokens, k for 1,024 and m for 1,048,576; a mean may have fractions."""

    name = "tokens"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower()
        found = _WITH_UNIT.fullmatch(text)
        try:
            return float(found[1]) * _UNITS[found[2]] if found else float(text)
        except ValueError:
            self.fail(f"{text[:40]!r} is no number of tokens; write 8192 or 8k", param, ctx)


class TokenCount(click.ParamType):
    """The same, a whole number."""

    name = "tokens"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().lower()
        found = _WITH_UNIT.fullmatch(text)
        try:
            if not found or "." not in found[1]:
                return int(found[1]) * _UNITS[found[2]] if found else int(text)
            count = float(found[1]) * _UNITS[found[2]]
            if count == int(count):
                return int(count)
        except (ValueError, OverflowError):
            pass
        self.fail(f"{text[:40]!r} is no number of tokens; write 8192 or 8k", param, ctx)
