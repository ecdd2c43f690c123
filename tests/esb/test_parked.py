"""``esb queue``: what a person sees and does of what waits, beside a bus that runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from esb import audit
from esb.buffer import Message, SqlBuffer, Where
from esb.cli import main
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.pipeline.backlog import order_key
from esb.pipeline.parts import canonical
from esb.store import Store
from esb.store.engines import transaction
from tests.esb.buffer.suite import row
from tests.esb.configured import ROOT
from tests.esb.replay.kit import LOCK_REQUEST as FULL

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


def acts(store: Store) -> list[tuple[str, str, str]]:
    """The audit, oldest first."""
    with transaction(str(store.engine.url), writes=False) as connection:
        assert audit.verify(connection).broken is None
        return [(one.action, one.object, one.reason) for one in audit.entries(connection)][::-1]


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
    buffer, store = running
    assert esb("release", "E1", "--reason", "the mapping is mended").output == "E1 released\n"
    (delivery,) = await buffer.take("his", 10)
    assert (delivery.message.id, delivery.tries) == ("E1", 0)
    assert acts(store) == [("release", "E1", "the mapping is mended")]
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


@pytest.mark.parametrize("command", ["release", "discard"])
async def test_of_those_named_together_all_are_done_or_none(running: Any, command: str) -> None:
    buffer, store = running
    assert esb(command, "E2", "E1", "E3", "--reason", "why").exit_code == 1
    assert [(one.message.id, one.where) for one in await buffer.list((Where.PARKED,))] == [
        ("E1", Where.PARKED),
        ("E2", Where.PARKED),
    ]
    assert acts(store) == []
    assert esb(command, "E2", "E1", "--reason", "why").exit_code == 0
    assert acts(store) == [(command, "E1", "why"), (command, "E2", "why")]


def test_a_store_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESB_STORE", f"sqlite:///{tmp_path / 'none.db'}")
    done = esb("list")
    assert (done.exit_code, "holds no queue" in done.output) == (2, True)
    assert not (tmp_path / "none.db").exists()


async def parked(buffer: SqlBuffer, exchange: str, reason: str, *, order: str = "", request: Any = FULL) -> None:
    journalled = row(exchange, f"K{exchange}", canonical(request))._replace(operation="registration.lock")
    now = int(SystemClock().now().timestamp() * 1000)
    await buffer.accept(journalled, Message(exchange, "index", "registration.lock", 1, order, now))
    (delivery,) = await buffer.take("index", 1)
    await buffer.park(delivery, reason)


async def test_parked_ones_are_taken_together_by_the_kind_of_reason(running: Any) -> None:
    buffer, _ = running
    for at in range(3):
        await parked(buffer, f"G{at}", f"unavailable: order 20260{at} of 'R{at}' at 10.0.0.{at}:8080")
    await parked(buffer, "G3", "mapping_failed: registration.lock.yaml:12: $fee is missing")
    await parked(buffer, "G4", "mapping_failed: registration.lock.yaml:13: $fee is missing")
    found = json.loads(esb("list", "--grouped", "--endpoint", "index", "--json").output)["groups"]
    assert [(one["count"], one["reason"], one["example"]) for one in found] == [
        (3, "unavailable: order # of # at #", "G0"),
        (1, "mapping_failed: registration.lock.yaml:12: $fee is missing", "G3"),
        (1, "mapping_failed: registration.lock.yaml:13: $fee is missing", "G4"),
    ]
    assert "5 parked messages of 3 kinds" in esb("list", "--grouped", "--endpoint", "index").output


@pytest.mark.parametrize("command", ["release", "discard"])
async def test_all_that_are_like_one_are_dealt_with(running: Any, command: str) -> None:
    buffer, store = running
    for at in range(3):
        await parked(buffer, f"G{at}", f"unavailable: order {at}")
    await parked(buffer, "G3", "malformed_answer: order 3")
    done = esb(command, "--all-like", "G1", "--reason", "it is back")
    assert done.exit_code == 0, done.output
    assert [(act, what) for act, what, _ in acts(store)] == [(command, f"G{at}") for at in range(3)]
    other = await buffer.find("G3")
    assert other is not None
    assert other.where is Where.PARKED


async def test_an_edited_one_is_sent_as_it_is_now_and_was_is_in_the_journal(running: Any) -> None:
    buffer, store = running
    await parked(buffer, "G0", "mapping_failed: no such fee")
    first = await store.find("G0")
    done = esb("edit", "G0", "--set", "fee=1500", "--set", "slot.slotId=S2", "--reason", "wrong fee")
    assert done.exit_code == 0, done.output
    now = await store.find("G0")
    assert (first is not None, now is not None) == (True, True)
    assert json.loads(now.request) == {**FULL, "fee": 1500, "slot": {**FULL["slot"], "slotId": "S2"}}
    assert (now.fingerprint, now.state, now.key) == (first.fingerprint, "accepted", "KG0")
    with transaction(str(store.engine.url), writes=False) as connection:
        (act,) = list(audit.entries(connection, action="edit"))
    details = json.loads(act.details)
    assert details["fields"] == ["fee", "slot.slotId"]
    assert "2500" not in act.details
    kept = await store.find(details["kept_as"])
    assert (kept.request, kept.cause, kept.code, kept.state) == (first.request, "G0", "edited", "cancelled")
    assert esb("release", "G0", "--reason", "mended").exit_code == 0
    again = row("E9", "KG0", canonical(FULL))._replace(operation="registration.lock")
    earlier = await store.open(again)
    assert (earlier.exchange, earlier.same) == ("G0", True), "the client's own retry finds its exchange"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("--set", "fee=much"), "'fee': 'much' is no integer"),
        (("--set", "fees=1"), "the contract's request has no 'fees'"),
        (("--set", "fee=-1"), "/fee"),
        (("--unset", "patientId"), "patientId"),
        (("--unset", "visitType"), "the request has no place 'visitType'"),
        (("--set", "slot..x=1"), "is no path"),
        (("--set", "orderNo=R2"), "says what it is ordered by"),
    ],
)
async def test_what_the_contract_does_not_allow_is_not_set(running: Any, values: tuple[str, ...], said: str) -> None:
    buffer, store = running
    await parked(buffer, "G0", "mapping_failed: x", order=order_key("$orderNo", FULL))
    done = esb("edit", "G0", *values, "--reason", "why")
    assert (done.exit_code, said in done.output) == (1, True), done.output
    assert json.loads((await store.find("G0")).request) == FULL
    assert acts(store) == []


async def test_what_may_have_arrived_is_not_edited(running: Any) -> None:
    """The system may have it as it was, under the same key."""
    done = esb("edit", "E2", "--set", "orderNo=R2", "--reason", "why")
    assert (done.exit_code, "may have arrived as it was" in done.output) == (1, True)


async def test_who_only_looks_waits_for_no_writer(running: tuple[SqlBuffer, Store]) -> None:
    with transaction(str(running[1].engine.url)):
        for looking in (["list"], ["list", "--grouped"], ["show", "E1"]):
            assert esb(*looking).exit_code == 0


@pytest.mark.parametrize("reason", ["", " ", "\udcff", "red \x1b[31m", "two\nlines", "nul\0"])
async def test_a_reason_is_words_on_one_line(running: tuple[SqlBuffer, Store], reason: str) -> None:
    said = esb("discard", "E1", "--reason", reason)
    assert (said.exit_code, acts(running[1])) == (2, [])
    assert "say it in words, on one line" in said.output
