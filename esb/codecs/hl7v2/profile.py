"""Message profiles: the XML in which HL7 conformance profiles are exchanged (HL7 2.5, chapter 2B)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from esb.codecs import DecodeError
from esb.codecs.hl7v2.rules import GroupRule, PartRule, Parts, Rule, SegmentRule

_PARSER: Final[dict[str, Any]] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}


@dataclass(frozen=True)
class Profile:
    """What a profile demands: the message as a rule, its type and event, the HL7 version that it constrains."""

    name: str
    version: str
    code: str
    event: str
    rule: GroupRule


def read_profile(data: bytes) -> Profile:
    """The profile in an ``HL7v2xConformanceProfile`` document. Raises ``DecodeError``."""
    try:
        root = etree.fromstring(data, etree.XMLParser(**_PARSER))
    except etree.XMLSyntaxError as error:
        raise DecodeError(f"is no XML: line {error.lineno}") from None
    definition = root if _name(root) == "HL7v2xStaticDef" else _child(root, "HL7v2xStaticDef")
    if definition is None:
        raise DecodeError("is no message profile: HL7v2xStaticDef is missing")
    structure = definition.get("MsgStructID") or f"{definition.get('MsgType', '')}_{definition.get('EventType', '')}"
    children = _rules(definition)
    if not children or not isinstance(children[0], SegmentRule) or children[0].name != "MSH":
        raise DecodeError("is no message profile: MSH does not come first")
    about = _child(definition, "MetaData")
    return Profile(
        (about.get("Name") if about is not None else None) or structure,
        root.get("HL7Version", ""),
        definition.get("MsgType", ""),
        definition.get("EventType", ""),
        GroupRule(structure, 1, 1, children),
    )


def _name(element: Any) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _children(element: Any, *names: str) -> list[Any]:
    return [child for child in element if _name(child) in names]


def _child(element: Any, name: str) -> Any:
    return next(iter(_children(element, name)), None)


def _rules(element: Any) -> tuple[Rule, ...]:
    found: list[Rule] = []
    for child in _children(element, "Segment", "SegGroup"):
        name, usage = child.get("Name", ""), child.get("Usage", "O")
        least, most = _times(child, usage)
        if _name(child) == "SegGroup":
            found.append(GroupRule(name, least, most, _rules(child), usage=usage))
        else:
            found.append(SegmentRule(name, least, most, _once(_fields(child)), usage))
    return tuple(found)


def _once(parts: Parts) -> Callable[[], Parts]:
    return lambda: parts


def _fields(segment: Any) -> Parts:
    return tuple([_part(field, ("Component", "SubComponent")) for field in _children(segment, "Field")])


def _part(element: Any, below: Iterable[str]) -> PartRule:
    inner, *rest = [*below, ""]
    parts = tuple([_part(child, rest) for child in _children(element, inner)]) if inner else ()
    usage = element.get("Usage", "O")
    least, most = _times(element, usage)
    table = element.get("Table", "")
    return PartRule(
        element.get("Name", ""),
        usage,
        element.get("Datatype", ""),
        most,
        f"HL7{table:0>4}" if table.isdigit() else "",
        _number(element.get("Length", ""), -1),
        element.get("ConstantValue", ""),
        parts,
        least,
    )


def _times(element: Any, usage: str) -> tuple[int, int]:
    """How often; what must be empty when nothing is there is not required, whatever ``Min`` says."""
    least = _number(element.get("Min", ""), 1 if usage == "R" else 0) if usage == "R" else 0
    most = element.get("Max", "1")
    return max(least, usage == "R"), 0 if usage == "X" else -1 if most == "*" else _number(most, 1)


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdigit() and len(text) < 10 else otherwise
