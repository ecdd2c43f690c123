"""Times and dates moved by whole days, in the form and precision in which they stand."""

from __future__ import annotations

import re
from datetime import date, timedelta

_TS = re.compile(r"\s*(\d{4})(\d{2})?(\d{2})?((?:\d{2}){0,3}(?:\.\d+)?(?:[+-]\d{2}:?\d{2})?.*)", re.DOTALL)
_FORMS = (
    re.compile(r"(?<!\d)(?P<y>\d{4})(?P<a>[-/.])(?P<m>\d{1,2})(?P<b>[-/.])(?P<d>\d{1,2})(?P<z>)(?!\d)"),
    re.compile(r"(?<!\d)(?P<y>\d{4})(?P<a>年)(?P<m>\d{1,2})(?P<b>月)(?P<d>\d{1,2})(?P<z>日?)(?!\d)"),
    re.compile(r"(?<!\d)(?P<m>\d{1,2})(?P<a>[-/.])(?P<d>\d{1,2})(?P<b>[-/.])(?P<y>\d{4})(?P<z>)(?!\d)"),
    re.compile(
        r"(?<![\d.])(?P<y>(?:19|20)\d{2})(?P<a>)(?P<m>\d{2})(?P<b>)(?P<d>\d{2})(?P<z>)(?=(?:\d{4}|\d{6})?(?![\d.]))"
    ),
)
WRITTEN = "|".join(re.sub(r"\?P<\w>", "", form.pattern) for form in _FORMS)
"""A date as people write it, or as HL7 does, in the midst of a text."""


def shifted(text: str, days: int) -> str | None:
    """An HL7 time (``YYYY[MM[DD[HH[MM[SS[.S]]]]]][+ZZZZ]``) so many days later; None when it is none.

    What lacks its day or month is taken to be in the middle of what it names. Zeros are a placeholder and stay.
    """
    match = _TS.fullmatch(text)
    if not match:
        return None
    year, month, day, rest = match.groups()
    if not int(year):
        return text
    moved = _moved(int(year), int(month or 7), int(day or 15), days)
    if moved is None:
        return None
    head = f"{moved.year:04}" + (f"{moved.month:02}" if month else "") + (f"{moved.day:02}" if day else "")
    return text[: match.start(1)] + head + rest


def shifted_written(text: str, days: int) -> str | None:
    """A date that ``WRITTEN`` matched, so many days later in its own form; None when there is no such day."""
    for form in _FORMS:
        match = form.fullmatch(text)
        if match:
            found = _written(match, days)
            if found is not None:
                return found
    return None


def _written(match: re.Match[str], days: int) -> str | None:
    year, month, day = match["y"], match["m"], match["d"]
    moved = _moved(int(year), int(month), int(day), days)
    swapped = moved is None and match.start("y") != 0
    if swapped:
        moved = _moved(int(year), int(day), int(month), days)
    if moved is None:
        return None
    new_month, new_day = (moved.day, moved.month) if swapped else (moved.month, moved.day)
    parts = {"y": f"{moved.year:04}", "m": f"{new_month:0{len(month)}}", "d": f"{new_day:0{len(day)}}"}
    order = sorted("ymd", key=match.start)
    return parts[order[0]] + match["a"] + parts[order[1]] + match["b"] + parts[order[2]] + match["z"]


def _moved(year: int, month: int, day: int, days: int) -> date | None:
    try:
        return date(year, month, day) + timedelta(days)
    except (ValueError, OverflowError):
        return None
