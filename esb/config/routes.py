"""``routes.yaml``: which system answers which operation, and within which limits (DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from esb.codecs.yaml import Document, PathTuple, load, nearest
from esb.config.findings import findings
from esb.config.values import Again, Breaker, Count, Duration, Model, Outside, Rate, Retry, Share, steps
from esb.errors import ConfigError, Finding

_M = TypeVar("_M", bound=BaseModel)
_SECTIONS = ("endpoints", "routes", "callbacks", "events")
_NEEDED = ("endpoints", "routes")


class Limits(Model):
    """What one system can bear; shared by all routes to it.

    ``concurrency`` is how many calls run at once, ``queue`` how many more wait for one to end. ``rate`` is how many may
    begin in a time. ``breaker``: after so many failures in a time no call goes out for a while. ``backlog`` is how many
    exchanges may be accepted for later delivery and not be delivered yet.
    """

    concurrency: Count = Field(20, ge=1, le=10_000)
    queue: Count = Field(100, ge=0, le=100_000)
    rate: Rate | None = None
    breaker: Breaker = Breaker()
    backlog: Count = Field(10_000, ge=1, le=10_000_000)


class EndpointConfig(Model):
    """One configured system.

    ``adapter`` is the protocol it speaks. ``dialect`` is the folder under ``mappings/`` with its mappings. ``settings``
    belong to the adapter; ``site`` is what mappings read as ``$site``. ``envelope`` wraps every payload, outermost
    first. ``limits`` are what the system can bear.
    """

    adapter: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    dialect: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    settings: dict[str, Any] = {}
    envelope: tuple[tuple[str, dict[str, Any]], ...] = ()
    limits: Limits = Limits()
    site: dict[str, Any] = {}

    @property
    def listens(self) -> bool:
        """Whether the system calls us, and not we it."""
        return "listen" in self.settings

    @model_validator(mode="before")
    @classmethod
    def _envelopes(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "envelope" not in value:
            return value
        if not isinstance(value["envelope"], list):
            raise ValueError("envelope must be a list, outermost first")
        return {**value, "envelope": tuple(_named(item) for item in value["envelope"])}


def _named(item: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, Mapping) and len(item) == 1:
        ((name, settings),) = item.items()
        if settings is None or isinstance(settings, Mapping):
            return name, dict(settings or {})
    raise ValueError("each envelope is a name, or a name with its settings")


def _path(text: str | None) -> str | None:
    if text is not None:
        steps(text)
    return text


SHADOW_CALLS = 4
"""Copies for one system that are under way at once."""


class ShadowConfig(Model):
    """A second system, or another mapping, that is asked what a read asks; its answer is only compared.

    ``to`` is the endpoint, which may be the route's own. ``dialect`` is the folder of the mapping where it is not the
    endpoint's. ``share`` is how many of the reads are copied. ``ignore`` are fields of the answer that are not
    compared, written as in the report: ``items[].updatedAt``. ``match`` are fields that together say which items of
    the two answers are the same, where the systems have different ids.
    """

    to: str
    dialect: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$")
    share: Share = Field(1.0, gt=0, le=1)
    ignore: tuple[str, ...] = ()
    match: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What report and metrics call it."""
        return f"{self.to} by {self.dialect}" if self.dialect else self.to


class RouteConfig(Model):
    """One operation's way to one endpoint.

    ``to`` is the endpoint that answers. ``timeout`` is for the whole exchange, retries included. ``retry`` is how often
    it is sent again when nothing decided, for queued delivery written like 20 over 6h. ``cache`` is how long an answer
    is given again. ``settle`` is the read that asks whether it happened, when nothing is known. ``settle_after`` are
    the pauses before it asks, one after another. ``deliver``: queued answers at once that it is accepted, and delivers
    it as soon as the system can take it. ``ordered`` is a path of the request: those with the same value there are
    delivered one after another. ``priority`` is which of those that wait goes first. ``ttl`` is how long it may wait.
    ``shadow`` is who is asked too, to compare.
    ``retain`` is how long the journal keeps it, where that is not ``ESB_JOURNAL_DAYS``.
    """

    to: str
    timeout_s: Duration = Field(8.0, alias="timeout", gt=0, le=600)
    retry: Retry = Again()
    cache_s: Duration = Field(0.0, alias="cache", ge=0, le=86_400)
    settle: str | None = None
    settle_after_s: tuple[Duration, ...] = Field((0.5, 1.0, 2.0, 5.0, 10.0, 30.0), alias="settle_after", min_length=1)
    deliver: Literal["direct", "queued"] = "direct"
    ordered: Annotated[str | None, AfterValidator(_path)] = None
    priority: Literal["high", "normal", "low"] = "normal"
    ttl_s: Duration = Field(0.0, alias="ttl", ge=0, le=30 * 86_400)
    shadow: ShadowConfig | None = None
    retain_s: Duration | None = Field(None, alias="retain", ge=3600, le=36_500 * 86_400)

    @property
    def is_queued(self) -> bool:
        """Whether it is accepted first and delivered later."""
        return self.deliver == "queued"

    @property
    def again(self) -> Again:
        """How a message of its is tried again: where it is not queued, its ``retry`` is for who waits and says nothing.

        Such messages are those that are replayed, or were accepted while it was queued.
        """
        return self.retry if self.is_queued else Again()


