"""The six outcomes, and everything else the pipeline may say, as HTTP answers."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade
from esb.model import Exchange, Result
from esb.store import StoreError
from tests.esb.facade.doubles import LOCK, ExamplePipeline, served
from tests.esb.facade.test_requests import KEY, problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "ORA-00942: table HIS.PATIENT 测试患者"


def lock(http: aiohttp.ClientSession) -> Any:
    return http.post("/v1/registrations/locks", json=LOCK, headers=KEY)


async def test_bytes_that_are_ready_go_out_as_they_are(http: aiohttp.ClientSession, pipeline: ExamplePipeline) -> None:
    pipeline.always("doctor.search", Outcome.DONE, encoded=b'{"items": [ ]}', replayed=True)
    async with http.get("/v1/doctors") as answer:
        assert await answer.read() == b'{"items": [ ]}'
        assert answer.headers["idempotency-replayed"] == "true"


async def test_while_the_journal_cannot_be_read_nothing_is_said_of_an_exchange(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(pipeline, "find", broken)
    async with http.get("/v1/exchanges/EX7") as answer:
        await problem(answer, 503, "store_unavailable")


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.UNKNOWN])
async def test_accepted_and_unknown_are_202_with_the_place_to_ask(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, contract: Contract, outcome: Outcome
) -> None:
    pipeline.always("registration.lock", outcome, code="outcome_unknown", message=SECRET)
    async with lock(http) as answer:
        assert answer.status == 202
        body = await answer.json()
        assert (body["exchange"], body["outcome"]) == ("EX1", outcome)
        assert answer.headers["location"] == "/v1/exchanges/EX1"
    async with http.get(answer.headers["location"]) as state:
        assert await state.json() == {"id": "EX1", "outcome": str(outcome), "final": False}
    pipeline.ended["EX1"] = Result(Outcome.DONE, "EX1", encoded=b'{"lockId":"L1"}')
    async with http.get(answer.headers["location"]) as state:
        assert await state.json() == {"id": "EX1", "outcome": "done", "final": True, "answer": {"lockId": "L1"}}


async def test_a_refused_exchange_is_shown_with_its_problem(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, contract: Contract
) -> None:
    pipeline.ended["EX7"] = Result(Outcome.REFUSED, "EX7", code="slot_full", message=SECRET)
    async with http.get("/v1/exchanges/EX7") as answer:
        state = await answer.json()
        assert contract.own["exchange.find"].check_answer(state) == []
    assert (state["problem"]["status"], state["problem"]["code"]) == (409, "slot_full")
    assert SECRET not in json.dumps(state, ensure_ascii=False)
    async with http.get("/v1/exchanges/EX8") as answer:
        await problem(answer, 404, "not_found")
    async with http.get("/v1/exchanges/-") as answer:
        await problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    ("code", "status", "shown"),
    [
        ("slot_full", 409, "slot_full"),
        ("slot_unknown", 422, "slot_unknown"),
        ("idempotency_conflict", 422, "idempotency_conflict"),
        ("idempotency_running", 409, "idempotency_running"),
        ("their_own_code", 422, "refused"),
        ("", 422, "refused"),
    ],
)
async def test_a_refusal_has_the_status_and_text_of_the_contract(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, code: str, status: int, shown: str
) -> None:
    pipeline.always("registration.lock", Outcome.REFUSED, code=code, message=SECRET)
    async with lock(http) as answer:
        text = await answer.text()
        body = json.loads(text)
    assert (answer.status, body["status"], body["code"], body["exchange"]) == (status, status, shown, "EX1")
    assert SECRET not in text
    assert body["message"]["zh"]
    if shown == "slot_full":
        assert body["message"] == {"zh": "该时段的号已约满", "en": "The slot is full"}


@pytest.mark.parametrize(
    ("outcome", "code", "status", "shown"),
    [
        (Outcome.UNAVAILABLE, "", 503, "unavailable"),
        (Outcome.UNAVAILABLE, "endpoint_down", 503, "endpoint_down"),
        (Outcome.UNAVAILABLE, "overloaded", 503, "overloaded"),
        (Outcome.UNAVAILABLE, "rate_limited", 429, "rate_limited"),
        (Outcome.UNAVAILABLE, "something_new", 503, "unavailable"),
        (Outcome.UNKNOWN, "", 503, "no_answer"),
        (Outcome.MALFORMED, "", 502, "malformed_answer"),
    ],
)
async def test_a_read_that_failed_says_so_and_when_to_come_back(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, outcome: Outcome, code: str, status: int, shown: str
) -> None:
    pipeline.always("doctor.search", outcome, code=code, message=SECRET, retry_after=7.2)
    async with http.get("/v1/doctors") as answer:
        body = await problem(answer, status, shown)
        assert answer.headers.get("retry-after") == (None if status == 502 else "8")
    assert SECRET not in json.dumps(body, ensure_ascii=False)


async def test_waiting_times_are_spread(contract: Contract, pipeline: ExamplePipeline) -> None:
    pipeline.always("doctor.search", Outcome.UNAVAILABLE, retry_after=10.0)
    async with served(Facade(contract, pipeline, jitter=lambda: 0.99)) as url, aiohttp.ClientSession(url) as http:
        async with http.get("/v1/doctors") as answer:
            assert answer.headers["retry-after"] == "15"


async def test_a_bug_is_500_with_the_exchange_and_without_its_text(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(exchange: Exchange) -> Result:
        raise RuntimeError(SECRET)

    pipeline.answers["registration.lock"] = pipeline.answers["doctor.search"] = fail
    async with lock(http) as answer:
        assert (await problem(answer, 500, "internal_error"))["exchange"] == "EX1"
        assert SECRET not in await answer.text()
    async with http.get("/v1/doctors") as answer:
        assert (await problem(answer, 500, "internal_error"))["exchange"] == "EX2"
    assert "request_failed" in capsys.readouterr().out


async def test_an_answer_without_json_form_is_a_bug_and_not_half_an_answer(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline
) -> None:
    pipeline.always("doctor.search", Outcome.DONE, body={"items": [1.5]})
    async with http.get("/v1/doctors") as answer:
        await problem(answer, 500, "internal_error")
