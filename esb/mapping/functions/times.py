"""Functions for times and dates. Canonical times are RFC 3339 text at +08:00, canonical dates are ISO text.

Formats are written with the letters of strftime: ``%Y %m %d %H %M %S``, ``%y`` (two digits, 1970 to 2069), ``%L``
(milliseconds), ``%I`` (hour up to 12) with ``%p`` (上午 or 下午), ``%A`` (星期四), ``%a`` (周四), ``%z`` (+0800),
``%:z`` (+08:00) and ``%%``. ``%-m``, ``%-d``, ``%-H``, ``%-I``, ``%-M`` and ``%-S`` write without a leading zero and
read with or without one. Everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from esb.mapping.functions.moments import (
    at_offset,
    canonical,
    letters,
    moment,
    offset,
    quick_writer,
    reader,
    shanghai,
    writer,
)
from esb.mapping.functions.numbers import int_
from esb.mapping.functions.registry import function, need_int, need_text
from esb.mapping.functions.sorts import AnyText, Clock, Date, Moment, Numeric, When
from esb.mapping.values import FunctionError
from esb.model import Tree

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


@function(
    ("'2026-01-16T08:30:00+08:00' | time('%Y%m%d%H%M%S')", "20260116083000"),
    ("'2026-01-16T00:30:00Z' | time('%Y/%-m/%-d %H:%M')", "2026/1/16 08:30"),
    ("'2026-01-16T15:05:00+08:00' | time('%Y年%-m月%-d日 %A %p%-I:%M')", "2026年1月16日 星期五 下午3:05"),
    ("'2026-01-16T08:30:00+08:00' | time('%Y%m%d%H%M%S%z')", "20260116083000+0800"),
    ("'2026-01-16' | time('%Y%m%d%H%M')", "202601160000"),
    ("'16.1.2026' | time('%Y%m%d')", FunctionError),
    prepared=True,
)
def time(format_: str) -> Callable[[When], str]:
    """A canonical time or date as their text, in Shanghai time."""
    write = writer(format_)
    return quick_writer(format_) or (lambda value: write(moment(value)))


@function(
    ("'2026-01-16' | date('%Y%m%d')", "20260116"),
    ("'2026-01-05' | date('%Y年%-m月%-d日')", "2026年1月5日"),
    ("'2026-01-15T20:00:00Z' | date", "2026-01-16"),
    prepared=True,
    name="date",
)
def date_(format_: str = "%Y-%m-%d") -> Callable[[When], str]:
    """The Shanghai date of a canonical time or date as their text."""
    if {name.lstrip("-:") for name in letters(format_)} & set("HIMSLpz"):
        raise FunctionError("a date has no hours; use time(...)")
    return time(format_)


@function(
    ("'20260116083000' | read_time('%Y%m%d%H%M%S')", "2026-01-16T08:30:00+08:00"),
    ("'202601160830' | read_time('%Y%m%d%H%M%S', '%Y%m%d%H%M')", "2026-01-16T08:30:00+08:00"),
    ("'2026年1月16日 下午3:05' | read_time('%Y年%-m月%-d日 %p%-I:%M')", "2026-01-16T15:05:00+08:00"),
    ("'2026-01-16 00:30:00Z' | read_time('%Y-%m-%d %H:%M:%S%z')", "2026-01-16T08:30:00+08:00"),
    ("'2026-02-30 08:30' | read_time('%Y-%m-%d %H:%M')", FunctionError),
    prepared=True,
)
def read_time(format_: str, *others: str) -> Callable[[AnyText], Moment]:
    """Their time as a canonical time, Shanghai's unless %z is in it; the first format that fits is taken."""
    parse = reader(format_, *others)
    return lambda value: canonical(parse(need_text(value)))


@function(
    ("'20260116' | read_date('%Y%m%d')", "2026-01-16"),
    ("'2026/1/6' | read_date('%Y%m%d', '%Y/%-m/%-d')", "2026-01-06"),
    ("'2026年1月15日' | read_date('%Y年%-m月%-d日')", "2026-01-15"),
    ("'20261301' | read_date('%Y%m%d')", FunctionError),
    prepared=True,
)
def read_date(format_: str, *others: str) -> Callable[[AnyText], Date]:
    """Their date as a canonical date; the first format that fits is taken."""
    parse = reader(format_, *others)
    return lambda value: parse(need_text(value)).date().isoformat()


@function(
    ("'下午3:05' | read_clock('%H:%M', '%p%-I:%M')", "15:05"),
    ("'083000' | read_clock('%H%M%S')", "08:30"),
    ("'25:00' | read_clock('%H:%M')", FunctionError),
    prepared=True,
)
def read_clock(format_: str, *others: str) -> Callable[[AnyText], Clock]:
    """Their time of day as HH:MM, with its seconds when there are any; the first format that fits is taken."""
    parse = reader(format_, *others, needs="clock")
    return lambda value: f"{parse(need_text(value)):%H:%M:%S}".removesuffix(":00")


