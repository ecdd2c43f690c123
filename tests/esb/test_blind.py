"""S23: a patient's number as something to search for: the same however it is written, under old keys too."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from esb import blind
from esb.config.subjects import load_blind
from esb.errors import ConfigError

NEW, OLD = "ab" * 32, "cd" * 32


def test_the_mark_names_version_and_key_and_is_the_hmac_of_the_normal_value() -> None:
    keys = blind.parse(f"k2 {NEW}\nk1 {OLD}\n")
    digest = hmac.new(bytes.fromhex(NEW), b"11010519491231002X", hashlib.sha256).hexdigest()[:32]
    assert keys.of("11010519491231002x") == f"v1.k2.{digest}"
    assert keys.current == "v1.k2."


@pytest.mark.parametrize(
    "written", ["P 0000001", "p0000001", "P-0000001", "Ｐ０００００01", "\tP0000001\n", "P0000‐001"]
)
def test_one_number_has_one_mark_however_people_write_it(written: str) -> None:
    keys = blind.parse(f"k1 {OLD}")
    assert keys.of(written) == keys.of("P0000001")


def test_other_numbers_and_other_keys_have_other_marks() -> None:
    keys = blind.parse(f"k2 {NEW}\nk1 {OLD}")
    assert len({*keys.all_of("P0000001"), *keys.all_of("P0000002")}) == 4
    assert keys.of("P0000001") == keys.all_of("P0000001")[0]


def test_nothing_has_no_mark() -> None:
    keys = blind.parse(f"k1 {OLD}")
    assert (keys.of(" - "), keys.all_of("")) == ("", ())


def test_a_key_is_in_no_text_that_is_made_of_it() -> None:
    assert OLD[:8] not in repr(blind.parse(f"k1 {OLD}"))
    assert "\\xcd" not in repr(blind.parse(f"k1 {OLD}"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no key"),
        ("# k1 only a remark", "no key"),
        ("k1 " + OLD[:62], "line 1 is no name"),
        (f"k1 {OLD}\nK2 {NEW}", "line 2 is no name"),
        (f"k1 {OLD}\n\nk1 {NEW}", "line 3 has the name"),
        (f"k1 {OLD}ff0", "line 1 is no name"),
    ],
)
def test_what_is_no_key_is_a_finding_that_does_not_tell_it(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / blind.SECRET).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_blind(tmp_path, {})
    (found,) = caught.value.findings
    assert reason in found.message
    assert not {OLD[:20], NEW[:20]} & set(str(found).split())
    assert OLD[:20] not in str(found)


def test_without_the_secret_there_is_no_index_and_with_it_the_keys_are_read(tmp_path: Path) -> None:
    assert load_blind(tmp_path, {}) is None
    (tmp_path / blind.SECRET).write_text(f"# made in spring\nk1 {OLD}\n")
    (tmp_path / blind.SECRET).chmod(stat.S_IRUSR)
    assert load_blind(tmp_path, {}) == blind.parse(f"k1 {OLD}")
    assert load_blind(tmp_path / "none", {"ESB_SECRET_JOURNAL_SUBJECT_KEYS": f"k1 {OLD}"}) == blind.parse(f"k1 {OLD}")


def test_bytes_that_are_no_text_are_a_finding(tmp_path: Path) -> None:
    (tmp_path / blind.SECRET).write_bytes(b"k1 \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_blind(tmp_path, {})


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u200e", "\u2212", "\u2011", "\u00a0"])
def test_what_is_copied_along_with_a_number_makes_no_other_patient(unseen: str) -> None:
    assert blind.normal(f"{unseen}110101{unseen}19000101123x") == "11010119000101123X"
