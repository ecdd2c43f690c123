"""The pairs of HL7 v2 messages and FHIR bundles in ``../shared/corpus/hl7v2-to-fhir``, and our translations of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from esb.codecs import hl7v2
from esb.mapping import Translation, load_codes, load_parts, load_translation
from esb.mapping.codes import Codes
from esb.mapping.parts import Parts

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus" / "hl7v2-to-fhir"
KINDS = ("ADT", "SIU", "ORU", "ORM")
EXCHANGE: dict[str, Any] = {"id": "EX1", "key": "KEY1", "operation": "", "now": "2026-01-15T09:30:00+08:00"}
SITE: dict[str, Any] = {"zone": "+05:30", "base": "http://example.com/v2-to-fhir-converter/"}
"""What the makers of the expected bundles set: where a time without an offset is meant, and their own systems."""


class Pair(NamedTuple):
    id: str
    kind: str
    message: hl7v2.Message
    expected: dict[str, Any]


def pairs() -> Iterator[Pair]:
    """Every pair whose message is of one of ``KINDS``; none without the corpus."""
    manifest = CORPUS / "manifest.jsonl"
    for line in manifest.read_text(encoding="utf-8").splitlines() if manifest.exists() else ():
        name = json.loads(line)["id"]
        kind = name.removeprefix("fhir-converter-")[:3]
        if name.startswith("fhir-converter-") and kind in KINDS:
            yield _pair(name, kind)


def _pair(name: str, kind: str) -> Pair:
    files = CORPUS / "pairs" / name
    message = hl7v2.decode(files.with_suffix(".hl7").read_bytes())
    expected = json.loads(files.with_suffix(".fhir.json").read_text(encoding="utf-8"), parse_float=Decimal)
    return Pair(name.removeprefix("fhir-converter-"), kind, message, expected)


@functools.cache
def _library() -> tuple[Codes, Parts]:
    codes = load_codes(ROOT / "mappings" / "codes")
    return codes, load_parts(ROOT / "mappings" / "parts", codes)


@functools.cache
def translation(file: str) -> Translation:
    """A translation by its file under ``mappings``: ``hl7_to_fhir/ADT.yaml``."""
    return load_translation(ROOT / "mappings" / file, *_library())


def to_fhir(kind: str, message: Any) -> Any:
    """The bundle that our mapping makes of a message."""
    return translation(f"hl7_to_fhir/{kind}.yaml").translate(message, EXCHANGE, SITE)


def to_hl7(kind: str, bundle: Any) -> Any:
    """The segments that our mapping makes of a bundle."""
    return translation(f"fhir_to_hl7/{kind}.yaml").translate(bundle, EXCHANGE, SITE)
