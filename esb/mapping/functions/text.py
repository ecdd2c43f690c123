"""Functions for text."""

from __future__ import annotations

import codecs
from decimal import Decimal

from esb.codecs.hl7v2 import Repetition
from esb.mapping.functions.numbers import limited
from esb.mapping.functions.registry import bounded, counted, function, need_int, need_list, need_text
from esb.mapping.functions.sorts import AnyText, Same
from esb.mapping.values import FunctionError, kind
from esb.model import Tree

_GBK = codecs.getincrementaldecoder("gb18030")
_LONGEST = 1_000
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_NARROW = {wide: code for code, wide in _WIDE.items()}


@function(("' 内科 ' | trim", "内科"), ("'　内科　' | trim", "内科"))
def trim(value: AnyText) -> str:
    """Text without white space at both ends, the wide space included."""
    return need_text(value).strip()


@function(("' a   b　c ' | squeeze", "a b c"))
def squeeze(value: AnyText) -> str:
    """Trimmed text in which every run of white space, line breaks included, is one space."""
    return " ".join(need_text(value).split())


@function(("'dr01' | upper", "DR01"))
def upper(value: AnyText) -> str:
    """Text in capital letters."""
    return need_text(value).upper()


@function(("'DR01' | lower", "dr01"))
def lower(value: AnyText) -> str:
    """Text in small letters."""
    return need_text(value).lower()


@function(("'7' | pad(3)", "007"), ("'7' | pad(3, ' ')", "  7"), ("'1234' | pad(3)", "1234"))
def pad(value: AnyText, width: int, fill: str = "0") -> str:
    """Text filled on the left to a width of at most 1000; longer text stays as it is."""
    return need_text(value).rjust(*_filling(width, fill))


@function(("'7' | pad_end(3)", "7  "), ("'7' | pad_end(3, '0')", "700"))
def pad_end(value: AnyText, width: int, fill: str = " ") -> str:
    """Text filled on the right to a width of at most 1000; longer text stays as it is."""
    return need_text(value).ljust(*_filling(width, fill))


def _filling(width: int, fill: str) -> tuple[int, str]:
    if type(width) is not int or width > _LONGEST or not isinstance(fill, str) or len(fill) != 1:
        raise FunctionError(f"filling needs a width up to {_LONGEST} and one character")
    return max(width, 0), fill


@function(
    ("'110101190001011236' | slice(6, 14)", "19000101"),
    ("'13800008000' | slice(-4)", "8000"),
    ("'ab' | slice(5, 9)", ""),
)
def slice_(value: AnyText, start: int, end: int | None = None) -> str:
    """Characters from one position up to another, counted from 0; negative ones count from the end."""
    if type(start) is not int or type(end) not in (int, type(None)):
        raise FunctionError("slice needs whole numbers")
    return need_text(value)[start:end]


@function(("'心内科门诊' | cut(3)", "心内科"), ("'ab' | cut(3)", "ab"))
def cut(value: AnyText, most: int) -> str:
    """At most that many characters from the start of a text."""
    return need_text(value)[: _width(most)]


@function(("'心内科' | length", 3), ("'' | length", 0))
def length(value: AnyText) -> int:
    """How many characters a text has."""
    return len(need_text(value))


@function(("'心内A' | gbk_length", 5), ("'𠮷' | gbk_length", 4))
def gbk_length(value: AnyText) -> int:
    """How many bytes a text takes in GBK, 4 for each character that only GB18030 has."""
    return len(_gbk(value))


@function(("'心内科' | cut_gbk(5)", "心内"), ("'心内A' | cut_gbk(5)", "心内A"), ("'心' | cut_gbk(1)", ""))
def cut_gbk(value: AnyText, most: int) -> str:
    """The start of a text that takes at most that many bytes in GBK; no character is cut in two."""
    return _GBK().decode(_gbk(value)[: _width(most)], False)


@function(("'心内' | pad_gbk(6)", "心内  "), ("'心内科' | pad_gbk(5)", FunctionError))
def pad_gbk(value: AnyText, width: int) -> str:
    """Text filled with spaces on the right to a width in GBK bytes of at most 1000; longer text is refused."""
    missing = _filling(width, " ")[0] - gbk_length(value)
    if missing < 0:
        raise FunctionError("takes more bytes in GBK than its field has; cut_gbk shortens it")
    return str(value) + " " * missing


def _gbk(value: Tree) -> bytes:
    try:
        return need_text(value).encode("gb18030")
    except UnicodeEncodeError:
        raise FunctionError("holds half a character") from None


def _width(most: int) -> int:
    if need_int(most) < 0:
        raise FunctionError("cannot be cut to less than nothing")
    return most


@function(("'ＡＢ１２（内科）　' | half_width", "AB12(内科) "))
def half_width(value: AnyText) -> str:
    """Text with the wide forms of letters, digits, signs and the space as the narrow ones."""
    return need_text(value).translate(_NARROW)


@function(("'A1 (内科)' | full_width", "Ａ１　（内科）"))
def full_width(value: AnyText) -> str:
    """Text with narrow letters, digits, signs and spaces as the wide ones."""
    return need_text(value).translate(_WIDE)


