"""The buffer with a broker passes the contract of all buffers, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from esb.buffer.rabbit import Broker
from tests.esb.buffer.processes import LEASE_S
from tests.esb.buffer.rabbit_rig import Brokered
from tests.esb.buffer.suite import *  # noqa: F403
from tests.esb.buffer.suite import Rig
from tests.rabbit_node import own_prefix, shared_broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    with own_prefix(shared_broker()) as prefix:
        yield Broker(shared_broker(), prefix)


@pytest.fixture
async def rig(url: str, broker: Broker) -> AsyncIterator[Rig]:
    made = Brokered(url, broker)
    yield Rig(await made.process(), made.clock, made.crashed, made.state, LEASE_S)
    await made.close()
