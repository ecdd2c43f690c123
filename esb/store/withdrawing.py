"""To take back what a commit kept that seemed to fail: its caller was told that nothing was kept."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from esb.store import queue
from esb.store.tables import State, exchange, idempotency

_NOT_BEGUN = exchange.c.state.in_([str(State.RECEIVED), str(State.ACCEPTED)])
_END = exchange.update().where(exchange.c.id == sa.bindparam("its_id"), _NOT_BEGUN)
_FREE = idempotency.delete().where(idempotency.c.exchange == sa.bindparam("its_id"))
_UNTOUCHED = (queue.READY, queue.LATER, queue.HELD)


def withdraw(connection: sa.Connection, exchanges: Iterable[str], finished: str) -> list[str]:
    """End these exchanges as not kept and free their keys; those that are not there or were begun stay as they are.

    Which of them a worker has taken: whoever told that nothing was kept must see to it that they are not carried out.
    """
    taken, ids = [], sorted(exchanges)
    messages = queue.lock(connection, ids)
    for exchange_id in ids:
        message = messages.get(exchange_id)
        if message is not None and (message.takes or message.state not in _UNTOUCHED):
            taken.append(exchange_id)
            continue
        ended = {"state": State.UNAVAILABLE.value, "code": "store_unavailable", "finished": finished, "owner": ""}
        if connection.execute(_END.values(**ended), {"its_id": exchange_id}).rowcount:
            connection.execute(_FREE, {"its_id": exchange_id})
            queue.remove(connection, exchange_id)
    return taken
