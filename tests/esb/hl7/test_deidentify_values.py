"""What single values become."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.hl7.deidentify import numbers, times, words
from esb.hl7.deidentify.known import Known
from esb.hl7.deidentify.rules import rules
from esb.hl7.deidentify.secret import Secret
from esb.hl7.deidentify.values import Values
from esb.hl7.deidentify.words import fits

SECRET = Secret(b"a key of the tests")
UTF8 = fits("utf-8")


def values(codec: str = "utf-8", days: int = -100) -> Values:
    return Values(SECRET, fits(codec), days, Known(), lambda _: False)


@pytest.mark.parametrize("size", [2, 3, 9, 10, 11, 97, 1000, 4096])
def test_numbers_are_permuted_and_none_stays(size: int) -> None:
    images = [SECRET.permuted("test", number, size) for number in range(size)]
    assert sorted(images) == list(range(size))
    assert all(image != number for number, image in enumerate(images))


def test_one_number_alone_has_nowhere_to_go() -> None:
    assert SECRET.permuted("test", 0, 1) == 0


def test_another_key_or_purpose_permutes_otherwise() -> None:
    ours = [SECRET.permuted("test", number, 10**6) for number in range(20)]
    assert ours != [Secret(b"another").permuted("test", number, 10**6) for number in range(20)]
    assert ours != [SECRET.permuted("other", number, 10**6) for number in range(20)]
    assert ours == [Secret(b"a key of the tests").permuted("test", number, 10**6) for number in range(20)]
    with pytest.raises(ValueError, match="empty"):
        Secret(b"")


@given(st.from_regex(r"[A-Za-z0-9 ./-]{1,30}", fullmatch=True))
def test_an_id_keeps_its_form(text: str) -> None:
    new = numbers.identifier(text, SECRET, UTF8)
    assert re.sub("[1-9]", "9", re.sub("0", "9", text)).translate(FORM) == new.replace("0", "9").translate(FORM)
    assert len(new) == len(text)
    if re.search("[A-Za-z1-9]", text):
        assert new != text


FORM = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz12345678", "A" * 26 + "a" * 26 + "9" * 8)


def test_different_ids_stay_different() -> None:
    for form in ("{:04}", "A{:03}", "{:03}-x"):
        ids = [form.format(number) for number in range(1000)]
        assert len({numbers.identifier(one, SECRET, UTF8) for one in ids}) == 1000


def test_leading_zeros_and_uuids_keep_their_form() -> None:
    assert re.fullmatch("000[1-9][0-9]{3}", numbers.identifier("0001234", SECRET, UTF8))
    uuid = "2a14112c-ece1-4f82-915c-7b3a8d152eda"
    new = numbers.identifier(uuid, SECRET, UTF8)
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", new)
    assert new != uuid


@pytest.mark.parametrize(
    ("scheme", "digits", "digit"),
    [
        ("M10", "12345", "5"),
        ("M10", "401", "0"),
        ("M10", "9999", "4"),
        ("M10", "99999999", "8"),
        ("M11", "1234567", "4"),
    ],
)
def test_check_digits_are_those_of_the_standard(scheme: str, digits: str, digit: str) -> None:
    assert numbers.check_digit(scheme, digits) == digit


def test_a_check_digit_needs_a_known_scheme_and_digits() -> None:
    assert numbers.check_digit("NPI", "1") is numbers.check_digit("M10", "A1") is numbers.check_digit("M10", "") is None


def card(area: str, born: str, order: int) -> str:
    head = f"{area}{born}{order:03}"
    return head + numbers.card_digit(head)


def test_the_check_character_of_a_card_is_that_of_the_standard() -> None:
    assert numbers.card_digit("11010519491231002") == "X"
    assert numbers.card_digit("44052418800101001") == "4"


@given(st.dates(date(1900, 1, 1), date(2026, 1, 1)), st.integers(0, 999), st.integers(-400, -1))
def test_a_card_stays_valid_with_the_sex_and_the_moved_birth(born: date, order: int, days: int) -> None:
    old = card("110105", f"{born:%Y%m%d}", order)
    new = numbers.card(old, days, SECRET)
    assert new is not None
    assert new != old
    assert new[17] == numbers.card_digit(new)
    assert new[6:14] == times.shifted(f"{born:%Y%m%d}", days)
    assert int(new[16]) % 2 == order % 2


@pytest.mark.parametrize(
    "text", ["110105194912310021", "11010519491331002X", "123456789012345678", "1101051949123100", ""]
)
def test_what_is_no_card(text: str) -> None:
    assert numbers.card(text, -1, SECRET) is None


def test_a_phone_is_the_same_one_in_every_form() -> None:
    new = numbers.phone("13812345678", SECRET, UTF8)
    assert re.fullmatch(r"1[3-9]\d{9}", new)
    assert new != "13812345678"
    assert numbers.phone("138-1234-5678", SECRET, UTF8) == f"{new[:3]}-{new[3:7]}-{new[7:]}"
    assert numbers.phone("+86 13812345678", SECRET, UTF8) == f"+86 {new}"
    assert numbers.phone("0086-138 1234 5678", SECRET, UTF8) == f"0086-{new[:3]} {new[3:7]} {new[7:]}"
    other = numbers.phone("(416)888-8889 x", SECRET, UTF8)
    assert other.replace("(", "").replace(")", "").replace("-", "") == numbers.phone("4168888889 x", SECRET, UTF8)
    assert values().split_phone("416", "888-8889") == (other[1:4], other[5:13])


def test_a_mailbox_is_at_a_host_where_nobody_lives() -> None:
    new = numbers.email("Jane.Doe@hospital.cn", SECRET, UTF8)
    assert re.fullmatch(r"[A-Z][a-z]{3}\.[A-Z][a-z]{2}@example\.com", new)
    assert "Jane" not in new


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("20240301", "20231122"),
        ("20240301101530.1234+0800", "20231122101530.1234+0800"),
        ("202403", "202312"),
        ("2024", "2024"),
        ("2024060509", "2024022609"),
        ("00000000", "00000000"),
    ],
)
def test_a_time_moves_in_its_precision(text: str, moved: str) -> None:
    assert times.shifted(text, -100) == moved


@pytest.mark.parametrize("text", ["20240230", "20241301", "soon", "", "198", "00010101"])
def test_what_is_no_time(text: str) -> None:
    assert times.shifted(text, -400) is None


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("2024-03-01", "2023-11-22"),
        ("2024/3/1", "2023/11/22"),
        ("2024年3月1日", "2023年11月22日"),
        ("03/01/2024", "11/22/2023"),
        ("31.12.2023", "22.09.2023"),
        ("20240301", "20231122"),
    ],
)
def test_a_date_in_a_text_moves_in_its_own_form(text: str, moved: str) -> None:
    assert re.fullmatch(times.WRITTEN, text)
    assert times.shifted_written(text, -100) == moved
    assert values().searched(f"since {text}, stable") == f"since {moved}, stable"


@given(st.text(min_size=1, max_size=12))
def test_no_letter_or_digit_of_a_name_stays_in_its_place(text: str) -> None:
    family, _ = words.name(text, "", SECRET, UTF8)
    assert len(family) == len(text)
    for old, new in zip(text, family, strict=True):
        assert (old != new) if old.isalnum() else old == new


def test_a_name_is_the_same_one_in_every_form() -> None:
    assert words.name("SMITH", "JOHN", SECRET, UTF8) == tuple(
        part.upper() for part in words.name("Smith", "John", SECRET, UTF8)
    )
    family, given_name = words.name("张", "三丰", SECRET, UTF8)
    assert words.name("张三丰", "", SECRET, UTF8) == (family + given_name, "")
    assert words.name("", "张三丰", SECRET, UTF8) == ("", family + given_name)
    compound = words.name("欧阳", "娜娜", SECRET, UTF8)
    assert words.name("欧阳娜娜", "", SECRET, UTF8) == ("".join(compound), "")


def test_chinese_names_become_chinese_names() -> None:
    alphabets = rules().alphabets
    for name in ("王芳", "张三丰", "欧阳娜娜"):
        new, _ = words.name(name, "", SECRET, fits("gb2312"))
        size = words.surname_length(name)
        assert all(char in alphabets["surnames"] for char in new[:size])
        assert all(char in alphabets["given_names"] for char in new[size:])
        assert new.encode("gb2312")


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Müller", "latin-1"),
        ("Čapek", "iso8859-2"),
        ("Иванов", "iso8859-5"),
        ("山田", "shift_jis"),
        ("陳大文", "big5"),
        ("김철수", "euc_kr"),
    ],
)
def test_a_name_stays_in_its_script_and_charset(text: str, codec: str) -> None:
    new, _ = words.name(text, "", SECRET, fits(codec))
    assert len(new.encode(codec)) == len(text.encode(codec))
    assert [char.isascii() for char in new] == [char.isascii() for char in text]
    assert [char.isupper() for char in new] == [char.isupper() for char in text]


def test_an_address_keeps_what_its_parts_are() -> None:
    assert re.fullmatch(r"\d{3} [A-Z][a-z]{5} St Apt \d", values().of("place", "123 Leafly St Apt 4", "k"))
    new = values().of("place", "海淀区中关村大街27号", "k")
    assert re.fullmatch(r"..区.{2}村大街\d\d号", new)
    assert new != "海淀区中关村大街27号"
    assert values().of("place", "Hospital Lane", "k") != "Hospital Lane"


def test_values_of_nobody_stay() -> None:
    for text in ("UNKNOWN", "未知", "n/a"):
        assert values().of("id", text) == values().of("family", text) == text
        assert values().name(text, "") == (text, "")


def test_a_text_is_searched_for_what_can_only_be_a_persons() -> None:
    text = "call 13912345678 or a.b@c.cn, card 11010519491231002X, ssn 123-45-6789, (212) 555-1234; Na 140, 12345678"
    new = values().searched(text)
    assert not any(part in new for part in ("13912345678", "a.b@c.cn", "19491231", "123-45-6789", "555-1234"))
    assert new.endswith("; Na 140, 12345678")
    assert numbers.card_digit(new[new.index("card ") + 5 :][:17]) == new[new.index("card ") + 22]


def test_a_document_is_removed() -> None:
    assert values().searched("JVBERi0xLjQK" * 30) == "cmVtb3ZlZA=="
    assert values().of("document", "<html>") == "removed"


def test_known_values_are_found_as_words_and_in_their_case() -> None:
    known = Known()
    known.add_name(("Smith", "Jo"), ("Balek", "Xu"))
    known.add_name(("张", "三"), ("王", "五"))
    known.add_id("P1234567", "Q7654321")
    known.add_id("12", "34")
    people = Values(SECRET, UTF8, -1, known, lambda _: False)
    assert people.searched("SMITH, Smith's and smithers; Jo, Jo Smith, smith, jo") == (
        "BALEK, Balek's and smithers; Jo, Xu Balek, balek, xu"
    )
    assert people.searched("患者张三来诊，张力正常") == "患者王五来诊，张力正常"
    assert people.searched("p1234567 P12345678 12") == "q7654321 P12345678 12"
    assert people.coded("Smith") == "Smith"
    assert people.coded("Smith^Jo") == "Balek^Xu"
    assert people.unknown("12") == "34"
    assert people.unknown("jo") == "xu"


def test_every_field_has_the_type_that_hl7_gives_it() -> None:
    """Against hl7apy's tables: no field that any version types as a person's is taken for something else."""
    hl7apy = pytest.importorskip("hl7apy", reason="hl7apy is not installed")
    from esb.codecs.hl7v2.tables import VERSIONS

    older = {"PN": "XPN", "CN": "XCN", "CK": "CX", "CM_PAT_ID": "CX", "AD": "XAD", "TN": "XTN", "DT": "TS", "DTM": "TS"}
    person = ("XPN", "CX", "XAD", "XTN", "XCN", "TS")
    seen = 0
    for version in VERSIONS:
        for segment, reference in hl7apy.load_library(version).SEGMENTS.items():
            if len(segment) != 3:
                continue
            children = reference[1] if len(reference) > 1 and reference[0] == "sequence" else ()
            for name, inner, *_ in children or ():
                data_type = older.get(inner[2], inner[2])
                field = rules().field(segment, int(name.rpartition("_")[2]))
                assert field.known, name
                if data_type in person:
                    seen += 1
                    assert field.type in (*rules().types, "keep"), (version, name, data_type, field)
    assert seen > 3000