@function(
    ("12 | text", "12"),
    ("12.50 | text", "12.50"),
    ("true | text", "true"),
    ("'a' | text", "a"),
    ("[1] | text", FunctionError),
)
def text(value: Tree) -> str:
    """A number or a truth written out as text, never with an exponent; an HL7 repetition as it stands in its field."""
    if isinstance(value, Repetition):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(limited(value))
    if isinstance(value, Decimal):
        return f"{_written(value):f}"
    return need_text(value)


def _written(number: Decimal) -> Decimal:
    if not number.is_finite() or abs(number.adjusted()) > _LONGEST or len(number.as_tuple().digits) > _LONGEST:
        raise FunctionError("is a number too long to write out")
    return number


@function(("['a', 'b'] | join('、')", "a、b"), ("['Patient/', '1'] | join('')", "Patient/1"), ("'a' | join(',')", "a"))
def join(value: list[AnyText], separator: str) -> str:
    """The texts of a list as one text."""
    parts = [need_text(part) for part in need_list(value)]
    bounded(sum(map(len, parts)) + len(need_text(separator)) * len(parts))
    return separator.join(parts)


@function(("'a,b' | split(',')", ["a", "b"]), ("'a' | split(',')", ["a"]), ("'a' | split('')", FunctionError))
def split(value: AnyText, separator: str) -> list[str]:
    """A text cut at every separator."""
    counted(need_text(value).count(_mark(separator)))
    return str(value).split(separator)


@function(("'a-b-c' | replace('-', '')", "abc"), ("'a' | replace('', 'b')", FunctionError))
def replace(value: AnyText, old: str, new: str) -> str:
    """Text with every occurrence of one text replaced by another."""
    bounded(len(need_text(value)) + value.count(_mark(old)) * len(need_text(new)))
    return str(value).replace(old, new)


@function(("'粤A12345' | starts_with('粤')", True))
def starts_with(value: AnyText, start: str) -> bool:
    """Whether a text begins with another."""
    return need_text(value).startswith(need_text(start))


@function(("'report.pdf' | ends_with('.pdf')", True))
def ends_with(value: AnyText, end: str) -> bool:
    """Whether a text ends with another."""
    return need_text(value).endswith(need_text(end))


@function(("'号源已满' | contains('已满')", True), ("'ok' | contains('full')", False))
def contains(value: AnyText, part: str) -> bool:
    """Whether a text holds another."""
    return need_text(part) in need_text(value)


@function(("'1' | prefix('Patient/')", "Patient/1"))
def prefix(value: AnyText, start: str) -> str:
    """Text with another put before it."""
    return joined(need_text(start), need_text(value))


@function(("'10' | suffix('%')", "10%"))
def suffix(value: AnyText, end: str) -> str:
    """Text with another put after it."""
    return joined(need_text(value), need_text(end))


def joined(start: str, end: str) -> str:
    """Two texts as one, unless that is too long."""
    bounded(len(start) + len(end))
    return start + end


@function(("'http://h/fhir/Patient/1' | after('/')", "1"), ("'1' | after('/')", "1"))
def after(value: AnyText, mark: str) -> str:
    """What follows the last occurrence of a mark; the whole text when the mark is not in it."""
    return need_text(value).rpartition(_mark(mark))[2]


@function(("'3.5-5.5 mmol' | before(' ')", "3.5-5.5"), ("'a' | before(' ')", "a"))
def before(value: AnyText, mark: str) -> str:
    """What precedes the first occurrence of a mark; the whole text when the mark is not in it."""
    return need_text(value).partition(_mark(mark))[0]


def _mark(mark: Tree) -> str:
    if not need_text(mark):
        raise FunctionError("the text to look for must not be empty")
    return str(mark)


@function(
    ("'1-100-1100' | part('-', 1)", "100"),
    ("'a-b' | part('-', 5) ?? 'none'", "none"),
    ("'a-b' | part('-', -1)", "b"),
    may_miss=True,
)
def part(value: AnyText, separator: str, index: int) -> str | None:
    """One of the parts of a text between separators, counted from 0; nothing when there are not that many."""
    found = split(value, separator)
    return found[need_int(index)] if -len(found) <= need_int(index) < len(found) else None


@function(("'138-0000 8000' | digits", "13800008000"))
def digits(value: AnyText) -> str:
    """Only the digits 0 to 9 of a text."""
    return "".join([char for char in need_text(value) if "0" <= char <= "9"])


@function(("' a ' | filled", "a"), ("'  ' | filled ?? 'none'", "none"), may_miss=True)
def filled(value: AnyText) -> str | None:
    """Trimmed text; blank text counts as missing."""
    return need_text(value).strip() or None


@function(("$x | lines", ["第一行", "第二行"], {"x": "第一行\r\n\r\n第二行 "}))
def lines(value: AnyText) -> list[str]:
    """The trimmed lines of a text that are not blank."""
    found = need_text(value).replace("\r", "\n")
    counted(found.count("\n"))
    return [line.strip() for line in found.split("\n") if line.strip()]


@function(("'2' | not_empty", "2"), ("'' | not_empty ?? '0'", "0"), may_miss=True)
def not_empty(value: Tree) -> Same:
    """The value itself, white space and all; empty text, an empty list and an empty structure count as missing."""
    if isinstance(value, str | list | dict):
        return value or None
    if isinstance(value, int | Decimal):
        return value
    raise FunctionError(f"needs a plain value, got {kind(value)}")
