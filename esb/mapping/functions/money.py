"""Functions for money. Canonical money is whole fen."""

from __future__ import annotations

from decimal import Decimal

from esb.mapping.functions.registry import function, need_int
from esb.mapping.functions.text import decimal
from esb.mapping.values import FunctionError
from esb.model import Tree

_MOST = 10**15


@function(("'12.5' | fen", 1250), ("12 | fen", 1200), ("'12.3400' | fen", 1234), ("'0.005' | fen", FunctionError))
def fen(value: Tree) -> int:
    """Yuan, as text or number, in whole fen; an amount that is not whole fen is refused, never rounded."""
    if type(value) is str and value[-3:-2] == "." and len(value) < 16:
        digits = value[:-3] + value[-2:]
        if len(digits) > 2 and digits.isdecimal() and digits.isascii():
            return int(digits)
    amount = decimal(value).scaleb(2)
    if amount != amount.to_integral_value():
        raise FunctionError("is an amount with more than two places")
    return _bounded(int(amount))


@function(("1200 | yuan", "12.00"), ("5 | yuan", "0.05"), ("-1250 | yuan", "-12.50"), ("'1200' | yuan", FunctionError))
def yuan(value: Tree) -> str:
    """Whole fen as yuan text with two places."""
    amount = _bounded(need_int(value))
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100}.{abs(amount) % 100:02d}"


@function(("1200 | yuan_number == 12", True))
def yuan_number(value: Tree) -> Decimal:
    """Whole fen as a decimal number of yuan with two places."""
    return Decimal(_bounded(need_int(value))).scaleb(-2)


def _bounded(amount: int) -> int:
    if abs(amount) > _MOST:
        raise FunctionError("is an amount beyond any bill")
    return amount
