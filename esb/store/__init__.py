"""The bus's own memory: the journal of exchanges and the table of idempotency keys, in one database."""

from esb.store.effects import Earlier, Fate
from esb.store.store import Store
from esb.store.tables import Row, State, StoreError

__all__ = ["Earlier", "Fate", "Row", "State", "Store", "StoreError"]
