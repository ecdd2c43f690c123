"""What does not fit between a mapping, the operation it serves and the system it speaks to."""

from __future__ import annotations

from collections.abc import Iterator

from esb.codecs.yaml import nearest
from esb.contract import Operation
from esb.endpoint import Endpoint
from esb.errors import Finding, Outcome
from esb.lint.places import Places
from esb.mapping import Mapping, Translation, check, check_translation
from esb.mapping.shape import Constant, Sheet
from esb.types import ANY, Description, Type


def mapping_findings(
    mapping: Mapping, operation: Operation, endpoint: Endpoint | None, places: Places
) -> Iterator[Finding]:
    """Everything that cannot be right in an operation's mapping; without an endpoint its system is not looked at."""
    if endpoint is not None and mapping.action_is_fixed:
        yield from _sentences(mapping, endpoint, places)
    yield from sheet_findings(mapping.sheet, operation, endpoint, places)
    yield from _refusals(mapping, operation, places)
    yield from _examples(mapping, operation, places)


def sheet_findings(sheet: Sheet, operation: Operation, endpoint: Endpoint | None, places: Places) -> Iterator[Finding]:
    """What the types of both sides say, of a mapping that could not be compiled too."""
    system = Description()
    if endpoint is not None and isinstance(sheet.action, Constant):
        system = endpoint.describe(str(sheet.action.value))
    found = check(sheet, operation.request_type, operation.answer_type, system, fhir_resource)
    yield from map(places.of, found)


def translation_findings(
    translation: Translation,
    places: Places,
    gives: Type | None = None,
    source: Type | None = None,
    *,
    whole: bool = True,
) -> Iterator[Finding]:
    """Everything that cannot be right in a translation.

    ``gives`` is the type of what it makes and ``source`` of what it is made of, where they are known; without ``whole``
    it makes the rows of a message that has others too.
    """
    sides = (message_type(side.format, side.type) for side in (translation.source, translation.target))
    read, made = next(sides), next(sides)
    found = check_translation(translation.sheet, source or read, gives or made, fhir_resource, whole=whole)
    yield from map(places.of, found)
    if not translation.examples:
        yield places.at(translation.file, ("examples",), "a translation has no example", "add one under examples")


def message_type(format: str, name: str) -> Type:
    """The type of a message, as far as its format has a schema; the tables are read when they are asked for."""
    if format == "hl7v2":
        from esb.codecs.hl7v2.tables import message_type as hl7_type

        return hl7_type(name, "2.8")
    return fhir_resource(name) if format == "fhir" and name else ANY


def fhir_resource(name: str) -> Type:
    from esb.codecs.fhir_types import resource_type

    return resource_type(name, "R4")


def _sentences(mapping: Mapping, endpoint: Endpoint, places: Places) -> Iterator[Finding]:
    """What the adapter says in words of its own."""
    for problem in endpoint.check(mapping.action, mapping.request_fields):
        named = next((field for field in mapping.request_fields if f"'{field}'" in problem), None)
        yield places.at(mapping.file, ("action",) if named is None else ("request", named), problem)


def _refusals(mapping: Mapping, operation: Operation, places: Places) -> Iterator[Finding]:
    for code in sorted(mapping.refusal_codes - set(operation.refusals)):
        known = ", ".join(operation.refusals) or "none"
        hint = nearest(code, operation.refusals) or f"x-refusals of {operation.name}: {known}"
        yield places.value(mapping.file, mapping.sheet.codes[code], f"refusal '{code}' is not in the contract", hint)


def _examples(mapping: Mapping, operation: Operation, places: Places) -> Iterator[Finding]:
    shown = {example.expects[0] for example in mapping.examples if example.expects}
    for outcome in sorted(mapping.outcomes - shown):
        message = f"outcome '{outcome}' has no example"
        yield places.at(mapping.file, ("examples",), message, "add one under examples")
    for example in mapping.examples:
        wrong = operation.check_request(example.given)
        if example.expects and example.expects[0] is Outcome.DONE:
            wrong += operation.check_answer(example.expects[1])
        for error in wrong:
            yield Finding(mapping.file, example.line, 1, f"example '{example.name}': {error.pointer}: {error.en}")
