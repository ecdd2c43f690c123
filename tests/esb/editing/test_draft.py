"""Drafts of mappings that exist: how much of what people wrote by hand is found from schemas and samples alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from esb.codecs import hl7v2, json, yaml
from esb.contract import load_contract
from esb.editing.draft import Drafter
from esb.editing.names import load_words
from esb.editing.sources import Reader
from esb.mapping import compile_mapping, load_codes
from tests.esb.configured import ROOT

CONTRACT = load_contract(ROOT / "schemas")
CODES = load_codes(ROOT / "mappings" / "codes")
WORDS = load_words()
SCHEMA = "../../schemas/editor/mapping.json"
WSDL = ROOT / "schemas" / "wsdl" / "his.wsdl"
ADAPTERS = {
    "his_soap": "soap",
    "his_hl7": "hl7v2",
    "hl7_siu": "hl7v2",
    "lis_fhir": "fhir",
    "jkt_12320": "soap",
    "hospital_db": "sql",
    "parking_ake": "rest",
}
RESOURCES = {"report.list": "fhir:DiagnosticReport", "report.get": "fhir:DiagnosticReport+Observation"}
FILES = [
    file
    for dialect in ("his_soap", "his_hl7", "hl7_siu", "lis_fhir", "jkt_12320", "hospital_db", "parking_ake")
    for file in sorted((ROOT / "mappings" / dialect).glob("*.yaml"))
]
FLOORS = {
    "his_soap": 1.0,
    "his_hl7": 0.9,
    "hl7_siu": 1.0,
    "lis_fhir": 0.85,
    "jkt_12320": 0.65,
    "hospital_db": 0.9,
    "parking_ake": 0.8,
}
"""The least share of the fields of a dialect that drafts find: what was measured, rounded down."""


class Found(NamedTuple):
    """Fields that a person mapped, and those of them that the draft takes from the same place."""

    wanted: int
    matched: int


def drafted(file: Path, folder: Path) -> str:
    """The draft from what the person had: the WSDL, the resource, or the messages of the examples."""
    operation, dialect = CONTRACT.operations[file.stem], file.parent.name
    hand = yaml.load(file).value
    answer: Path | None = sample(answered(hand), folder / "answer") if dialect not in ("lis_fhir",) else None
    if dialect == "his_soap":
        source, answer = f"{WSDL}#{hand['action']}", None
    elif dialect == "lis_fhir":
        source = RESOURCES[file.stem]
    else:
        source = str(sample(sent(hand), folder / "request"))
    read = Reader("adapters", adapter=ADAPTERS[dialect], words=WORDS).read(source, operation, answer)
    return Drafter(CONTRACT, CODES, WORDS, dialect).draft(operation, read, SCHEMA)


def answered(hand: Any) -> Any:
    return next(
        example["answer"] for example in hand["examples"] if "done" in example and example["done"] != {"items": []}
    )


def sent(hand: Any) -> Any:
    """What an example sends; of HL7 v2 the whole message."""
    trees = [example["sends"] for example in hand["examples"] if "sends" in example]
    tree = max(trees, key=len)
    if not isinstance(tree, list):
        return tree.get("body", tree)
    kind = dict(zip(("MSH-9.1", "MSH-9.2", "MSH-9.3"), hand["action"].split("^"), strict=False))
    return hl7v2.build([{"MSH-12": "2.5.1", **kind}, *tree]).encode().decode()


def sample(tree: Any, file: Path) -> Path:
    text = tree if isinstance(tree, str) else json.encode(tree).decode()
    file.write_text(text.replace("\n", "\r") if text.startswith("MSH") else text, encoding="utf-8", newline="")
    return file


def compared(hand: Any, draft: Any) -> Found:
    wanted = {**sources(hand, "request"), **sources(hand, "response")}
    got = {**sources(draft, "request"), **sources(draft, "response")}
    matched = [target for target, paths in wanted.items() if got.get(target) and got[target] <= paths]
    return Found(len(wanted), len(matched))


def sources(tree: Any, side: str) -> dict[str, set[str]]:
    """Where each field of a side comes from; of the response those of the answer that says most when it is done."""
    body = tree.get(side) or {}
    if side == "response":
        cases = body if isinstance(body, list) else [body]
        body = max((case["done"] for case in cases if "done" in case), key=lambda one: len(str(one)))
    found = {target: paths for target, text in flat(body, side, {}) if (paths := own(text, side))}
    return found


def own(text: str, side: str) -> set[str]:
    """The paths of an expression that lead to the other side's data."""
    paths = {
        re.sub(r"\[[\d*]*]|\?|(?<=-\d)\.1$|(?<=-\d\d)\.1$", "", path) for path in re.findall(r"\$[\w.\[\]?*-]+", text)
    }
    other = ("$exchange", "$site") if side == "request" else ("$exchange", "$site", "$request")
    return {path for path in paths if not path.startswith(other)}


def flat(tree: Any, target: str, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(tree, list):
        for item in tree:
            yield from flat(item, target, names)
    elif isinstance(tree, dict):
        for key in ("$each", "$with"):
            for text in tree[key] if isinstance(tree.get(key), list) else [tree[key]] if key in tree else []:
                value, _, name = text.rpartition(" as ")
                names = {**names, name: resolved(value, names).split(" |")[0]}
        if "$case" in tree:
            yield target, " ".join(resolved(str(one.get("$value", "")), names) for one in tree["$case"])
        for key, value in tree.items():
            if key == "$value" or not key.startswith("$"):
                name = re.sub(r"(?<=-\d)\.1$|(?<=-\d\d)\.1$", "", key)
                yield from flat(value, target if key == "$value" else f"{target}.{name}", names)
    elif isinstance(tree, str) and tree.startswith("$"):
        yield target, resolved(tree, names)


def resolved(text: str, names: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda match: names.get(match[1], match[0]).replace("?", ""), text)


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    return {file: drafted(file, tmp_path_factory.mktemp(file.stem)) for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_draft_loads_and_marks_every_guess(drafts: dict[Path, str], file: Path) -> None:
    text = drafts[file]
    mapping = compile_mapping(yaml.load(text, "draft"), text, CODES)
    assert mapping.outcomes
    head, _, _ = text.partition("\nexamples:")
    guesses = [line for line in head.split("\n") if re.search(r"^ *(- )?(?!when|\$each|\$with)[^ #]+: '?\$", line)]
    assert guesses or file.stem == "registration.unlock"
    assert [line for line in guesses if "# review: " not in line] == []


@pytest.mark.parametrize("dialect", FLOORS)
def test_drafts_find_what_people_wrote(drafts: dict[Path, str], dialect: str) -> None:
    files = [file for file in FILES if file.parent.name == dialect]
    found = {file.stem: compared(yaml.load(file).value, yaml.load(drafts[file]).value) for file in files}
    wanted, matched = (sum(one[at] for one in found.values()) for at in (0, 1))
    assert matched / wanted >= FLOORS[dialect], found
