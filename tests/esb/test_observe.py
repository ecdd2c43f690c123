"""Logs and metrics: what happened in one line, never what was said."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import pytest
import structlog

from esb import observe
from esb.clock import SHANGHAI
from esb.errors import Outcome
from tests.esb.kit import GOOD_LIST, GOOD_LOCK, running

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=SHANGHAI)


@pytest.fixture
def lines() -> Iterator[Any]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    observe.configure("info", lambda: NOW, stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_one_json_line_with_time_and_level(lines: Any) -> None:
    observe.get_logger().info("exchange_ended", exchange="EX1", outcome="done")
    assert lines() == [
        {
            "event": "exchange_ended",
            "exchange": "EX1",
            "outcome": "done",
            "level": "info",
            "time": "2026-01-15T09:30:00.000+08:00",
        }
    ]


def test_a_field_that_is_not_allowed_is_left_out_and_named(lines: Any) -> None:
    observe.get_logger().info("exchange_ended", body="<name>张三</name>", request={"idCard": "x"}, exchange="EX1")
    (line,) = lines()
    assert line["fields_left_out"] == ["body", "request"]
    assert "张三" not in json.dumps(line, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("11010119900307721X", "110101********721X"),
        ("id 110101900307721 end", "id 110101******721 end"),
        ("phone 13800138000", "phone 138****8000"),
        ("+8613800138000", "+86138****8000"),
        ("card 6222020200112233445", "card 6222********3445"),
        ("openid oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "openid oUpF****eS6o"),
        ("exchange 01KF13800138000ABCDEFGHJKM stays", "exchange 01KF13800138000ABCDEFGHJKM stays"),
        ("port 18080, 2026-01-15", "port 18080, 2026-01-15"),
    ],
)
def test_numbers_of_persons_are_masked(text: str, masked: str) -> None:
    assert observe.mask(text) == masked


def test_a_value_cannot_forge_a_line(lines: Any) -> None:
    observe.get_logger().info("exchange_ended", reason='x\r\n{"event":"forged"}', request_id="13800138000")
    (line,) = lines()
    assert line["event"] == "exchange_ended"
    assert line["request_id"] == "138****8000"


def test_an_exception_is_its_class_and_place_and_not_its_text(lines: Any) -> None:
    try:
        raise ValueError("张三 11010119900307721X")
    except ValueError as error:
        observe.get_logger().error("exchange_crashed", exc_info=error)
        logging.getLogger("aiohttp").error("it broke", exc_info=True)
    ours, theirs = lines()
    assert (ours["error"], theirs["error"]) == ("ValueError", "ValueError")
    assert ours["where"][-1].startswith("test_an_exception")
    assert "张三" not in json.dumps([ours, theirs], ensure_ascii=False)


def test_records_of_other_libraries_are_lines_too_from_warning_on(lines: Any) -> None:
    logging.getLogger("zeep").debug("HTTP POST <secret/>")
    logging.getLogger("zeep").info("HTTP POST <secret/>")
    logging.getLogger("zeep").warning("call for %s", "13800138000")
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("call for 138****8000", "zeep", "warning")


async def test_a_canary_passes_through_the_bus_without_a_trace_in_logs_and_metrics(lines: Any, tmp_path: Path) -> None:
    canary = "CANARY11010119900307721X"
    async with running(tmp_path) as bus:
        bus.his.does("List", GOOD_LIST, {"Code": "0", "Slots": [{"x": canary}]}, KeyError(canary))
        bus.his.does("Lock", GOOD_LOCK)
        outcomes = [(await bus.ask("slot.list", {"doctorId": canary})).outcome for _ in range(3)]
        await bus.ask("slot.lock", {"orderNo": canary, "slotId": canary}, "K1")
        await bus.ask("slot.list", {"doctorId": canary, canary: 1})
        from prometheus_client import generate_latest

        metrics = generate_latest(bus.metrics.registry).decode()
    assert outcomes == [Outcome.DONE, Outcome.MALFORMED, Outcome.UNAVAILABLE]
    text = json.dumps(lines())
    assert canary not in text + metrics
    assert [line["outcome"] for line in lines() if line["event"] == "exchange_ended"] == [
        "malformed",
        "unavailable",
        "done",
    ]


def test_every_field_that_the_bus_logs_is_one_that_is_written() -> None:
    files = [file for root in ("esb", "adapters", "envelopes") for file in Path(root).rglob("*.py")]
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))) if _logs(node)]
    assert len(calls) > 30
    names = {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}
    assert names - {"exc_info"} <= observe._ALLOWED


def _logs(node: ast.AST) -> TypeGuard[ast.Call]:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return is_call and node.func.attr in ("debug", "info", "warning", "error") and "log" in ast.unparse(node.func.value)
