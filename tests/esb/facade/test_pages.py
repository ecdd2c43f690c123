"""The contract and its browser, health and metrics."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import openapi_spec_validator
import pytest
from prometheus_client.parser import text_string_to_metric_families

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade
from tests.esb.facade.doubles import ExamplePipeline, served

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_merged_contract_is_served_and_not_sent_twice(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/openapi.json") as answer:
        assert answer.headers["content-type"] == "application/json"
        document = json.loads(await answer.read())
        tag = answer.headers["etag"]
    openapi_spec_validator.validate(document)
    assert "/v1/registrations/locks/{orderNo}" in document["paths"]
    for known in (tag, f'"x", W/{tag}', "*"):
        async with http.get("/v1/openapi.json", headers={"If-None-Match": known}) as answer:
            assert answer.status == 304
            assert await answer.read() == b""
    async with http.get("/v1/openapi.json", headers={"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200


async def test_the_contract_can_be_browsed_without_a_network(http: aiohttp.ClientSession) -> None:
    async with http.get("/docs") as answer:
        page = await answer.text()
        policy = answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]* src=)", page)
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    for address in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        async with http.get(address) as answer:
            assert answer.status == 200, address
            assert answer.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
    async with http.get("/docs/", allow_redirects=False) as answer:
        assert answer.headers["location"] == "/docs"
    async with http.get("/docs/swagger-ui.LICENSE.txt") as answer:
        assert "Apache License" in await answer.text()


async def test_health_says_that_the_process_is_up(http: aiohttp.ClientSession) -> None:
    async with http.get("/healthz", headers={"X-Request-Id": "r1"}) as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "up"})
        assert answer.headers["x-request-id"] == "r1"


async def test_readiness_lists_what_is_down_and_probes_once_for_many_askers(
    contract: Contract, pipeline: ExamplePipeline
) -> None:
    pipeline.down = {"his": None, "fhir": "connection refused"}
    async with served(Facade(contract, pipeline)) as url, aiohttp.ClientSession(url) as http:

        async def ask() -> tuple[int, object]:
            async with http.get("/readyz") as answer:
                return answer.status, await answer.json()

        answers = await asyncio.gather(*(ask() for _ in range(20)))
    expected = {
        "status": "down",
        "endpoints": {"fhir": {"status": "down", "reason": "connection refused"}, "his": {"status": "up"}},
    }
    assert answers == [(503, expected)] * 20
    assert pipeline.probes == 1


async def test_ready_when_every_endpoint_is_up_and_down_once_it_stops_accepting(
    contract: Contract, pipeline: ExamplePipeline
) -> None:
    facade = Facade(contract, pipeline)
    async with served(facade) as url, aiohttp.ClientSession(url) as http:
        async with http.get("/readyz") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "ready")
        facade.stop_accepting()
        async with http.get("/readyz") as answer:
            assert answer.status == 503
        async with http.get("/v1/doctors") as answer:
            assert answer.status == 503
            assert (await answer.json(content_type=None))["code"] == "shutting_down"
            assert int(answer.headers["retry-after"]) >= 1
        async with http.get("/healthz") as answer:
            assert answer.status == 200


async def test_a_rejected_configuration_is_told_and_the_bus_stays_ready(
    contract: Contract, pipeline: ExamplePipeline
) -> None:
    told = {"version": "v1", "since": "2026-01-15T09:30:00+08:00", "rejected": {"version": "v2", "findings": 1}}
    async with served(Facade(contract, pipeline, configuration=lambda: told)) as url:
        async with aiohttp.ClientSession(url) as http, http.get("/readyz") as answer:
            assert (answer.status, (await answer.json())["configuration"]) == (200, told)


async def test_metrics_count_by_operation_and_status(contract: Contract, pipeline: ExamplePipeline) -> None:
    pipeline.always("doctor.search", Outcome.MALFORMED)
    async with served(Facade(contract, pipeline)) as url, aiohttp.ClientSession(url) as http:
        for path in ("/v1/doctors", "/v1/doctors", "/v1/departments", "/v1/departments?levle=1"):
            async with http.get(path):
                pass
        async with http.get("/metrics") as answer:
            families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    counted = {
        (sample.labels["operation"], sample.labels["status"]): sample.value
        for sample in families["http_requests"].samples
        if sample.name == "http_requests_total"
    }
    assert counted == {("doctor.search", "502"): 2, ("department.list", "200"): 1, ("department.list", "422"): 1}
    assert "http_request_seconds" in families
