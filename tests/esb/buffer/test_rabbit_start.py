"""A broker that is configured wrongly refuses the start and says what to do; one that is down does not (F10, F11)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelWrongStateError

from esb.buffer import Message
from esb.buffer.rabbit import Broker, RabbitBuffer, link
from esb.buffer.rabbit.hand import Hand
from esb.clock import SystemClock
from esb.errors import ConfigError
from esb.observe import Metrics
from esb.store import Store
from tests.esb.buffer.suite import HIS, row
from tests.esb.kit import until
from tests.rabbit_node import Node, own_prefix, session_node, shared_broker

Begin = Callable[[str, str], contextlib.AbstractAsyncContextManager[RabbitBuffer]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """A buffer on a store of its own, for the address and prefix of a broker."""
    store = Store(f"sqlite:///{tmp_path / 'esb.db'}", Metrics(), linger_s=0.001)
    await store.start()

    @asynccontextmanager
    async def begun(url: str, prefix: str) -> AsyncIterator[RabbitBuffer]:
        buffer = RabbitBuffer(store, SystemClock(), Broker(url, prefix), Metrics(), endpoints=[HIS])
        await buffer.start()
        try:
            yield buffer
        finally:
            await buffer.close()

    yield begun
    await store.close()


@pytest.fixture
def prefix() -> Iterator[str]:
    with own_prefix(shared_broker()) as found:
        yield found


async def refusal(begin: Begin, url: str, prefix: str) -> str:
    with pytest.raises(ConfigError) as caught:
        async with begin(url, prefix):
            pass
    (finding,) = caught.value.findings
    assert finding.file == "ESB_BROKER"
    return f"{finding.message}; {finding.hint}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("guest:guest", "guest:wrong-one"), "does not accept the user or the password"),
        (("%2F", "no-such-host"), "has no such host"),
        (("amqp://", "http://"), "is no address of a broker"),
    ],
)
async def test_a_wrong_address_is_refused_and_the_password_is_not_told(
    begin: Begin, prefix: str, change: tuple[str, str], said: str
) -> None:
    found = await refusal(begin, shared_broker().replace(*change), prefix)
    assert said in found
    assert "wrong-one" not in found


async def test_a_queue_with_other_arguments_is_refused_by_name(begin: Begin, prefix: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(shared_broker())) as connection:
        connection.channel().queue_declare(f"{prefix}.{HIS}.normal", durable=True)
    found = await refusal(begin, shared_broker(), prefix)
    assert f"{prefix}.{HIS}.normal" in found
    assert "ESB_BROKER_PREFIX" in found


async def test_what_is_no_broker_is_waited_for_and_intake_goes_on(begin: Begin, prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with begin(f"amqp://guest:guest@127.0.0.1:{port}/", prefix) as buffer:
        assert await buffer.accept(row("E1"), Message("E1", HIS, "slot.free")) is None
        assert await buffer.take(HIS, 1) == []
        assert buffer.length(HIS) == 1
    async with begin(shared_broker(), prefix) as buffer:
        (delivery,) = await until(lambda: buffer.take(HIS, 1))
        assert (delivery.message.id, await buffer.ack(delivery)) == ("E1", True)


@pytest.fixture
def node() -> Node:
    return session_node()


async def test_a_user_without_rights_is_refused_and_rights_on_the_prefix_are_enough(begin: Begin, node: Node) -> None:
    name = f"u{uuid.uuid4().hex[:8]}"
    url = node.url.replace("guest:guest", f"{name}:secret-word")
    node.ctl("add_user", name, "secret-word")
    node.ctl("set_permissions", name, "^$", "^$", "^$")
    found = await refusal(begin, url, "esb")
    assert "gives no right" in found
    assert "set_permissions" in found
    assert "secret-word" not in found
    node.ctl("set_permissions", name, *[r"^esb\."] * 3)
    async with begin(url, "esb") as buffer:
        await buffer.accept(row("E1"), Message("E1", HIS, "slot.free"))
        (delivery,) = await until(lambda: buffer.take(HIS, 1))
        assert await buffer.ack(delivery)


@pytest.mark.parametrize("error", [ChannelWrongStateError("closed"), RuntimeError("a mistake")])
async def test_a_connection_that_is_lost_while_it_is_set_up_is_begun_anew(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: nothing would be delivered any more."""

    class Opened:
        lost: asyncio.Future[Any]

        def __init__(self, _: Any) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        async def opened(self) -> None: ...

        async def close(self) -> None: ...

    monkeypatch.setattr(link, "Connection", Opened)
    errors, is_used = iter([error]), asyncio.Event()

    async def use(_: Any) -> None:
        if (failure := next(errors, None)) is not None:
            raise failure
        is_used.set()

    made = link.Link(
        "reading", Broker("amqp://127.0.0.1", "t").parameters(), use, lambda: None,
        metrics=Metrics(), uniform=lambda: 0.0, sleep=lambda _: asyncio.sleep(0),
    )  # fmt: skip
    async with asyncio.timeout(5):
        await made.start()
        await is_used.wait()
    await made.close()


async def test_a_queue_whose_consumer_could_not_be_opened_is_opened_with_the_next_connection(
    begin: Begin, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: the channel closes between two steps, for an endpoint whose worker has just begun."""
    opens, errors = Hand.open, iter([ChannelWrongStateError("closed")])

    async def fails_once(hand: Hand, connection: link.Connection) -> None:
        if (failure := next(errors, None)) is not None:
            raise failure
        await opens(hand, connection)

    monkeypatch.setattr(Hand, "open", fails_once)
    async with begin(shared_broker(), prefix) as buffer:
        await buffer.accept(row("E1"), Message("E1", "late", "slot.free"))
        (delivery,) = await until(lambda: buffer.take("late", 1))
        assert (delivery.message.id, await buffer.ack(delivery), list(errors)) == ("E1", True, [])
