"""The FHIR adapter against a server of other people's making: the Medplum router (tests/peers/fhir_server.mjs)."""

from __future__ import annotations

import json as stdlib
import os
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters import fhir
from esb.codecs import fhir as codec
from esb.spi import Adapter, Effect, Malformed, Refused
from tests.adapters.suite import make_call

PEERS = Path(__file__).resolve().parents[1] / "peers"


def _missing() -> str:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (PEERS / "node_modules" / "@medplum" / "fhir-router").is_dir():
        return "the peers are not installed: npm ci in tests/peers"
    return ""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if reason := _missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with subprocess.Popen(
        ["node", "fhir_server.mjs"], cwd=PEERS, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the peer ended before it listened"
        yield stdlib.loads(line)["port"]
        process.communicate(timeout=5)


Connect = Callable[..., Adapter]


@pytest.fixture
async def connect(port: int) -> AsyncIterator[Connect]:
    made: list[Adapter] = []

    def connect(**settings: Any) -> Adapter:
        made.append(fhir.connect(fhir.Settings(base_url=f"http://127.0.0.1:{port}/fhir/r4", **settings)))
        return made[-1]

    yield connect
    for adapter in made:
        await adapter.close()


@pytest.fixture
def server(connect: Connect) -> Adapter:
    return connect()


def _last_request(port: int) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/control/requests") as answer:
        found: dict[str, Any] = stdlib.load(answer)[-1]
    return found


def _patient(number: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:oid:2.16.156.10011.1.3", "value": number}],
        "name": [{"text": "测试 患者"}],
        "gender": "female",
    }


def _slot(status: str = "free", **more: Any) -> dict[str, Any]:
    start, end = "2026-01-16T08:30:00+08:00", "2026-01-16T09:00:00+08:00"
    return {"schedule": {"reference": "Schedule/R88"}, "status": status, "start": start, "end": end, **more}


async def _call(adapter: Adapter, action: str, payload: Any = None) -> Any:
    return await adapter.call(action, payload, make_call(5, Effect.ONCE))


async def test_what_is_created_is_read_back_by_id_and_by_version(server: Adapter, port: int) -> None:
    created = await _call(server, "create Patient", _patient("A1"))
    assert created["id"]
    read = await _call(server, "read Patient", {"id": created["id"]})
    assert read == created
    version = {"id": created["id"], "versionId": created["meta"]["versionId"]}
    assert await _call(server, "vread Patient", version) == created
    assert _last_request(port)["headers"]["x-request-id"] == make_call().exchange


async def test_a_conditional_create_twice_gives_the_same_patient(server: Adapter) -> None:
    condition = {"identifier": "urn:oid:2.16.156.10011.1.3|B1"}
    first = await _call(server, "create Patient", {**_patient("B1"), "_if_none_exist": condition})
    second = await _call(server, "create Patient", {**_patient("B1"), "_if_none_exist": condition})
    assert first["id"] == second["id"]
    found = await _call(server, "search Patient", condition)
    assert found["total"] == 1
    as_text = {**_patient("B1"), "_if_none_exist": "identifier=urn:oid:2.16.156.10011.1.3|B1"}
    assert (await _call(server, "create Patient", as_text))["id"] == first["id"]


@pytest.mark.parametrize("search_by", ["get", "post"])
async def test_a_search_brings_all_its_pages_in_one_bundle(connect: Connect, search_by: str) -> None:
    adapter = connect(search_by=search_by)
    family = f"page-{search_by}"
    for number in range(7):
        await _call(adapter, "create Organization", {"name": f"{family}-{number}", "active": True})
    call = make_call(5, Effect.READ)
    query = {"name": family, "_count": 2, "_sort": "name"}
    found = await adapter.call("search Organization", query, call)
    names = [each["name"] for each in codec.resources(found, "Organization")]
    assert names == [f"{family}-{number}" for number in range(7)]
    assert found["total"] == 7
    assert [link["relation"] for link in found["link"]] == ["self"]
    assert call.wire.received.count(b'"searchset"') == 4
    assert call.wire.sent.startswith(b"GET /fhir/r4/Organization?name=") == (search_by == "get")


async def test_a_search_beyond_the_limit_is_no_answer_unless_a_cut_was_asked_for(connect: Connect) -> None:
    strict, cutting = connect(max_pages=2), connect(max_entries=3, overflow="cut")
    for number in range(5):
        await _call(strict, "create Location", {"name": f"limit-{number}"})
    with pytest.raises(Malformed, match="more than 4 entries on 2 pages"):
        await _call(strict, "search Location", {"name": "limit", "_count": 2})
    cut = await _call(cutting, "search Location", {"name": "limit", "_count": 2})
    assert len(cut["entry"]) == 4
    assert [link["relation"] for link in cut["link"]] == ["self", "next"]
    assert len((await _call(cutting, "search Location", {"name": "limit", "_count": 5}))["entry"]) == 5


async def test_an_update_with_a_stale_version_is_a_conflict_and_changes_nothing(server: Adapter) -> None:
    first = await _call(server, "create Slot", _slot())
    held = await _call(
        server, "update Slot", {**first, "status": "busy-tentative", "_if_match": first["meta"]["versionId"]}
    )
    assert held["status"] == "busy-tentative"
    with pytest.raises(Refused) as refused:
        await _call(server, "update Slot", {**first, "status": "busy", "_if_match": first["meta"]["versionId"]})
    assert refused.value.code == "conflict"
    assert refused.value.raw
    assert (await _call(server, "read Slot", {"id": first["id"]}))["status"] == "busy-tentative"


async def test_a_conditional_update_finds_its_resource_by_search(server: Adapter) -> None:
    condition = {"identifier": "urn:oid:2.16.156.10011.1.3|C1"}
    created = await _call(server, "create Patient", _patient("C1"))
    updated = await _call(server, "update Patient", {**_patient("C1"), "gender": "other", "_search": condition})
    assert (updated["id"], updated["gender"]) == (created["id"], "other")


async def test_a_written_resource_is_known_by_its_location_when_nothing_comes_back(connect: Connect) -> None:
    adapter = connect(prefer="minimal")
    created = await _call(adapter, "create Slot", _slot())
    assert set(created) == {"resourceType", "id", "meta"}
    assert (await _call(adapter, "read Slot", {"id": created["id"]}))["meta"]["versionId"] == created["meta"][
        "versionId"
    ]


async def test_a_deleted_resource_is_gone(server: Adapter) -> None:
    created = await _call(server, "create Slot", _slot())
    deleted = await _call(server, "delete Slot", {"id": created["id"]})
    assert deleted["resourceType"] == "OperationOutcome"
    with pytest.raises(Refused) as refused:
        await _call(server, "read Slot", {"id": created["id"]})
    assert refused.value.code in ("not-found", "deleted")


async def test_an_operation_takes_simple_parameters(server: Adapter) -> None:
    created = await _call(server, "create Slot", _slot())
    held = await _call(server, "operation Slot/$hold", {"id": created["id"], "parameters": {"orderNo": "L1"}})
    assert (held["status"], held["comment"]) == ("busy-tentative", "L1")
    with pytest.raises(Refused) as refused:
        await _call(server, "operation Slot/$hold", {"id": "none", "parameters": {"orderNo": "L1"}})
    assert refused.value.code == "not-found"


def _entry(resource: dict[str, Any], url: str) -> dict[str, Any]:
    return {"request": {"method": "POST", "url": url}, "resource": resource}


async def test_a_good_transaction_is_answered_entry_by_entry(server: Adapter) -> None:
    entries = [_entry(_patient("D1"), "Patient"), _entry({"resourceType": "Slot", **_slot()}, "Slot")]
    answer = await _call(server, "transaction", {"entry": entries})
    assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["201", "201"]


async def test_a_half_done_transaction_is_no_success_and_names_the_failed_entry(server: Adapter) -> None:
    entries = [_entry(_patient("E1"), "Patient"), _entry(_patient("E2"), "Slot")]
    with pytest.raises(Malformed) as malformed:
        await _call(server, "transaction", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert "half done, 1 entries stand: entry 1 (POST Slot): 400 invalid" in malformed.value.reason
    assert malformed.value.raw
    kept = await _call(server, "search Patient", {"identifier": "urn:oid:2.16.156.10011.1.3|E1"})
    assert kept["total"] == 1  # this server kept it, so nothing else than malformed would have been true


async def test_a_transaction_of_which_nothing_was_done_is_refused(server: Adapter) -> None:
    with pytest.raises(Refused) as refused:
        await _call(server, "transaction", {"entry": [_entry(_patient("F1"), "Slot"), _entry(_patient("F2"), "Slot")]})
    assert refused.value.code == "invalid"
    assert "expected Slot, but found Patient" in refused.value.message
    assert "expected Slot" not in refused.value.reason


async def test_a_batch_leaves_its_failures_to_the_mapping(server: Adapter) -> None:
    entries = [_entry(_patient("G1"), "Patient"), {"request": {"method": "GET", "url": "Patient/none"}}]
    answer = await _call(server, "batch", {"entry": entries})
    assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["201", "404"]


async def test_an_unknown_id_is_refused_with_its_text_and_the_reason_tells_no_id(server: Adapter) -> None:
    with pytest.raises(Refused) as refused:
        await _call(server, "read Patient", {"id": "SECRETMARKER"})
    assert (refused.value.code, refused.value.message) == ("not-found", "Not found")
    assert "SECRETMARKER" not in str(refused.value)


async def test_answers_that_break_the_release_are_malformed_where_they_are_checked(
    connect: Connect, server: Adapter
) -> None:
    broken = await _call(server, "create Slot", {"status": "free"})
    checking = connect(validate="answers")
    with pytest.raises(Malformed, match=r"not valid R4: Slot\.schedule: Field required"):
        await _call(checking, "read Slot", {"id": broken["id"]})
    whole = await _call(server, "create Slot", _slot())
    assert await _call(checking, "read Slot", {"id": whole["id"]}) == whole


async def test_requests_that_break_the_release_are_refused_before_they_are_sent(connect: Connect) -> None:
    checking = connect(validate="requests")
    call = make_call()
    with pytest.raises(Refused, match=r"not valid R4: Patient\.gender: is not one of male, female") as refused:
        await checking.call("create Patient", {**_patient("H1"), "gender": "2"}, call)
    assert refused.value.code == "invalid"
    assert not call.wire.left


async def test_capabilities_are_read_and_the_probe_agrees(server: Adapter) -> None:
    assert (await _call(server, "capabilities"))["fhirVersion"] == "4.0.1"
    await server.probe(make_call())


@pytest.mark.skipif(bool(_missing()) and not os.environ.get("CI"), reason=_missing() or "peers are there")
def test_the_resources_of_r4_are_those_of_its_published_definitions() -> None:
    path = PEERS / "node_modules" / "@medplum" / "definitions" / "dist" / "fhir" / "r4" / "profiles-resources.json"
    definitions = codec.resources(stdlib.loads(path.read_bytes()), "StructureDefinition")
    names = {each["name"] for each in definitions if each["kind"] == "resource" and not each["abstract"]}
    assert codec.TYPES["R4"] == names - {"SubscriptionStatus"}  # which Medplum took over from R4B
