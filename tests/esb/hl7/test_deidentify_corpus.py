"""Every real message of the shared corpus, de-identified: nobody is left in it, and it is as good as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache

import pytest

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Message, decode
from esb.codecs.hl7v2.validate import validate
from esb.hl7.deidentify import Deidentifier, Options, Secret
from tests.esb.hl7.commands import CORPUS

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")

PERSONAL = {
    "PID": {2: [1], 3: [1], 4: [1], 5: [1, 2], 6: [1, 2], 7: [1], 9: [1, 2], 11: [1, 2, 3], 13: [1, 4, 7, 12]}
    | {14: [1, 4, 7, 12], 18: [1], 19: [1], 20: [1]},
    "NK1": {2: [1, 2], 4: [1], 5: [1], 33: [1]},
    "GT1": {2: [1], 3: [1, 2], 5: [1], 6: [1], 12: [1]},
    "IN1": {16: [1, 2], 19: [1], 36: [1], 49: [1]},
    "IN2": {1: [1], 2: [1]},
    "MRG": {1: [1], 2: [1], 3: [1], 4: [1], 7: [1, 2]},
}
"""Fields and components, written down here and not taken from the rules that are tested."""

NO_ONE = {
    "TEST": "an application in MSH-5",
    "PROSOLV": "an application in MSH-3",
    "Firstname": "an assigning authority in PID-3.4",
    "PATIENT": "a word of a test's name",
    "Patient": "a word of a test's name",
    "Test": "the street of a laboratory, and a ward",
    "REDACTED": "no value, also in PID-5.4",
    "1234": "a code, and a room",
    "1000": "a house number of a facility",
    "Hospital Lane": "the street of a facility",
    "Suite #2": "another suite of the same address list that became this one",
    "Ste. 123": "the address of a facility",
    "Ann Arbor": "the city of a facility",
    "Ann Arbor ": "the city of a facility",
    "AnnArbor": "the city of a facility",
    "Boston": "the city of a laboratory",
    "San Jose": "the city of a facility",
    "SOMEWHERE": "the city of an insurer",
    "FOWL": "in the place of a state, in an address that begins one component late",
    "5555": "a part of the phone of a company",
    "NOTREAL": "in a PID that swallowed the PV1 after it: nobody can tell what is in its fields",
}
"""What of a message's people may stand in it still, and as what."""

ELSEWHERE = {
    "Suite #2": "another suite that became this one",
    "123456789": "the serial number of a device",
    "Ste. 123": "the address of a facility",
    "123 Main St": "the address of a laboratory",
    "123 MAIN ST": "the address of a laboratory",
}
"""What of anybody may stand in the message of somebody else, and as what."""

Messages = dict[str, Message]


@lru_cache(1)
def originals() -> Messages:
    found = {}
    for file in sorted((CORPUS / "messages").rglob("*.hl7")):
        try:
            found[str(file.relative_to(CORPUS / "messages"))] = decode(file.read_bytes())
        except DecodeError:
            continue
    return found


def run(options: Options, key: bytes = b"the key of the tests") -> dict[str, bytes]:
    work = Deidentifier(Secret(key), options)
    for message in originals().values():
        work.learn(message)
    return {name: work.apply(message) for name, message in originals().items()}


@lru_cache(1)
def strict() -> dict[str, bytes]:
    return run(Options(staff=True, drop_unknown=True))


@lru_cache(1)
def people() -> dict[str, set[str]]:
    """By file what two independent libraries agree on as its people's, without zeros and short words."""
    found: dict[str, set[str]] = {}
    for line in (CORPUS / "facts.jsonl").read_text(encoding="utf-8").splitlines():
        facts = json.loads(line)
        values = {value for place, value in facts["values"].items() if is_personal(place)}
        found[facts["id"]] = {value for value in values if len(value) >= 4 and value.strip("0- ")}
    return found


def is_personal(place: str) -> bool:
    match = re.fullmatch(r"(\w+)#\d+\.(\d+)\[\d+\]\.(\d+)\.\d+", place)
    return match is not None and int(match[3]) in PERSONAL.get(match[1], {}).get(int(match[2]), [])


def word(value: str, charset: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![A-Za-z0-9])" + re.escape(value.encode(charset, "replace")) + rb"(?![A-Za-z0-9])")


def test_nobody_is_left_in_the_bytes_of_a_message() -> None:
    left, looked = {}, 0
    for name, message in originals().items():
        for value in people().get(name, ()):
            looked += 1
            if word(value, message.charset).search(strict()[name]):
                left[value] = name
    assert looked > 3800
    assert left.keys() - births() == NO_ONE.keys()


def test_no_id_of_anybody_is_left_anywhere() -> None:
    everything = b"\0".join(strict().values())
    ids = {value for values in people().values() for value in values if len(value) >= 8 and re.search(r"\d", value)}
    left = {value for value in ids if word(value, "utf-8").search(everything)}
    assert len(ids) > 650
    assert left - births() == ELSEWHERE.keys()


def births() -> set[str]:
    """A moved date may be somebody else's date of birth."""
    return {value for values in people().values() for value in values if re.fullmatch(r"(19|20)\d{6}", value)}


def pairs(options: Options) -> Iterator[tuple[str, Message, Message]]:
    made = strict() if options == Options(staff=True, drop_unknown=True) else run(options)
    return ((name, message, decode(made[name])) for name, message in originals().items())


def test_structure_charset_and_delimiters_stay() -> None:
    changed = 0
    for name, old, new in pairs(Options()):
        assert [segment.name for segment in new] == [segment.name for segment in old], name
        assert [len(segment.fields()) for segment in new] == [len(segment.fields()) for segment in old], name
        assert new.charset == old.charset, name
        assert new.text[:8] == old.text[:8], name
        assert re.findall(r"[\r\n]+", new.text) == re.findall(r"[\r\n]+", old.text), name
        changed += new.raw != old.raw
    assert 800 < changed < len(originals())


@pytest.mark.parametrize("options", [Options(), Options(staff=True, drop_unknown=True)], ids=["default", "strict"])
def test_no_message_is_less_valid_than_it_was(options: Options) -> None:
    pytest.importorskip("hl7apy", reason="hl7apy is not installed")
    for name, old, new in pairs(options):
        before, after = validate(old), validate(new)
        assert len(after) <= len(before), (name, [fault for fault in after if fault not in before])


def test_it_is_the_same_every_time_and_another_with_another_key() -> None:
    assert run(Options(staff=True, drop_unknown=True)) == strict()
    other = run(Options(staff=True, drop_unknown=True), b"another key")
    about = [name for name in strict() if people().get(name)]
    assert len(about) > 600
    assert [name for name in about if strict()[name] == other[name]] == []


def test_an_id_is_the_same_in_every_file_and_two_ids_never_become_one() -> None:
    images: dict[str, set[str]] = {}
    for name, old in originals().items():
        new = decode(strict()[name])
        for at, segment in enumerate(old.segments("PID")):
            for number in range(1, segment.repetitions(3) + 1):
                before, after = segment.get(3, number, 1, 1), new.get("PID", at, 3, number, 1, 1)
                if before and after and before != '""':
                    images.setdefault(before, set()).add(after)
    cards = {one for one in images if len(one) == 18}
    assert all(len(after) == 1 for before, after in images.items() if before not in cards)
    targets = [next(iter(after)) for before, after in images.items() if before not in cards]
    assert len(set(targets)) == len(targets) > 300
