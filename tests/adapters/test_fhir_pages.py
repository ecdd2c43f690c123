"""Searches of several pages: followed on their origin, whole or not at all; and the probe."""

from __future__ import annotations

import asyncio
import contextlib
import json as stdlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from adapters import fhir
from esb.spi import Adapter, Malformed, OutcomeUnknown, Unavailable
from tests.adapters.suite import make_call, peer
from tests.adapters.test_fhir_contract import http, read_http


@contextlib.asynccontextmanager
async def serving(answer: Callable[[str, int], bytes], **settings: Any) -> AsyncIterator[tuple[Adapter, list[str]]]:
    """An adapter and the request lines its server saw; ``answer`` is given the path and the port."""
    seen: list[str] = []
    ports: list[int] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path = (await read_http(reader)).split(b" ")[1].decode()
            seen.append(path)
            writer.write(answer(path, ports[0]))
            await writer.drain()

    async with peer(behave) as (_, port):
        ports.append(port)
        adapter = fhir.connect(fhir.Settings(base_url=f"http://127.0.0.1:{port}/fhir/", **settings))
        try:
            yield adapter, seen
        finally:
            await adapter.close()


def page(next_url: str = "", *identifiers: str, total: int | None = None) -> bytes:
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": total}
    bundle["entry"] = [{"resource": {"resourceType": "Slot", "id": each}} for each in identifiers]
    bundle["link"] = [{"relation": "next", "url": next_url}] if next_url else []
    return http(stdlib.dumps(bundle).encode())


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://127.0.0.2:{port}/fhir/Slot?p=2",
        "http://127.0.0.1:1/fhir/Slot?p=2",
        "https://127.0.0.1:{port}/fhir/Slot?p=2",
        "http://u:p@127.0.0.1:{port}/fhir/Slot?p=2",
        "//evil.invalid/Slot",
        "file:///etc/hosts",
    ],
)
async def test_a_next_page_on_another_origin_is_never_fetched(elsewhere: str) -> None:
    async with serving(lambda path, port: page(elsewhere.format(port=port), "1")) as (adapter, seen):
        with pytest.raises((Malformed, Unavailable)):
            await adapter.call("search Slot", {}, make_call())
        assert seen == ["/fhir/Slot"]


async def test_relative_next_links_are_followed_and_a_circle_is_left() -> None:
    def answer(path: str, port: int) -> bytes:
        return page("Slot?p=3", "2") if path.endswith("p=2") else page("Slot?p=2", "1")

    async with serving(answer) as (adapter, seen):
        with pytest.raises(Malformed, match="circle"):
            await adapter.call("search Slot", {}, make_call())
        assert seen == ["/fhir/Slot", "/fhir/Slot?p=2", "/fhir/Slot?p=3"]


async def test_a_next_link_with_plain_chinese_and_spaces_is_followed_as_it_is_meant() -> None:
    def answer(path: str, port: int) -> bytes:
        return page("", "2") if "p=2" in path else page(f"http://127.0.0.1:{port}/fhir/Slot?p=2&n=张 三%7C|x", "1")

    async with serving(answer) as (adapter, seen):
        found = await adapter.call("search Slot", {}, make_call())
        assert [entry["resource"]["id"] for entry in found["entry"]] == ["1", "2"]
        assert seen[1] == "/fhir/Slot?p=2&n=%E5%BC%A0%20%E4%B8%89%7C|x"


async def test_fewer_entries_than_the_server_counts_are_no_answer() -> None:
    async with serving(lambda path, port: page("", "1", "2", total=7)) as (adapter, _):
        with pytest.raises(Malformed, match="counts 7 matches and sent 2"):
            await adapter.call("search Slot", {}, make_call())
        counted = await adapter.call("search Slot", {"_summary": "count"}, make_call())
        assert counted["total"] == 7
    async with serving(lambda path, port: page("", "1", "2", total=7), overflow="cut") as (adapter, _):
        assert len((await adapter.call("search Slot", {}, make_call()))["entry"]) == 2


async def test_a_second_page_that_fails_fails_the_search() -> None:
    def answer(path: str, port: int) -> bytes:
        return http(b"", "500 Oops") if "p=2" in path else page("Slot?p=2", "1")

    async with serving(answer) as (adapter, _):
        call = make_call()
        with pytest.raises(OutcomeUnknown):
            await adapter.call("search Slot", {}, call)
        assert b"Slot?p=2" in call.wire.sent


async def test_an_answer_over_the_limit_is_malformed() -> None:
    async with serving(lambda path, port: page("", *"123456789"), max_answer_bytes=200) as (adapter, _):
        with pytest.raises(Malformed, match="larger than 200 bytes"):
            await adapter.call("search Slot", {}, make_call())


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "404 Not Found"])
async def test_any_answer_below_500_is_life(status: str) -> None:
    async with serving(lambda path, port: http(b"<html></html>", status)) as (adapter, seen):
        await adapter.probe(make_call())
        assert seen == ["/fhir/metadata?_summary=true"]


@pytest.mark.parametrize("answer", [http(b"", "503 Down"), b"\x00\x01\r\n\r\n"])
async def test_a_failing_server_is_no_life(answer: bytes) -> None:
    async with serving(lambda path, port: answer) as (adapter, _):
        with pytest.raises(Unavailable):
            await adapter.probe(make_call())