@function(
    ("'2026-01-15T23:30:00Z' | local_time", "2026-01-16T07:30:00+08:00"),
    ("'2026-01-16T08:30:00.123+08:00' | local_time", "2026-01-16T08:30:00+08:00"),
    ("'2026-01-16' | local_time", "2026-01-16T00:00:00+08:00"),
    ("'2026-01' | local_time", FunctionError),
)
def local_time(value: When) -> Moment:
    """An RFC 3339 or FHIR time with any offset as the same moment in canonical form, without fractions."""
    return canonical(moment(value))


@function(
    ("'2026-01-16T08:30:00+08:00' | zoned('Z')", "2026-01-16T00:30:00Z"),
    ("'2026-01-16T08:30:00+08:00' | zoned('+09:00')", "2026-01-16T09:30:00+09:00"),
)
def zoned(value: When, zone: str) -> Moment:
    """A canonical time as the same moment at another offset: Z, +09:00 or +0900."""
    found = canonical(at_offset(moment(value), offset(zone)))
    return found.replace("+00:00", "Z") if zone == "Z" else found


@function(
    ("'2026-01-16' | at('08:30')", "2026-01-16T08:30:00+08:00"),
    ("'2026-01-16' | at('24:00')", "2026-01-17T00:00:00+08:00"),
    ("'2026-01-16' | at('8点')", FunctionError),
)
def at(value: When, clock: str) -> Moment:
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
def plus_minutes(value: When, minutes: int) -> Moment:
    """A canonical time moved by whole minutes."""
    return canonical(_moved(moment(value), minutes=need_int(minutes)))


@function(("'2026-01-31' | plus_days(1)", "2026-02-01"), ("'2026-01-15T20:00:00Z' | plus_days(-1)", "2026-01-15"))
def plus_days(value: When, days: int) -> Date:
    """The Shanghai date of a canonical date or time, moved by whole days."""
    return _shift(_day(value), need_int(days))


@function(
    ("'2026-01-16T09:05:00+08:00' | minutes_since('2026-01-16T08:50:00+08:00')", 15),
    ("'2026-01-16T08:50:59+08:00' | minutes_since('2026-01-16T00:50:00Z')", 0),
)
def minutes_since(value: When, start: str) -> int:
    """The whole minutes from one canonical time to another; less than nothing when it is the earlier one."""
    seconds = int((moment(value) - moment(start)).total_seconds())
    return seconds // 60 if seconds >= 0 else -(-seconds // 60)


@function(
    ("'2026-02-01' | days_since('2026-01-30')", 2),
    ("'2026-01-16' | days_since($x)", 1, {"x": "2026-01-15T23:00:00+08:00"}),
)
def days_since(value: When, start: str) -> int:
    """How many Shanghai dates one canonical date or time is after another, such as nights in hospital."""
    return (date.fromisoformat(_day(value)) - date.fromisoformat(_day(start))).days


@function(
    ("'1990-02-01' | age('2026-01-31')", 35),
    ("'1990-02-01' | age($exchange.now)", 35, {"exchange": {"now": "2026-01-15T09:30:00+08:00"}}),
    ("'2027-01-01' | age('2026-01-15')", FunctionError),
)
def age(value: When, today: str) -> int:
    """The full years from a birth date to a canonical date or time; a birth in the future is refused."""
    born, now = _day(value), _day(today)
    if born > now:
        raise FunctionError("is a birth date in the future")
    return int(now[:4]) - int(born[:4]) - (now[5:] < born[5:])


@function(("'2026-01-16' | weekday", 5), ("'2026-01-18T08:30:00+08:00' | weekday", 7))
def weekday(value: When) -> int:
    """The day of the week of a Shanghai date: 1 is Monday, 7 is Sunday."""
    return moment(value).isoweekday()


@function(("'2026-01-16T08:30:00+08:00' | unix", 1768523400))
def unix(value: When) -> int:
    """A canonical time in whole seconds since 1970."""
    return unix_ms(value) // 1000


@function(
    ("'2026-01-16T08:30:00+08:00' | unix_ms", 1768523400000),
    ("'2026-01-16T08:30:00.123+08:00' | unix_ms", 1768523400123),
)
def unix_ms(value: When) -> int:
    """A canonical time in milliseconds since 1970."""
    return (moment(value) - _EPOCH) // timedelta(milliseconds=1)


@function(
    ("1768523400 | read_unix", "2026-01-16T08:30:00+08:00"), ("'1768523400' | read_unix", "2026-01-16T08:30:00+08:00")
)
def read_unix(value: Numeric) -> Moment:
    """Seconds since 1970, as number or digits, as a canonical time."""
    return canonical(_from_unix(int_(value)))


@function(("1768523400999 | read_unix_ms", "2026-01-16T08:30:00+08:00"))
def read_unix_ms(value: Numeric) -> Moment:
    """Milliseconds since 1970, as number or digits, as a canonical time."""
    return canonical(_from_unix(int_(value) // 1000))


def _from_unix(seconds: int) -> datetime:
    try:
        return shanghai(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        raise FunctionError("is a time beyond the calendar") from None


def _day(value: Tree) -> str:
    return moment(value).date().isoformat()


def _moved(found: datetime, minutes: int = 0, days: int = 0) -> datetime:
    try:
        return found + timedelta(days=days, minutes=minutes)
    except OverflowError:
        raise FunctionError("moves a time beyond the calendar") from None


def _shift(day: str, days: int) -> str:
    return _moved(moment(day), days=days).date().isoformat()
