"""Replay, parked messages and the counts of shadows on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from esb import audit
from esb.buffer import Where
from esb.cli import main
from esb.replay import Performer, rehearse
from esb.shadow import report
from esb.store import Fate
from esb.store.engines import transaction
from esb.store.shadow import Count, add, counted, prune_shadow
from tests import postgres
from tests.esb.configured import ROOT
from tests.esb.replay.kit import LOCK, UNLOCK, Hospital, hospital


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ESB_SECRETS", "sandbox/secrets")
    with postgres.database() as made:
        monkeypatch.setenv("ESB_STORE", made)
        yield made


def really(bus: Hospital, ids: list[str]) -> list[str]:
    performer = Performer(bus.url, bus.plan, bus.clock, "the system is back", 100.0)
    return [str(one.verdict) for chunk in performer.perform(ids) for one in chunk]


async def test_what_ended_is_accepted_again_once_with_its_key(tmp_path: Path, url: str) -> None:
    """I2, F40."""
    async with hospital(tmp_path, url) as bus:
        again = await bus.ended(UNLOCK, "unavailable", Fate.RELEASE, key="K1")
        unknown = await bus.ended(UNLOCK, "unknown", Fate.AGAIN, key="K2")
        parked = await bus.parked(UNLOCK)
        settling = await bus.ended(LOCK, "unknown", Fate.KEEP, key="K3")
        ids = [again, unknown, parked, settling]
        found = rehearse(lambda: transaction(url, writes=False), ids, bus.plan)
        assert found.carried_out == 3
        assert really(bus, ids) == ["again", "again", "release", "settling"]
        assert really(bus, ids) == ["under_way"] * 3 + ["settling"]
        entries = [await bus.buffer.find(one) for one in ids[:3]]
        earlier = await bus.store.open(bus.row(UNLOCK, key="K1"))
        with transaction(url, writes=False) as connection:
            acts = list(audit.entries(connection, action="replay"))
    assert [(entry.where, entry.sent) for entry in entries if entry] == [
        (Where.LATER, False), (Where.LATER, True), (Where.LATER, False)
    ]  # fmt: skip
    assert earlier is not None
    assert earlier.exchange == again
    assert sorted(one.object for one in acts) == sorted(ids[:3])


async def test_parked_ones_are_seen_together_edited_and_discarded(tmp_path: Path, url: str) -> None:
    def esb(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["queue", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    async with hospital(tmp_path, url) as bus:
        ids = [await bus.parked(LOCK, f"unavailable: order {at}", key=f"K{at}") for at in range(3)]
        groups = json.loads(esb("list", "--grouped", "--json"))["groups"]
        assert [(one["count"], one["reason"]) for one in groups] == [(3, "unavailable: order #")]
        esb("edit", ids[0], "--set", "fee=1500", "--reason", "wrong fee")
        edited = await bus.store.find(ids[0])
        assert edited is not None
        assert json.loads(edited.request)["fee"] == 1500
        esb("discard", "--all-like", ids[0], "--reason", "asked by phone")
        assert [await bus.buffer.find(one) for one in ids] == [None] * 3
        with transaction(url, writes=False) as connection:
            assert audit.verify(connection) == audit.Verified(4)


async def test_counts_of_shadows_add_up_and_are_pruned(tmp_path: Path, url: str) -> None:
    async with hospital(tmp_path, url):
        samples = json.dumps([{"exchange": "E1", "before": "1", "after": "2"}])
        for _ in range(3):
            with transaction(url) as connection:
                add(connection, [
                    Count("2026-01-15T09", "slot.list", "new", "", 5, ""),
                    Count("2026-01-15T09", "slot.list", "new", "items[].fee", 2, samples),
                ])  # fmt: skip
        with transaction(url) as connection:
            (found,) = report(counted(connection, "2026-01-15T00"))
            assert (found.compared, found.fields["items[].fee"].exchanges) == (15, 6)
            assert [one.after for one in found.fields["items[].fee"].samples] == ["2"]
            assert counted(connection, "2026-01-15T10") == []
            assert prune_shadow(connection, "2026-01-16T00") == 2
