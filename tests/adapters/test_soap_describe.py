"""What a WSDL says of the trees that mappings write and read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.soap import Settings, Soap, connect, read
from adapters.soap.operations import Operation, compile_operations
from adapters.soap.wsdl import Documents, WsdlError
from adapters.soap.wsdl import read as read_wsdl
from esb.spi import ANY, ConfigError, Described, Description, Refused, Tree
from esb.types import Lost, Type
from tests.adapters.suite import make_call
from tests.adapters.wsdl_table import CORPUS

FOLDER = Path(__file__).parent / "soap"
SAMPLES = CORPUS.parent / "soap-samples"
WHOLE: dict[str, Tree] = {
    "@version": "1",
    "Name": "n",
    "Born": "2026-01-15",
    "At": "2026-01-15T09:30:00+08:00",
    "Clock": "09:30:00",
    "Count": 3,
    "Price": {"#text": "1.50", "@currency": "CNY"},
    "Remark": None,
    "Kind": "9",
    "Days": ["1", "2"],
    "Tree": {"Title": "t"},
}
needs_corpus = pytest.mark.skipif(not CORPUS.exists(), reason="the corpora are not beside the checkout")


def soap(name: str = "described", **settings: Any) -> Soap:
    return connect(Settings(wsdl=FOLDER / f"{name}.wsdl", **settings))


def request(*steps: str, action: str = "Place") -> Type:
    return found(soap().describe(action).request, *steps)


def answer(*steps: str, action: str = "Place") -> Type:
    return found(soap().describe(action).answer, *steps)


def found(within: Type, *steps: str) -> Type:
    type_ = within.at(steps)
    assert isinstance(type_, Type), type_
    return type_


def sorts(within: Type) -> dict[str, str]:
    return {name: field.sort for name, field in within.fields.items()}


def test_an_adapter_of_a_wsdl_describes_its_actions() -> None:
    assert isinstance(soap(), Described)


def test_what_is_sent_keeps_the_sorts_of_the_schema() -> None:
    expected = {"Born": "date", "At": "moment", "Clock": "time", "Count": "integer", "Price": "decimal"}
    expected |= {"Urgent": "truth", "Scan": "bytes", "Name": "text", "Tree": "structure", "Free": "any"}
    assert sorts(request()).items() >= expected.items()


def test_what_is_answered_is_text_but_for_dates_and_times() -> None:
    order = answer("Order")
    expected = {"Born": "date", "At": "moment", "Clock": "time", "Count": "text", "Price": "text"}
    expected |= {"Urgent": "text", "Scan": "text", "Name": "text", "Tree": "structure", "Free": "any"}
    assert sorts(order).items() >= expected.items()
    assert order.many


def test_required_is_what_the_writer_refuses_to_leave_out() -> None:
    wanted = {name for name, field in request().fields.items() if field.required}
    assert wanted == WHOLE.keys()
    adapter, call = soap(), make_call()
    assert adapter.preview("Place", WHOLE, call)
    for name in wanted:
        with pytest.raises(Refused, match="is required by the WSDL"):
            adapter.preview("Place", {key: value for key, value in WHOLE.items() if key != name}, call)


def test_an_answer_must_have_what_occurs_is_not_nil_and_is_no_choice() -> None:
    required = {name for name, field in answer("Order").fields.items() if field.required}
    assert required == WHOLE.keys() - {"Remark"} | {"Urgent"}


def test_facets_are_words_and_lengths() -> None:
    assert request("Sex") == Type("text", words=("1", "2"), longest=8, title="性别代码")
    assert request("Name") == Type("text", required=True, longest=20, title="Name of the patient")
    assert request("Kind").words == ("1", "2", "9")
    assert request("Tree", "Title").longest == 8
    assert request("Price", "@currency") == Type("text", required=True, words=("CNY",))


def test_text_with_attributes_has_both() -> None:
    price = answer("Order", "Price")
    assert set(price.fields) == {"@currency", "#text"}
    assert price.at(["#text"]) == Type("text")
    assert request("Price", "#text").sort == "decimal"
    assert price.at(["@currncy"]) == Lost("@currncy", ("@currency", "#text"))


def test_a_list_of_simple_values_is_written_from_a_list_and_read_as_one_text() -> None:
    assert request("Days").many
    assert answer("Order", "Days") == Type("text", required=True)


def test_what_repeats_is_many_also_inside_of_a_repeated_sequence() -> None:
    assert request("Key").many
    assert not request("Key").required
    assert not request("Name").many


def test_types_hold_themselves_and_those_that_extend_them() -> None:
    deep = request("Tree", *["Node"] * 40)
    assert set(deep.fields) == {"Title", "Node", "Colour", "@xsi:type"}
    assert not deep.fields["Colour"].required
    assert deep.fields["@xsi:type"].words == ("Node", "Leaf")
    assert "@xsi:type" not in answer("Order", "Tree").fields


def test_any_element_leaves_a_structure_open() -> None:
    assert request("More", "Other") is ANY
    assert request("More", "Known").sort == "text"
    assert request("Free", "whatever", "it", "is") is ANY
    assert not request().open


def test_headers_stand_beside_the_payload() -> None:
    assert request("_headers", "Ticket", "Token").required
    assert not request("_headers", "ticket").required
    assert request("_headers", "Other") is ANY
    assert not request("_headers").required


def test_parts_are_named_and_all_required() -> None:
    two = soap().describe("Two")
    assert [name for name, part in two.request.fields.items() if part.required] == ["first", "second"]
    assert found(two.request, "second") == Type("text", required=True, longest=8)
    assert set(two.answer.fields) == {"Token"}, "only the first element of Body is read"


def test_rpc_has_its_parts_in_both_directions() -> None:
    assert found(soap().describe("Rpc").request, "sex").words == ("1", "2")
    assert found(soap().describe("Rpc").answer, "return", "Node", "Title").longest == 8


def test_nothing_is_known_of_encoded_answers_one_way_calls_and_what_is_not_there() -> None:
    encoded = soap("rpc").describe("findSlots")
    assert encoded.answer is ANY
    assert found(encoded.request, "count") == Type("integer", required=True)
    assert soap().describe("Tell") == Description(Type("text", required=True, longest=8), ANY)
    assert soap().describe("Nothing") == Description()
    remote = connect(Settings(wsdl="http://127.0.0.1:1/x?wsdl", wsdl_hosts=frozenset({"127.0.0.1"})))
    assert remote.describe("Place") == Description()


def test_a_part_that_is_the_answer_is_described_itself() -> None:
    assert set(soap(result="Order").describe("Place").answer.fields) == set(answer("Order").fields)
    assert soap(result="Nothing").describe("Place").answer is ANY


def paths(tree: Tree, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for item in tree if isinstance(tree, list) else [tree]:
        for name, value in item.items() if isinstance(item, dict) else ():
            yield (*at, name)
            yield from paths(value, (*at, name))


def answered(case: Path) -> Iterator[tuple[Type, Tree]]:
    """The description and the tree of a sample's answer; nothing where there is none."""
    try:
        adapter = connect(Settings(wsdl=case / "soap.wsdl", address="http://127.0.0.1:1/"))
        assert adapter._service is not None
        operation = adapter._service.operation(case.name.partition("__")[0])
        root, data = read.envelope((case / "response.xml").read_bytes(), "")
    except (ConfigError, LookupError, OSError, read.NoEnvelopeError):
        return
    encoding = bool(operation.encoding)
    tree = read.answer(root, data, operation.shape, structured=operation.structured, encoding=encoding)
    yield adapter.describe(operation.name).answer, tree