ANSWER: Final = ".answer"
"""How the name of a translation ends that makes the rows of an answer; the rest of the message is the listener's."""


class CallbackConfig(Model):
    """What a system tells us and the event that it becomes, or what it asks and the operation that knows.

    ``from`` is the listening endpoint that hears it. ``on`` are kinds of messages, ``ORU^R01`` or ``ORU`` for all of
    that type that no other callback names. ``emits`` is an event of the contract; ``answers`` instead of it is a read
    whose answer the system is given. ``mapping`` is the translation in the endpoint's dialect, the event's or the
    operation's own name where nothing is said; that of an answer back has ``.answer`` after it.
    """

    source: str = Field(alias="from")
    on: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\^[A-Za-z0-9_]+)?$")], ...] = Field(min_length=1)
    emits: str | None = None
    answers: str | None = None
    mapping: str | None = Field(None, pattern=r"^[a-z][a-z0-9_.]*$")

    @property
    def file(self) -> str:
        """The name of its translation."""
        return self.mapping or self.emits or str(self.answers)

    @property
    def answer_file(self) -> str:
        """The name of the translation of an answer."""
        return f"{self.file}{ANSWER}"

    @model_validator(mode="after")
    def _one_end(self) -> CallbackConfig:
        if (self.emits is None) == (self.answers is None):
            raise ValueError("a callback either 'emits' an event or 'answers' by an operation")
        return self


class SubscriberConfig(Model):
    """Who is told of an event: an operation that is called with what the event says.

    ``call`` is an operation with a queued route. ``with`` is its request, made from the event like a mapping: a bare
    path is a path of the event. Without it the event itself is the request. ``from``: start is for a new subscriber
    that is to have every event that is still kept, and not only those to come. ``name`` tells two subscribers apart
    that call the same operation.
    """

    call: str
    given: dict[str, Any] | None = Field(None, alias="with")
    begin: Literal["now", "start"] = Field("now", alias="from")
    name: str | None = Field(None, pattern=r"^[a-z][a-z0-9_.]*$")

    @property
    def label(self) -> str:
        """What tells it apart from the others of its event."""
        return self.name or self.call


@dataclass(frozen=True, slots=True)
class Routes:
    """A loaded ``routes.yaml`` and the document that knows its lines.

    ``written`` are the names of all routes and ``used`` of all endpoints that routes and callbacks name, sound or not.
    """

    endpoints: dict[str, EndpointConfig]
    routes: dict[str, RouteConfig]
    document: Document
    written: frozenset[str]
    used: frozenset[str]
    callbacks: dict[str, CallbackConfig] = field(default_factory=dict)
    events: dict[str, tuple[SubscriberConfig, ...]] = field(default_factory=dict)

    def finding(self, path: PathTuple, message: str, hint: str = "", *, at_key: bool = False) -> Finding:
        return self.document.finding(path, message, hint, at_key=at_key)


def load_routes(file: Path, environ: Mapping[str, str], secrets: Path) -> Routes:
    """Read and check ``routes.yaml`` by itself; raises ``ConfigError`` with every finding."""
    routes, found = read_routes(file, environ, secrets)
    if found:
        raise ConfigError(found)
    return routes


