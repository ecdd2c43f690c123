"""How a delivery goes on that did not end: tried again or parked, by the rules of ``Delivering``."""

from __future__ import annotations

from typing import NamedTuple

from esb.errors import Outcome
from esb.pipeline.backlog import Backlog
from esb.pipeline.parts import Ending, Record
from esb.policies.schedule import Schedule

OUR_LIMITS = ("endpoint_down", "endpoint_busy", "rate_limited", "store_unavailable")
OUR_FAULTS = ("mapping_failed", "internal_error")
FAULTY_TRIES = 3


class Again(NamedTuple):
    """``counts`` as a try; ``sent``: its bytes may have arrived. ``rest_s``: so long the queue had better rest."""

    parks: bool
    wait_s: float
    rest_s: float
    counts: bool
    sent: bool
    reason: str

    @classmethod
    def after(cls, backlog: Backlog, record: Record, ending: Ending, tries: int, *, was_sent: bool) -> Again:
        """After a try that followed ``tries`` others; ``was_sent``: one of those may have arrived."""
        config = record.lane.config
        ours = ending.outcome is Outcome.UNAVAILABLE and ending.code in OUR_LIMITS
        most = FAULTY_TRIES if ending.code in OUR_FAULTS else Schedule.of(config.again).times + 1
        return cls(
            parks=not ours and tries + 1 >= most,
            wait_s=backlog.wait(config, 0 if ours else tries, ending),
            rest_s=(ending.retry_after or 1.0) if ours else 0.0,
            counts=not ours,
            sent=was_sent or (ending.outcome is not Outcome.UNAVAILABLE and record.may_have_arrived),
            reason=f"{ending.code}: {ending.reason}" if ending.reason else ending.code,
        )
