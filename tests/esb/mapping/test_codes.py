"""Code tables: both directions, defaults, mistakes, and the tables the product ships."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from esb.codecs import yaml
from esb.errors import ConfigError
from esb.mapping import load_codes
from esb.mapping.codes import Table, read_table
from esb.mapping.values import FunctionError

SHIPPED = load_codes(Path(__file__).parents[3] / "mappings" / "codes")


def table(text: str) -> Table:
    return read_table("t", yaml.load(text, "t.yaml"))


def test_a_table_reads_and_writes_and_has_one_way_entries() -> None:
    found = table("source: x\nentries: {male: '1'}\nto_canonical: {M: male}\nto_theirs: {unknown: '9'}")
    assert found.code("male") == "1"
    assert found.code("unknown") == "9"
    assert found.meaning("1") == found.meaning("M") == found.meaning(1) == "male"
    assert found.meanings == {"male"}


def test_a_default_is_used_only_where_it_is_written() -> None:
    found = table("source: x\nentries: {male: '1'}\ndefault: {meaning: unknown}")
    assert found.meaning("7") == "unknown"
    assert found.meanings == {"male", "unknown"}
    with pytest.raises(FunctionError, match="not a canonical word of table 't'"):
        found.code("robot")


def test_a_table_says_what_it_can_translate_and_what_comes_out() -> None:
    found = table("source: x\nentries: {male: '1'}\nto_canonical: {M: male, X: other}\nto_theirs: {unknown: '9'}")
    assert found.words == {"male", "unknown"}
    assert found.known == {"1", "M", "X"}
    assert found.meanings == {"male", "other"}
    assert found.codes == {"1", "9"}
    assert not found.standard
    assert table("source: x\nstandard: true\nentries: {male: '1'}").standard


def test_a_table_with_a_default_translates_everything_in_that_direction() -> None:
    found = table("source: x\nentries: {male: '1'}\ndefault: {code: '0'}")
    assert (found.words, found.known) == (None, {"1"})
    assert found.codes == {"0", "1"}
    found = table("source: x\nentries: {male: '1'}\ndefault: {meaning: unknown}")
    assert (found.words, found.known) == ({"male"}, None)
    assert found.meanings == {"male", "unknown"}


@pytest.mark.parametrize("value", [True, None, [], {}, b"1"])
def test_what_is_no_code_is_refused_in_spite_of_a_default(value: object) -> None:
    found = table("source: x\nentries: {male: '1'}\ndefault: {meaning: unknown, code: '0'}")
    with pytest.raises(FunctionError, match="not a code of table"):
        found.meaning(value)


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("entries: {a: '1'}", ["1:1: 'source' must name where the codes come from"]),
        ("source: x", ["1:1: a code table needs 'entries'"]),
        ("3", ["1:1: a code table needs 'source' and 'entries'"]),
        ("source: x\nentries: {a: 1}", ["2:14: 'a' must be text (write '1' in quotes)"]),
        (
            "source: x\nentries: [a]",
            ["1:1: a code table needs 'entries'", "2:10: 'entries' must be a mapping of text to text"],
        ),
        (
            "source: x\nentries: {a: '1', b: '1'}",
            ["2:22: code '1' stands for 'a' and for 'b' (say one of them under 'to_theirs')"],
        ),
        (
            "source: x\nentries: {a: '1'}\nto_canonical: {'1': b}\nto_theirs: {a: '2'}",
            ["3:16: code '1' is in 'entries' already", "4:13: 'a' is in 'entries' already"],
        ),
        ("source: x\nstandard: sure\nentries: {a: '1'}", ["2:11: 'standard' must be true or false"]),
        ("source: x\nstandrad: true\nentries: {a: '1'}", ["2:1: unknown key 'standrad' (did you mean 'standard'?)"]),
        (
            "source: x\nentrys: {a: '1'}\nentries: {a: '1'}\ndefault: {meening: a}",
            [
                "2:1: unknown key 'entrys' (did you mean 'entries'?)",
                "4:11: unknown key 'meening' (did you mean 'meaning'?)",
            ],
        ),
    ],
)
def test_every_mistake_in_a_table_is_found(text: str, findings: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        table(text)
    assert [str(finding).removeprefix("t.yaml:") for finding in raised.value.findings] == findings


def test_the_mistakes_of_all_tables_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("source: x", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("source: {", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_codes(tmp_path)
    assert [Path(finding.file).name for finding in raised.value.findings] == ["a.yaml", "b.yaml"]


def test_zero_is_female_in_one_table_and_unknown_in_the_other() -> None:
    assert SHIPPED["gender_12320"].meaning("0") == "female"
    assert SHIPPED["gender_gbt2261"].meaning("0") == "unknown"
    assert SHIPPED["gender_12320"].code("female") == "0"
    assert SHIPPED["gender_gbt2261"].code("female") == "2"


def test_every_shipped_gender_table_writes_every_canonical_sex() -> None:
    for name in (name for name in SHIPPED if name.startswith("gender_")):
        codes = [SHIPPED[name].code(sex) for sex in ("male", "female", "unknown", "other")]
        assert len(set(codes)) == 4, name
        assert [SHIPPED[name].meaning(code) for code in codes] == ["male", "female", "unknown", "other"]


@pytest.mark.parametrize(
    ("name", "theirs", "canonical"),
    [
        ("his_error", "1001", "slot_full"),
        ("his_error", "1006", "order_conflict"),
        ("jkt_lock_error", "200505", "slot_full"),
        ("jkt_lock_error", "200506", "slot_full"),
        ("jkt_lock_error", "200504", "order_conflict"),
        ("session_dhc", "X", "afternoon"),
        ("session_12320", "4", "day"),
        ("slot_status_his", "0", "stopped"),
        ("slot_status_his", "2", "unreleased"),
        ("lock_status_his", "3", "expired"),
        ("document_type_12320", "2", "hk_macau"),
        ("document_type_hl7", "NI", "id_card"),
        ("report_kind_fhir", "LAB", "lab"),
        ("report_kind_fhir", "ZZ", "other"),
        ("abnormal_flag", "HH", "critical"),
        ("abnormal_flag", "↓", "low"),
        ("marital_gbt2261", "22", "married"),
        ("marital_zh", "离异", "divorced"),
        ("ethnic_gbt3304", "05", "uygur"),
        ("ethnic_gbt3304", "5", "uygur"),
        ("ethnic_zh", "朝鲜", "chosen"),
        ("relation_gbt4761", "57", "parent"),
        ("relation_gbt4761", "51", "father"),
        ("relation_gbt4761", "41", "grandson"),
        ("relation_gbt4761", "43", "grandson"),
        ("relation_gbt4761", "53", "father_in_law"),
        ("relation_gbt4761", "55", "father_in_law"),
        ("relation_gbt4761_short", "9", "other"),
        ("relation_fhir", "SON", "son"),
        ("occupation_gbt2261", "80", "retired"),
        ("pay_type_homepage", "7", "self"),
        ("blood_abo_homepage", "3", "o"),
        ("blood_rh_homepage", "1", "negative"),
        ("insurance_type_fsi", "390", "resident"),
        ("fee_category_fsi", "09", "western_drug"),
        ("visit_class_fhir", "VR", "outpatient"),
        ("appointment_fhir_hl7", "Started", "checked-in"),
        ("order_control_hl7", "CA", "active"),
        ("order_status_hl7", "DC", "revoked"),
        ("order_status_hl7", "ZZ", "unknown"),
    ],
)
def test_a_shipped_table_says(name: str, theirs: str, canonical: str) -> None:
    assert SHIPPED[name].meaning(theirs) == canonical


@pytest.mark.parametrize(
    ("name", "canonical", "theirs"),
    [
        ("relation_gbt4761", "grandson", "40"),
        ("relation_fhir", "son", "SONC"),
        ("h2f_report_status", "entered-in-error", "X"),
        ("h2f_observation_status", "entered-in-error", "W"),
    ],
)
def test_a_shipped_table_writes(name: str, canonical: str, theirs: str) -> None:
    assert SHIPPED[name].code(canonical) == theirs


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("relation_gbt4761", "father_in_law"),
        ("relation_gbt4761", "mother_in_law"),
        ("h2f_report_status", "unknown"),
        ("h2f_observation_status", "unknown"),
    ],
)
def test_a_shipped_table_writes_nothing_that_may_be_wrong(name: str, canonical: str) -> None:
    with pytest.raises(FunctionError):
        SHIPPED[name].code(canonical)


def test_a_preliminary_report_has_no_meaning_for_patients() -> None:
    with pytest.raises(FunctionError):
        SHIPPED["report_status_fhir"].meaning("preliminary")


def test_every_ethnic_group_has_its_two_digit_code_and_its_name() -> None:
    codes, names = SHIPPED["ethnic_gbt3304"], SHIPPED["ethnic_zh"]
    assert sorted(codes.code.values()) == [f"{number:02d}" for number in range(1, 57)]
    assert codes.words == names.words
    assert all(name.endswith("族") for name in names.code.values())


def test_every_two_digit_relation_of_the_standard_is_understood() -> None:
    tens = {*range(10, 13), *range(20, 64), *range(64, 98), 1, 2, 99}
    assert SHIPPED["relation_gbt4761"].known == {f"{number:02d}" for number in tens}


@pytest.mark.parametrize("concept", ["marital", "ethnic", "occupation", "gender"])
def test_the_tables_of_one_concept_speak_of_the_same_words(concept: str) -> None:
    found = {name: SHIPPED[name].words for name in SHIPPED if name.startswith(f"{concept}_")}
    assert len(found) > 1
    assert len(set(found.values())) == 1, found


def test_every_table_of_relations_knows_the_words_of_a_family() -> None:
    family = {"self", "spouse", "son", "daughter", "parent", "father", "mother", "grandparent", "sibling"}
    for name in (name for name in SHIPPED if name.startswith("relation_")):
        assert family <= (SHIPPED[name].words or family), name


def test_a_table_gives_a_word_back_for_the_code_it_wrote_for_it() -> None:
    for name, found in SHIPPED.items():
        written = {word: code for word, code in found.code.items() if code in found.meaning}
        kept = [word for word, code in written.items() if found.meaning(code) == word]
        assert {found.code[word] for word in kept} == set(written.values()), name


def test_code_tables_load_fast(tmp_path: Path) -> None:
    for number in range(200):
        entries = "\n".join(f"  word_{at}: '{at}'" for at in range(50))
        (tmp_path / f"t{number}.yaml").write_text(f"source: x\nentries:\n{entries}\n", encoding="utf-8")
    began = time.perf_counter()
    assert len(load_codes(tmp_path)) == 200
    assert time.perf_counter() - began < 1.5
