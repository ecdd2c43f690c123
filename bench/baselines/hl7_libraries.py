"""HL7 v2 read and written by others: python-hl7, hl7apy, plain splitting and joining, node-hl7-client on Node.js.

Each reader is a function of the bytes of a message that gives the values at the paths; each writer a function that
gives the bytes. ``Place`` is segment, occurrence from 0, field and component from 1, component 0 for a field without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hl7
from hl7apy.core import Message as ApyMessage
from hl7apy.parser import parse_message

from bench.baselines.node_peer import Peer

Place = tuple[str, int, int, int]
Row = tuple[str, Mapping[str, str]]
"""A segment and its values by field or field and component: ``("PID", {"3.1": "P1"})``."""


def split(places: Sequence[Place]) -> Callable[[bytes], list[str]]:
    """Every segment split into its fields, and of the wanted ones the components; no escapes, no charsets."""

    def read(data: bytes) -> list[str]:
        found: dict[str, list[list[str]]] = {}
        for line in data.decode().split("\r"):
            if line:
                fields = line.split("|")
                found.setdefault(fields[0], []).append(fields)
        values = []
        for name, occurrence, field, component in places:
            value = found[name][occurrence][field - (name == "MSH")].split("~")[0]
            values.append(value.split("^")[component - 1] if component else value)
        return values

    return read


def python_hl7(places: Sequence[Place]) -> Callable[[bytes], list[str]]:
    """By its accessor, which decodes escapes as ours does."""
    calls = [(name, occurrence + 1, field, 1, component or 1) for name, occurrence, field, component in places]

    def read(data: bytes) -> list[str]:
        message = hl7.parse(data.decode())
        return [message.extract_field(*call) for call in calls]

    return read


def hl7apy(places: Sequence[Place]) -> Callable[[bytes], list[str]]:
    """By attributes, without groups, without validation."""

    def read(data: bytes) -> list[str]:
        message = parse_message(data.decode(), find_groups=False)
        values = []
        for name, occurrence, field, component in places:
            found = getattr(getattr(message, name)[occurrence], f"{name}_{field}")[0]
            values.append((getattr(found, f"{found.datatype}_{component}") if component else found).to_er7())
        return values

    return read


def join(rows: Sequence[Row]) -> Callable[[], bytes]:
    """Fields in lists and components in lists, joined; no escapes, no checks."""

    def write() -> bytes:
        lines = []
        for name, values in rows:
            fields: list[Any] = [name, "|", "^~\\&"] if name == "MSH" else [name]
            for path, value in values.items():
                field, _, component = path.partition(".")
                number = int(field)
                while len(fields) <= number:
                    fields.append("")
                if component:
                    if not isinstance(fields[number], list):
                        fields[number] = []
                    parts = fields[number]
                    while len(parts) < int(component):
                        parts.append("")
                    parts[int(component) - 1] = value
                else:
                    fields[number] = value
            texts = ["^".join(field) if isinstance(field, list) else field for field in fields]
            lines.append(("MSH|" + "|".join(texts[2:])) if name == "MSH" else "|".join(texts))
        return ("\r".join(lines) + "\r").encode()

    return write


def python_hl7_writer(rows: Sequence[Row]) -> Callable[[], bytes]:
    """Of its containers, written by them, which escape nothing."""

    def field(parts: dict[int, str]) -> hl7.Field:
        components = [hl7.Component("&", [parts.get(number, "")]) for number in range(1, max(parts) + 1)]
        return hl7.Field("~", [hl7.Repetition("^", components)])

    def segment(name: str, values: Mapping[str, str]) -> hl7.Segment:
        fields: dict[int, dict[int, str]] = {}
        for path, value in values.items():
            number, _, component = path.partition(".")
            fields.setdefault(int(number), {})[int(component or 1)] = value
        found = [hl7.Field("~", [name]), *([hl7.Field("", ["|"]), hl7.Field("", ["^~\\&"])] if name == "MSH" else [])]
        empty = hl7.Field("~", [""])
        found += [field(fields[at]) if at in fields else empty for at in range(len(found), max(fields) + 1)]
        return hl7.Segment("|", found)

    def write() -> bytes:
        return str(hl7.Message("\r", [segment(name, values) for name, values in rows])).encode()

    return write


def hl7apy_writer(rows: Sequence[Row]) -> Callable[[], bytes]:
    """By attributes."""

    def write() -> bytes:
        message = ApyMessage("ORU_R01", version="2.5")
        for name, values in rows:
            segment = message.MSH if name == "MSH" else message.add_segment(name)
            for path, value in values.items():
                field, _, component = path.partition(".")
                target = getattr(segment, f"{name}_{field}")
                if component:
                    kind = target.datatype
                    setattr(target, f"{kind}_{component}", value)
                else:
                    target.value = value
        return bytes(message.to_er7() + "\r", "utf-8")

    return write


class Node(Peer):
    """node-hl7-client in a process that times itself; nothing of the pipe is in its time."""

    script = "hl7.mjs"

    def read(self, text: str, places: Sequence[Place]) -> list[str]:
        """What it reads; ``seconds`` times that from then on."""
        paths = [
            f"{name}{f'[{occurrence}]' if occurrence or name == 'OBX' else ''}.{field}"
            + (f".{component}" * bool(component))
            for name, occurrence, field, component in places
        ]
        return list(self.ask({"text": text, "paths": paths})["values"])

    def write(self, rows: Sequence[Row]) -> str:
        """What it writes; ``seconds`` times that from then on."""
        return str(self.ask({"rows": [row for row in rows if row[0] != "MSH"]})["text"])
