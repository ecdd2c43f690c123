"""Functions for Chinese identity numbers (GB 11643) and for masking what identifies a person."""

from __future__ import annotations

import re
from datetime import date

from esb.mapping.functions.registry import function, need_text
from esb.mapping.values import FunctionError
from esb.model import Tree

_SHAPE = re.compile(r"[0-9]{17}[0-9X]")
_OLD_SHAPE = re.compile(r"[0-9]{15}")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_REGIONS = frozenset(
    [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83]
)


@function(
    ("'11010119010101109x' | id_number", "11010119010101109X"), ("'110101000101123' | id_number", "110101190001011236")
)
def id_number(value: Tree) -> str:
    """An identity number in its 18-character form: a small x made large, a 15-digit number completed."""
    number = need_text(value).strip().upper()
    if _OLD_SHAPE.fullmatch(number):
        body = number[:6] + "19" + number[6:]
        return body + _check_digit(body)
    if not _SHAPE.fullmatch(number):
        raise FunctionError("is not shaped like an identity number")
    return number


@function(
    ("'110101190001011236' | id_valid('2026-01-15')", True),
    ("'110101190001011230' | id_valid('2026-01-15')", False),
    ("'110101209901011239' | id_valid($exchange.now)", False, {"exchange": {"now": "2026-01-15T09:30:00+08:00"}}),
    ("'none' | id_valid('2026-01-15')", False),
)
def id_valid(value: Tree, today: str) -> bool:
    """Whether text is an identity number: known province, a birth date up to today, the right check digit."""
    try:
        number = id_number(value)
        born = id_birth(number)
    except FunctionError:
        return False
    return int(number[:2]) in _REGIONS and born <= need_text(today)[:10] and number[17] == _check_digit(number)


@function(("'110101190001011236' | id_birth", "1900-01-01"), ("'110101190002301235' | id_birth", FunctionError))
def id_birth(value: Tree) -> str:
    """The birth date in an identity number."""
    number = id_number(value)
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14])).isoformat()
    except ValueError:
        raise FunctionError("is an identity number with a birth date that does not exist") from None


@function(("'110101190001011236' | id_sex", "male"), ("'51010719051231002X' | id_sex", "female"))
def id_sex(value: Tree) -> str:
    """The sex an identity number tells: male when the 17th digit is odd."""
    return "male" if int(id_number(value)[16]) % 2 else "female"


def _check_digit(number: str) -> str:
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False)) % 11]


@function(("'张三' | mask_name", "张*"), ("'欧阳修' | mask_name", "欧*修"), ("'张' | mask_name", "*"))
def mask_name(value: Tree) -> str:
    """A name with all but its first character hidden, with all but the first and the last when it has more than two."""
    name = need_text(value).strip()
    return name[:1] + "*" if len(name) == 2 else name[:1] + "*" * (len(name) - 2) + name[-1:] if len(name) > 2 else "*"


@function(("'13800008000' | mask_phone", "138****8000"), ("'8000' | mask_phone", "****"))
def mask_phone(value: Tree) -> str:
    """A telephone number with only its first three and last four digits."""
    return _keep(need_text(value).strip(), 3, 4)


@function(("'11010119000101002X' | mask_id", "110101********002X"), ("'H12345678' | mask_id", "*********"))
def mask_id(value: Tree) -> str:
    """A document number with only its first six and last four characters; a short one is hidden altogether."""
    return _keep(need_text(value).strip(), 6, 4)


def _keep(text: str, start: int, end: int) -> str:
    hidden = len(text) - start - end
    return text[:start] + "*" * hidden + text[-end:] if hidden >= 3 else "*" * len(text)
