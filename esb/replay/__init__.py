"""Replay: what was asked before is carried out once more, by the same pipeline and under the same key.

The same exchange is accepted again and delivered by the workers of the running bus: nothing is sent from here, and what
happened is never done twice. Without ``really`` it only says what would be sent now, beside what was sent then.
"""

from esb.replay.judging import Judged, Verdict
from esb.replay.performing import Performer
from esb.replay.rehearsing import Rehearsal, as_text, as_tree, rehearse
from esb.replay.selecting import Selection, selected

__all__ = [
    "Judged",
    "Performer",
    "Rehearsal",
    "Selection",
    "Verdict",
    "as_text",
    "as_tree",
    "rehearse",
    "selected",
]
