"""Every WSDL and every SOAP sample of the corpora, which nobody here wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.soap import Settings, connect, decode
from esb.codecs import EncodeError
from esb.spi import ConfigError, Malformed, Refused
from tests.adapters.suite import make_call
from tests.adapters.wsdl_table import CORPUS, Row, rows

SAMPLES = CORPUS.parent / "soap-samples"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpora are not beside the checkout")


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return list(rows())


def test_every_wsdl_loads_or_is_refused_with_a_reason(table: list[Row]) -> None:
    assert len(table) > 200
    assert sum(not row.refused for row in table) >= 149
    assert not any(row.unusable for row in table)
    assert [row.name for row in table if "differs" in row.verdict] == []


def test_what_zeep_loads_elsewhere_we_load_with_the_same_operations(table: list[Row]) -> None:
    """But for documents that are no WSDL 1.1, and operations that the WSDL itself breaks, which are remarked on."""
    refused = Counter(row.kind for row in table if row.zeep == "ok" and row.refused)
    assert refused.keys() <= {"refused: is not a WSDL", "refused: is WSDL 2.0"}
    assert all(row.agrees or row.remarks for row in table if not row.refused)


def test_no_reason_is_a_bare_python_error(table: list[Row]) -> None:
    bare = [row.refused for row in table if row.kind.endswith(row.refused) and "Error: " in row.refused]
    assert not bare


# samples of node-soap: its conventions are translated, then compared


def tree_of(value: Any) -> Any:
    """node-soap's JSON as our tree."""
    if isinstance(value, list):
        return [tree_of(item) for item in value]
    if not isinstance(value, dict):
        return str(value) if isinstance(value, float) else value
    tree: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "attributes":
            tree.update(attributes_of(inner))
        else:
            tree["#text" if key == "$value" else key.rpartition(":")[2]] = tree_of(inner)
    return tree


def attributes_of(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in attributes.items():
        if name == "xsi_type":
            yield "@xsi:type", value["type"] if isinstance(value, dict) else value
        elif not name.startswith(("xsi:", "SOAP-ENC:")):
            yield f"@{name.rpartition(':')[2]}", tree_of(value)


def plain(tree: Any) -> Any:
    """What is left when lists of one, blanks and types of scalars do not count."""
    if isinstance(tree, dict):
        found = {
            key: plain(value) for key, value in tree.items() if not key.startswith(("@encoding", "@xmlns", "@xsi"))
        }
        return found["#text"] if found.keys() == {"#text"} else found or None
    if isinstance(tree, list):
        return plain(tree[0]) if len(tree) == 1 else [plain(item) for item in tree]
    if isinstance(tree, bool):
        return str(tree).lower()
    return None if tree in (None, "") else str(tree).strip()


def shape(element: Any) -> Any:
    attributes = sorted((k, v.rpartition(":")[2] if k == XSI_TYPE else v) for k, v in element.items())
    children = [shape(child) for child in element if isinstance(child.tag, str)]
    return element.tag, attributes, (element.text or "").strip(), children


def bodies(text: bytes) -> list[Any]:
    body = etree.fromstring(text).find("{*}Body")
    assert body is not None
    return [shape(child) for child in body]


def compared_request(case: Path) -> str:
    wsdl, given, sent = case / "soap.wsdl", case / "request.json", case / "request.xml"
    if not (wsdl.exists() and given.exists() and sent.exists()):
        return "has no request"
    try:
        adapter = connect(Settings(wsdl=wsdl, address="http://127.0.0.1:1/"))
        assert adapter._service is not None
        operation = adapter._service.operation(case.name.partition("__")[0])
        text = adapter._envelope(operation, tree_of(json.loads(given.read_text())), make_call())[0]
    except ConfigError:
        return "has a WSDL that is refused"
    except LookupError:
        return "calls an operation that the WSDL does not define"
    except EncodeError:
        return "breaks its own WSDL"
    try:
        expected = bodies(sent.read_bytes())
    except etree.XMLSyntaxError:
        return "expects what is no XML"
    return "same" if bodies(text.encode()) == expected else "differs"


def test_samples_requests_are_built_alike_where_they_keep_to_their_wsdl() -> None:
    found = {case.name: compared_request(case) for case in sorted(SAMPLES.iterdir())}
    counts = Counter(found.values())
    assert counts["same"] >= 12, counts
    assert {name for name, verdict in found.items() if verdict == "differs"} == {
        # its JSON holds markup as text, which we escape
        "SendCDATA__cdata_is_handled_correctly",
        "SendCDATA__cdata_removes_leading_and_trailing_whitespace_by_default",
        # node-soap keeps the order of the JSON, we that of the schema
        "UpdateProfile__correct_namespaces_for_elements_with_base",
        "UpdateProfile__correct_namespaces_for_elements_with_base_ignorednamespaces",
        "UpdateProfile__correct_ns_context",
        # node-soap leaves out the namespaces of a qualified schema, and the encoding of an encoded operation
        "fooOp__should_return_back_good_response_object",
        "getAttachments__should_handle_not_MTOM_response",
    }


def compared_answer(case: Path) -> str:
    given, expected = case / "response.xml", case / "response.json"
    if not (given.exists() and expected.exists()):
        return "has no answer"
    try:
        tree = decode(given.read_text(encoding="utf-8"))
    except (Malformed, Refused) as error:
        return type(error).__name__
    return "same" if plain(tree) == plain(tree_of(json.loads(expected.read_text() or "null"))) else "differs"


def test_samples_answers_are_read_alike() -> None:
    found = {case.name: compared_answer(case) for case in sorted(SAMPLES.iterdir())}
    assert Counter(found.values())["same"] >= 34, found
    assert {name for name, verdict in found.items() if verdict == "differs"} == {
        # node-soap parses markup inside of CDATA, types dates and times, drops nil, keeps a wrapper
        "Dummy__should_handle_cdata_xml_in_response",
        "Dummy__should_handle_datetime_transformation",
        "Dummy__should_handle_inline_types",
        "Dummy__should_handle_nil",
        "getAppointmentNumber__should_be_able_to_parse_response",
        "login__complex_schema_xmlns_with_array_and_any_type_and_other_types",
    }
    assert {name for name, verdict in found.items() if verdict == "Malformed"} == {
        # two with a MIME frame that no header tells of, and one with an undeclared prefix
        "Dummy__ref_element_should_have_correct_namespace",
        "Dummy__should_extract_envelope_from_response",
        "SetResource__should_correctly_set_element_if_complex-type_has_same_name",
    }
