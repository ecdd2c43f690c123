"""What an expression may do to a value: the primitives shared by compiled mappings and by the reference evaluator.

``None`` stands for missing: a key that is absent and a key that is null are the same thing here. A wrong type is never
missing, with one exception that XML forces: an empty element is the text ``""``, and a child of it is just not there.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from esb.codecs.hl7v2 import Group, Message, Repetition, Segment
from esb.model import Tree

MAX_ITEMS = 200_000
"""How many items the nested loops of one mapping may visit together."""


class FunctionError(Exception):
    """A value a function or an operator cannot work on. The reason names types and rules, never the value itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Absent(FunctionError):
    """A required value is not there."""


_KINDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    Decimal: "a number",
    dict: "a structure",
    type(None): "nothing",
    bytes: "bytes",
}


def kind(value: Tree) -> str:
    """The type of a value in the words of an error message."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value == "":
        return "empty text"
    if type(value) in _KINDS:
        return _KINDS[type(value)]
    if isinstance(value, Repetition):
        return "an HL7 repetition"
    return "an HL7 message" if is_message(value) else "an HL7 segment" if is_segment(value) else "an object"


_BY_NAME = (Message, Group)


def is_message(value: Tree) -> bool:
    """Whether segments can be asked of it: a message or a group of one."""
    return isinstance(value, _BY_NAME)


def is_segment(value: Tree) -> bool:
    return isinstance(value, Segment)


def key(value: Tree, name: str) -> Tree:
    """The child ``name``, or None. Text has itself as ``#text`` and no attributes, so that XML elements read alike."""
    if type(value) is Message:
        return value.segments(name) or None
    if isinstance(value, dict):
        return value.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        if name == "#text":
            return value
        if value == "" or name.startswith("@"):
            return None
    elif is_message(value):
        return value.segments(name) or None
    raise FunctionError(f"is {kind(value)}, not a structure")


def item(value: Tree, index: int) -> Tree:
    """The item at ``index`` from 0, or None; a value that is not a list is a list of one."""
    if type(value) is list:
        return value[index] if index < len(value) else None
    return value if index == 0 else None


def hl7(value: Tree, field: int, repetition: int, component: int, sub: int) -> Tree:
    """A field of an HL7 segment (of the first one, if given several); None when it is not valued or HL7-null.

    Repetition 0 is all of them: the list of one component, or of structures by component number.
    """
    segment = (value[0] if value else None) if type(value) is list else value
    if segment is None:
        return None
    if type(segment) is not Segment and not is_segment(segment):
        raise FunctionError(f"is {kind(segment)}, not an HL7 segment")
    if repetition:
        return _valued(segment, field, repetition, component, sub)
    if not component:
        return [found for found in segment.all(field) if found] or None
    counted = range(1, segment.repetitions(field) + 1)
    found = [_valued(segment, field, at, component, sub) for at in counted]
    return [value for value in found if value] or None


def _valued(segment: Segment, field: int, repetition: int, component: int, sub: int) -> str | None:
    text = segment.get(field, repetition, component, sub)
    return None if text == '""' else text


def items(value: Tree, may_miss: bool) -> list[Tree]:
    """What a loop goes over; missing or empty text is none if it may miss, otherwise an error."""
    if type(value) is list:
        return value
    if value is None or value == "":
        if may_miss:
            return []
        raise Absent(f"is {kind(value)} where a list is needed")
    return [value]


def spend(left: list[int], visited: list[Tree]) -> None:
    """Take a loop over ``visited`` from what is ``left`` of ``MAX_ITEMS``."""
    left[0] -= len(visited)
    if left[0] < 0:
        raise FunctionError(f"the nested loops visit more than {MAX_ITEMS} items")


def component(value: Tree, number: int, sub: int) -> Tree:
    """A component of an HL7 repetition, or None; text is its own first component, and its own first sub-component.

    Of another structure the key with that number, and the key below it.
    """
    if type(value) is Repetition:
        return value.part(number, sub) if sub else value.get(str(number))
    if isinstance(value, str):
        return (value or None) if number == 1 and sub < 2 else None
    found = key(value, str(number))
    return component(found, sub, 0) if sub else found


def choice(value: Tree, name: str) -> Tree:
    """The FHIR choice element ``name[x]`` whatever its type, or None."""
    if value is None:
        return None
    if type(value) is not dict:
        raise FunctionError(f"is {kind(value)}, not a structure")
    at = len(name)
    return next((value[found] for found in value if found.startswith(name) and found[at : at + 1].isupper()), None)


def equal(left: Tree, right: Tree) -> bool:
    """Equality of two texts, two numbers or two truths. Missing is equal to nothing; other pairs are an error."""
    if left is None or right is None:
        return False
    _comparable(left, right)
    return bool(left == right)


def unequal(left: Tree, right: Tree) -> bool:
    if left is None or right is None:
        return False
    return not equal(left, right)


def less(left: Tree, right: Tree) -> bool:
    """Order of two texts or two numbers."""
    if left is None or right is None:
        return False
    _comparable(left, right)
    if isinstance(left, bool):
        raise FunctionError("true and false have no order")
    return bool(left < right)


def less_or_equal(left: Tree, right: Tree) -> bool:
    return less(left, right) or equal(left, right)


def more(left: Tree, right: Tree) -> bool:
    return less(right, left)


def more_or_equal(left: Tree, right: Tree) -> bool:
    return less_or_equal(right, left)


def member(value: Tree, choices: Tree) -> bool:
    """Whether ``value`` equals an item of the list; a list without any item of its kind is an error, not a no."""
    if value is None or choices is None:
        return False
    if type(choices) is not list:
        raise FunctionError(f"'in' needs a list, got {kind(choices)}")
    alike = [choice for choice in choices if _sort(choice) == _sort(value)]
    if _sort(value) is None or (choices and not alike):
        raise FunctionError(f"compares {kind(value)} with a list of other things")
    return value in alike


def truth(value: Tree) -> bool:
    """The value as a condition; missing is false."""
    if value is None:
        return False
    if value is True or value is False:
        return bool(value)
    raise FunctionError(f"a condition needs true or false, got {kind(value)}")


def refusal_code(value: Tree) -> str:
    if isinstance(value, str) and value:
        return value
    raise FunctionError(f"a code must be text, got {kind(value)}")


def message(value: Tree) -> str:
    """A text for people; missing is the empty text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise FunctionError(f"a message must be text, got {kind(value)}")


def action(value: Tree) -> str:
    if isinstance(value, str) and value:
        return value
    raise FunctionError(f"an action must be text, got {kind(value)}")


def absent() -> Any:
    """Raises: a required value is missing."""
    raise Absent("is missing")


class Roots:
    """An answer that is not a dict, read by name: the segments of an HL7 message; nothing of an empty answer."""

    __slots__ = ("answer",)

    def __init__(self, answer: Tree) -> None:
        self.answer = answer

    def get(self, name: str) -> Tree:
        return key(self.answer, name)

    def __getitem__(self, name: str) -> Tree:
        return key(self.answer, name)


def _comparable(left: Tree, right: Tree) -> None:
    if _sort(left) is None or _sort(left) is not _sort(right):
        raise FunctionError(f"compares {kind(left)} with {kind(right)}")


def _sort(value: Tree) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | Decimal):
        return int
    return str if isinstance(value, str) else None
