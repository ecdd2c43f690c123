"""Two transactions at once on one row of PostgreSQL: the second sees what the first made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from esb.observe import Metrics
from esb.store import Earlier, Fate, State, Store, accepting, engines, queue
from esb.store.again import accept_again
from esb.store.effects import finish_exchange, open_exchange
from esb.store.ordering import keep_order
from esb.store.tables import exchange, idempotency
from esb.store.withdrawing import withdraw
from tests import postgres
from tests.esb.buffer.suite import HIS, row

Work = Callable[[sa.Connection], Any]
MESSAGE = (HIS, "slot.free", 1, "", 0, 0, "ready", 0, 0, 0, 0, False, "")


@pytest.fixture
async def engine() -> Any:
    """A store with its tables, and an engine beside the process that opened it."""
    with postgres.database() as url:
        store = Store(url, Metrics())
        await store.start()
        await store.close()
        made = engines.engine_of(url)
        yield made
        made.dispose()


def do(engine: sa.Engine, work: Work) -> Any:
    with engine.begin() as connection:
        return work(connection)


def meanwhile(engine: sa.Engine, first: Work, second: Work) -> Any:
    """What ``second`` returns, which begins after ``first`` was done and before that was committed."""
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        first(connection)
        waiting = pool.submit(do, engine, second)
        while not waiting.done() and not _is_locked(engine):
            threading.Event().wait(0.005)
        connection.commit()
        return waiting.result(30)


def _is_locked(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(connection.scalar(sa.text(query)))


def accept(*ids: str, key: str = "", state: str = "ready", order: str = "") -> Work:
    def work(connection: sa.Connection) -> list[Earlier | None]:
        values = (*MESSAGE[:3], order, *MESSAGE[4:6], state, *MESSAGE[7:])
        return accepting.accept(connection, [accepting.Accepted(row(one, key), (one, *values)) for one in ids])

    return work


def taken(connection: sa.Connection) -> queue.Queued:
    """By a worker that is about to send it."""
    (found,) = queue.take(connection, HIS, 1, 0, 1)
    assert queue.mark_sent(connection, found.position, found.takes)
    return found


def stands(engine: sa.Engine, exchange_id: str) -> tuple[str, str]:
    """Exchange and message."""

    def work(connection: sa.Connection) -> tuple[str, str]:
        state = connection.scalar(sa.select(exchange.c.state).where(exchange.c.id == exchange_id))
        waits = queue.find(connection, exchange_id)
        return str(state), waits.state if waits else ""

    return do(engine, work)


def holder(engine: sa.Engine) -> list[tuple[str, bool]]:
    """Who has keys, and whether they are free again."""
    query = sa.select(idempotency.c.exchange, idempotency.c.again)
    return do(engine, lambda one: [tuple(found) for found in one.execute(query)])


def test_what_a_worker_takes_at_that_moment_is_not_taken_back(engine: sa.Engine) -> None:
    """I2: its bytes may be with the system, so its key stays."""
    do(engine, accept("E1", key="K"))
    assert meanwhile(engine, taken, lambda one: withdraw(one, ["E1"], "now")) == ["E1"]
    assert stands(engine, "E1") == ("accepted", "taken")
    assert holder(engine) == [("E1", False)]


def test_what_is_taken_back_at_that_moment_no_worker_gets(engine: sa.Engine) -> None:
    do(engine, accept("E1", key="K"))
    found = meanwhile(engine, lambda one: withdraw(one, ["E1"], "now"), lambda one: queue.take(one, HIS, 1, 0, 1))
    assert (found, stands(engine, "E1"), holder(engine)) == ([], ("unavailable", ""), [])


def test_what_was_released_at_that_moment_is_not_discarded(engine: sa.Engine) -> None:
    """I2: the worker that it was released for may have sent it."""
    do(engine, accept("E1", state="parked"))
    parked = do(engine, lambda one: queue.find(one, "E1"))
    ended = row("E1")._replace(state="unavailable")

    def released(connection: sa.Connection) -> None:
        assert queue.release(connection, parked, 0, "again")
        connection.execute(queue.queue.update().values(state="ready"))
        taken(connection)

    assert meanwhile(engine, released, lambda one: queue.discard(one, ended, Fate.RELEASE)) is False
    assert stands(engine, "E1") == ("accepted", "taken")


def test_what_was_discarded_at_that_moment_is_not_released(engine: sa.Engine) -> None:
    do(engine, accept("E1", state="parked"))
    parked = do(engine, lambda one: queue.find(one, "E1"))
    ended = row("E1")._replace(state="unavailable")
    done = meanwhile(
        engine,
        lambda one: queue.discard(one, ended, Fate.RELEASE),
        lambda one: queue.release(one, parked, 0, "again"),
    )
    assert (done, stands(engine, "E1")) == (False, ("unavailable", ""))


def opened(exchange_id: str) -> Work:
    """A direct exchange with the key K."""
    return lambda one: open_exchange(one, row(exchange_id, "K")._replace(state="received", endpoint=HIS))


def replayed(connection: sa.Connection) -> bool:
    """E0 itself is accepted once more."""
    return accept_again(connection, row("E0", "K")._replace(state="unknown"), ("E0", *MESSAGE))


@pytest.fixture
def unknown(engine: sa.Engine) -> sa.Engine:
    """E0 has the key K, and whoever asks the same again may have it."""
    do(engine, opened("E0"))
    ended = row("E0", "K")._replace(state="unknown")
    do(engine, lambda one: finish_exchange(one, ended, Fate.AGAIN))
    assert holder(engine) == [("E0", True)]
    return engine


@pytest.mark.parametrize("first", [accept("E1", key="K"), opened("E1")], ids=["queued", "direct"])
@pytest.mark.parametrize("second", [accept("E2", key="K"), opened("E2")], ids=["queued", "direct"])
def test_a_key_that_is_free_again_is_taken_by_one_of_two(unknown: sa.Engine, first: Work, second: Work) -> None:
    """I2: both would be carried out."""
    found = meanwhile(unknown, first, second)
    (earlier,) = found if isinstance(found, list) else [found]
    assert earlier is not None
    assert (earlier.exchange, earlier.same) == ("E1", True)
    assert earlier.state in (State.ACCEPTED, State.RECEIVED)
    assert (holder(unknown), stands(unknown, "E2")) == ([("E1", False)], ("None", ""))


@pytest.mark.parametrize("second", [accept("E2", key="K"), opened("E2")], ids=["queued", "direct"])
def test_a_key_that_a_replay_takes_at_that_moment_is_not_free(unknown: sa.Engine, second: Work) -> None:
    found = meanwhile(unknown, replayed, second)
    (earlier,) = found if isinstance(found, list) else [found]
    assert earlier == Earlier("E0", True, State.ACCEPTED)
    assert holder(unknown) == [("E0", False)]


def test_a_key_that_its_client_takes_at_that_moment_is_not_replayed(unknown: sa.Engine) -> None:
    assert meanwhile(unknown, accept("E1", key="K"), replayed) is False
    assert (holder(unknown), stands(unknown, "E0")) == ([("E1", False)], ("unknown", ""))


def test_what_ended_another_way_at_that_moment_is_not_replayed_and_takes_no_key(unknown: sa.Engine) -> None:
    """Its key would be taken for ever."""

    def replayed_and_discarded(connection: sa.Connection) -> None:
        assert replayed(connection)
        connection.execute(queue.queue.update().values(state="parked"))
        assert queue.discard(connection, row("E0", "K")._replace(state="unavailable"), Fate.RELEASE)

    assert meanwhile(unknown, replayed_and_discarded, replayed) is False
    assert (holder(unknown), stands(unknown, "E0")) == ([], ("unavailable", ""))


def test_order_keys_are_taken_by_one_at_a_time(engine: sa.Engine) -> None:
    """Whoever is behind is held: it sees what the other one adds."""
    both = [(HIS, "b"), (HIS, "a")]
    meanwhile(
        engine,
        lambda one: (keep_order(one, both), accept("A1", order="a")(one)),
        lambda one: (keep_order(one, both[::-1]), accept("A2", order="a")(one)),
    )
    assert [stands(engine, one)[1] for one in ("A1", "A2")] == ["ready", "held"]
