"""Clients that never give up what they began: the same request under the same key until the bus has decided.

Everything that a client does and hears is noted in the site's log, before and after, for the checker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.faults.history import MESSAGE, Entry, Kind
from tests.faults.site import Site, note
from tests.journeys.conftest import lock_request

LOCK, UNLOCK = "registration.lock", "registration.unlock"
_UNDECIDED = ("idempotency_running", "outcome_unknown", "no_answer", "internal_error", "malformed_answer")
_END = b"\x1c\r"
_LONGEST_WAIT_S = 0.4


def kind_of(status: int, body: Mapping[str, Any]) -> Kind:
    """What an answer says about the intent."""
    if status == 202:
        return Kind.OK if body.get("outcome") == "accepted" else Kind.INFO
    if status < 300:
        return Kind.OK
    return Kind.INFO if body.get("code") in _UNDECIDED else Kind.FAIL


class Frontend:
    """A patient's frontend. ``tries`` bounds how often it asks for one thing; a refusal for good ends it sooner.

    ``retry_after`` is what the last answer asked for, in seconds; 0 when it did not.
    """

    def __init__(self, site: Site, session: aiohttp.ClientSession, name: str = "c", tries: int = 60) -> None:
        self._site, self._session, self._name, self._tries = site, session, name, tries
        self.retry_after = 0

    async def lock(self, order: str, slot: Mapping[str, Any]) -> Entry:
        """Take a place."""
        return await self._want(LOCK, order, "POST", "/v1/registrations/locks", lock_request(dict(slot), order))

    async def unlock(self, order: str) -> Entry:
        """Give it back."""
        return await self._want(UNLOCK, order, "DELETE", f"/v1/registrations/locks/{order}", None)

    async def _want(self, operation: str, order: str, method: str, path: str, body: Any) -> Entry:
        key = f"{operation[13]}-{order}"
        last = None
        for _ in range(self._tries):
            note(self._site.log, Kind.INVOKE, operation, key, subject=order, client=self._name)
            last = await self._ask(operation, order, key, method, path, body)
            if last.kind is Kind.INFO and last.exchange:
                last = await self._decided(last)
            if last.kind is Kind.OK or (last.kind is Kind.FAIL and last.status < 429):
                return last
            await asyncio.sleep(_LONGEST_WAIT_S)
        assert last is not None
        return last

    async def _decided(self, doubt: Entry) -> Entry:
        """What was in doubt, once it is settled; still in doubt when that takes too long."""
        for _ in range(self._tries):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                async with self._session.get(f"{self._site.url}/v1/exchanges/{doubt.exchange}") as answer:
                    state = await answer.json(content_type=None)
                if state.get("final"):
                    kind, status = (Kind.OK, 200) if state["outcome"] == "done" else (Kind.FAIL, 503)
                    known = {"subject": doubt.subject, "client": self._name, "status": status}
                    return note(self._site.log, kind, doubt.operation, doubt.key, **known)
            await asyncio.sleep(_LONGEST_WAIT_S)
        return doubt

    async def _ask(self, operation: str, order: str, key: str, method: str, path: str, body: Any) -> Entry:
        known: dict[str, Any] = {"subject": order, "client": self._name}
        try:
            headers = {"Idempotency-Key": key}
            async with self._session.request(method, self._site.url + path, json=body, headers=headers) as answer:
                told = await answer.json(content_type=None)
                self.retry_after = int(answer.headers.get("Retry-After", 0))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return note(self._site.log, Kind.INFO, operation, key, **known)
        exchange = told["exchange"] if answer.status == 202 else ""
        kind = kind_of(answer.status, told)
        return note(self._site.log, kind, operation, key, exchange=exchange, status=answer.status, **known)


def browsing(seconds: float = 10.0) -> aiohttp.ClientSession:
    """A session of many frontends; an answer is waited for so long."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=seconds))


async def send_message(site: Site, control: str, tries: int = 60) -> Entry:
    """A hospital system that tells us of a patient, again and again until it is acknowledged."""
    last = None
    for _ in range(tries):
        note(site.log, Kind.INVOKE, MESSAGE, control, client="hl7")
        verdict = await _exchange(site.mllp, _admission(control))
        kind = Kind.INFO if not verdict else Kind.OK if verdict == f"MSA|AA|{control}" else Kind.FAIL
        last = note(site.log, kind, MESSAGE, control, client="hl7")
        if kind is Kind.OK:
            return last
        await asyncio.sleep(_LONGEST_WAIT_S)
    assert last is not None
    return last


async def _exchange(port: int, message: bytes) -> str:
    """The MSA segment of the answer; empty when none came."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"\x0b" + message + _END)
                answer = (await reader.readuntil(_END)).decode()
            finally:
                writer.close()
            return next(line for line in answer.split("\r") if line.startswith("MSA"))
    return ""


def _admission(control: str) -> bytes:
    head = f"MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||ADT^A28^ADT_A05|{control}|P|2.5.1||||||UNICODE UTF-8"
    return f"{head}\rEVN|A28|20260115093000\rPID|1||P0000001^^^HIS^PI||测试患者||19000101|M\r".encode()
