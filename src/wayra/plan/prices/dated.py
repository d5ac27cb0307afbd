"""Dates of prices: a day, a month or a year, and how old a price is at most.

A price list says when it was true as exactly as its source does. Age is counted from the first day the date allows, so
that a vague date never looks fresher than it is.
"""

import re
from datetime import date

from wayra.base.errors import InvalidParameter

STALE_AFTER_DAYS = 180
_AS_OF = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def first_day(as_of: str) -> date:
    """The earliest day `as_of` ("2026", "2026-03", "2026-03-10") can mean. Raises InvalidParameter."""
    found = _AS_OF.fullmatch(as_of)
    try:
        if found is None:
            raise ValueError
        year, month, day = (int(part) if part else 1 for part in found.groups())
        return date(year, month, day)
    except ValueError:
        raise InvalidParameter(
            f"{as_of[:40]!r} is no date; expected a day, a month or a year like 2026-03-10, 2026-03 or 2026"
        ) from None


def age_days(as_of: str, today: date) -> int:
    """Days since the first day `as_of` can mean, negative for the future."""
    return (today - first_day(as_of)).days


def is_stale(as_of: str, today: date) -> bool:
    return age_days(as_of, today) > STALE_AFTER_DAYS


def stale_warning(what: str, as_of: str, today: date) -> str | None:
    """A sentence for a price older than STALE_AFTER_DAYS or from the future, None for a fresh one."""
    age = age_days(as_of, today)
    if age > STALE_AFTER_DAYS:
        return f"{what} is of {as_of}, {age} days ago; check it and pass a newer one with --prices FILE"
    if age < 0:
        return f"{what} is of {as_of}, which lies in the future; check the date"
    return None
