"""A running bus takes up changed files whole or not at all; what runs keeps what it began with."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from esb import lint
from esb.clock import SystemClock
from esb.config.files import Files
from esb.errors import Outcome, Unavailable
from esb.mapping import Mapping
from esb.observe import configure
from esb.pipeline import Version
from esb.pipeline.version import Lane
from esb.reload import RejectedError, _Watch, load
from tests.esb.kit import Gate, silence
from tests.esb.reloading import DOCTORS, LOCKED, ROUTES, SEARCH, Bus, reloading
from tests.esb.scripted.system import CONNECTED

NAME, NUMBER = "        name: $d.Name\n", "        name: $d.DoctorNo\n"


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure("info", SystemClock().now, stream)
    structlog.configure(cache_logger_on_first_use=False)
    yield stream
    structlog.reset_defaults()


def events(log: io.StringIO, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == name]


async def test_a_changed_mapping_is_taken_up_and_the_journal_says_which_version_answered(tmp_path: Path) -> None:
    async with reloading(tmp_path) as bus:
        first = bus.pipeline.version
        old = await bus.ask("doctor.search", {"keyword": "a"})
        bus.edit(SEARCH, NAME, NUMBER)
        await bus.reload()
        new = await bus.ask("doctor.search", {"keyword": "a"})
        rows = [await bus.row(one.exchange) for one in (old, new)]
        found = await bus.pipeline.find(new.exchange)
    assert [one.body["items"][0]["name"] for one in (old, new)] == ["A", "D007"]
    assert [row.version for row in rows] == [first, bus.pipeline.version]
    assert first != bus.pipeline.version
    assert found is not None
    assert found.version == bus.pipeline.version


async def test_a_changed_code_table_is_taken_up(tmp_path: Path) -> None:
    async with reloading(tmp_path) as bus:
        assert (await bus.doctor())["sex"] == "male"
        bus.edit("mappings/codes/gender_gbt2261.yaml", "male: '1'", "male: '7'")
        bus.edit("mappings/codes/gender_gbt2261.yaml", "female: '2'", "female: '1'")
        await bus.reload()
        assert (await bus.doctor())["sex"] == "female"


async def test_what_lint_refuses_is_kept_out_and_everybody_is_told_why(tmp_path: Path, log: io.StringIO) -> None:
    async with reloading(tmp_path) as bus:
        version = bus.pipeline.version
        bus.edit(SEARCH, "meaning(gender_gbt2261)", "meaning(gender_gbt2216)")
        bus.edit("mappings/his_soap/registration.find.yaml", "action:", "acton:")
        await bus.reload("rejected")
        state = bus.reloader.state()
        assert (await bus.doctor())["name"] == "A"
        value = bus.metrics.registry.get_sample_value
        assert value("config_rejected_findings") == state["rejected"]["findings"] >= 2
        assert value("config_info", {"version": version}) == 1
        bus.edit(SEARCH, "gbt2216", "gbt2261")
        bus.edit("mappings/his_soap/registration.find.yaml", "acton:", "action:")
        await bus.reload("unchanged")
        assert value("config_rejected_findings") == 0
        mended = bus.reloader.state()
    assert (state["version"], bus.pipeline.version) == (version, version)
    assert state["rejected"]["version"] != version
    assert re.match(rf"{tmp_path}/{SEARCH}:\d+:41: unknown code table", state["rejected"]["first"][0])
    assert "gender_gbt2216" in state["rejected"]["first"][0]
    told = events(log, "config_finding")
    assert len(told) == state["rejected"]["findings"]
    assert {Path(one["file"]).name for one in told} == {"doctor.search.yaml", "registration.find.yaml"}
    assert all(one["line"] for one in told)
    assert mended == {"version": version, "since": state["since"]}


async def test_a_changed_contract_needs_a_restart_and_a_comment_in_it_does_not(tmp_path: Path) -> None:
    async with reloading(tmp_path) as bus:
        bus.edit("schemas/doctors.yaml", "openapi: 3.1.0", "# doctors\nopenapi: 3.1.0")
        await bus.reload()
        bus.edit("schemas/doctors.yaml", "summary: 查询医生", "summary: 找医生")
        bus.edit(SEARCH, NAME, NUMBER)
        await bus.reload("rejected")
        (told,) = bus.reloader.state()["rejected"]["first"]
        assert (await bus.doctor())["name"] == "A"
    assert told.startswith(f"{tmp_path}/schemas/doctors.yaml: the contract has changed")
    assert "restart the bus" in told


async def test_an_exchange_maps_and_is_journalled_with_the_version_it_began_with(tmp_path: Path) -> None:
    gate = Gate(DOCTORS)
    async with reloading(tmp_path) as bus:
        first = bus.pipeline.version
        bus.his.does("SearchDoctors", gate, DOCTORS)
        slow = asyncio.create_task(bus.ask("doctor.search", {"keyword": "slow"}))
        await gate.entered.wait()
        bus.edit(SEARCH, NAME, NUMBER)
        await bus.reload()
        assert (await bus.doctor())["name"] == "D007"
        gate.open.set()
        result = await slow
        row = await bus.row(result.exchange)
    assert (result.body["items"][0]["name"], row.version) == ("A", first)


async def test_a_once_in_doubt_is_settled_with_its_own_version_while_that_lives(tmp_path: Path) -> None:
    gate = Gate({"ResultCode": "-999"})
    patient = ROUTES.replace(
        "registration.find: {to: his, timeout: 300ms}", "registration.find: {to: his, timeout: 9s}"
    )
    async with reloading(tmp_path, routes=patient) as bus:
        first = bus.pipeline.version
        bus.his.does("LockRegistration", silence())
        bus.his.does("FindRegistration", Unavailable("down"), gate, LOCKED)
        result = await bus.lock()
        await gate.entered.wait()
        bus.edit("mappings/his_soap/registration.find.yaml", "fee: $Lock.Fee | fen", "fee: $Lock.No | fen")
        await bus.reload()
        gate.open.set()
        row = await bus.settled(result.exchange)
    assert (result.outcome, row.state, row.version, json.loads(row.answer)["fee"]) == (
        Outcome.UNKNOWN, "done", first, 2500,
    )  # fmt: skip


async def test_what_a_broken_settle_mapping_left_unknown_is_settled_by_a_mended_one(tmp_path: Path) -> None:
    async def soon(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    async with reloading(tmp_path, sleep=soon) as bus:
        find = "mappings/his_soap/registration.find.yaml"
        bus.edit(find, "fee: $Lock.Fee | fen", "fee: $Lock.No | fen")
        await bus.reload()
        version = bus.pipeline.version
        bus.his.does("LockRegistration", silence())
        bus.his.does("FindRegistration", LOCKED)
        result = await bus.lock()
        bus.edit(find, "fee: $Lock.No | fen", "fee: $Lock.Fee | fen")
        await bus.reload()
        row = await bus.settled(result.exchange)
    assert (result.outcome, row.state, row.version) == (Outcome.UNKNOWN, "done", version)


async def test_an_endpoint_with_the_same_settings_keeps_connections_and_breaker(tmp_path: Path) -> None:
    async with reloading(tmp_path) as bus:
        bus.his.does("SearchDoctors", Unavailable("down"))
        for one in "abd":
            assert (await bus.ask("doctor.search", {"keyword": one})).code == "unavailable"
        bus.edit(SEARCH, NAME, NUMBER)
        bus.edit("routes.yaml", "    limits:", "    site: {code: H2}\n    limits:")
        await bus.reload()
        refused = await bus.ask("doctor.search", {"keyword": "c"})
        await bus.until(lambda: CONNECTED[-1].closed)
    assert (refused.code, bus.his.count("SearchDoctors")) == ("endpoint_down", 3)
    assert [one.calls for one in CONNECTED[1:]] == [[]]


async def test_an_endpoint_with_other_settings_is_new_and_the_old_one_ends_after_its_last_exchange(
    tmp_path: Path,
) -> None:
    gate = Gate(DOCTORS)
    async with reloading(tmp_path) as bus:
        bus.his.does("SearchDoctors", gate)
        slow = asyncio.create_task(bus.ask("doctor.search", {"keyword": "slow"}))
        await gate.entered.wait()
        bus.edit("routes.yaml", "address: first", "address: second")
        await bus.reload()
        new = CONNECTED[-1]
        new.does("SearchDoctors", DOCTORS)
        await bus.doctor()
        assert (new.settings.address, new.count("SearchDoctors"), bus.his.closed) == ("second", 1, False)
        gate.open.set()
        result = await slow
        await bus.until(lambda: bus.his.closed)
        assert not new.closed
    assert result.outcome is Outcome.DONE


async def test_the_breaker_that_is_shown_is_that_of_the_endpoint_in_use(tmp_path: Path) -> None:
    gates = [Gate(DOCTORS) for _ in range(3)]
    async with reloading(tmp_path) as bus:
        bus.his.does("SearchDoctors", *gates)
        slow = [asyncio.create_task(bus.ask("doctor.search", {"keyword": one})) for one in "abc"]
        for gate in gates:
            await gate.entered.wait()
        bus.edit("routes.yaml", "address: first", "address: second")
        await bus.reload()
        results = await asyncio.gather(*slow)
        value = bus.metrics.registry.get_sample_value
        assert value("breaker_state", {"endpoint": "his"}) == 0
        CONNECTED[-1].does("SearchDoctors", DOCTORS)
        await bus.doctor()
    assert {one.code for one in results} == {"no_answer"}


async def test_the_system_bears_no_more_calls_while_its_endpoint_is_replaced(tmp_path: Path) -> None:
    gate = Gate(DOCTORS)
    async with reloading(tmp_path) as bus:
        bus.edit("routes.yaml", "timeout: 300ms", "timeout: 20s")
        bus.edit("routes.yaml", "concurrency: 4", "concurrency: 1")
        await bus.reload()
        bus.his.does("SearchDoctors", gate)
        slow = asyncio.create_task(bus.ask("doctor.search", {"keyword": "slow"}))
        await gate.entered.wait()
        bus.edit("routes.yaml", "address: first", "address: second")
        await bus.reload()
        CONNECTED[-1].does("SearchDoctors", DOCTORS)
        waiting = asyncio.create_task(bus.ask("doctor.search", {"keyword": "next"}))
        await asyncio.sleep(0.05)
        assert CONNECTED[-1].calls == []
        gate.open.set()
        results = [await slow, await waiting]
    assert [one.outcome for one in results] == [Outcome.DONE] * 2


async def test_other_limits_hold_at_once_and_cost_no_connection(tmp_path: Path) -> None:
    gate = Gate(DOCTORS)
    async with reloading(tmp_path) as bus:
        bus.edit("routes.yaml", "concurrency: 4", "concurrency: 1")
        await bus.reload()
        bus.his.does("SearchDoctors", gate)
        first, second = (asyncio.create_task(bus.ask("doctor.search", {"keyword": one})) for one in "ab")
        await gate.entered.wait()
        assert bus.his.under_way == 1
        bus.edit("routes.yaml", "concurrency: 1", "concurrency: 2")
        await bus.reload()
        await bus.until(lambda: bus.his.under_way == 2)
        gate.open.set()
        assert [(await one).outcome for one in (first, second)] == [Outcome.DONE] * 2
    assert bus.his.most_under_way == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "asked"),
    [
        ("routes.yaml", "timeout: 300ms, cache", "timeout: 400ms, cache", 1),
        ("mappings/his_soap/registration.find.yaml", "action:", "# a note\naction:", 1),
        (SEARCH, NAME, NUMBER, 2),
        ("mappings/codes/gender_gbt2261.yaml", "source:", "# a note\nsource:", 2),
        ("routes.yaml", "    limits:", "    site: {code: H2}\n    limits:", 2),
    ],
)
async def test_the_cache_goes_on_unless_its_answers_may_be_other_ones(
    tmp_path: Path, file: str, old: str, new: str, asked: int
) -> None:
    async with reloading(tmp_path) as bus:
        await bus.doctor()
        bus.edit(file, old, new)
        await bus.reload()
        await bus.doctor()
    assert bus.his.count("SearchDoctors") == asked


async def test_a_new_secret_or_file_makes_a_new_connection(tmp_path: Path) -> None:
    secret, ca = tmp_path / "secrets" / "his", tmp_path / "ca.pem"
    async with reloading(tmp_path) as bus:
        secret.write_text("one", "utf-8")
        ca.write_text("one", "utf-8")
        bus.edit("routes.yaml", "address: first", "address: first, password: $secret.his, ca: $file.ca.pem")
        await bus.reload()
        version = bus.pipeline.version
        in_use = [CONNECTED[-1]]
        for file in (secret, ca):
            file.write_text("two", "utf-8")
            await bus.reload()
            in_use.append(CONNECTED[-1])
            await bus.until(lambda: in_use[-2].closed)
        assert not in_use[-1].closed
        assert (secret.read_text(), bus.pipeline.version != version) == ("two", True)
    password = in_use[1].settings.password
    assert password is not None
    assert password.get_secret_value() == "two"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("address: first", "address: first, password: $secret.his"),
        ("    limits:", "    site: {code: $secret.his}\n    limits:"),
    ],
)
async def test_a_new_secret_is_taken_up_and_is_no_new_version(tmp_path: Path, old: str, new: str) -> None:
    async with reloading(tmp_path) as bus:
        (tmp_path / "secrets" / "his").write_text("one", "utf-8")
        bus.edit("routes.yaml", old, new)
        await bus.reload()
        version = bus.pipeline.version
        (tmp_path / "secrets" / "his").write_text("two", "utf-8")
        await bus.reload()
    assert bus.pipeline.version == version


async def test_a_route_that_is_gone_answers_no_more_and_one_that_came_does(tmp_path: Path) -> None:
    other = "  other:\n    adapter: system\n    dialect: his_soap\n    settings: {address: other}\nroutes:\n"
    async with reloading(tmp_path) as bus:
        bus.edit("routes.yaml", "  doctor.search: {to: his, timeout: 300ms, cache: 60s}\n", "")
        bus.edit("routes.yaml", "routes:\n", other + "  schedule.list: {to: other}\n")
        await bus.reload()
        gone = await bus.ask("doctor.search", {})
        value = bus.metrics.registry.get_sample_value
        assert set(await bus.pipeline.probe()) == {"his", "other"}
        assert value("endpoint_in_flight", {"endpoint": "other"}) == 0
        (tmp_path / "routes.yaml").write_text(ROUTES, "utf-8")
        await bus.reload()
        await bus.until(lambda: value("endpoint_in_flight", {"endpoint": "other"}) is None)
        assert value("breaker_state", {"endpoint": "other"}) is None
        assert (await bus.doctor())["name"] == "A"
        assert set(await bus.pipeline.probe()) == {"his"}
    assert (gone.outcome, gone.code) == (Outcome.UNAVAILABLE, "no_route")


async def test_one_at_a_time_and_the_last_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go, real = threading.Event(), threading.Event(), lint.load
    at_once = most = 0

    def slow(*arguments: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        entered.set()
        go.wait(10)
        plan = real(*arguments)
        at_once -= 1
        return plan

    async with reloading(tmp_path) as bus:
        monkeypatch.setattr(lint, "load", slow)
        bus.edit(SEARCH, NAME, NUMBER)
        bus.reloader.request()
        await asyncio.to_thread(entered.wait, 10)
        bus.edit(SEARCH, NUMBER, "        name: $d.DeptName\n")
        for _ in range(5):
            bus.reloader.request()
        go.set()
        await bus.until(lambda: bus.reloads("loaded") + bus.reloads("unchanged") == 2)
        assert (await bus.doctor())["name"] == "E"
    assert most == 1


async def test_a_fault_of_the_loader_itself_is_told_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("x")

    async with reloading(tmp_path) as bus:
        with monkeypatch.context() as patched:
            patched.setattr(lint, "load", broken)
            await bus.reload("failed")
        assert "cannot be loaded: KeyError" in bus.reloader.state()["rejected"]["first"][0]
        assert events(log, "config_not_reloaded")[0]["error"] == "KeyError"
        await bus.reload("unchanged")
        assert "rejected" not in bus.reloader.state()
        assert (await bus.doctor())["name"] == "A"


def test_files_that_change_while_they_are_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus, real, loads = Bus(tmp_path), lint.load, 0

    def editing(*arguments: Any) -> Any:
        nonlocal loads
        plan = real(*arguments)
        loads += 1
        if loads == 1:
            bus.edit(SEARCH, NAME, NUMBER)
        return plan

    monkeypatch.setattr(lint, "load", editing)
    loaded = load(bus.settings, {}, SystemClock(), bus.metrics)
    assert (loads, loaded.digests) == (2, Files(bus.settings).read())

    def never_still(*arguments: Any) -> Any:
        bus.append(SEARCH, "#\n")
        return real(*arguments)

    monkeypatch.setattr(lint, "load", never_still)
    with pytest.raises(RejectedError, match="change while they are read"):
        load(bus.settings, {}, SystemClock(), bus.metrics)


def test_a_file_that_is_gone_between_two_looks_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, real, loads = Bus(tmp_path), lint.load, 0
    file = tmp_path / SEARCH
    text = file.read_text("utf-8")

    def vanishing(*arguments: Any) -> Any:
        nonlocal loads
        loads += 1
        if loads == 1:
            file.unlink()
            file.read_bytes()
        file.write_text(text, "utf-8")
        return real(*arguments)

    monkeypatch.setattr(lint, "load", vanishing)
    file.write_text(text, "utf-8")
    assert load(bus.settings, {}, SystemClock(), bus.metrics).digests == Files(bus.settings).read()


def test_a_pipe_among_the_files_is_named_and_not_waited_for(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    os.mkfifo(bus.settings.mappings / "codes" / "pipe.yaml")
    with pytest.raises(RejectedError, match=r"pipe\.yaml: cannot be read: it is no file"):
        load(bus.settings, {}, SystemClock(), bus.metrics)


async def test_the_watch_waits_until_the_files_are_quiet(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    watch = _Watch(Files(bus.settings), 1.0)
    assert [await watch.has_news() for _ in range(3)] == [False, True, False]
    for note in "abc":
        bus.append(SEARCH, f"# {note}\n")
        assert not await watch.has_news()
    assert [await watch.has_news() for _ in range(3)] == [True, False, False]


async def test_the_watch_sees_a_replaced_file_a_new_one_and_a_moved_link(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    table = tmp_path / "mappings" / "codes" / "session_dhc.yaml"
    volumes = [tmp_path / name for name in ("..one", "..two")]
    for volume in volumes:
        volume.mkdir()
        (volume / table.name).write_bytes(table.read_bytes())
    (tmp_path / "data").symlink_to(volumes[0])
    table.unlink()
    table.symlink_to(tmp_path / "data" / table.name)
    watch = _Watch(Files(bus.settings), 1.0)

    async def seen() -> bool:
        return [await watch.has_news() for _ in range(3)] == [False, True, False]

    assert await seen()
    copy = tmp_path / "copy"
    copy.write_bytes((tmp_path / SEARCH).read_bytes())
    os.replace(copy, tmp_path / SEARCH)
    assert await seen()
    (tmp_path / "mappings" / "parts").mkdir(exist_ok=True)
    (tmp_path / "mappings" / "parts" / "new.yaml").write_text("a: {}\n", "utf-8")
    assert await seen()
    os.replace(_link(tmp_path, volumes[1]), tmp_path / "data")
    assert await seen()
    (tmp_path / "mappings" / "codes" / ".session_dhc.yaml").write_text("x", "utf-8")
    assert [await watch.has_news() for _ in range(3)] == [False] * 3


def _link(folder: Path, target: Path) -> Path:
    link = folder / "link"
    link.symlink_to(target)
    return link


async def test_watched_files_are_taken_up_by_themselves_and_touched_ones_are_not(tmp_path: Path) -> None:
    async with reloading(tmp_path, watch=0.02) as bus:
        bus.edit(SEARCH, NAME, NUMBER)
        await bus.until(lambda: bus.reloads("loaded") == 1)
        assert (await bus.doctor())["name"] == "D007"
        (tmp_path / SEARCH).touch()
        bus.edit("mappings/his_soap/schedule.list.yaml", "action:", "# unused\naction:")
        await bus.until(lambda: bus.reloads("loaded") == 2)
        (tmp_path / SEARCH).touch()
        await asyncio.sleep(0.15)
        assert (bus.reloads("loaded"), bus.reloads("unchanged")) == (2, 0)


def test_the_version_is_that_of_the_content_wherever_it_stands(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        digests.append(Files(Bus(tmp_path / name).settings).read())
    assert digests[0].version == digests[1].version
    assert len(digests[0].version) == 12


async def test_two_hundred_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    def alive() -> list[int]:
        gc.collect()
        kinds = (lint.Plan, Version, Lane, Mapping)
        return [sum(type(one) is kind for one in gc.get_objects()) for kind in kinds]

    async with reloading(tmp_path) as bus:
        before = alive()
        for number in range(200):
            bus.append(SEARCH, f"# {number}\n")
            await bus.reload()
            assert (await bus.doctor())["name"] == "A"
        await asyncio.sleep(0.05)
        after = alive()
    assert bus.reloads("loaded") == 200
    assert after == before
