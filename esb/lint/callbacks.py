"""What does not fit between callbacks, the events and operations of the contract, and the translations between them."""

from __future__ import annotations

from collections.abc import Iterator

from esb.codecs.yaml import nearest
from esb.config.routes import Routes
from esb.contract import Contract, Event, Operation
from esb.errors import Finding
from esb.lint.mappings import translation_findings
from esb.lint.places import Places
from esb.mapping import Translation
from esb.model import Effect


def callback_findings(contract: Contract, routes: Routes) -> Iterator[Finding]:
    """Events and operations that cannot be meant, and kinds of messages that two callbacks of one endpoint want."""
    wanted: dict[tuple[str, str], str] = {}
    for name, callback in routes.callbacks.items():
        if callback.answers is not None:
            yield from _operation_findings(contract, routes, name, callback.answers)
        elif callback.emits is not None and callback.emits not in contract.events:
            hint = nearest(callback.emits, contract.events) or "events: " + ", ".join(contract.events)
            place = ("callbacks", name, "emits")
            yield routes.finding(place, f"event '{callback.emits}' is not in the contract", hint)
        for index, kind in enumerate(callback.on):
            other = wanted.setdefault((callback.source, kind), name)
            if other != name:
                yield routes.finding(("callbacks", name, "on", index), f"'{kind}' belongs to '{other}' already")


def _operation_findings(contract: Contract, routes: Routes, name: str, answers: str) -> Iterator[Finding]:
    place, operation = ("callbacks", name, "answers"), contract.operations.get(answers)
    if operation is None:
        hint = nearest(answers, contract.operations)
        yield routes.finding(place, f"operation '{answers}' is not in the contract", hint)
    elif operation.effect is not Effect.READ:
        yield routes.finding(place, f"'{answers}' changes something; only a read may answer a question")
    elif answers not in routes.written:
        yield routes.finding(place, f"operation '{answers}' has no route", "add one under routes")


def question_findings(translation: Translation, operation: Operation, places: Places) -> Iterator[Finding]:
    """Everything that cannot be right where a question becomes the request of an operation."""
    if translation.target.format != "json":
        message = f"the request of an operation is JSON, not {translation.target.format}"
        yield places.value(translation.file, ("to",), message, "to: json")
    yield from translation_findings(translation, places, operation.request_type)
    for example in translation.examples:
        for error in operation.check_request(example.gives):
            yield Finding(translation.file, example.line, 1, f"example '{example.name}': {error.pointer}: {error.en}")


def answer_findings(translation: Translation, operation: Operation, places: Places) -> Iterator[Finding]:
    """Everything that cannot be right where the answer of an operation becomes the rows of a message."""
    if translation.source.format != "json":
        message = f"the answer of an operation is JSON, not {translation.source.format}"
        yield places.value(translation.file, ("from",), message, "from: json")
    if not translation.target.type:
        yield places.value(translation.file, ("to",), "does not say which message answers", "to: hl7v2 RSP_K21")
    yield from translation_findings(translation, places, source=operation.answer_type, whole=False)
    for example in translation.examples:
        for error in operation.check_answer(example.message):
            yield Finding(translation.file, example.line, 1, f"example '{example.name}': {error.pointer}: {error.en}")


def event_findings(translation: Translation, event: Event, places: Places) -> Iterator[Finding]:
    """Everything that cannot be right in the translation of a callback."""
    if translation.target.format != "json":
        message, hint = f"an event is JSON, not {translation.target.format}", "to: json"
        yield places.value(translation.file, ("to",), message, hint)
    yield from translation_findings(translation, places, event.type)
    for example in translation.examples:
        for error in event.check(example.gives):
            message = f"example '{example.name}': {error.pointer}: {error.en}"
            yield Finding(translation.file, example.line, 1, message)
