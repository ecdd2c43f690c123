"""Functions for names, Chinese identity numbers (GB 11643) and telephones, and for masking what identifies a person."""

from __future__ import annotations

import re
from datetime import date

from esb.mapping.functions.registry import function, need_dict, need_int, need_list, need_text
from esb.mapping.functions.sorts import AnyText, Date, NameParts, PlainText, Struct
from esb.mapping.values import FunctionError

_SHAPE = re.compile(r"[0-9]{17}[0-9X]")
_OLD_SHAPE = re.compile(r"[0-9]{15}")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_REGIONS = frozenset(
    [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83]
)
_MOBILE = re.compile(r"(?:\+86|0086|86)?(1[3-9][0-9]{9})")
_CHINESE = re.compile(r"[㐀-鿿\U00020000-\U000323af]")
_DOUBLE = (
    "欧阳太史端木上官司马东方独孤南宫万俟闻人夏侯诸葛尉迟公羊赫连澹台皇甫宗政濮阳公冶太叔申屠公孙慕容"
    "仲孙钟离长孙宇文司徒鲜于司空闾丘亓官司寇巫马公西颛孙壤驷公良漆雕乐正宰父谷梁拓跋夹谷轩辕令狐段干"
    "百里呼延东郭南门羊舌微生梁丘左丘东门西门第五公输完颜耶律"
)
_DOUBLE_SURNAMES = frozenset(_DOUBLE[at : at + 2] for at in range(0, len(_DOUBLE), 2))


@function(
    ("'11010119010101109x' | id_number", "11010119010101109X"), ("'110101000101123' | id_number", "110101190001011236")
)
def id_number(value: PlainText) -> str:
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
def id_valid(value: PlainText, today: str) -> bool:
    """Whether text is an identity number: known province, a birth date up to today, the right check digit."""
    try:
        number = id_number(value)
        born = id_birth(number)
    except FunctionError:
        return False
    return int(number[:2]) in _REGIONS and born <= need_text(today)[:10] and number[17] == _check_digit(number)


@function(("'110101190001011236' | id_birth", "1900-01-01"), ("'110101190002301235' | id_birth", FunctionError))
def id_birth(value: PlainText) -> Date:
    """The birth date in an identity number."""
    number = id_number(value)
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14])).isoformat()
    except ValueError:
        raise FunctionError("is an identity number with a birth date that does not exist") from None


@function(("'110101190001011236' | id_sex", "male"), ("'51010719051231002X' | id_sex", "female"))
def id_sex(value: PlainText) -> str:
    """The sex an identity number tells: male when the 17th digit is odd."""
    return "male" if int(id_number(value)[16]) % 2 else "female"


def _check_digit(number: str) -> str:
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False)) % 11]


@function(
    ("'张三' | split_name", {"family": "张", "given": "三"}),
    ("'欧阳修' | split_name", {"family": "欧阳", "given": "修"}),
    ("'DOE, JOHN Q' | split_name", {"family": "DOE", "given": "JOHN Q"}),
    ("'John Q Doe' | split_name", {"family": "Doe", "given": "John Q"}),
    ("'古丽·买买提' | split_name", {"given": "古丽·买买提"}),
    ("' ' | split_name", FunctionError),
)
def split_name(value: PlainText) -> NameParts:
    """A name as family and given: a Chinese one by its surname, of two characters where that is a usual one; a
    Western one by its comma or last space. A name with a middle dot has no family name."""
    name = " ".join(need_text(value).replace("，", ",").split())
    if not name.strip(", "):
        raise FunctionError("is no name")
    family, given = _split(name)
    return {part: text for part, text in (("family", family.strip()), ("given", given.strip())) if text}


def _split(name: str) -> tuple[str, str]:
    if "·" in name or "•" in name:
        return "", name
    if "," in name:
        return name.partition(",")[0], name.partition(",")[2]
    if _CHINESE.match(name) and " " not in name:
        size = 2 if len(name) > 2 and name[:2] in _DOUBLE_SURNAMES else 1
        return name[:size], name[size:]
    given, _, family = name.rpartition(" ")
    return (given, family) if _CHINESE.match(name) else (family, given)


@function(
    ("$n | full_name", "张三", {"n": {"family": "张", "given": ["三"]}}),
    ("$n | full_name", "John Q Doe", {"n": {"family": "Doe", "given": ["John", "Q"]}}),
    ("$n | full_name", "张 三", {"n": {"text": "张 三", "family": "张"}}),
    ("$n | full_name ?? 'none'", "none", {"n": {}}),
    may_miss=True,
)
def full_name(value: Struct) -> str | None:
    """A structure of family and given, such as a FHIR HumanName, as one name: its text where it has one, otherwise
    Chinese names written together and others with spaces; nothing when there is no part of a name."""
    name = need_dict(value)
    if name.get("text"):
        return need_text(name["text"])
    family, given = (
        need_text(name.get("family") or ""),
        [need_text(part) for part in need_list(name.get("given") or [])],
    )
    if _CHINESE.match(family or "".join(given)):
        return "".join([family, *given])
    return " ".join(filter(None, [*given, family])) or None


@function(
    ("'+86 138-0000-8000' | mobile", "13800008000"),
    ("'008613800008000' | mobile", "13800008000"),
    ("'010-80000000' | mobile", FunctionError),
)
def mobile(value: PlainText) -> str:
    """A mainland mobile number in its 11 digits, without +86, blanks, dashes and brackets; anything else is refused."""
    found = _MOBILE.fullmatch(need_text(value).translate(_BETWEEN))
    if not found:
        raise FunctionError("is not a mainland mobile number")
    return found[1]


_BETWEEN = dict.fromkeys(map(ord, " -()（）　"))


@function(("'13800008000' | mobile_valid", True), ("'10086' | mobile_valid", False))
def mobile_valid(value: PlainText) -> bool:
    """Whether text is a mainland mobile number, however it is written."""
    return _MOBILE.fullmatch(need_text(value).translate(_BETWEEN)) is not None


@function(("'张三' | mask_name", "张*"), ("'欧阳修' | mask_name", "欧*修"), ("'张' | mask_name", "*"))
def mask_name(value: AnyText) -> str:
    """A name with all but its first character hidden, with all but the first and the last when it has more than two."""
    name = need_text(value).strip()
    return name[:1] + "*" if len(name) == 2 else name[:1] + "*" * (len(name) - 2) + name[-1:] if len(name) > 2 else "*"


@function(("'13800008000' | mask_phone", "138****8000"), ("'8000' | mask_phone", "****"))
def mask_phone(value: AnyText) -> str:
    """A telephone number with only its first three and last four digits."""
    return _keep(need_text(value).strip(), 3, 4)


@function(("'11010119000101002X' | mask_id", "110101********002X"), ("'H12345678' | mask_id", "*********"))
def mask_id(value: AnyText) -> str:
    """A document number with only its first six and last four characters; a short one is hidden altogether."""
    return _keep(need_text(value).strip(), 6, 4)


@function(("'6222020000000001' | mask(0, 4)", "************0001"), ("'ab' | mask(1, 0)", "**"))
def mask(value: AnyText, start: int, end: int) -> str:
    """Text with only so many of its first and last characters; hidden altogether when fewer than three would be."""
    return _keep(need_text(value), max(need_int(start), 0), max(need_int(end), 0))


def _keep(text: str, start: int, end: int) -> str:
    hidden = len(text) - start - end
    return text[:start] + "*" * hidden + text[len(text) - end :] if hidden >= 3 else "*" * len(text)
