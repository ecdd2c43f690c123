"""A drill: a hospital, a bus and clients; things are killed, and the checker says whether a promise was broken.

    python -m tests.faults.drill                         # the monkey kills the bus every few seconds
    python -m tests.faults.drill --backend postgresql-rabbit
    python -m tests.faults.drill --by-hand               # you kill it: the process id is shown

Status 0: no promise was broken. All that it starts runs on free ports of 127.0.0.1 and is gone at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.faults.backends import NAMES, Services
from tests.faults.history import Violation
from tests.faults.monkey import Crowd, Monkey, rage
from tests.faults.site import QUEUED, Site, standing
from tests.sandbox_process import start_sandbox


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.drill", description="Kill things, read the verdict.")
    parser.add_argument("--deaths", type=int, default=4, help="how many times something is killed (default 4)")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two deaths, at most (default 4)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a drill by hand lasts (default 30)")
    parser.add_argument("--backend", choices=NAMES, default=NAMES[0], help="what the bus stands on")
    parser.add_argument("--seed", type=int, default=1, help="what the monkey chooses by (default 1)")
    parser.add_argument("--by-hand", action="store_true", help="kill nothing: whoever runs the drill does")
    return parser.parse_args()


async def drill(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    with start_sandbox() as hospital, closing(Services()) as services, tempfile.TemporaryDirectory() as folder:
        async with standing(hospital, services, Path(folder), QUEUED, options.backend, ESB_LEASE="3") as site:
            say(f"the bus serves at {site.url} on {options.backend}, its log is {site.folder / 'log'}")
            if options.by_hand:
                intents, broken = await by_hand(site, options.seconds)
            else:
                monkey = Monkey(site, options.seed, tell=say)
                intents, broken = await rage(site, monkey, options.deaths, options.every, "drill")
            done = len(hospital.control.ledger())
            say(f"{intents} intents, {site.starts - 1} starts after a death, {done} effects in the hospital's ledger")
    return verdict(broken)


async def by_hand(site: Site, seconds: float) -> tuple[int, list[Violation]]:
    """Start the bus again whenever it was killed, until the time is over."""
    crowd = Crowd(site, "drill")
    working = asyncio.create_task(crowd.run())
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        say(f"kill -9 {site.process.pid}     # within {left:.0f} s, as often as you like")
        await asyncio.to_thread(site.died, left, -9)
        if site.process.poll() is not None:
            await asyncio.to_thread(site.start)
    crowd.stop()
    await working
    return crowd.intents, await asyncio.to_thread(site.verdict, 120.0)


def verdict(broken: list[Violation]) -> int:
    for violation in broken:
        say(f"BROKEN {violation}")
    say(
        "verdict: "
        + (f"{len(broken)} broken promises" if broken else "no promise was broken (I1, I2, I3, I8, I9, I11)")
    )
    return 1 if broken else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(drill(arguments())))