@needs_corpus
def test_every_path_of_the_samples_answers_is_described() -> None:
    described = [pair for case in sorted(SAMPLES.iterdir()) for pair in answered(case)]
    assert sum(type_.sort != "any" for type_, _ in described) >= 15
    assert [(path, lost) for type_, tree in described for path in paths(tree) if (lost := _lost(type_, path))] == []


def _lost(type_: Type, path: tuple[str, ...]) -> Lost | None:
    at = type_.at(path)
    return at if isinstance(at, Lost) else None


def corpus_operations() -> Iterator[Operation]:
    for entry in json.loads((CORPUS / "manifest.json").read_text(encoding="utf-8")):
        path = CORPUS / entry["id"]
        try:
            wsdl = read_wsdl(str(path), Documents(CORPUS / Path(entry["id"]).parts[0]))
        except WsdlError:
            continue
        for name, binding in wsdl.bindings.items():
            compiled = compile_operations(binding, wsdl.document.types, wsdl.encoded(name), wsdl.notes)
            yield from (one for one in compiled.values() if isinstance(one, Operation))


def walk(type_: Type, depth: int) -> Iterator[Type]:
    for field in type_.fields.values():
        yield field
        if depth > 1:
            yield from walk(field, depth - 1)


@needs_corpus
def test_every_operation_of_the_corpus_is_described_as_its_writer_takes_it() -> None:
    count, fields, slowest, words = 0, 0, 0.0, 0
    for operation in corpus_operations():
        started = time.perf_counter()
        description = operation.describe()
        seen = [*walk(description.request, 4), *walk(description.answer, 4)]
        slowest = max(slowest, time.perf_counter() - started)
        count, fields = count + 1, fields + len(seen)
        words += sum(bool(one.words) for one in seen)
        if operation.fields is not None:
            top = {name: field.required for name, field in description.request.fields.items()}
            assert top.items() >= operation.fields.items(), operation.name
    print(f"{count} operations, {fields} fields four deep, {words} with words, slowest {slowest * 1000:.0f} ms")  # noqa: T201
    assert count >= 670
    assert fields >= 9500
    assert words >= 150
    assert slowest < 1
