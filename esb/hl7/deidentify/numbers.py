"""Numbers that stand for a person: ids, identity cards, phones and mail addresses, check digits included."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from esb.hl7.deidentify import times
from esb.hl7.deidentify.rules import rules
from esb.hl7.deidentify.secret import Secret
from esb.hl7.deidentify.words import Fits, rewritten

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MOBILE: Final = re.compile(r"((?:00)?86|)1([3-9]\d{9})", re.ASCII)
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"

EMAIL: Final = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
CARD: Final = r"(?<!\d)\d{17}[\dXx](?!\w)"
PHONE: Final = (
    r"(?<![\d+])(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"
    r"|(?<![\d(])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?!\d)"
)
SSN: Final = r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"


def identifier(text: str, secret: Secret, fit: Fits) -> str:
    """Another id in the same form: digits for digits, letters for letters, leading zeros and all else as they stand.

    No two ids become one.
    """
    if "@" in text:
        return email(text, secret, fit)
    places = _uuid_places(text) if _UUID.fullmatch(text) else _places(text)
    if not any(places):
        return rewritten(text, secret.picks("id", text), fit) if not text.isascii() else text
    return _permuted("id", text, places, secret)


def phone(text: str, secret: Secret, fit: Fits) -> str:
    """Another number in the same form; +86 and the first digit of a Chinese mobile stay."""
    if "@" in text:
        return email(text, secret, fit)
    digits = "".join(filter(str.isdigit, text))
    if not digits.strip("0") or not digits.isascii():
        return rewritten(text, secret.picks("phone", text), fit)
    mobile = _MOBILE.fullmatch(digits)
    if mobile:
        return poured(f"{mobile[1]}1{_digits(mobile[2], 7, 'mobile', secret)}", text)
    return poured(identifier(digits, secret, fit), text)


def poured(digits: str, form: str) -> str:
    """The digits in the places of those of ``form``."""
    source = iter(digits)
    return "".join(next(source) if char.isdigit() else char for char in form)


def email(text: str, secret: Secret, fit: Fits) -> str:
    """Another mailbox, at example.com, where nobody has one."""
    return rewritten(text.partition("@")[0], secret.picks("email", text.casefold()), fit) + "@example.com"


def card(text: str, days: int, secret: Secret) -> str | None:
    """A valid Chinese identity card of the same sex and the shifted date of birth; None when ``text`` is none."""
    if not re.fullmatch(r"\d{17}[\dX]", text.upper(), re.ASCII) or text[17].upper() != card_digit(text):
        return None
    born = times.shifted(text[6:14], days)
    if born is None or not "1800" < text[6:10] < "2200":
        return None
    picks = secret.picks("card", text.upper())
    areas = rules().card_areas
    order = next(picks) % 500 * 2 + int(text[16]) % 2
    head = f"{areas[next(picks) % len(areas)]}{born}{order:03}"
    digit = card_digit(head)
    return head + (digit.lower() if text[17] == "x" else digit)


def card_digit(text: str) -> str:
    """The check character after the first 17 digits (GB 11643-1999, ISO 7064 MOD 11-2)."""
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(text, _WEIGHTS, strict=False)) % 11]


def check_digit(scheme: str, digits: str) -> str | None:
    """By HL7's M10 or M11, as in the definition of CX; None for another scheme, and without digits."""
    if not digits.isdigit() or not digits.isascii() or scheme not in _SCHEMES:
        return None
    return str(_SCHEMES[scheme]([int(digit) for digit in reversed(digits)]))


def _mod10(digits: list[int]) -> int:
    """From the right; the odd places together are one number that is doubled."""
    odd = int("".join(map(str, digits[::2]))) * 2
    return -(sum(map(int, str(odd))) + sum(digits[1::2])) % 10


def _mod11(digits: list[int]) -> int:
    rest = sum(digit * (place % 6 + 2) for place, digit in enumerate(digits)) % 11
    return (11 - (rest or 1)) % 10


_SCHEMES: Final[dict[str, Callable[[list[int]], int]]] = {"M10": _mod10, "M11": _mod11}


def _digits(text: str, first: int, purpose: str, secret: Secret) -> str:
    """Digits permuted; the first is one of the ``first`` highest."""
    return _permuted(purpose, text, [_DIGITS[-first:], *[_DIGITS] * (len(text) - 1)], secret)


def _places(text: str) -> list[str]:
    """For each character those that may stand there; "" where it stays."""
    found: list[str] = []
    leading = True
    for char in text:
        if char in _DIGITS:
            leading = leading and char == "0"
            found.append("" if leading else _DIGITS if found and found[-1].endswith("9") else _DIGITS[1:])
        else:
            leading = True
            found.append(_UPPER if char in _UPPER else _LOWER if char in _LOWER else "")
    return found


def _uuid_places(text: str) -> list[str]:
    alphabet = _DIGITS + ("ABCDEF" if text.upper() == text else "abcdef")
    text = text if text.upper() == text else text.lower()
    return [alphabet if char != "-" else "" for char in text]


def _permuted(purpose: str, text: str, places: list[str], secret: Secret) -> str:
    number, size = 0, 1
    for char, alphabet in zip(text, places, strict=True):
        if alphabet:
            number = number * len(alphabet) + max(alphabet.find(char), alphabet.find(char.lower()))
            size *= len(alphabet)
    form = "".join(char if not alphabet else str(len(alphabet)) for char, alphabet in zip(text, places, strict=True))
    number = secret.permuted(f"{purpose}/{form}", number, size)
    out = []
    for char, alphabet in zip(reversed(text), reversed(places), strict=True):
        if alphabet:
            number, place = divmod(number, len(alphabet))
            char = alphabet[place]
        out.append(char)
    return "".join(reversed(out))
