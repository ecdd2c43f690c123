"""All that the author of an adapter or an envelope imports.

An adapter is a module ``adapters/<name>.py`` (or package) with a pydantic model ``Settings`` and a function
``connect(settings) -> Adapter``. ``connect`` checks everything that can be checked without the network and raises
``ConfigError``; it opens no connection. An envelope is a module ``envelopes/<name>.py`` with ``Settings`` and
``connect(settings) -> Envelope``. An adapter that systems can call has ``ListenerSettings`` and ``listen`` as well.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from esb.clock import SHANGHAI, Clock, SystemClock
from esb.errors import AdapterError, ConfigError, Finding, Malformed, Outcome, OutcomeUnknown, Refused, Unavailable
from esb.model import Effect, Tree
from esb.types import ANY, Description, Type

__all__ = [
    "ANY",
    "FLAWS",
    "SHANGHAI",
    "Adapter",
    "AdapterError",
    "AdapterSettings",
    "Answer",
    "AnsweredLater",
    "Answers",
    "Call",
    "Clock",
    "ConfigError",
    "Described",
    "Description",
    "Effect",
    "Envelope",
    "Finding",
    "Flaw",
    "Inbound",
    "Intake",
    "Listener",
    "Malformed",
    "Outcome",
    "OutcomeUnknown",
    "Refused",
    "Reply",
    "SystemClock",
    "Tree",
    "Type",
    "Unavailable",
    "Wire",
]


class AdapterSettings(BaseModel):
    """Base of every ``Settings``: unknown keys are errors, values are frozen. Names of seconds end in ``_s``."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


@dataclass(slots=True)
class Wire:
    """What one attempt put on the wire and got back, raw, for the journal.

    ``left`` is true from the moment the first byte may have left this process: from then on only an answer can say that
    nothing happened.
    """

    sent: bytes = b""
    received: bytes = b""
    left: bool = False

    def sending(self, data: bytes) -> None:
        """To be called just before the first byte goes out."""
        self.sent = data
        self.left = True


class Answers(Protocol):
    """Answers to messages of ours that come by a listener: in the store, whichever process hears them.

    One is found by a word that client and listener have in their settings, and the id of our message. Both methods
    raise an ``Unavailable`` that says nothing of the system when the store cannot be read: let it pass.
    """

    def expecting(self, word: str, id: str) -> AbstractAsyncContextManager[asyncio.Future[bytes]]:
        """A future of the next answer, raw, that is not there yet: to be entered before the message goes out."""

    async def newest(self, word: str, id: str) -> bytes | None:
        """The latest that is there, raw."""


@dataclass(slots=True)
class Call:
    """One attempt to call one system.

    ``key`` is the exchange's idempotency key: send it where the protocol has a place for it. ``deadline`` is on
    ``clock.monotonic()``'s time base; an adapter gives up in time to raise the right error before it. ``answers`` is
    None where nothing is heard: on the bench.
    """

    operation: str
    exchange: str
    key: str
    effect: Effect
    deadline: float
    clock: Clock
    wire: Wire = field(default_factory=Wire)
    answers: Answers | None = None

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.deadline - self.clock.monotonic())


@runtime_checkable
class Adapter(Protocol):
    """A live connection to one system. Safe for many calls at once on one event loop."""

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        """Send one message and return the decoded answer.

        Raises only ``Unavailable`` (certainly not sent), ``OutcomeUnknown`` (sent, no deciding answer), ``Malformed``
        (answer not decodable) or ``Refused`` (a protocol-level no). Sets ``call.wire``: ``sending`` before the first
        byte, ``received`` before decoding. On cancellation it frees its connection and lets ``CancelledError`` pass.
        No retries, no sleeps, no logging of bodies. A payload that cannot be written is ``Refused`` with code
        ``invalid``: nothing was sent, and sending it again would not help.
        """

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """What ``call`` would put on the wire, as text for people, secrets masked; raises as ``call`` would."""

    async def probe(self, call: Call) -> None:
        """Cheap and harmless sign of life within the deadline; raises ``Unavailable``."""

    async def close(self) -> None:
        """Free everything; a second close does nothing; a call after close raises ``Unavailable``."""

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        """Lint: what is wrong with a mapping's action and the names at the top of its request, one sentence each."""


@runtime_checkable
class Described(Protocol):
    """An adapter that knows what its system takes and answers by a schema of its own: WSDL, HL7 tables, FHIR, SQL."""

    def describe(self, action: str) -> Description:
        """Lint, explain, drafting: request and answer of a fixed action; ``ANY`` where nothing is known. No network."""


