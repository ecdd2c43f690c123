"""The bus's own memory, in one database: the journal of exchanges, the table of idempotency keys, the inbox."""

from esb.store import guards as guards  # the tables are made with them
from esb.store import shadow as shadow  # one of the tables
from esb.store.effects import Earlier, Fate
from esb.store.inbox import Arrival, Settled, Taken, Told
from esb.store.pruning import Kept, Pruner
from esb.store.store import Store
from esb.store.tables import Fenced, Row, State, StoreError, Unsettled
from esb.store.tries import Try

__all__ = [
    "Arrival",
    "Earlier",
    "Fate",
    "Fenced",
    "Kept",
    "Pruner",
    "Row",
    "Settled",
    "State",
    "Store",
    "StoreError",
    "Taken",
    "Told",
    "Try",
    "Unsettled",
]
