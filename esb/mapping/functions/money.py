"""Functions for money. Canonical money is whole fen."""

from __future__ import annotations

import re
from decimal import Decimal

from esb.mapping.functions.numbers import WIDE, decimal
from esb.mapping.functions.registry import function, need_int
from esb.mapping.functions.sorts import Numeric, Whole
from esb.mapping.values import FunctionError

_MOST = 10**15
_SHORTER = [
    (re.compile(pattern), short)
    for pattern, short in (
        ("零[仟佰拾角]", "零"),
        ("零+", "零"),
        ("零([亿万元])", r"\1"),
        ("亿万", "亿"),
        ("零分$", "整"),
    )
]


@function(("'12.5' | fen", 1250), ("12 | fen", 1200), ("'12.3400' | fen", 1234), ("'0.005' | fen", FunctionError))
def fen(value: Numeric) -> int:
    """Yuan, as text or number, in whole fen; an amount that is not whole fen is refused, never rounded."""
    if type(value) is str and value[-3:-2] == "." and len(value) < 16:
        digits = value[:-3] + value[-2:]
        if len(digits) > 2 and digits.isdecimal() and digits.isascii():
            return int(digits)
    amount = decimal(value).scaleb(2, WIDE)
    if amount != amount.to_integral_value():
        raise FunctionError("is an amount with more than two places")
    return _bounded(int(amount))


@function(("1200 | yuan", "12.00"), ("5 | yuan", "0.05"), ("-1250 | yuan", "-12.50"), ("'1200' | yuan", FunctionError))
def yuan(value: Whole) -> str:
    """Whole fen as yuan text with two places."""
    amount = _bounded(need_int(value))
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100}.{abs(amount) % 100:02d}"


@function(("1200 | yuan_number == 12", True))
def yuan_number(value: Whole) -> Decimal:
    """Whole fen as a decimal number of yuan with two places."""
    return Decimal(_bounded(need_int(value))).scaleb(-2)


@function(
    ("1200 | yuan_capital", "壹拾贰元整"),
    ("10000005 | yuan_capital", "壹拾万元零伍分"),
    ("150 | yuan_capital", "壹元伍角整"),
    ("0 | yuan_capital", "零元整"),
    ("-1 | yuan_capital", FunctionError),
)
def yuan_capital(value: Whole) -> str:
    """Whole fen in the capital numerals of a receipt."""
    amount = _bounded(need_int(value))
    if amount < 0:
        raise FunctionError("is less than nothing, which no receipt spells out")
    written = "".join(
        ["零壹贰叁肆伍陆柒捌玖"[int(digit)] + unit for digit, unit in zip(str(amount), _units(amount), strict=True)]
    )
    for pattern, short in _SHORTER:
        written = pattern.sub(short, written)
    return written if amount else "零元整"


def _units(amount: int) -> str:
    return "分角元拾佰仟万拾佰仟亿拾佰仟万拾佰"[: len(str(amount))][::-1]


def _bounded(amount: int) -> int:
    if abs(amount) > _MOST:
        raise FunctionError("is an amount beyond any bill")
    return amount
