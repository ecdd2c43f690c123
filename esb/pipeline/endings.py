"""From what an adapter raised or a mapping read to an ending, and from an ending to what becomes of key and row."""

from __future__ import annotations

import re
from collections.abc import Sequence

from esb.codecs.json import decode
from esb.contract.check import FieldError
from esb.errors import AdapterError, Malformed, Outcome, OutcomeUnknown, Refused, Unavailable
from esb.mapping import Verdict
from esb.model import Effect, Result
from esb.pipeline.parts import Ending, Record
from esb.policies import Limited
from esb.store import Fate, Row, State

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RETRY_AFTER_S = 2.0


class SaidUnavailable(Unavailable):
    """The system's answer says that it did nothing."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class SaidUnknown(OutcomeUnknown):
    """The system's answer leaves open what it did."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


_SAID = {
    Outcome.UNAVAILABLE: ("unavailable", "the system said that it did nothing"),
    Outcome.UNKNOWN: ("no_answer", "the system's answer leaves open what happened"),
    Outcome.MALFORMED: ("malformed_answer", "the mapping calls the answer malformed or has no case for it"),
}


def of_verdict(verdict: Verdict) -> Ending:
    """What the mapping read. Unavailable and unknown are raised, so that they are tried again as an adapter's are."""
    code, reason = _SAID.get(verdict.outcome, (verdict.code, ""))
    ending = Ending(
        verdict.outcome,
        code=code,
        body=verdict.body,
        message=verdict.message,
        details=verdict.details or {},
        reason=reason,
        decided=True,
    )
    if verdict.outcome is Outcome.UNAVAILABLE:
        ending.retry_after = _RETRY_AFTER_S
        raise SaidUnavailable(ending)
    if verdict.outcome is Outcome.UNKNOWN:
        raise SaidUnknown(ending)
    return ending


def of_error(error: AdapterError) -> Ending:
    """An adapter's error, or one of our limits."""
    if isinstance(error, SaidUnavailable | SaidUnknown):
        return error.ending
    raw = error.raw or b""
    if isinstance(error, Limited):
        return Ending(Outcome.UNAVAILABLE, error.code, reason=error.reason, retry_after=error.retry_after)
    if isinstance(error, Unavailable):
        wait = error.retry_after or _RETRY_AFTER_S
        return Ending(Outcome.UNAVAILABLE, "unavailable", reason=error.reason, retry_after=wait, raw=raw)
    if isinstance(error, Refused):
        return _refused(error, raw)
    code = "no_answer" if isinstance(error, OutcomeUnknown) else "malformed_answer"
    return Ending(error.outcome, code, reason=error.reason, raw=raw)


def of_fault(record: Record, error: Exception) -> Ending:
    """A mistake of our own; once bytes may have left it says nothing of what the system did."""
    outcome = Outcome.UNKNOWN if record.may_have_arrived else Outcome.UNAVAILABLE
    return Ending(outcome, "internal_error", reason=type(error).__name__, retry_after=5.0)


def after_silence(record: Record, ending: Ending) -> Ending:
    """That the last attempt did nothing says nothing of an earlier one that was not answered."""
    if ending.outcome is Outcome.UNAVAILABLE and record.silent and record.exchange.effect is not Effect.READ:
        return Ending(Outcome.UNKNOWN, "no_answer", reason=ending.reason, raw=ending.raw)
    return ending


def _refused(error: Refused, raw: bytes) -> Ending:
    """A protocol's own no. Its code is passed on when it can be one of ours; ``details`` always has it as it was."""
    code = error.code.replace("-", "_").lower()
    return Ending(
        Outcome.REFUSED,
        code if _CODE.fullmatch(code) else "refused",
        message=error.message,
        details={"systemCode": error.code} if error.code else {},
        reason=error.reason,
        raw=raw,
    )


def breaks_contract(errors: Sequence[FieldError]) -> Malformed:
    """An answer that the contract does not allow: which fields, never which values."""
    shown = ", ".join(f"{error.pointer or '/'} {error.code}" for error in errors[:10])
    return Malformed(f"the answer breaks the contract: {shown}")


def in_doubt(record: Record, ending: Ending) -> bool:
    """True when something that must happen once may have happened and nobody has said so."""
    if record.exchange.effect is not Effect.ONCE:
        return False
    if ending.outcome is Outcome.UNKNOWN:
        return True
    return ending.outcome is Outcome.MALFORMED and record.may_have_arrived


def told(effect: Effect, ending: Ending) -> Ending:
    """An unknown as the caller needs to hear it: a read did nothing, an idempotent may be sent again, a once waits."""
    if ending.outcome is not Outcome.UNKNOWN:
        return ending
    outcome = Outcome.UNKNOWN if effect is Effect.ONCE else Outcome.UNAVAILABLE
    code = "no_answer" if effect is Effect.READ else "outcome_unknown"
    return Ending(outcome, code, reason=ending.reason, retry_after=_RETRY_AFTER_S, raw=ending.raw)


def fate(record: Record, ending: Ending) -> Fate:
    """What becomes of the idempotency key."""
    if ending.outcome is Outcome.UNAVAILABLE:
        return Fate.RELEASE
    if ending.outcome in (Outcome.UNKNOWN, Outcome.MALFORMED):
        if record.exchange.effect is Effect.READ or not record.may_have_arrived:
            return Fate.RELEASE
        return Fate.KEEP if record.exchange.effect is Effect.ONCE else Fate.AGAIN
    return Fate.KEEP


def of_row(row: Row) -> Result:
    """A journalled exchange as its caller was or would be told it."""
    state = State(row.state)
    if state in (State.RECEIVED, State.SENT):
        return Result(Outcome.UNKNOWN, row.id, code="running", retry_after=1.0)
    if state is State.CANCELLED:
        return Result(Outcome.UNAVAILABLE, row.id, code="cancelled")
    details = decode(row.details.encode()) if row.details else {}
    body = decode(row.answer) if row.answer else None
    ending = Ending(Outcome(row.state), row.code, body, row.answer, row.message, details)
    return told(Effect(row.effect), ending).result(row.id)
