"""A trace computes what the mapping computes, and says from where."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esb.codecs import hl7v2, xml, yaml
from esb.codecs.formats import FORMATS
from esb.mapping import Mapping, MappingError, Translation, is_translation, load_codes, load_mapping, load_parts
from esb.mapping import load_translation as read_translation
from esb.mapping.compile import compile_mapping
from esb.mapping.trace import Trace, trace_build, trace_interpret, trace_translate
from esb.mapping.tracer import Called, Read

ROOT = Path(__file__).resolve().parents[3]
CODES = load_codes(ROOT / "mappings" / "codes")
PARTS = load_parts(ROOT / "mappings" / "parts", CODES)
FILES = sorted(path for path in (ROOT / "mappings").glob("*/*.yaml") if path.parent.name not in ("codes", "parts"))
EXCHANGE: dict[str, Any] = {"id": "E", "key": "K", "operation": "", "now": "2026-01-15T09:30:00+08:00"}
ADMISSION = (
    "MSH|^~\\&|HIS|H1|HUB|WX|20260115093001||{kind}|1|P|2.5\r"
    "EVN|A01|20260115093001\r"
    "PID|1||P1^^^HIS&1.2.3&ISO^PI~~X2^^^GA^NI||DOE^JOHN||19900102|M|||1 Road^^Town||13000000000^PRN^PH\r"
    "NK1|1|DOE^JANE|SPO\r"
    "PV1|1|I|W^R^B||||D1^DOC|||||||||||V1\r"
    "ORC|RE|O1|F1\rOBR|1|O1|F1|WBC^count|||20260115090000\rOBX|1|NM|WBC^count||11.2|10*9/L|3.5-9.5|H|||F\r"
    "SCH|A1|B1|||||||30|min|^^^20260116083000^20260116090000\r"
)


def mutations(tree: Any) -> Iterator[Any]:
    """The tree, then the tree without each of its members, and with each made another sort of value."""
    yield tree
    for path in list(paths(tree)):
        for change in (None, [], "", 7, {"x": "y"}):
            other = copy.deepcopy(tree)
            at = other
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = change
            yield other


def paths(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def decoded(answer: Any) -> Any:
    if not isinstance(answer, str):
        return answer
    if answer.startswith("MSH"):
        return hl7v2.decode(answer.replace("\n", "\r").encode(), "UTF-8")
    return xml.decode_element(xml.parse(answer.encode())) if answer.startswith("<") else answer


def same(trace: Trace, work: Callable[..., Any], *arguments: Any) -> None:
    """What the mapping gives is what the trace says, and where it fails the trace ends with the line that failed."""
    try:
        result = work(*arguments)
    except MappingError as error:
        failed = error
    else:
        assert trace.error is None
        assert repr(trace.verdict or (trace.action, trace.result)) == repr(result)
        return
    assert str(trace.error) == str(failed)
    assert [line for line in trace.lines if line.state == "failed"] or "cannot be computed" in str(failed)


def load(path: Path) -> Mapping | Translation:
    document = yaml.load(path)
    return (read_translation if is_translation(document) else load_mapping)(path, CODES, PARTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_trace_is_what_the_mapping_computes_whatever_is_missing_or_wrong(path: Path) -> None:
    mapping = load(path)
    if isinstance(mapping, Translation):
        return translated(mapping)
    assert mapping.examples
    for example in mapping.examples:
        exchange, site = dict(example.exchange), dict(example.site)
        for given in mutations(dict(example.given)):
            same(trace_build(mapping, given, exchange, site), mapping.build, given, exchange, site)
        request, answer = dict(example.given), decoded(example.answer)
        for each in mutations(answer) if isinstance(answer, dict) else [answer]:
            trace = trace_interpret(mapping, each, request, exchange, site)
            same(trace, mapping.interpret, each, request, exchange, site)


def translated(translation: Translation) -> None:
    read = FORMATS[translation.source.format].read
    given = [
        (read(each.message.replace("\n", "\r").encode(), "UTF-8") if isinstance(each.message, str) else each.message)
        for each in translation.examples
    ]
    if translation.source.format == "hl7v2":
        given.append(read(ADMISSION.format(kind=translation.source.type.replace("_", "^")).encode(), "UTF-8"))
        given.append(read(b"MSH|^~\\&|HIS\r", "UTF-8"))
    assert given
    for message in given:
        trace = trace_translate(translation, message, EXCHANGE, {})
        same(trace, lambda m: ("", translation.translate(m, EXCHANGE, {})), message)


MAPPING = """
action: Send
request:
  Name: $patient.name | upper
  Phone: $patient.phone?
  Kind: card
  Lines:
    $each: $items? | where('open', 'yes') as item
    $when: $item.count > 1
    Code: $item.code ?? 'none'
