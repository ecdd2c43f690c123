"""Named places at which a test makes the process die, as ``kill -9`` would: ``ESB_CRASH_AT=name`` or ``name:3``.

``name:3`` dies at the third time. Without the variable ``at`` does nothing. The names are where a crash is most
likely to lose or double something; ``docs/operations.md`` lists them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

POINTS: Final = (
    "after_accept_before_answer",
    "after_take_before_map",
    "after_journal_before_send",
    "after_send_before_result",
    "after_result_before_ack",
)
_KILLED = 137


def armed(setting: str, end: Callable[[int], object] = os._exit) -> Callable[[str], None]:
    """What is called at every place; raises ``ValueError`` for a name that no place has."""
    if not setting:
        return lambda name: None
    wanted, _, times = setting.partition(":")
    if wanted not in POINTS or (times and not times.isdecimal()):
        raise ValueError(f"ESB_CRASH_AT: '{setting}' is none of {', '.join(POINTS)}")
    left = int(times or 1)

    def at(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left <= 0:
                end(_KILLED)

    return at


at: Final = armed(os.environ.get("ESB_CRASH_AT", ""))
