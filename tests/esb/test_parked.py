"""``esb queue``: what a person sees and does of what waits, beside a bus that runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from esb.buffer import Message, SqlBuffer, Where
from esb.cli import main
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.store import Store
from tests.esb.buffer.suite import row
from tests.esb.configured import ROOT

LOCK = b'{"orderNo":"R1","patientId":"P0000001"}'


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[SqlBuffer, Store]]:
    """A bus's store, locked by it: E1 and E2 are parked, E2 may have arrived, E3 waits behind E1."""
    url = f"sqlite:///{tmp_path / 'esb.db'}"
    monkeypatch.setenv("ESB_STORE", url)
    monkeypatch.chdir(ROOT)
    store = Store(url, Metrics(), linger_s=0.001)
    await store.start()
    buffer = SqlBuffer(store, SystemClock())
    await buffer.start()
    now = int(SystemClock().now().timestamp() * 1000)
    for exchange, order in (("E1", "a"), ("E2", ""), ("E3", "a")):
        journalled = row(exchange, f"K{exchange}", LOCK)._replace(operation="registration.lock")
        await buffer.accept(journalled, Message(exchange, "his", "registration.lock", 1, order, now))
    first, second = await buffer.take("his", 2)
    await buffer.park(first, "mapping_failed: no such field")
    await buffer.sent(second)
    await buffer.park(second, "malformed_answer: no XML", sent=True)
    yield buffer, store
    await store.close()


def esb(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["queue", *arguments])


async def test_what_waits_is_listed_with_its_reason(running: Any) -> None:
    listed = esb("list")
    assert listed.exit_code == 0, listed.output
    assert [line.split()[:5] for line in listed.output.splitlines()] == [
        ["E1", "registration.lock", "to", "his", "parked"],
        ["E2", "registration.lock", "to", "his", "parked"],
        ["E3", "registration.lock", "to", "his", "held"],
        ["3", "messages"],
    ]
    assert "mapping_failed: no such field" in listed.output
    parked = json.loads(esb("list", "--where", "held", "--json").output)["messages"]
    assert [(one["id"], one["tries"], one["may_have_arrived"]) for one in parked] == [("E3", 0, False)]


async def test_one_is_shown_with_its_request_and_without_its_patient(running: Any) -> None:
    shown = json.loads(esb("show", "E1").output)
    assert (shown["id"], shown["where"], shown["request"]["orderNo"]) == ("E1", "parked", "R1")
    assert "P0000001" not in json.dumps(shown)


async def test_a_released_one_is_taken_by_the_bus_that_runs(running: tuple[SqlBuffer, Store]) -> None:
    buffer, _ = running
    assert esb("release", "E1", "--reason", "the mapping is mended").output == "E1 released\n"
    (delivery,) = await buffer.take("his", 10)
    assert (delivery.message.id, delivery.tries) == ("E1", 0)
    assert delivery.reason.startswith("released by ")
    assert delivery.reason.endswith(": the mapping is mended")


@pytest.mark.parametrize(("exchange", "state", "code"), [("E1", "unavailable", "discarded"),
                                                         ("E2", "unknown", "outcome_unknown")])  # fmt: skip
async def test_a_discarded_one_ends_with_who_did_it_and_why(
    running: tuple[SqlBuffer, Store], exchange: str, state: str, code: str
) -> None:
    buffer, store = running
    assert esb("discard", exchange, "--reason", "asked for by phone").exit_code == 0
    ended = await store.find(exchange)
    assert ended is not None
    assert (ended.state, ended.code, ended.request) == (state, code, LOCK)
    assert ended.reason.startswith("discarded by ")
    assert ": asked for by phone; it was parked for m" in ended.reason
    assert await buffer.find(exchange) is None
    if exchange == "E1":
        behind = await buffer.find("E3")
        assert behind is not None
        assert behind.where is Where.READY
    again = row("E9", f"K{exchange}", LOCK)._replace(operation="registration.lock")
    assert await buffer.accept(again, Message("E9", "his", "registration.lock")) is None


@pytest.mark.parametrize("command", ["release", "discard"])
@pytest.mark.parametrize(("exchange", "text"), [("E3", "E3 is held, not parked"), ("E7", "E7 is not in a queue")])
async def test_only_what_is_parked_is_touched(running: Any, command: str, exchange: str, text: str) -> None:
    done = esb(command, exchange, "--reason", "why")
    assert (done.exit_code, text in done.output) == (1, True)


def test_a_store_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESB_STORE", f"sqlite:///{tmp_path / 'none.db'}")
    done = esb("list")
    assert (done.exit_code, "holds no queue" in done.output) == (2, True)
    assert not (tmp_path / "none.db").exists()
