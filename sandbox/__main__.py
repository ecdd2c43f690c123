"""`python -m sandbox --http 18080 --mllp 12575 --state DIR`: the simulated hospital, on 127.0.0.1 only."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from sandbox.app import Sandbox
from sandbox.http_server import HttpProtocol
from sandbox.mllp import serve_mllp


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A whole simulated hospital on 127.0.0.1.")
    parser.add_argument("--http", type=int, default=18080, help="HTTP port, 0 for a free one (default 18080)")
    parser.add_argument("--mllp", type=int, default=12575, help="MLLP port, 0 for a free one (default 12575)")
    parser.add_argument("--state", type=Path, help="folder of hospital.db (default: a new temporary one)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed and day give the same hospital (default 1)")
    parser.add_argument("--postgres", help="URL of a PostgreSQL database to fill with the same views and a procedure")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends, as with a dead parent")
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    state = options.state or Path(tempfile.mkdtemp(prefix="sandbox-"))
    state.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(state, options.seed)
    loop = asyncio.get_running_loop()
    connections: set[HttpProtocol] = set()
    try:
        http = await loop.create_server(lambda: HttpProtocol(sandbox, connections), "127.0.0.1", options.http)
        mllp = await serve_mllp(sandbox, "127.0.0.1", options.mllp)
    except OSError as error:
        sys.exit(f"the sandbox hospital cannot listen: {error.strerror} (choose ports with --http and --mllp)")
    sandbox.ports.update(http=http.sockets[0].getsockname()[1], mllp=mllp.sockets[0].getsockname()[1])
    if options.postgres:
        from sandbox.postgres import fill

        await fill(options.postgres, sandbox.hospital)
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if options.until_eof:
        loop.add_reader(sys.stdin.fileno(), _watch_stdin, stop)
    ready = {**sandbox.ports, "database": str(sandbox.database.path), "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    await stop.wait()
    http.close()
    mllp.close()
    for connection in list(connections):
        connection.transport.abort()
    sandbox.database.close()


def _watch_stdin(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def main() -> None:
    gc.set_threshold(100_000, 50, 50)  # thousands of slots live on: collecting young ones often finds nothing
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(arguments()))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
