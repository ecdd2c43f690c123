"""Requests over real HTTP: what becomes the request tree, and what is refused with which reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from esb.facade import CATALOGUE
from tests.esb.facade.doubles import LOCK, ExamplePipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
KEY = {"Idempotency-Key": "k-1"}
JSON = {"Content-Type": "application/json"}


async def problem(answer: aiohttp.ClientResponse, status: int, code: str) -> dict[str, Any]:
    """The body, after checking that it is a whole RFC 9457 problem of the catalogue."""
    assert answer.status == status, await answer.text()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = json.loads(await answer.read())
    assert body["code"] == code
    assert set(body) == {"type", "title", "status", "detail", "code", "message", "exchange", "errors"}
    assert body["status"] == status == CATALOGUE[code].status
    assert body["type"] == f"urn:hospital-esb:problem:{code}"
    assert body["message"] == {"zh": CATALOGUE[code].zh, "en": CATALOGUE[code].en}
    assert answer.headers["x-request-id"]
    return body


def errors(body: Mapping[str, Any]) -> dict[str, str]:
    return {error["pointer"]: error["code"] for error in body["errors"]}


async def test_query_and_path_become_typed_fields(http: aiohttp.ClientSession, pipeline: ExamplePipeline) -> None:
    async with http.get("/v1/departments", params={"level": "2", "keyword": "内科 +&=%", "parentId": "D01"}) as answer:
        assert answer.status == 200
        assert await answer.json() == pipeline.example("department.list")
    assert pipeline.begun[-1].request == {"level": 2, "keyword": "内科 +&=%", "parentId": "D01"}
    async with http.get("/v1/patients/P%3A1%7C2/reports?kind=lab&") as answer:
        assert answer.status == 200
    assert pipeline.begun[-1].request == {"patientId": "P:1|2", "kind": "lab"}


async def test_a_body_becomes_the_request_and_the_answer_is_created(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline
) -> None:
    headers = KEY | {"X-Request-Id": "abc/1", "Content-Type": "application/json; charset=UTF-8"}
    async with http.post("/v1/registrations/locks", data=json.dumps(LOCK), headers=headers) as answer:
        assert answer.status == 201
        assert answer.headers["x-request-id"] == "abc/1"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "application/json"
    exchange = pipeline.begun[-1]
    assert (exchange.request, exchange.key, exchange.request_id) == (LOCK, "k-1", "abc/1")
    assert exchange.principal == "anonymous"


async def test_a_whole_number_with_a_point_becomes_an_integer(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline
) -> None:
    for text, fee in (("2500.0", 2500), ("25e2", 2500), ("2500", 2500)):
        data = json.dumps(LOCK).replace('"fee": 2500', f'"fee": {text}')
        async with http.post("/v1/registrations/locks", data=data, headers=KEY | JSON) as answer:
            assert answer.status == 201, text
        assert (pipeline.begun[-1].request["fee"], type(pipeline.begun[-1].request["fee"])) == (fee, int)
    for text in ("25.5", "1e300", "1e-3"):
        data = json.dumps(LOCK).replace('"fee": 2500', f'"fee": {text}')
        async with http.post("/v1/registrations/locks", data=data, headers=KEY | JSON) as answer:
            assert set(errors(await problem(answer, 422, "invalid_request"))) == {"/fee"}


async def test_a_key_is_accepted_where_it_is_not_required(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline
) -> None:
    async with http.delete("/v1/registrations/locks/R1", headers=KEY) as answer:
        assert answer.status == 200
    assert pipeline.begun[-1].key == "k-1"


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "ключ", "<script>"])
async def test_an_unsafe_request_id_is_replaced(url: str, http: aiohttp.ClientSession, value: str) -> None:
    async with http.get("/v1/doctors", headers={"X-Request-Id": value}) as answer:
        given = answer.headers["x-request-id"]
    assert given != value
    assert len(given) == 26


async def test_every_wrong_field_is_told_at_once(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/schedules?form=2026-01-01&to=2026-02-30&doctorId=&to=2026-01-01") as answer:
        body = await problem(answer, 422, "invalid_request")
    named = {(one["pointer"], one["code"]) for one in body["errors"]}
    assert {("/form", "unknown_field"), ("/to", "repeated"), ("/to", "wrong_format"), ("/from", "missing")} <= named
    hint = next(one for one in body["errors"] if one["pointer"] == "/form")
    assert "did you mean 'from'?" in hint["en"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("level=two", "wrong_type"),
        ("level=2.0", "wrong_type"),
        ("level=", "wrong_type"),
        ("level=9", "too_large"),
        ("level=%2B2", "wrong_type"),
        ("level=1e1", "wrong_type"),
        ("level=999999999999999999999", "wrong_type"),
    ],
)
async def test_a_query_text_that_is_no_number_stays_text_and_is_named(
    http: aiohttp.ClientSession, query: str, code: str
) -> None:
    async with http.get(f"/v1/departments?{query}") as answer:
        assert errors(await problem(answer, 422, "invalid_request")) == {"/level": code}


async def test_wrong_body_fields_are_told_by_the_pipelines_validation(http: aiohttp.ClientSession) -> None:
    body = {**LOCK, "fee": "25", "orderNO": "x"}
    async with http.post("/v1/registrations/locks", json=body, headers=KEY) as answer:
        found = await problem(answer, 422, "invalid_request")
    assert errors(found) == {"/fee": "wrong_type", "/orderNO": "unknown_field"}
    assert found["exchange"] == "EX1"


@pytest.mark.parametrize("data", ["[]", "1", '"x"', "null", "[{}]"])
async def test_a_body_that_is_no_object_is_a_wrong_field(http: aiohttp.ClientSession, data: str) -> None:
    async with http.post("/v1/patients/search", data=data, headers=JSON) as answer:
        assert errors(await problem(answer, 422, "invalid_request"))[""] == "wrong_type"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"{", "line 1"),
        (b'{"a":1,"a":2}', "duplicate key 'a'"),
        (b"[" * 33 + b"]" * 33, "deeper than 32"),
        (b"[" * 100_000, "deeper than 32"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":"\\u0000"}', "control character"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
    ],
)
async def test_a_body_that_is_not_strict_json_is_400_with_the_reason(
    http: aiohttp.ClientSession, data: bytes, reason: str
) -> None:
    async with http.post("/v1/patients/search", data=data, headers=JSON) as answer:
        assert reason in (await problem(answer, 400, "json_malformed"))["detail"]


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not beside this checkout")
async def test_the_json_corpus_is_refused_where_it_must_be(http: aiohttp.ClientSession) -> None:
    files = sorted((CORPUS / "json-parsing" / "test_parsing").glob("*.json"))
    seen = {"n": 0, "y": 0}
    for file in files:
        async with http.post("/v1/patients/search", data=file.read_bytes(), headers=JSON) as answer:
            body = json.loads(await answer.read())
            kind = file.name[0]
            if kind == "n":
                assert (answer.status, body["code"]) == (400, "json_malformed"), file.name
            elif kind == "y" and body["code"] == "json_malformed":  # stricter than RFC 8259, as codecs/json says
                assert "duplicate key" in body["detail"] or "control character" in body["detail"], file.name
            assert answer.status in (400, 422), file.name
            seen[kind] = seen.get(kind, 0) + 1
    assert seen["n"] > 50
    assert seen["y"] > 30


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not beside this checkout")
async def test_naughty_strings_arrive_unchanged_or_are_refused(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline
) -> None:
    lines = [line for line in json.loads((CORPUS / "naughty-strings" / "blns-half.json").read_bytes()) if line]
    for line in lines:
        query = {"documentType": "other", "documentNumber": "1", "name": line}
        async with http.post("/v1/patients/search", json=query) as answer:
            assert answer.status in (200, 400, 422), line
            if answer.status == 200:
                assert pipeline.begun[-1].request["name"] == line
        async with http.get("/v1/doctors", params={"keyword": line}) as answer:
            assert answer.status in (200, 400, 422), line
            if answer.status == 200:
                assert pipeline.begun[-1].request["keyword"] == line


@pytest.mark.parametrize(
    "media_type", ["text/json", "application/xml", "", "application/json; charset=gbk", "application/jsonx"]
)
async def test_only_json_is_taken(http: aiohttp.ClientSession, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    async with http.post("/v1/patients/search", data=b"{}", headers=headers) as answer:
        await problem(answer, 415, "media_type_unsupported")


async def test_a_compressed_body_is_not_taken(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/patients/search", data=b"{}", headers=JSON | {"Content-Encoding": "gzip"}) as answer:
        await problem(answer, 415, "media_type_unsupported")


async def test_a_name_of_300_kb_is_over_the_limit(http: aiohttp.ClientSession) -> None:
    async def chunks() -> Any:
        yield b'{"name":"'
        for _ in range(300):
            yield b"x" * 1024

    async with http.post("/v1/patients/search", data=chunks(), headers=JSON) as answer:
        await problem(answer, 413, "body_too_large")


async def test_a_body_where_none_belongs_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.delete("/v1/registrations/locks/R1", json={"force": True}) as answer:
        await problem(answer, 400, "body_unexpected")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "idempotency_key_missing"),
        ([("Idempotency-Key", "")], "idempotency_key_malformed"),
        ([("Idempotency-Key", "a b")], "idempotency_key_malformed"),
        ([("Idempotency-Key", "x" * 129)], "idempotency_key_malformed"),
        ([("Idempotency-Key", "a"), ("Idempotency-Key", "a")], "idempotency_key_malformed"),
    ],
)
async def test_what_happens_once_needs_one_good_key(
    http: aiohttp.ClientSession, pipeline: ExamplePipeline, headers: list[tuple[str, str]], code: str
) -> None:
    async with http.post("/v1/registrations/locks", json=LOCK, headers=headers) as answer:
        await problem(answer, 400, code)
    assert pipeline.begun == []


async def test_an_unknown_address_is_404_and_another_method_405(http: aiohttp.ClientSession) -> None:
    for path in (
        "/",
        "/v1",
        "/v1/",
        "/v1/departments/",
        "/v1/nothing",
        "/v1/reports/",
        "/v1/reports/a/b",
        "/v2/doctors",
        "/docs/../../x",
    ):
        async with http.get(path) as answer:
            await problem(answer, 404, "route_unknown")
    async with http.put("/v1/registrations/locks/R1") as answer:
        await problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "DELETE, GET"
    async with http.post("/healthz") as answer:
        await problem(answer, 405, "method_not_allowed")
    async with http.head("/v1/doctors") as answer:
        assert answer.status == 405


async def test_an_escaped_slash_is_part_of_a_value_and_never_another_path(
    http: aiohttp.ClientSession, url: str
) -> None:
    async with http.get(URL(f"{url}/v1/reports/..%2Fdoctors", encoded=True)) as answer:
        assert errors(await problem(answer, 422, "invalid_request")) == {"/reportId": "wrong_pattern"}


async def test_limits_of_target_and_headers(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/doctors?keyword=" + "x" * 9000) as answer:
        await problem(answer, 414, "uri_too_long")
    async with http.get("/v1/doctors", headers={f"X-{n}": "y" * 1000 for n in range(20)}) as answer:
        await problem(answer, 431, "headers_too_large")
