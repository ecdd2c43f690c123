"""Letters and words replaced by others of the same kind, length and case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from esb.hl7.deidentify.rules import rules
from esb.hl7.deidentify.secret import Secret

Fits = Callable[[str], bool]
"""Whether a character can be written in the message's charset."""

_TRIES: Final = 256
_LONGEST: Final = 4
"""Bytes of a character; some codecs spell in more what they do not have."""
_BLOCK: Final = 32
_WORD: Final = re.compile(r"\w+")


@lru_cache(64)
def fits(codec: str) -> Fits:
    """The test of one codec."""

    @lru_cache(4096)
    def test(char: str) -> bool:
        try:
            return len(char.encode(codec)) <= _LONGEST
        except UnicodeError:
            return False

    return test


def letters(text: str) -> str:
    """What of a name says whose it is: its letters and digits, in one case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def is_han(text: str) -> bool:
    """Whether there are Chinese characters in it."""
    return any("\u3400" <= char <= "\u9fff" or char >= "\U00020000" for char in text)


def rewritten(text: str, picks: Iterator[int], fit: Fits, han: str = "han") -> str:
    """Every letter and digit is another one of its kind; the rest stays. ``han`` names an alphabet of the rules."""
    alphabets = rules().alphabets
    out = []
    odd = next(picks) % 2
    for char in text:
        if not char.isalnum():
            out.append(char)
            continue
        odd = not odd
        out.append(_other(char, picks, fit, alphabets["consonants" if odd else "vowels"], alphabets[han]))
    return "".join(out)


def name(family: str, given: str, secret: Secret, fit: Fits) -> tuple[str, str]:
    """The other person's family and given name.

    They depend on the letters of both together, so ``Smith^John``, ``SMITH^JOHN`` and ``张^三`` beside ``张三`` in one
    component agree.
    """
    picks = secret.picks("name", letters(family + given))
    whole = (family or given) if not (family and given) else ""
    if is_han(whole):
        size = len(whole) - len(whole.lstrip()) + surname_length(whole.strip())
        new = _han_name(whole[:size], whole[size:], picks, fit)
        return ("".join(new), given) if family else (family, "".join(new))
    if is_han(family + given):
        return _han_name(family, given, picks, fit)
    new_text = rewritten(family + given, picks, fit)
    return new_text[: len(family)], new_text[len(family) :]


def surname_length(whole: str) -> int:
    """How many characters of a Chinese name are its family name."""
    return 2 if len(whole) > 3 or whole[:2] in rules().compound_surnames else 1


def place(text: str, key: str, secret: Secret, fit: Fits) -> str:
    """Another place: the words that say what it is (street, 路, 号) stay, those that say which one change."""
    keep, chars = rules().place_words, rules().place_chars
    picks = secret.picks("place", f"{key}\0{letters(text)}")

    def changed(match: re.Match[str]) -> str:
        word = match[0]
        if word.casefold() in keep and not word.isdigit():
            return word
        return "".join(
            part if part in chars else rewritten(part, picks, fit) for part in re.split(f"([{''.join(chars)}])", word)
        )

    new = _WORD.sub(changed, text)
    return new if new != text else rewritten(text, picks, fit)


def _han_name(family: str, given: str, picks: Iterator[int], fit: Fits) -> tuple[str, str]:
    return rewritten(family, picks, fit, "surnames"), rewritten(given, picks, fit, "given_names")


def _other(char: str, picks: Iterator[int], fit: Fits, alphabet: str, han: str) -> str:
    """Another character than this; an ASCII one where its own kind has none that fits."""
    plain = char.casefold()
    if char.isascii():
        found = _chosen(rules().alphabets["digits"] if char.isdigit() else alphabet, plain, picks, fit)
    elif is_han(char):
        found = _chosen(han, plain, picks, fit)
    else:
        found = _neighbour(char, picks, fit)
    found = found or _chosen(alphabet, plain, picks, fit) or "x"
    return found.upper() if char.isupper() else found


def _chosen(alphabet: str, without: str, picks: Iterator[int], fit: Fits) -> str:
    """One of an alphabet, "" where none fits."""
    for _ in range(_TRIES):
        found = alphabet[next(picks) % len(alphabet)]
        if found != without and fit(found):
            return found
    return ""


def _neighbour(char: str, picks: Iterator[int], fit: Fits) -> str:
    """A letter of the same script: of the same category and from the same 32 code points."""
    base, category = ord(char) - ord(char) % _BLOCK, unicodedata.category(char)
    for _ in range(_TRIES):
        found = chr(base + next(picks) % _BLOCK)
        if found != char and unicodedata.category(found) == category and found.isalnum() and fit(found):
            return found
    return ""
