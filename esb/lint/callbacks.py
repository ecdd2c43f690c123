"""What does not fit between callbacks, the events of the contract and the translations that make one of the other."""

from __future__ import annotations

from collections.abc import Iterator

from esb.codecs.yaml import nearest
from esb.config.routes import Routes
from esb.contract import Contract, Event
from esb.errors import Finding
from esb.lint.mappings import translation_findings
from esb.lint.places import Places
from esb.mapping import Translation


def callback_findings(contract: Contract, routes: Routes) -> Iterator[Finding]:
    """Events that the contract does not have, and kinds of messages that two callbacks of one endpoint want."""
    wanted: dict[tuple[str, str], str] = {}
    for name, callback in routes.callbacks.items():
        if callback.emits not in contract.events:
            hint = nearest(callback.emits, contract.events) or "events: " + ", ".join(contract.events)
            place = ("callbacks", name, "emits")
            yield routes.finding(place, f"event '{callback.emits}' is not in the contract", hint)
        for index, kind in enumerate(callback.on):
            other = wanted.setdefault((callback.source, kind), name)
            if other != name:
                yield routes.finding(("callbacks", name, "on", index), f"'{kind}' belongs to '{other}' already")


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
