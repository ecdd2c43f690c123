"""Small code tables, and mappings from the cases beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esb.codecs import hl7v2, yaml
from esb.mapping import Codes, Mapping, compile_mapping
from esb.mapping.codes import read_table

_CASES = Path(__file__).parents[2] / "mapping"
_TABLES = {
    "gender": "source: a test\nentries: {male: '1', female: '2'}",
    "errors": "source: a test\nentries: {full: '1', stopped: '2'}",
}
CODES = Codes({name: read_table(name, yaml.load(text, f"{name}.yaml")) for name, text in _TABLES.items()})


def compiled(text: str) -> Mapping:
    """The mapping that is written in ``text``."""
    return compile_mapping(yaml.load(text, "mapping.yaml"), text, CODES)


def cases(name: str) -> list[tuple[dict[str, Any], Mapping | None]]:
    """The cases of a file, each with its mapping, whose lines are the lines of that file."""
    text = (_CASES / name).read_text(encoding="utf-8")
    document = yaml.load(_CASES / name, "mapping.yaml")
    found = ((case, _rooted(document, index, case)) for index, case in enumerate(document.value))
    return [(case, None if "file" in case else compile_mapping(part, text, CODES)) for case, part in found]


def data(name: str) -> list[dict[str, Any]]:
    """The cases of a file as they are written."""
    cases: list[dict[str, Any]] = yaml.load(_CASES / name, name).value
    return cases


def line_of(name: str, line: int) -> str:
    """A line of a file of cases."""
    return (_CASES / name).read_text(encoding="utf-8").splitlines()[line - 1]


def decoded(answer: Any) -> Any:
    """An answer of a test: HL7 where it is written so, otherwise a tree."""
    if isinstance(answer, str) and answer.startswith("MSH"):
        return hl7v2.decode(answer.replace("\n", "\r").encode(), "UTF-8")
    return answer


def _rooted(document: yaml.Document, index: int, case: dict[str, Any]) -> yaml.Document:
    """The part of a document that is one case's mapping."""
    value = {key: case[key] for key in ("action", "request", "response", "prune") if key in case}
    value = {"action": "Find", "response": {"done": {}}, **value}
    marks = {path[1:]: mark for path, mark in document.marks.items() if path[:1] == (index,)}
    keys = {path[1:]: mark for path, mark in document.keys.items() if path[:1] == (index,)}
    return yaml.Document(document.file, value, marks, keys)
