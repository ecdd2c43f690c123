"""Functions for times and dates. Canonical times are RFC 3339 text at +08:00, canonical dates are ISO text.

Formats are written with the letters of strftime: ``%Y %m %d %H %M %S``, ``%y`` (two digits, 1970 to 2069), ``%L``
(milliseconds) and ``%%``. ``%-m``, ``%-d``, ``%-H``, ``%-M`` and ``%-S`` write without a leading zero and read with or
without one. Everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache

from esb.clock import SHANGHAI
from esb.mapping.functions.registry import function, need_int, need_text
from esb.mapping.functions.text import int_
from esb.mapping.values import FunctionError
from esb.model import Tree

_LETTERS = {
    "Y": (r"(?P<Y>[0-9]{4})", "{0.year:04d}"),
    "y": (r"(?P<y>[0-9]{2})", "{0:%y}"),
    "m": (r"(?P<m>[0-9]{2})", "{0.month:02d}"),
    "d": (r"(?P<d>[0-9]{2})", "{0.day:02d}"),
    "H": (r"(?P<H>[0-9]{2})", "{0.hour:02d}"),
    "M": (r"(?P<M>[0-9]{2})", "{0.minute:02d}"),
    "S": (r"(?P<S>[0-9]{2})", "{0.second:02d}"),
    "L": (r"(?P<L>[0-9]{3})", "{1:03d}"),
    "-m": (r"(?P<m>[0-9]{1,2})", "{0.month}"),
    "-d": (r"(?P<d>[0-9]{1,2})", "{0.day}"),
    "-H": (r"(?P<H>[0-9]{1,2})", "{0.hour}"),
    "-M": (r"(?P<M>[0-9]{1,2})", "{0.minute}"),
    "-S": (r"(?P<S>[0-9]{1,2})", "{0.second}"),
    "%": ("%", "%"),
}
_BRACE = re.compile(r"[{}]")
_DIRECTIVE = re.compile(r"%(-?.)", re.DOTALL)
_CANONICAL = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_HL7 = re.compile(
    r"(?P<Y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})((?P<H>[0-9]{2})((?P<M>[0-9]{2})((?P<S>[0-9]{2})(\.[0-9]{1,4})?)?)?)?"
    r"(?P<zone>[+-][0-9]{4})?"
)


@function(
    ("'2026-01-16T08:30:00+08:00' | time('%Y%m%d%H%M%S')", "20260116083000"),
    ("'2026-01-16T00:30:00Z' | time('%Y/%-m/%-d %H:%M')", "2026/1/16 08:30"),
    ("'2026-01-16' | time('%Y%m%d%H%M')", "202601160000"),
    ("'16.1.2026' | time('%Y%m%d')", FunctionError),
    prepared=True,
)
def time(format_: str) -> Callable[[Tree], str]:
    """A canonical time or date as their text, in Shanghai time."""
    write = _writer(format_)
    return lambda value: write(moment(value))


@function(
    ("'2026-01-16' | date('%Y%m%d')", "20260116"),
    ("'2026-01-15T20:00:00Z' | date", "2026-01-16"),
    prepared=True,
    name="date",
)
def date_(format_: str = "%Y-%m-%d") -> Callable[[Tree], str]:
    """The Shanghai date of a canonical time or date as their text."""
    if set(_names(format_)) & set("HMSL"):
        raise FunctionError("a date has no hours; use time(...)")
    return time(format_)


@function(
    ("'20260116083000' | read_time('%Y%m%d%H%M%S')", "2026-01-16T08:30:00+08:00"),
    ("'202601160830' | read_time('%Y%m%d%H%M%S', '%Y%m%d%H%M')", "2026-01-16T08:30:00+08:00"),
    ("'2026-02-30 08:30' | read_time('%Y-%m-%d %H:%M')", FunctionError),
    prepared=True,
)
def read_time(format_: str, *others: str) -> Callable[[Tree], str]:
    """Their Shanghai time as a canonical time; the first format that fits is taken, nothing is guessed."""
    parse = _reader(format_, *others)
    return lambda value: parse(need_text(value)).strftime("%Y-%m-%dT%H:%M:%S+08:00").rjust(25, "0")


@function(
    ("'20260116' | read_date('%Y%m%d')", "2026-01-16"),
    ("'2026/1/6' | read_date('%Y%m%d', '%Y/%-m/%-d')", "2026-01-06"),
    ("'20261301' | read_date('%Y%m%d')", FunctionError),
    prepared=True,
)
def read_date(format_: str, *others: str) -> Callable[[Tree], str]:
    """Their date as a canonical date; the first format that fits is taken."""
    parse = _reader(format_, *others)
    return lambda value: parse(need_text(value)).date().isoformat()


@function(
    ("'2026-01-15T23:30:00Z' | local_time", "2026-01-16T07:30:00+08:00"),
    ("'2026-01-16T08:30:00.123+08:00' | local_time", "2026-01-16T08:30:00+08:00"),
    ("'2026-01-16' | local_time", "2026-01-16T00:00:00+08:00"),
    ("'2026-01' | local_time", FunctionError),
)
def local_time(value: Tree) -> str:
    """An RFC 3339 or FHIR time with any offset as the same moment in canonical form, without fractions."""
    return _canonical(moment(value))


@function(
    ("'20260116083000' | read_ts", "2026-01-16T08:30:00+08:00"),
    ("'202601160830+0000' | read_ts", "2026-01-16T16:30:00+08:00"),
    ("'20260116' | read_ts", "2026-01-16T00:00:00+08:00"),
    ("'2026' | read_ts", FunctionError),
)
def read_ts(value: Tree) -> str:
    """An HL7 v2 time stamp, exact to the day or better, as a canonical time; without an offset it is Shanghai time."""
    match = _HL7.fullmatch(need_text(value))
    if not match:
        raise FunctionError("is not an HL7 time stamp of day precision or better")
    return _canonical(_shanghai(_moment_of(match).replace(tzinfo=_offset(match["zone"]))))


def _offset(zone: str | None) -> timezone:
    if not zone:
        return SHANGHAI
    if zone[1:3] > "23" or zone[3:] > "59":
        raise FunctionError("has an offset that does not exist")
    return timezone(timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:])))


@function(("'19000101' | read_ts_date", "1900-01-01"), ("'19000101083000' | read_ts_date", "1900-01-01"))
def read_ts_date(value: Tree) -> str:
    """The Shanghai date of an HL7 v2 time stamp."""
    return read_ts(value)[:10]


@function(
    ("'2026-01-16' | at('08:30')", "2026-01-16T08:30:00+08:00"),
    ("'2026-01-16' | at('24:00')", "2026-01-17T00:00:00+08:00"),
    ("'2026-01-16' | at('8点')", FunctionError),
)
def at(value: Tree, clock: str) -> str:
    """A canonical date and a time of day (8:30, 08:30, 08:30:00, 24:00) as a canonical time."""
    return _at(need_text(value), need_text(clock))


@lru_cache(4096)
def _at(day: str, clock: str) -> str:
    found = _CLOCK.fullmatch(clock)
    if not found:
        raise FunctionError("the time of day is not HH:MM or HH:MM:SS")
    hour, minute, second = found[1].rjust(2, "0"), found[2], found[3] or "00"
    if (hour, minute, second) == ("24", "00", "00"):
        return f"{_shift(_day(day), 1)}T00:00:00+08:00"
    if hour > "23" or minute > "59" or second > "59":
        raise FunctionError("the time of day does not exist")
    return f"{_day(day)}T{hour}:{minute}:{second}+08:00"


@function(
    ("'2026-01-16T08:50:00+08:00' | plus_minutes(15)", "2026-01-16T09:05:00+08:00"),
    ("'2026-01-16T00:00:00+08:00' | plus_minutes(-1)", "2026-01-15T23:59:00+08:00"),
)
def plus_minutes(value: Tree, minutes: int) -> str:
    """A canonical time moved by whole minutes."""
    try:
        return _canonical(moment(value) + timedelta(minutes=need_int(minutes)))
    except OverflowError:
        raise FunctionError("moves a time beyond the calendar") from None


@function(("'2026-01-16T08:30:00+08:00' | unix", 1768523400))
def unix(value: Tree) -> int:
    """A canonical time in whole seconds since 1970."""
    return int(moment(value).timestamp())


@function(("'2026-01-16T08:30:00+08:00' | unix_ms", 1768523400000))
def unix_ms(value: Tree) -> int:
    """A canonical time in milliseconds since 1970."""
    return unix(value) * 1000


@function(
    ("1768523400 | read_unix", "2026-01-16T08:30:00+08:00"), ("'1768523400' | read_unix", "2026-01-16T08:30:00+08:00")
)
def read_unix(value: Tree) -> str:
    """Seconds since 1970, as number or digits, as a canonical time."""
    return _canonical(_from_unix(int_(value)))


@function(("1768523400999 | read_unix_ms", "2026-01-16T08:30:00+08:00"))
def read_unix_ms(value: Tree) -> str:
    """Milliseconds since 1970, as number or digits, as a canonical time."""
    return _canonical(_from_unix(int_(value) // 1000))


def moment(value: Tree) -> datetime:
    """A canonical time, or the midnight of a canonical date, in Shanghai time."""
    text = need_text(value)
    if not _CANONICAL.fullmatch(text):
        raise FunctionError("is not a canonical time with an offset, nor a date")
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return _shanghai(found) if found.tzinfo else found.replace(tzinfo=SHANGHAI)


def _shanghai(found: datetime) -> datetime:
    try:
        return found.astimezone(SHANGHAI)
    except OverflowError:
        raise FunctionError("is a time beyond the calendar") from None


def _canonical(found: datetime) -> str:
    return found.replace(microsecond=0).isoformat()


def _from_unix(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone(SHANGHAI)
    except (OverflowError, ValueError, OSError):
        raise FunctionError("is a time beyond the calendar") from None


def _day(value: Tree) -> str:
    text = need_text(value)
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 10 else moment(text).date().isoformat()
    except ValueError:
        raise FunctionError("is not a canonical date") from None


def _shift(day: str, days: int) -> str:
    return (moment(day) + timedelta(days=days)).date().isoformat()


def _names(format_: str) -> list[str]:
    names = _DIRECTIVE.findall(need_text(format_))
    for name in names:
        if name not in _LETTERS:
            raise FunctionError(f"'%{name}' is not a letter of a time format")
    if format_.replace("%%", "").count("%") != sum(name != "%" for name in names):
        raise FunctionError("a time format ends in '%'")
    return names


def _writer(format_: str) -> Callable[[datetime], str]:
    _names(format_)
    pieces = re.split(r"%(-?.)", format_, flags=re.DOTALL)
    parts = [_LETTERS[part][1] if at % 2 else _BRACE.sub(r"\g<0>\g<0>", part) for at, part in enumerate(pieces)]
    template = "".join(parts)
    return lambda found: template.format(found, found.microsecond // 1000)


def _reader(*formats: str) -> Callable[[str], datetime]:
    patterns = [_pattern(format_) for format_ in formats]

    def read(text: str) -> datetime:
        for pattern in patterns:
            if match := pattern.fullmatch(text):
                return _moment_of(match)
        raise FunctionError("does not fit the format" if len(formats) == 1 else "fits none of the formats")

    return read


def _pattern(format_: str) -> re.Pattern[str]:
    names = [name.lstrip("-") for name in _names(format_)]
    if len(set(names) - {"%"}) != len([name for name in names if name != "%"]):
        raise FunctionError("a time format has the same letter twice")
    if not {"m", "d"} <= set(names) or not {"Y", "y"} & set(names):
        raise FunctionError("a time format to read needs year, month and day")
    pieces = re.split(r"%(-?.)", format_, flags=re.DOTALL)
    return re.compile("".join(_LETTERS[part][0] if index % 2 else re.escape(part) for index, part in enumerate(pieces)))


def _moment_of(match: re.Match[str]) -> datetime:
    parts = match.groupdict()
    year = int(parts["Y"]) if parts.get("Y") else _century(int(parts["y"]))
    hour, minute, second = (int(parts.get(name) or 0) for name in "HMS")
    try:
        return datetime(year, int(parts["m"]), int(parts["d"]), hour, minute, second, tzinfo=SHANGHAI)
    except ValueError:
        raise FunctionError("is a time that does not exist") from None


def _century(year: int) -> int:
    return year + (2000 if year < 70 else 1900)
