"""RabbitMQ for tests: the one that runs on this machine, and private nodes that may be killed, wiped and alarmed.

node = session_node()           # one for all tests, started when it is asked for first; private_node() for one's own
    node.url                    # amqp://...
    node.kill(); node.start()   # kill -9, and again on the same port with the same data
    node.wipe()                 # all that it had is gone; when it runs it is killed first
    node.ctl("list_queues")     # rabbitmqctl

A private node has its own folder, cookie, name and epmd, all on free ports of 127.0.0.1, and leaves nothing running,
also when the tests are killed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from tests import guarded
from tests.ports import free_port

SHARED = "amqp://guest:guest@127.0.0.1:5672/%2F"
_SERVER = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
)
_START_LIMIT_S = 120.0
logging.getLogger("pika").setLevel(logging.CRITICAL)


def missing(reason: str) -> None:
    """Skip where there is no RabbitMQ; in CI that is a failure."""
    if os.environ.get("CI"):
        raise AssertionError(reason)
    pytest.skip(reason)


def shared_broker() -> str:
    """The address of the broker of this machine."""
    try:
        socket.create_connection(("127.0.0.1", 5672), 2).close()
    except OSError as error:
        missing(f"RabbitMQ does not run on 127.0.0.1:5672 ({type(error).__name__})")
    return SHARED


@contextlib.contextmanager
def own_prefix(url: str) -> Iterator[str]:
    """A prefix that nobody else uses; what was declared with it is deleted."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    yield prefix
    with contextlib.suppress(pika.exceptions.AMQPError):
        _delete(url, prefix)


def _delete(url: str, prefix: str) -> None:
    from esb.buffer.rabbit.topology import PRIORITIES, RUNGS, Names

    names = Names(prefix)
    rungs = [names.rung(seconds) for seconds in RUNGS]
    endpoints = ("his", "lis", "bench", "ehealth", "other")
    queues = [names.queue(endpoint, place) for endpoint in endpoints for place in range(len(PRIORITIES))]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in (*queues, names.dead, names.foreign, *rungs):
        channel.queue_delete(queue)
    for exchange in (names.direct, names.dead, *rungs):
        channel.exchange_delete(exchange)
    connection.close()


class Node:
    """One RabbitMQ node in ``folder``."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._bin, self._folder = server.parent, folder
        self.port, distribution, self._epmd_port = (free_port() for _ in range(3))
        self._name = f"esb{uuid.uuid4().hex[:8]}@localhost"
        self._process: subprocess.Popen[bytes] | None = None
        self._environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
        }
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        epmd = (shutil.which("epmd") or "epmd", "-port", str(self._epmd_port))
        self._epmd = guarded.start(*epmd, env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        """Its address for a user who may do everything."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F?heartbeat=2"

    @property
    def pid(self) -> int:
        """The process id of the running node."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it takes connections and work."""
        with (self._folder / "console.log").open("ab") as log:
            command = str(self._bin / "rabbitmq-server")
            self._process = guarded.start(command, env=self._environ, cwd=self._folder, stdout=log, stderr=log)
        until = time.monotonic() + _START_LIMIT_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "console.log").read_text("utf-8", "replace")
            assert time.monotonic() < until, f"RabbitMQ did not start within {_START_LIMIT_S:.0f} s"
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 the node and its helpers."""
        if self._process is not None:
            guarded.kill(self._process)
            self._process = None

    def wipe(self) -> None:
        """Delete all that it has; it does not run afterwards."""
        self.kill()
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def pause(self) -> None:
        """Let it stand still: connections stay open and nobody answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def ctl(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` prints."""
        command = [str(self._bin / "rabbitmqctl"), "-q", "-n", self._name, *arguments]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """End it and its epmd."""
        self.kill()
        guarded.kill(self._epmd)

    def _answers(self) -> bool:
        parameters: Any = pika.URLParameters(self.url)
        parameters.socket_timeout = parameters.stack_timeout = 2
        try:
            connection = pika.BlockingConnection(parameters)
            connection.channel()
            connection.close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True


@contextlib.contextmanager
def private_node() -> Iterator[Node]:
    """A node of our own, started; skips where RabbitMQ is not installed."""
    server = next((Path(one) for one in _SERVER if Path(one).exists()), None)
    if server is None or not shutil.which("epmd"):
        missing("RabbitMQ is not installed")
    assert server is not None
    with tempfile.TemporaryDirectory(prefix="rabbit", ignore_cleanup_errors=True) as name:
        node = Node(server, Path(name))
        try:
            node.start()
            yield node
        finally:
            node.close()


def session_node() -> Node:
    """The private node that all tests of a run share, each with a prefix or a virtual host of its own; it runs."""
    node = _session_node()
    if not node.is_up:
        node.start()
    return node


@functools.cache
def _session_node() -> Node:
    running = contextlib.ExitStack()
    node = running.enter_context(private_node())
    atexit.register(running.close)
    return node
