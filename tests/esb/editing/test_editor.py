"""A real editor engine with our files: it finds the schema by the first line, completes, explains and underlines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.esb.configured import ROOT
from tests.esb.editing.editor import SERVER, Editor, editor

absent = "yaml-language-server is not installed: make peers" if not SERVER.is_file() else ""
absent = absent or ("" if shutil.which("node") else "there is no node")
if absent and os.environ.get("CI") == "true":
    raise RuntimeError(absent)
pytestmark = pytest.mark.skipif(bool(absent), reason=absent)

ROUTES = ROOT / "routes.yaml"
MAPPING = ROOT / "mappings" / "his_soap" / "registration.lock.yaml"


@pytest.fixture(scope="module")
def opened() -> Iterator[Editor]:
    with editor() as server:
        yield server


def test_our_own_files_show_no_problem(opened: Editor) -> None:
    for file in (ROUTES, MAPPING, ROOT / "mappings" / "codes" / "gender_hl7.yaml"):
        assert opened.open(file, file.read_text("utf-8")) == []


def first_line(text: str) -> str:
    return text.split("\n", 1)[0] + "\n"


def test_routes_are_completed(opened: Editor) -> None:
    text = first_line(ROUTES.read_text("utf-8"))
    text += "endpoints:\n  his:\n    adapter: \n    settings:\n      \nroutes:\n  \n"
    file = ROUTES.with_name("completed.yaml")
    opened.open(file, text)
    assert {"soap", "hl7v2", "fhir", "rest", "sql"} <= opened.complete(file, 4, 14)
    assert {"registration.lock", "schedule.list"} <= opened.complete(file, 8, 3)


def test_settings_are_those_of_the_adapter(opened: Editor) -> None:
    text = first_line(ROUTES.read_text("utf-8"))
    text += "endpoints:\n  his:\n    adapter: hl7v2\n    dialect: his_hl7\n    settings:\n      host: h\n      \n"
    text += "routes: {}\n"
    file = ROUTES.with_name("settings.yaml")
    problems = opened.open(file, text)
    assert [line for line, _ in problems] == [6]
    assert "port" in problems[0][1]
    offered = opened.complete(file, 8, 7)
    assert {"port", "version", "sending_application"} <= offered
    assert "wsdl" not in offered


def test_a_mapping_is_completed_and_explained(opened: Editor) -> None:
    text = first_line(MAPPING.read_text("utf-8")) + "action: A\nresponse:\n  - when: $a == '0'\n    \n"
    file = MAPPING.with_name("completed.yaml")
    opened.open(file, text)
    assert {"done", "refused", "unavailable", "malformed"} <= opened.complete(file, 5, 5)
    assert "SOAP operation" in opened.hover(file, 2, 3)
    assert "decides" in opened.hover(file, 3, 3)


@pytest.mark.parametrize(
    ("file", "text", "line", "words"),
    [
        (ROUTES, "endpoints:\n  his: {adapter: sopa, dialect: his_soap}\nroutes: {}\n", 3, "soap"),
        (ROUTES, "endpoints: {}\nroutes:\n  doctor.search: {to: his, timeout: 3}\n", 4, "string"),
        (ROUTES, "endpoints: {}\nroutes:\n  doctor.search: {to: his, retries: 3}\n", 4, "retries"),
        (MAPPING, "action: A\nrequest: {Fee: $fee | yaun}\nresponse: {done: {}}\n", 3, "known functions"),
        (MAPPING, "action: A\nresponse:\n  - {success: {}}\n", 4, "success"),
    ],
)
def test_mistakes_are_underlined(opened: Editor, file: Path, text: str, line: int, words: str) -> None:
    other = file.with_name(f"mistake_{words}.yaml")
    problems = opened.open(other, first_line(file.read_text("utf-8")) + text)
    assert any(at == line and words in message for at, message in problems), problems
