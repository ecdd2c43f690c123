"""Named places at which a test makes the process die, as ``kill -9`` would.

``ESB_CRASH_AT`` is a name (die there the first time), ``name:3`` (the third time) or the absolute path of a file in
which one of these may appear while the process runs. Without the variable ``at`` does nothing. The places are where a
crash is most likely to lose or double something. Never set it where patients are served.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

QUEUED: Final = (
    "during_accept",
    "after_accept_before_answer",
    "after_take_before_map",
    "after_journal_before_send",
    "after_send_before_result",
    "during_finish",
    "after_result_before_ack",
)
"""The way of an accepted exchange: its one transaction, its answer, its delivery, its end."""

DIRECT: Final = (
    "before_open",
    "after_open_before_send",
    "after_mark_before_send",
    "after_reply_before_result",
    "during_finish",
    "after_result_before_answer",
)
"""An effect whose caller waits. CP01 is after the opening, CP03 the mark, CP05 the reply, CP08 the result."""

SETTLED: Final = ("before_question", "after_decision_before_record", "after_settled_before_ack")
"""A once in doubt: asked about, decided, recorded, out of the queue."""

INBOUND: Final = ("before_kept", "after_kept_before_answer")
"""A message that a system sends us, on both sides of its one commit. CP09 is after it."""

BROKERED: Final = ("after_commit_before_publish", "after_publish_before_mark", "after_claim_before_broker_ack")
"""Between the store and the broker."""

STARTED: Final = ("during_proof", "during_migration")
"""What must be shown of a large journal before, and before the transaction that brings the tables up is committed."""

PRUNED: Final = ("during_cut", "during_fold")
"""A part of the journal is made or dropped: before the commit."""

POINTS: Final = tuple(dict.fromkeys((*QUEUED, *DIRECT, *SETTLED, *INBOUND, *BROKERED, *STARTED, *PRUNED)))
_KILLED = 137


class _Fuse:
    """Counts down at one place."""

    def __init__(self, setting: str) -> None:
        self.name, _, times = setting.partition(":")
        if self.name not in POINTS or (times and not times.isdecimal()):
            raise ValueError(f"ESB_CRASH_AT: '{setting}' is none of {', '.join(POINTS)}")
        self._left = int(times or 1)

    def burns_out(self, name: str) -> bool:
        self._left -= name == self.name
        return name == self.name and self._left <= 0


def armed(setting: str, end: Callable[[int], object] = os._exit) -> Callable[[str], None]:
    """What is called at every place; raises ``ValueError`` for a name that no place has."""
    if not setting:
        return lambda name: None
    fuse = cache(_Fuse)
    file = Path(setting) if setting.startswith("/") else None
    if file is None:
        fuse(setting)

    def at(name: str) -> None:
        wanted = setting if file is None else file.read_text("utf-8").strip() if file.exists() else ""
        if wanted and fuse(wanted).burns_out(name):
            end(_KILLED)

    return at


at: Final = armed(os.environ.get("ESB_CRASH_AT", ""))