response:
  - when: $Code == '0' and $Rows?
    done:
      first: $Rows.Row[0].No
  - when: $Code == '9'
    refused: {code: full}
"""


def made(text: str = MAPPING) -> Mapping:
    return compile_mapping(yaml.load(text, "m.yaml"), text, CODES)


REQUEST = {
    "patient": {"name": "ann"},
    "items": [{"open": "no"}, {"open": "yes", "count": 1}, {"open": "yes", "count": 2, "code": "A"}],
}


def line(trace: Trace, target: str, kind: str = "field") -> Any:
    return next(line for line in trace.lines if (line.target, line.kind) == (target, kind))


def test_a_line_has_its_source_its_steps_and_its_place() -> None:
    name = line(trace_build(made(), REQUEST, {}, {}), "request.Name")
    read, called = name.steps
    assert isinstance(read, Read)
    assert isinstance(called, Called)
    assert (read.source, read.value) == ("request.patient.name", "ann")
    assert (called.written, called.given, called.result, name.value) == ("upper", "ann", "ANN", "ANN")
    assert (name.file, name.line, name.written) == ("m.yaml", 4, "$patient.name | upper")


def test_an_item_that_passed_a_filter_keeps_the_index_it_had_in_the_source() -> None:
    trace = trace_build(made(), REQUEST, {}, {})
    code = line(trace, "request.Lines[0].Code")
    assert (code.steps[0].source, code.value) == ("request.items[2].code", "A")


def test_what_is_left_out_says_why() -> None:
    trace = trace_build(made(), REQUEST, {}, {})
    phone, item = line(trace, "request.Phone"), line(trace, "request.Lines[]")
    assert (phone.state, phone.reason) == ("left out", "request.patient.phone is not there")
    assert (item.state, item.reason) == ("left out", "$item.count > 1 is false")


def test_a_missing_path_names_its_first_missing_step() -> None:
    trace = trace_build(made(), {}, {}, {})
    name = line(trace, "request.Name")
    assert (name.state, name.steps[0].missing) == ("failed", "request.patient")
    assert str(trace.error) == "m.yaml:4: request.Name: $patient.name is missing"
    assert trace.lines[-1] is name


def test_the_cases_before_the_one_that_matched_are_kept_with_what_they_compared() -> None:
    trace = trace_interpret(made(), {"Code": "9"}, {}, {}, {})
    assert [(tried.target, tried.held) for tried in trace.cases] == [("response[0]", False), ("response[1]", True)]
    assert trace.cases[0].condition is not None
    assert [(read.source, read.value) for read in trace.cases[0].condition.steps] == [("answer.Code", "9")]  # type: ignore[union-attr]
    code = line(trace, "response[1].refused.code")
    assert (code.value, code.path) == ("full", ("response", 1, "refused", "code"))


def test_no_case_that_matches_is_malformed() -> None:
    trace = trace_interpret(made(), {"Code": "5"}, {}, {}, {})
    assert trace.verdict is not None
    assert (trace.verdict.outcome, [tried.held for tried in trace.cases]) == ("malformed", [False, False])


def test_what_is_too_deep_to_be_looked_on_says_so_and_nothing_else_is_claimed() -> None:
    deep = "".join("  " * (at + 1) + "a:\n" for at in range(60))
    mapping = made(f"action: A\nrequest:\n{deep}{'  ' * 61}b: $x\nresponse: {{done: {{}}}}\n")
    limit = sys.getrecursionlimit()
    frames = len(inspect.stack())
    sys.setrecursionlimit(frames + 420)
    try:
        trace = trace_build(mapping, {"x": 1}, {}, {})
        action, result = mapping.build_slowly({"x": 1}, {}, {})
    finally:
        sys.setrecursionlimit(limit)
    assert (action, trace.result) == ("A", None)
    assert result
    assert trace.error is not None
    assert trace.error.reason == "cannot be traced: RecursionError"
