"""Functions for HL7 v2 time stamps: ``YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timezone

from esb.clock import SHANGHAI
from esb.mapping.functions.moments import at_offset, canonical, moment, moment_of, offset, shanghai, written_offset
from esb.mapping.functions.registry import function, need_text
from esb.mapping.functions.sorts import Clock, Date, Moment, PlainText, Stamp, Text, Ts, When
from esb.mapping.values import FunctionError
from esb.model import Tree

_STAMP = re.compile(
    r"(?P<Y>[0-9]{4})((?P<m>[0-9]{2})((?P<d>[0-9]{2})((?P<H>[0-9]{2})((?P<M>[0-9]{2})((?P<S>[0-9]{2})"
    r"(\.(?P<f>[0-9]{1,4}))?)?)?)?)?)?(?P<z>[+-][0-9]{4})?"
)
_DATE = re.compile(r"[0-9]{8}[+-][0-9]{4}")
_LENGTHS = {"year": 4, "month": 6, "day": 8, "hour": 10, "minute": 12, "second": 14, "milli": 18}
_LOCAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00")
_DIGITS = str.maketrans("", "", "-:T")
_CLOCK = re.compile(r"(?P<H>[0-9]{2})((?P<M>[0-9]{2})((?P<S>[0-9]{2})(\.[0-9]{1,4})?)?)?")


@function(
    ("'20260116083000' | read_ts", "2026-01-16T08:30:00+08:00"),
    ("'202601160830+0000' | read_ts", "2026-01-16T16:30:00+08:00"),
    ("'20260116' | read_ts", "2026-01-16T00:00:00+08:00"),
    ("'202601160030' | read_ts('Z')", "2026-01-16T08:30:00+08:00"),
    ("'2026' | read_ts", FunctionError),
)
def read_ts(value: Stamp, zone: str = "+0800") -> Moment:
    """An HL7 v2 time stamp, exact to the day or better, as a canonical time; a zone says where it has no offset."""
    if zone == "+0800" and type(value) is str and len(value) == 14 and value.isdecimal() and value.isascii():
        return _usual(value)
    parts = _parts(value)
    if not parts["d"]:
        raise FunctionError("is not an HL7 time stamp of day precision or better")
    return canonical(moment_of({**parts, "z": parts["z"] or zone}))


def _usual(digits: str) -> str:
    """The canonical time of a stamp to the second, as most are, eight times as fast."""
    text = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:]}+08:00"
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return text


def _usual_date(digits: str) -> str:
    """The date of a stamp of a day, as a date of birth is."""
    text = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    try:
        date.fromisoformat(text)
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return text


def _parts(value: Tree) -> dict[str, str | None]:
    match = _STAMP.fullmatch(need_text(value))
    if not match:
        raise FunctionError("is not an HL7 time stamp")
    return match.groupdict()


@function(
    ("'19000101' | read_ts_date", "1900-01-01"),
    ("'19000101+1200' | read_ts_date", "1900-01-01"),
    ("'202601152000+0000' | read_ts_date", "2026-01-16"),
)
def read_ts_date(value: Stamp) -> Date:
    """The Shanghai date of an HL7 v2 time stamp."""
    if type(value) is str and len(value) == 8 and value.isdecimal() and value.isascii():
        return _usual_date(value)
    if _DATE.fullmatch(need_text(value)):
        value = value[:8]  # a day is one everywhere: its midnight at another offset is not a moment that is meant
    return read_ts(value)[:10]


@function(
    ("'2026' | read_ts_fhir", "2026"),
    ("'202601' | read_ts_fhir", "2026-01"),
    ("'20260116' | read_ts_fhir", "2026-01-16"),
    ("'202601160830' | read_ts_fhir", "2026-01-16T08:30:00+08:00"),
    ("'20260116083000.12-0500' | read_ts_fhir", "2026-01-16T08:30:00.12-05:00"),
    ("'20260116083000' | read_ts_fhir('Z')", "2026-01-16T08:30:00Z"),
    ("'20261301' | read_ts_fhir", FunctionError),
)
def read_ts_fhir(value: Stamp, zone: str = "+0800") -> Text:
    """An HL7 v2 time stamp of any precision as FHIR writes it, with the offset it has or a zone where it has none."""
    parts = _parts(value)
    where = parts["z"] or zone
    found = moment_of({**parts, "z": where})
    if not parts["H"]:
        return "-".join([str(parts[name]) for name in "Ymd" if parts[name]])
    local = at_offset(found, offset(where)).isoformat()
    return local[:19] + (f".{parts['f']}" if parts["f"] else "") + ("Z" if where == "Z" else local[19:])


@function(
    ("'2026-01-16T08:30:00+08:00' | write_ts", "20260116083000"),
    ("'2026-01-16T08:30:00.123+08:00' | write_ts('milli')", "20260116083000.123"),
    ("'2026-01-16T00:30:00Z' | write_ts('minute')", "202601160830"),
    ("'2026-01-16T08:30:00+08:00' | write_ts('second', '+0000')", "20260116003000+0000"),
    ("'2026-01-16' | write_ts", "20260116"),
    ("'2026-01' | write_ts", "202601"),
    ("'2026-01-16' | write_ts('month')", "202601"),
    prepared=True,
)
def write_ts(precision: str = "second", zone: str = "") -> Callable[[When], Ts]:
    """A canonical or FHIR time as an HL7 v2 time stamp, no more exact than it is: year, month, day, hour, minute,
    second or milli at most; in Shanghai time, or at a zone that is then written."""
    length, there = _LENGTHS.get(precision), offset(zone)
    if not length:
        raise FunctionError(f"a time stamp is exact to {', '.join(_LENGTHS)}")
    return lambda value: _written(need_text(value), length, there, zone if length > 8 else "")


def _written(text: str, length: int, there: timezone, zone: str) -> str:
    if len(text) <= 10:
        return _date(text)[:length]
    if not zone and there is SHANGHAI and length <= 14 and _LOCAL.fullmatch(text):
        return _local(text)[:length]
    found = at_offset(moment(text), there)
    whole = found.strftime("%Y%m%d%H%M%S").rjust(14, "0") + f".{found.microsecond // 1000:03d}"
    return whole[:length] + (written_offset(found).replace(":", "") if zone else "")


def _local(text: str) -> str:
    """The digits of a time that is written in Shanghai time, as most are."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return text[:19].translate(_DIGITS)


def _date(text: str) -> str:
    """The digits of a date that may lack its day or month."""
    if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", text):
        raise FunctionError("is not a canonical time with an offset, nor a date")
    shanghai(moment((text + "-01-01")[:10]))
    return text.replace("-", "")


@function(
    ("'0830' | read_tm", "08:30"),
    ("'083015.5' | read_tm", "08:30:15"),
    ("'08' | read_tm", "08:00"),
    ("'2500' | read_tm", FunctionError),
)
def read_tm(value: PlainText) -> Clock:
    """An HL7 v2 time of day as HH:MM, with its seconds when it has them."""
    match = _CLOCK.fullmatch(need_text(value))
    if not match:
        raise FunctionError("is not an HL7 time of day")
    found = moment_of({**match.groupdict()})
    return f"{found:%H:%M:%S}" if match["S"] else f"{found:%H:%M}"
