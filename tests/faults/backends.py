"""What a bus may stand on: {SQLite, PostgreSQL} x {the store's own queue, RabbitMQ}, each run on data of its own.

PostgreSQL and RabbitMQ are private nodes on free loopback ports, so that they can be killed; they are started once for
a test session and only when something asks for them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.faults.cluster import Cluster, missing
from tests.rabbit_node import Node, session_node

RUNS = int(os.environ.get("ESB_FAULT_RUNS", "1"))
"""How often each cell of a matrix is run; above 1 every backend runs every cell."""


@dataclass
class Backend:
    """One of the four. ``environ`` is what makes a bus use it; ``url`` is that of the store, for SQLAlchemy."""

    name: str
    url: str
    broker: str = ""
    cluster: Cluster | None = field(default=None, repr=False)
    node: Node | None = field(default=None, repr=False)

    @property
    def environ(self) -> dict[str, str]:
        return {"ESB_STORE": self.url, "ESB_BROKER": self.broker}

    def rows(self, text: str) -> list[sa.Row[tuple[object, ...]]]:
        """What a question to the store itself answers, beside the bus."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return list(connection.execute(sa.text(text)))

    def wipe(self) -> None:
        """RabbitMQ loses all that it had, its virtual hosts too."""
        assert self.node is not None
        self.node.wipe()

    def start_broker(self) -> None:
        """Start RabbitMQ again if it does not run, with our virtual host."""
        if self.node is None or self.node.is_up:
            return
        self.node.start()
        name = self.broker.rpartition("/")[2].partition("?")[0]
        if name not in self.node.ctl("list_vhosts").split():
            make_vhost(self.node, name)


NAMES = ("sqlite-sql", "sqlite-rabbit", "postgresql-sql", "postgresql-rabbit")


def absent(reason: str) -> None:
    """Skip where a service is not installed; on the build server that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def made(name: str, folder: Path, services: Services) -> Iterator[Backend]:
    """A backend with nothing in it, gone at the end."""
    store, _, queue = name.partition("-")
    with contextlib.ExitStack() as stack:
        cluster = services.postgresql() if store == "postgresql" else None
        node = services.rabbitmq() if queue == "rabbit" else None
        url = stack.enter_context(cluster.database()) if cluster else f"sqlite:///{folder / 'esb.db'}"
        broker = stack.enter_context(_vhost(node)) if node else ""
        yield Backend(name, url, broker, cluster, node)


def make_vhost(node: Node, name: str) -> None:
    node.ctl("add_vhost", name)
    node.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")


@contextlib.contextmanager
def _vhost(node: Node) -> Iterator[str]:
    """A virtual host of its own, deleted at the end."""
    name = f"t{secrets.token_hex(4)}"
    make_vhost(node, name)
    yield node.url.replace("%2F", name)
    node.ctl("delete_vhost", name)


class Services:
    """The private nodes of a session, each started when it is asked for first; ``close`` ends them."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._cluster: Cluster | None = None

    def postgresql(self) -> Cluster:
        if reason := missing():
            absent(reason)
        if self._cluster is None:
            self._cluster = Cluster()
            self._stack.callback(self._cluster.remove)
        if not self._cluster.is_up:
            self._cluster.start()
        return self._cluster

    def rabbitmq(self) -> Node:
        return session_node()

    def close(self) -> None:
        self._stack.close()