def read_routes(file: Path, environ: Mapping[str, str], secrets: Path) -> tuple[Routes, list[Finding]]:
    """What is sound in ``routes.yaml`` and what is wrong with the rest; raises ``ConfigError`` if it is no YAML."""
    document = load(file)
    outside = Outside(document, environ, secrets, file.resolve().parent)
    found: list[Finding] = _sections(document)
    tree = outside.replace(document.value if isinstance(document.value, dict) else {})
    found += outside.findings
    endpoints = _section(document, tree, "endpoints", EndpointConfig, found)
    routes = _section(document, tree, "routes", RouteConfig, found)
    callbacks = _section(document, tree, "callbacks", CallbackConfig, found)
    events = _events(document, tree, found)
    found += _destinations(document, tree, "routes", "to", listens=False)
    found += _destinations(document, tree, "callbacks", "from", listens=True)
    found += _shadow_ends(document, tree)
    shadows = (one.shadow.to for one in routes.values() if one.shadow)
    used = frozenset((*_named_ends(tree, "routes", "to"), *_named_ends(tree, "callbacks", "from"), *shadows))
    return Routes(endpoints, routes, document, frozenset(_lines(tree, "routes")), used, callbacks, events), found


def _events(document: Document, tree: Any, found: list[Finding]) -> dict[str, tuple[SubscriberConfig, ...]]:
    """Each subscriber by itself, so that a mistake in one is placed and the others are sound."""
    section = tree.get("events")
    if section is not None and not isinstance(section, dict):
        found.append(document.finding(("events",), "section 'events' must be a mapping of names"))
        return {}
    events: dict[str, tuple[SubscriberConfig, ...]] = {}
    for event, lines in (section or {}).items():
        if not isinstance(lines, list) or not lines:
            found.append(document.finding(("events", event), "must be a list of subscribers", "- call: OPERATION"))
            continue
        events[event] = tuple(_subscribers(document, event, lines, found))
    return events


def _subscribers(document: Document, event: str, lines: list[Any], found: list[Finding]) -> Iterator[SubscriberConfig]:
    for at, line in enumerate(lines):
        try:
            yield SubscriberConfig.model_validate(line)
        except ValidationError as error:
            found += findings(document, ("events", event, at), error, SubscriberConfig)


def _lines(tree: Any, section: str) -> dict[str, Any]:
    lines = tree.get(section)
    return lines if isinstance(lines, dict) else {}


def _named_ends(tree: Any, section: str, key: str) -> Iterator[str]:
    return (str(line[key]) for line in _lines(tree, section).values() if isinstance(line, dict) and key in line)


def _destinations(document: Document, tree: Any, section: str, key: str, *, listens: bool) -> Iterator[Finding]:
    """What a route leads to must be called, what a callback comes from must listen."""
    for name, line in _lines(tree, section).items():
        end = line.get(key) if isinstance(line, dict) else None
        yield from _destination(document, tree, (section, name, key), end, listens=listens)


def _shadow_ends(document: Document, tree: Any) -> Iterator[Finding]:
    for name, line in _lines(tree, "routes").items():
        shadow = line.get("shadow") if isinstance(line, dict) else None
        end = shadow.get("to") if isinstance(shadow, dict) else None
        yield from _destination(document, tree, ("routes", name, "shadow", "to"), end, listens=False)


def _destination(document: Document, tree: Any, place: PathTuple, end: Any, *, listens: bool) -> Iterator[Finding]:
    endpoints = _lines(tree, "endpoints")
    known = [name for name, one in endpoints.items() if _does_listen(one) is listens]
    if end is None or end in known:
        return
    wrong_way = "is called and does not listen" if listens else "listens and is not called"
    message = f"endpoint '{end}' " + (wrong_way if end in endpoints else "does not exist")
    yield document.finding(place, message, nearest(str(end), known) or "endpoints: " + ", ".join(known))


def _does_listen(endpoint: Any) -> bool:
    settings = endpoint.get("settings") if isinstance(endpoint, dict) else None
    return isinstance(settings, dict) and "listen" in settings


def _sections(document: Document) -> list[Finding]:
    if not isinstance(document.value, dict):
        return [document.finding((), "must hold the sections endpoints and routes")]
    hint = "sections: " + ", ".join(_SECTIONS)
    return [
        document.finding((key,), f"unknown section '{key}'", nearest(key, _SECTIONS) or hint, at_key=True)
        for key in document.value
        if key not in _SECTIONS
    ] + [document.finding((), f"section '{key}' is missing") for key in _NEEDED if key not in document.value]


def _section(document: Document, tree: Any, name: str, model: type[_M], found: list[Finding]) -> dict[str, _M]:
    section = tree.get(name)
    if section is not None and not isinstance(section, dict):
        found.append(document.finding((name,), f"section '{name}' must be a mapping of names"))
        return {}
    loaded: dict[str, _M] = {}
    for key, value in (section or {}).items():
        try:
            loaded[key] = model.model_validate(value)
        except ValidationError as error:
            found += findings(document, (name, key), error, model)
    return loaded