@runtime_checkable
class AnsweredLater(Protocol):
    """An adapter some of whose answers may come by a listener."""

    async def answered(self, action: str, payload: Tree, call: Call) -> Tree | None:
        """The answer that has come to this message, which was sent before; None when none has, or none comes so.

        Nothing is sent. Raises as ``call`` would; sets ``call.wire.received``.
        """


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a message that a system sent us is not taken as it should be: for the sender, the journal and operators.

    ``code`` is one of ``FLAWS``. ``text`` says it in English without data of the message; ``path`` is the field.
    """

    code: str
    text: str
    path: str = ""


FLAWS = {
    "unreadable": "it cannot be decoded",
    "id_missing": "it has no id by which it could be told from a repeat",
    "unwanted": "nobody asked for this kind of message",
    "unwanted_event": "nobody asked for this event of a kind of message that is known",
    "field_missing": "a field that is needed is not there",
    "field_wrong": "a field has a value that cannot be used",
    "code_unknown": "a field has a code that is in no table",
    "event_wrong": "the event made of it breaks the contract",
    "conflict": "another message was sent with the same id",
    "misplaced": "its number is not the one that is expected of its sender",
    "not_kept": "it could not be stored; it may be sent again",
    "refused": "who knows the answer to it said no",
    "unavailable": "nobody who knows the answer to it could be asked; it may be asked again",
    "outdated": "it goes on with an answer that is another one by now",
}
"""Code -> what it means."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a question hears: one row for each thing that was found, or the flaw why there is no answer.

    ``type`` is the kind of message as the protocol names it (HL7 v2: the structure, ``RSP_K21``), a row whatever the
    protocol makes of one thing found (HL7 v2: a list of segments).
    """

    type: str
    rows: Sequence[Tree] = ()
    flaw: Flaw | None = None


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message as a system sent it.

    ``sender`` and ``id`` are by what a repeat is known; an empty ``id`` is never one. ``kind`` is what callbacks are
    chosen by (``ORU^R01``), ``message`` what their mappings read, ``peer`` the address it came from. With a ``flaw``
    the message is kept as it is and becomes no event. ``sequence`` is its number where its sender counts: each must be
    one more than the last that became an event; 0 asks which number is expected, and is kept nowhere. ``reply`` is
    there when the message asks a question: it writes the answer, and never raises. ``answers`` is there when it is an
    answer to a message of ours, and becomes no event: the word and the id by which ``Answers`` finds it.
    """

    raw: bytes
    sender: str = ""
    id: str = ""
    kind: str = ""
    peer: str = ""
    message: Tree = None
    flaw: Flaw | None = None
    sequence: int | None = None
    reply: Callable[[Reply], bytes] | None = None
    answers: tuple[str, str] | None = None


class Answer(Protocol):
    """What to send back for a message that became an event (None) or has a flaw.

    ``expected`` is the number of the sender's next message, where it counts. Any thread may call it, more than once.
    """

    def __call__(self, flaw: Flaw | None, expected: int | None = None) -> bytes: ...


class Intake(Protocol):
    """What a listener hands messages to. One event loop, never raises."""

    @property
    def full(self) -> bool:
        """So much waits to be kept that nothing more should be read."""

    def take(self, inbound: Inbound, answer: Answer) -> asyncio.Future[bytes]:
        """Keep a message. The result is what to send back, once the message is durable and never before.

        That is ``answer(None)`` for a message that became an event or answers one of ours, ``answer(flaw)`` for one
        that did not, the stored answer for a repeat. Messages are kept in the order of these calls. A question that
        somebody can answer is kept nowhere as a message: what is sent back is its ``reply``.
        """

    def count(self, what: str) -> None:
        """One more of something that becomes no message, for metrics: ``stray_bytes``, ``closed_idle`` ..."""


@runtime_checkable
class Listener(Protocol):
    """The listening side of a protocol: a module with ``ListenerSettings`` has ``listen(settings) -> Listener``.

    ``address`` is host and port; the socket is the bus's, so that it stays open when the settings change.
    """

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def same_id_s(self) -> float:
        """For how many seconds an id stands for one message, 0 for ever: some senders count from 1 again every day."""

    async def serve(self, sock: socket.socket, intake: Intake) -> None:
        """Begin to accept; returns at once."""

    async def close(self, seconds: float) -> None:
        """Accept and read no more, send the answers that are due, at most so long, then close every connection."""


class Envelope(Protocol):
    """A named wrapping of payloads, stacked by an endpoint in YAML, outermost first.

    ``wrap`` is given the action and the inner payload and returns both as the next layer out expects them; ``unwrap``
    does the reverse with the answer and raises ``Malformed`` or ``Refused``.
    """

    def wrap(self, action: str, payload: Tree, call: Call) -> tuple[str, Tree]: ...

    def unwrap(self, action: str, answer: Tree, call: Call) -> Tree: ...
