"""The mappings make at least 90% of what the public pairs expect, and what they make is FHIR."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, reduce
from typing import Any

import pytest

from esb.codecs import fhir
from esb.mapping import Translation
from tests.hl7_to_fhir.__main__ import main
from tests.hl7_to_fhir.corpus import CORPUS, EXCHANGE, ROOT, SITE, Pair, pairs, to_fhir, translation
from tests.hl7_to_fhir.round_trip import KINDS, round_trips
from tests.hl7_to_fhir.score import FIELDS_OF, Score, score

LEAST = 0.9
DOCUMENT = ROOT / "docs" / "hl7-to-fhir.md"

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the public pairs are not on this machine")


@cache
def forth() -> Score:
    return reduce(Score.__add__, map(score, pairs()))


@cache
def back() -> Score:
    return reduce(Score.__add__, (found for pair in pairs() for found in round_trips(pair)))


def test_there_are_the_pairs_that_the_figures_are_of() -> None:
    kinds = [pair.kind for pair in pairs()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"ADT": 30, "SIU": 6, "ORU": 3, "ORM": 3}


def test_resources_of_every_type_are_made() -> None:
    assert forth().all_counts().share >= LEAST
    assert {kind: tally.share for kind, tally in forth().counts.items() if tally.share < LEAST} == {}


@pytest.mark.parametrize("kind", FIELDS_OF)
def test_the_fields_of_a_type_are_equal(kind: str) -> None:
    assert forth().fields[kind].share >= LEAST


def test_the_documented_figures_are_those_that_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^```text\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    main([])
    assert shown[0] in capsys.readouterr().out


def test_few_resources_are_made_that_nobody_expects() -> None:
    total = forth().all_counts()
    assert total.surplus <= total.expected * 0.02


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_resource_returns_from_hl7_as_it_was(kind: str) -> None:
    assert back().fields[kind].share >= LEAST
    assert back().counts[kind].share == 1


@pytest.mark.parametrize("pair", list(pairs()), ids=lambda pair: pair.id)
def test_a_bundle_is_valid_and_its_references_lead_somewhere(pair: Pair) -> None:
    bundle = to_fhir(pair.kind, pair.message)
    assert fhir.validate(bundle, "R4") == []
    inside = {f"Bundle/{bundle['id']}", *(entry["request"]["url"] for entry in bundle["entry"])}
    assert set(_references(bundle)) <= inside


@pytest.mark.parametrize("pair", list(pairs()), ids=lambda pair: pair.id)
def test_the_compiled_translation_makes_what_the_reference_evaluator_makes(pair: Pair) -> None:
    slow = translation(f"hl7_to_fhir/{pair.kind}.yaml").translate_slowly(pair.message, EXCHANGE, SITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Translation, "translate_slowly")
        assert to_fhir(pair.kind, pair.message) == slow


def _references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == "reference" and isinstance(value, str))
        tree = list(tree.values())
    for part in tree if isinstance(tree, list) else ():
        yield from _references(part)
