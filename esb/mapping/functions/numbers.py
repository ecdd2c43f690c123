"""Functions for numbers. A decimal number is exact and has at most 18 digits before and after its point."""

from __future__ import annotations

import re
from decimal import Context, Decimal

from esb.mapping.functions.registry import function, need_int, need_list, need_text
from esb.mapping.functions.sorts import Numeric, Whole
from esb.mapping.values import FunctionError

_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_MOST = 10**18
WIDE = Context(prec=60)


@function(("'012' | int", 12), ("12.0 | int", 12), ("'12.5' | int", FunctionError), ("'' | int", FunctionError))
def int_(value: Numeric) -> int:
    """A whole number from text or from a number without a fraction."""
    if type(value) is str and len(value) < 19 and value.isdecimal() and value.isascii():
        return int(value)
    number = decimal(value)
    if number != number.to_integral_value():
        raise FunctionError("is not a whole number")
    return int(number)


@function(("'12.50' | decimal == 12.5", True), ("'1e3' | decimal", FunctionError), ("' 1' | decimal", FunctionError))
def decimal(value: Numeric) -> Decimal:
    """A decimal number from text of digits with at most one point; nothing is rounded."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(limited(value))
    if isinstance(value, Decimal):
        return _finite(value)
    if not _DECIMAL.fullmatch(need_text(value)):
        raise FunctionError("is text that is not a plain decimal number")
    return Decimal(value)


def _finite(number: Decimal) -> Decimal:
    if not number.is_finite() or number.adjusted() > 18 or int(number.as_tuple().exponent) < -18:
        raise FunctionError("is a number outside 18 digits")
    return number


def limited(number: int) -> int:
    """The number itself; one of more than 18 digits is refused."""
    if abs(number) > _MOST:
        raise FunctionError("is a number outside 18 digits")
    return number


@function(("12.30 | fixed(1)", "12.3"), ("12 | fixed(2)", "12.00"), ("'0.125' | fixed(2)", FunctionError))
def fixed(value: Numeric, places: int) -> str:
    """A number as text with exactly that many places, at most 18; a number with more is refused, never rounded."""
    number, most = decimal(value), need_int(places)
    if not 0 <= most <= 18 or number != number.quantize(Decimal(1).scaleb(-most), context=WIDE):
        raise FunctionError("has more places than are written" if 0 <= most <= 18 else "fixed needs 0 to 18 places")
    return f"{number:.{most}f}"


@function(("100 | plus(1100)", 1200), ("1200 | plus(-200)", 1000), ("'1' | plus(1)", FunctionError))
def plus(value: Whole, other: int) -> int:
    """The sum of two whole numbers, for totals that their system leaves to the reader."""
    return limited(limited(need_int(value)) + limited(need_int(other)))


@function(("1200 | minus(200)", 1000), ("1.5 | minus(1)", FunctionError))
def minus(value: Whole, other: int) -> int:
    """The difference of two whole numbers, for amounts that their system does not send."""
    return limited(limited(need_int(value)) - limited(need_int(other)))


@function(("350 | times(3)", 1050), ("3.5 | times(3)", FunctionError))
def times(value: Whole, other: int) -> int:
    """The product of two whole numbers, such as a price in fen and a quantity."""
    return limited(limited(need_int(value)) * limited(need_int(other)))


@function(
    ("[100, 250] | sum", 350),
    ("$items | pluck('fee') | sum", 350, {"items": [{"fee": 100}, {"fee": 250}]}),
    ("[] | sum", 0),
    ("['1'] | sum", FunctionError),
)
def sum_(value: list[Whole]) -> int:
    """The sum of a list of whole numbers, such as amounts in fen."""
    return limited(sum([need_int(part) for part in need_list(value)]))
