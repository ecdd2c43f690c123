"""Sockets: TLS, and what a reload changes of listeners that are at work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.hl7v2 import ListenerSettings, ServerTls, listen
from esb.clock import Ids, SystemClock
from esb.endpoint import Listening
from esb.errors import ConfigError
from esb.inbound import Inlet, Listeners
from esb.observe import Metrics
from esb.store import Store
from tests.adapters.test_hl7v2_wire import _certificate
from tests.esb.inbound.kit import Nobody, Sender, adt, at, callbacks, station
from tests.ports import free_port


async def test_the_listener_speaks_tls_and_wants_a_certificate_it_trusts(tmp_path: Path) -> None:
    pem, key = _certificate(tmp_path)
    tls = ServerTls(cert=pem, key=key, client_ca=pem)
    async with station(tmp_path, listen="mllps://127.0.0.1:0", tls=tls) as his:
        context = ssl.create_default_context(cafile=pem)
        context.load_cert_chain(pem, key)
        sender = Sender(*await asyncio.open_connection("127.0.0.1", his.port, ssl=context, server_hostname="his.test"))
        assert at(await sender.send(adt("M1")), "MSA", 1) == "AA"
        await sender.close()
        stranger = ssl.create_default_context(cafile=pem)
        other = Sender(*await asyncio.open_connection("127.0.0.1", his.port, ssl=stranger, server_hostname="his.test"))
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await other.send(adt("M2"))
        other.writer.transport.abort()
        assert [row.control for row in await his.rows()] == ["M1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "mllps://127.0.0.1:1", "tls": ServerTls(cert=Path("no.pem"), key=Path("no.pem"))},
    ],
)
def test_a_certificate_that_cannot_be_read_is_a_finding(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"tls\.cert"):
        listen(ListenerSettings(**settings))  # type: ignore[arg-type]


def inlet(folder: Path, port: int, *on: str, **settings: object) -> Inlet:
    made = listen(ListenerSettings(listen=f"mllp://127.0.0.1:{port}", **settings))  # type: ignore[arg-type]
    return Inlet(Listening("his", made, (port, settings)), callbacks(folder, *on))


@contextlib.asynccontextmanager
async def listeners(folder: Path, first: Inlet) -> AsyncIterator[Listeners]:
    store, clock, metrics = Store(f"sqlite:///{folder}/esb.db", Metrics()), SystemClock(), Metrics()
    await store.start()
    made = Listeners({"his": first}, store, Nobody(), clock=clock, ids=Ids(clock), metrics=metrics)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
        await store.close()


async def dial(port: int) -> Sender:
    return Sender(*await asyncio.open_connection("127.0.0.1", port))


async def take_up(made: Listeners, new: dict[str, Inlet]) -> None:
    made.bind(new)
    made.replace(new)
    await asyncio.sleep(0.05)


async def test_new_callbacks_meet_the_next_message_of_an_open_connection(tmp_path: Path) -> None:
    port = free_port()
    async with listeners(tmp_path, inlet(tmp_path, port, "ADT^A01")) as made:
        sender = await dial(port)
        assert at(await sender.send(adt("M1", kind="ADT^A02")), "MSA", 1) == "AR"
        await take_up(made, {"his": inlet(tmp_path, port, "ADT^A01", "ADT^A02")})
        assert at(await sender.send(adt("M1", kind="ADT^A02")), "MSA", 1) == "AA"
        await sender.close()


async def test_other_settings_at_the_same_address_close_old_connections_and_take_new_ones(tmp_path: Path) -> None:
    port = free_port()
    async with listeners(tmp_path, inlet(tmp_path, port, "ADT")) as made:
        old = await dial(port)
        await old.send(adt("M1"))
        await take_up(made, {"his": inlet(tmp_path, port, "ADT", acknowledge="enhanced")})
        assert await old.rest() == b""
        new = await dial(port)
        assert at(await new.send(adt("M2")), "MSA", 1) == "CA"
        await old.close()
        await new.close()


async def test_an_address_that_moves_is_left_and_one_that_is_taken_is_refused(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    async with listeners(tmp_path, inlet(tmp_path, port, "ADT")) as made:
        with socket.create_server(("127.0.0.1", other)):
            with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{other}"):
                made.bind({"his": inlet(tmp_path, other, "ADT")})
            sender = await dial(port)
            assert at(await sender.send(adt("M1")), "MSA", 1) == "AA", "the one in use goes on"
            await sender.close()
        await take_up(made, {"his": inlet(tmp_path, other, "ADT")})
        sender = await dial(other)
        assert at(await sender.send(adt("M2")), "MSA", 1) == "AA"
        await sender.close()
        with pytest.raises(OSError):
            await dial(port)
        await take_up(made, {})
        with pytest.raises(OSError):
            await dial(other)
