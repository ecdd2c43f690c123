"""Functions for text and numbers."""

from __future__ import annotations

import re
from decimal import Decimal

from esb.mapping.functions.registry import function, need_int, need_list, need_text
from esb.mapping.values import FunctionError, kind
from esb.model import Tree

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_LONGEST = 1_000


@function(("' 内科 ' | trim", "内科"), ("'　内科　' | trim", "内科"))
def trim(value: Tree) -> str:
    """Text without white space at both ends, the wide space included."""
    return need_text(value).strip()


@function(("'dr01' | upper", "DR01"))
def upper(value: Tree) -> str:
    """Text in capital letters."""
    return need_text(value).upper()


@function(("'DR01' | lower", "dr01"))
def lower(value: Tree) -> str:
    """Text in small letters."""
    return need_text(value).lower()


@function(("'7' | pad(3)", "007"), ("'7' | pad(3, ' ')", "  7"), ("'1234' | pad(3)", "1234"))
def pad(value: Tree, width: int, fill: str = "0") -> str:
    """Text filled on the left to a width of at most 1000; longer text stays as it is."""
    if type(width) is not int or width > _LONGEST or not isinstance(fill, str) or len(fill) != 1:
        raise FunctionError(f"pad needs a width up to {_LONGEST} and one character")
    return need_text(value).rjust(width, fill)


@function(
    ("'110101190001011236' | slice(6, 14)", "19000101"),
    ("'13800008000' | slice(-4)", "8000"),
    ("'ab' | slice(5, 9)", ""),
)
def slice_(value: Tree, start: int, end: int | None = None) -> str:
    """Characters from one position up to another, counted from 0; negative ones count from the end."""
    if type(start) is not int or type(end) not in (int, type(None)):
        raise FunctionError("slice needs whole numbers")
    return need_text(value)[start:end]


@function(
    ("12 | text", "12"),
    ("12.50 | text", "12.50"),
    ("true | text", "true"),
    ("'a' | text", "a"),
    ("[1] | text", FunctionError),
)
def text(value: Tree) -> str:
    """A number or a truth written out as text, never with an exponent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return need_text(value)


@function(("'012' | int", 12), ("12.0 | int", 12), ("'12.5' | int", FunctionError), ("'' | int", FunctionError))
def int_(value: Tree) -> int:
    """A whole number from text or from a number without a fraction."""
    if type(value) is str and len(value) < 19 and value.isdecimal() and value.isascii():
        return int(value)
    number = decimal(value)
    if number != number.to_integral_value():
        raise FunctionError("is not a whole number")
    return int(number)


@function(("'12.50' | decimal == 12.5", True), ("'1e3' | decimal", FunctionError), ("' 1' | decimal", FunctionError))
def decimal(value: Tree) -> Decimal:
    """A decimal number from text of digits with at most one point; nothing is rounded."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _finite(Decimal(value))
    if not _DECIMAL.fullmatch(need_text(value)):
        raise FunctionError("is text that is not a plain decimal number")
    return Decimal(value)


def _finite(number: Decimal) -> Decimal:
    if not number.is_finite() or number.adjusted() > 18 or int(number.as_tuple().exponent) < -18:
        raise FunctionError("is a number outside 18 digits")
    return number


@function(("100 | plus(1100)", 1200), ("1200 | plus(-200)", 1000), ("'1' | plus(1)", FunctionError))
def plus(value: Tree, other: int) -> int:
    """The sum of two whole numbers, for totals that their system leaves to the reader."""
    return need_int(value) + need_int(other)


@function(("['a', 'b'] | join('、')", "a、b"), ("['Patient/', '1'] | join('')", "Patient/1"), ("'a' | join(',')", "a"))
def join(value: Tree, separator: str) -> str:
    """The texts of a list as one text."""
    return need_text(separator).join([need_text(part) for part in need_list(value)])


@function(("'a,b' | split(',')", ["a", "b"]), ("'a' | split(',')", ["a"]), ("'a' | split('')", FunctionError))
def split(value: Tree, separator: str) -> list[str]:
    """A text cut at every separator."""
    if not need_text(separator):
        raise FunctionError("split needs a separator")
    return need_text(value).split(separator)


@function(("'a-b-c' | replace('-', '')", "abc"))
def replace(value: Tree, old: str, new: str) -> str:
    """Text with every occurrence of one text replaced by another."""
    return need_text(value).replace(need_text(old), need_text(new))


@function(("'粤A12345' | starts_with('粤')", True))
def starts_with(value: Tree, start: str) -> bool:
    """Whether a text begins with another."""
    return need_text(value).startswith(need_text(start))


@function(("'号源已满' | contains('已满')", True), ("'ok' | contains('full')", False))
def contains(value: Tree, part: str) -> bool:
    """Whether a text holds another."""
    return need_text(part) in need_text(value)


@function(("'1' | prefix('Patient/')", "Patient/1"))
def prefix(value: Tree, start: str) -> str:
    """Text with another put before it."""
    return need_text(start) + need_text(value)


@function(("'10' | suffix('%')", "10%"))
def suffix(value: Tree, end: str) -> str:
    """Text with another put after it."""
    return need_text(value) + need_text(end)


@function(("'http://h/fhir/Patient/1' | after('/')", "1"), ("'1' | after('/')", "1"))
def after(value: Tree, mark: str) -> str:
    """What follows the last occurrence of a mark; the whole text when the mark is not in it."""
    return need_text(value).rpartition(_mark(mark))[2]


@function(("'3.5-5.5 mmol' | before(' ')", "3.5-5.5"), ("'a' | before(' ')", "a"))
def before(value: Tree, mark: str) -> str:
    """What precedes the first occurrence of a mark; the whole text when the mark is not in it."""
    return need_text(value).partition(_mark(mark))[0]


def _mark(mark: Tree) -> str:
    if not need_text(mark):
        raise FunctionError("the mark must not be empty")
    return str(mark)


@function(
    ("'1-100-1100' | part('-', 1)", "100"),
    ("'a-b' | part('-', 5) ?? 'none'", "none"),
    ("'a-b' | part('-', -1)", "b"),
    may_miss=True,
)
def part(value: Tree, separator: str, index: int) -> str | None:
    """One of the parts of a text between separators, counted from 0; nothing when there are not that many."""
    found = split(value, separator)
    return found[need_int(index)] if -len(found) <= need_int(index) < len(found) else None


@function(("'138-0000 8000' | digits", "13800008000"))
def digits(value: Tree) -> str:
    """Only the digits 0 to 9 of a text."""
    return "".join([char for char in need_text(value) if "0" <= char <= "9"])


@function(("' a ' | filled", "a"), ("'  ' | filled ?? 'none'", "none"), may_miss=True)
def filled(value: Tree) -> str | None:
    """Trimmed text; blank text counts as missing."""
    return need_text(value).strip() or None


@function(("$x | lines", ["第一行", "第二行"], {"x": "第一行\r\n\r\n第二行 "}))
def lines(value: Tree) -> list[str]:
    """The trimmed lines of a text that are not blank."""
    return [line.strip() for line in need_text(value).splitlines() if line.strip()]


@function(("'2' | not_empty", "2"), ("'' | not_empty ?? '0'", "0"), may_miss=True)
def not_empty(value: Tree) -> Tree:
    """The value itself, white space and all; empty text, an empty list and an empty structure count as missing."""
    if isinstance(value, str | list | dict):
        return value or None
    if isinstance(value, int | Decimal):
        return value
    raise FunctionError(f"needs a plain value, got {kind(value)}")
