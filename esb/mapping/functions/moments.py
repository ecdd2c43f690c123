"""Times as the functions compute with them, and the letters of time formats, which ``times`` describes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from operator import itemgetter

from esb.clock import SHANGHAI
from esb.mapping.functions.registry import need_text
from esb.mapping.values import FunctionError
from esb.model import Tree

_READ = {
    "Y": r"(?P<Y>[0-9]{4})",
    "y": r"(?P<y>[0-9]{2})",
    "L": r"(?P<L>[0-9]{3})",
    "p": r"(?P<p>上午|下午|AM|PM)",
    "A": r"(?P<A>星期[一二三四五六日天])",
    "a": r"(?P<a>周[一二三四五六日])",
    "z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
    ":z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
    "%": "%",
    **{letter: f"(?P<{letter}>[0-9]{{2}})" for letter in "mdHIMS"},
    **{f"-{letter}": f"(?P<{letter}>[0-9]{{1,2}})" for letter in "mdHIMS"},
}
_WRITE = {
    "Y": "{0.year:04d}",
    "y": "{0:%y}",
    "m": "{0.month:02d}",
    "d": "{0.day:02d}",
    "H": "{0.hour:02d}",
    "I": "{0:%I}",
    "M": "{0.minute:02d}",
    "S": "{0.second:02d}",
    "L": "{1:03d}",
    "-m": "{0.month}",
    "-d": "{0.day}",
    "-H": "{0.hour}",
    "-M": "{0.minute}",
    "-S": "{0.second}",
    "%": "%",
}
_WORDS: dict[str, Callable[[datetime], str]] = {
    "-I": lambda found: str(found.hour % 12 or 12),
    "p": lambda found: "下午" if found.hour >= 12 else "上午",
    "A": lambda found: f"星期{_DAYS[found.weekday()]}",
    "a": lambda found: f"周{_DAYS[found.weekday()]}",
    "z": lambda found: written_offset(found).replace(":", ""),
    ":z": lambda found: written_offset(found),
}
_PIECES = {
    "Y": slice(0, 4),
    "y": slice(2, 4),
    "m": slice(5, 7),
    "d": slice(8, 10),
    "H": slice(11, 13),
    "M": slice(14, 16),
    "S": slice(17, 19),
}
"""Where the letters stand in an ISO time."""
_LOCAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00")
_DAYS = "一二三四五六日"
_BRACE = re.compile(r"[{}]")
_DIRECTIVE = re.compile(r"%(:z|-?.)", re.DOTALL)
_CANONICAL = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")


def moment(value: Tree) -> datetime:
    """A canonical time, or the midnight of a canonical date, in Shanghai time."""
    text = need_text(value)
    if not _CANONICAL.fullmatch(text):
        raise FunctionError("is not a canonical time with an offset, nor a date")
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return shanghai(found) if found.tzinfo else found.replace(tzinfo=SHANGHAI)


def shanghai(found: datetime) -> datetime:
    return at_offset(found, SHANGHAI)


def at_offset(found: datetime, zone: timezone) -> datetime:
    """The same moment on another clock."""
    try:
        return found.astimezone(zone)
    except OverflowError:
        raise FunctionError("is a time beyond the calendar") from None


def canonical(found: datetime) -> str:
    """RFC 3339 text at the moment's own offset, without fractions."""
    return found.isoformat(timespec="seconds")


def offset(zone: str | None) -> timezone:
    """The zone ``+0800``, ``+08:00`` or ``Z`` names; Shanghai's for nothing."""
    if not zone:
        return SHANGHAI
    match = _OFFSET.fullmatch("+0000" if need_text(zone) == "Z" else zone)
    if not match or match[2] > "23" or match[3] > "59":
        raise FunctionError("has an offset that does not exist")
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def written_offset(found: datetime) -> str:
    """The offset as ``+08:00``."""
    return found.isoformat()[-6:]


def letters(format_: str) -> list[str]:
    """The letters of a format, checked."""
    names = _DIRECTIVE.findall(need_text(format_))
    for name in names:
        if name not in _READ:
            raise FunctionError(f"'%{name}' is not a letter of a time format")
    if format_.replace("%%", "").count("%") != sum(name != "%" for name in names):
        raise FunctionError("a time format ends in '%'")
    return names


