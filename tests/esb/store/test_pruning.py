"""The journal keeps each operation's exchanges as long as its route says, and never waits for the pruning of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb.observe import Metrics
from esb.store import Kept, Pruner, Row, Store, Try, tries
from esb.store.pruning import operations
from tests.esb.kit import FakeClock, until
from tests.esb.store.test_store import CLOCK, row

USUAL = timedelta(days=10)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), linger_s=0.001)
    await made.start()
    yield made
    await made.close()


async def written(store: Store, *rows: Row) -> None:
    for one in rows:
        store.write(one)
    await until(lambda: store.find(rows[-1].id))


async def pruned(store: Store, kept: Kept, chunk: int = 3) -> tuple[int, list[float]]:
    """How many rows went, and how long was rested after each transaction."""
    clock = FakeClock()
    clock.at = CLOCK.at
    return await Pruner(store, clock, clock.sleep, chunk).prune(kept), clock.slept


async def test_each_operation_is_kept_as_long_as_its_route_says(store: Store) -> None:
    old = [row(operation=name) for name in ("short", "usual", "long") for _ in range(4)]
    await written(store, *old)
    CLOCK.at += 5 * 86_400
    await written(store, row(operation="short"))
    kept = Kept(USUAL, {"short": timedelta(days=1), "long": timedelta(days=100), "unheard.of": timedelta(hours=1)})
    assert (await pruned(store, kept))[0] == 4
    assert await store.look(operations) == ["long", "short", "usual"]
    CLOCK.at += 6 * 86_400
    assert (await pruned(store, kept))[0] == 5
    assert await store.look(operations) == ["long"]


async def test_who_was_given_the_answer_of_another_in_doubt_is_not_in_doubt_himself(store: Store) -> None:
    """It is not asked about after a start, and goes when its time is over; what an event called for is in doubt."""
    in_doubt = {"state": "unknown", "effect": "once"}
    told, called = row(**in_doubt, cause="another"), row(**in_doubt, cause="an event", owner="instance/dead")
    await written(store, told, called)
    assert [one.id for one in await store.unfinished()] == [called.id]
    CLOCK.at += 11 * 86_400
    await pruned(store, Kept(USUAL, {}))
    assert await store.find(told.id) is None
    assert await store.find(called.id)


async def test_what_must_stay_is_passed_over_and_not_looked_at_for_ever(store: Store) -> None:
    rows = [row(state="unknown", effect="once") for _ in range(7)] + [row() for _ in range(4)]
    await written(store, *rows)
    CLOCK.at += 11 * 86_400
    assert (await pruned(store, Kept(USUAL)))[0] == 4
    assert all([await store.find(one.id) for one in rows[:7]])


async def test_it_rests_after_every_transaction(store: Store) -> None:
    await written(store, *(row() for _ in range(9)))
    CLOCK.at += 11 * 86_400
    deleted, rests = await pruned(store, Kept(USUAL))
    assert (deleted, len(rests)) == (9, 3 + 1)  # and one for the inbox


async def test_it_rests_for_its_own_work_and_not_for_what_others_make_it_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(store, *(row() for _ in range(9)))
    clock, transact = FakeClock(), store.transact
    clock.at = CLOCK.at + 11 * 86_400

    async def late(work: Any) -> Any:
        clock.at += 60
        return await transact(work)

    monkeypatch.setattr(store, "transact", late)
    assert await Pruner(store, clock, clock.sleep, 3).prune(Kept(USUAL)) == 9
    assert clock.slept == [0.0] * 4


class Ticking(FakeClock):
    """A moment later whenever somebody looks."""

    def __init__(self, tick: float) -> None:
        super().__init__()
        self.at, self._tick = CLOCK.at, tick

    def monotonic(self) -> float:
        self.at += self._tick
        return self.at


@pytest.mark.parametrize(("tick", "transactions"), [(0.001, 6), (0.1, 34)])
async def test_it_deletes_more_at_a_time_where_that_is_quick(store: Store, tick: float, transactions: int) -> None:
    await written(store, *(row() for _ in range(100)))
    CLOCK.at += 11 * 86_400
    clock = Ticking(tick)
    assert await Pruner(store, clock, clock.sleep, 3).prune(Kept(USUAL)) == 100
    assert len(clock.slept) == transactions + 1  # and one for the inbox


async def test_rows_are_written_while_it_prunes(store: Store) -> None:
    await written(store, *(row() for _ in range(20)))
    CLOCK.at += 11 * 86_400
    between: list[str] = []

    async def sleep(seconds: float) -> None:
        one = row(state="received")
        await store.open(one)
        between.append(one.id)

    clock = FakeClock()
    clock.at = CLOCK.at
    assert await Pruner(store, clock, sleep, 5).prune(Kept(USUAL)) == 20
    assert len(between) == 5
    assert all([await store.find(one) for one in between])


async def test_another_process_that_prunes_is_left_to_it(store: Store) -> None:
    await written(store, row())
    CLOCK.at += 11 * 86_400
    await store.lease("prune", 60.0)
    store.instance.name, mine = "another", store.instance.name
    assert (await pruned(store, Kept(USUAL)))[0] == 0
    store.instance.name = mine
    assert (await pruned(store, Kept(USUAL)))[0] == 1


async def test_tries_that_an_older_release_left_without_their_exchange_go(store: Store) -> None:
    """It knew of no tries when it deleted their exchanges."""
    stays, gone = row(state="unknown", effect="once"), [row() for _ in range(7)]
    await written(store, stays)
    CLOCK.at += 11 * 86_400
    young = row()
    one = Try("2026-01-15T09:00:00.000+08:00", "his", "unavailable", "down", "", 1, "", "", b"sent", b"")
    for of in (stays, *gone, young):
        await store.transact(lambda connection, id=of.id: tries.keep(connection, id, one))
    await pruned(store, Kept(USUAL))
    left = await store.look(lambda connection: tries.kept(connection, [one.id for one in (stays, *gone, young)]))
    assert sorted(left) == [stays.id, young.id]


async def test_an_empty_journal_has_no_operations(store: Store) -> None:
    assert await store.look(operations) == []
    assert (await pruned(store, Kept(USUAL)))[0] == 0


async def test_the_old_rows_of_an_operation_are_found_by_its_index(store: Store) -> None:
    look = Pruner(store, FakeClock(), asyncio.sleep)._older("op", "a", "b")
    plans: list[str] = []

    def see(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.append(str(cursor.fetchall()))

    sa.event.listen(store.engine, "before_cursor_execute", see)
    await store.look(look)
    sa.event.remove(store.engine, "before_cursor_execute", see)
    assert "exchange_operation (operation=? AND id>? AND id<?)" in plans[0]