def writer(format_: str) -> Callable[[datetime], str]:
    """What writes a time by a format."""
    names = letters(format_)
    words = [_WORDS[name] for name in names if name in _WORDS]
    places = itertools.count(2)
    written = {name: f"{{{next(places)}}}" for name in names if name in _WORDS}
    pieces = _DIRECTIVE.split(format_)
    parts = [(_WRITE | written)[part] if at % 2 else _BRACE.sub(r"\g<0>\g<0>", part) for at, part in enumerate(pieces)]
    template = "".join(parts)
    return lambda found: template.format(found, found.microsecond // 1000, *[word(found) for word in words])


def quick_writer(format_: str) -> Callable[[Tree], str] | None:
    """What writes a canonical time by a format whose letters are all pieces of it; most formats are such."""
    names = letters(format_)
    if len(names) < 2 or not set(names) <= set(_PIECES):
        return None
    pieces = _DIRECTIVE.split(format_)
    pick = itemgetter(*[_PIECES[name] for name in pieces[1::2]])
    template = "%s".join([text.replace("%", "%%") for text in pieces[::2]])
    return lambda value: template % pick(_iso(value))


def _iso(value: Tree) -> str:
    """A canonical time in Shanghai, which it mostly is."""
    if type(value) is not str or not _LOCAL.fullmatch(value):
        return moment(value).isoformat()
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return value


def reader(*formats: str, needs: str = "date") -> Callable[[str], datetime]:
    """What reads a time by the first format that fits, in Shanghai time; ``needs`` is a date or a clock."""
    patterns = [_pattern(format_, needs) for format_ in formats]

    def read(text: str) -> datetime:
        for pattern in patterns:
            if match := pattern.fullmatch(text):
                return moment_of(match.groupdict())
        raise FunctionError("does not fit the format" if len(formats) == 1 else "fits none of the formats")

    return read


def _pattern(format_: str, needs: str) -> re.Pattern[str]:
    names = [name.lstrip("-:") for name in letters(format_) if name != "%"]
    if len(set(names)) != len(names):
        raise FunctionError("a time format has the same letter twice")
    if needs == "date" and not ({"m", "d"} <= set(names) and {"Y", "y"} & set(names)):
        raise FunctionError("a time format to read needs year, month and day")
    if needs == "clock" and (not {"H", "I"} & set(names) or set(names) & set("Yymdz")):
        raise FunctionError("a time of day to read needs an hour and no date")
    if ("I" in names) != ("p" in names) or {"I", "H"} <= set(names):
        raise FunctionError("a time format has %H, or %I with %p")
    pieces = _DIRECTIVE.split(format_)
    if any(run.count("-") > 1 for run in _runs(pieces)):
        raise FunctionError("a time format cannot tell where one number ends and the next begins")
    return re.compile("".join(_READ[part] if at % 2 else re.escape(part) for at, part in enumerate(pieces)))


def _runs(pieces: list[str]) -> list[str]:
    """The letters of numbers that stand together, with nothing but digits between them."""
    numbers = [piece if at % 2 and piece[-1] not in "pAaz%" else "" for at, piece in enumerate(pieces)]
    between = [not number and piece.strip("0123456789") for number, piece in zip(numbers, pieces, strict=True)]
    return "".join([" " if apart else number for number, apart in zip(numbers, between, strict=True)]).split(" ")


def moment_of(parts: dict[str, str | None]) -> datetime:
    """The Shanghai time of what a pattern found, by letter; the first of January 1900 where there is no date."""
    get = parts.get
    year = int(get("Y") or 0) if get("Y") else _century(get("y"))
    hour = _hour(int(get("I") or 0), get("p")) if get("p") else int(get("H") or 0)
    minute, second = int(get("M") or 0), int(get("S") or 0)
    try:
        found = datetime(year, int(get("m") or 1), int(get("d") or 1), hour, minute, second, tzinfo=offset(get("z")))
    except ValueError:
        raise FunctionError("is a time that does not exist") from None
    return shanghai(found) if get("z") else found


def _hour(hour: int, half: str | None) -> int:
    """The hour of the day of an hour up to 12 and its half: 上午12:00 is midnight, 下午12:00 noon."""
    if hour > 12:
        raise FunctionError("is a time that does not exist")
    return hour % 12 + (12 if half in ("下午", "PM") else 0)


def _century(year: str | None) -> int:
    return 1900 if year is None else int(year) + (2000 if int(year) < 70 else 1900)
