"""The disk is full, or a reader holds the log of the store: F15, F35.

The store lies on a file system of a few megabytes, filled to the last byte. Where mounting is not permitted, the limit
on the size of a file stands in for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.faults.backends import RUNS, Services
from tests.faults.clients import Frontend, browsing, send_message
from tests.faults.history import Entry, Kind
from tests.faults.site import QUEUED, Site, standing
from tests.faults.table import Tried
from tests.faults.test_overload import OTHERS, ask, schedules
from tests.journeys.conftest import open_slot
from tests.sandbox_process import Sandbox

_MEGABYTES = 6


class Disk(Protocol):
    """A place for the store that can be filled."""

    folder: Path

    def fill(self, site: Site) -> None: ...
    def free(self, site: Site) -> None: ...


class SmallDisk:
    """A file system of a few megabytes with a ballast file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, site: Site) -> None:
        with contextlib.suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(b"x" * 4096):
                pass

    def free(self, site: Site) -> None:
        (self.folder / "ballast").unlink()


class SmallFiles:
    """No file of the bus may become longer than its store's is now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, site: Site) -> None:
        sizes = [one.stat().st_size for one in self.folder.glob("esb.db*")]
        resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (max(sizes), resource.RLIM_INFINITY))

    def free(self, site: Site) -> None:
        resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=["small disk", "small files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "small files":
        yield SmallFiles(folder)
        return
    mount = shutil.which("mount")
    size = f"size={_MEGABYTES}m"
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True).returncode
    ):
        pytest.skip("mounting a file system is not permitted here")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["sqlite-sql", "sqlite-rabbit"] if RUNS > 1 else ["sqlite-sql"])
async def test_on_a_full_disk_nothing_is_accepted_reads_go_on_and_room_is_enough_to_recover(
    hospital: Sandbox, services: Services, tmp_path: Path, disk: Disk, name: str, tried: Tried
) -> None:
    """F35, I1: 503 and AE before anything is taken on; no restart is needed when there is room again."""
    tried("full disk (F35)", name)
    store = f"sqlite:///{disk.folder / 'esb.db'}"
    async with standing(hospital, services, tmp_path, QUEUED, name, ESB_STORE=store) as site:
        site.backend.url = store
        slots = [open_slot(site.bus, skip=skip) for skip in range(6)]
        async with browsing() as session:
            before = [await Frontend(site, session).lock(f"D{n}", slots[n]) for n in range(2)]
            assert [one.kind for one in before] == [Kind.OK] * 2
            await asyncio.to_thread(site.history)
            disk.fill(site)
            refused = Frontend(site, session, tries=1)
            last = await full(refused, slots[2])
            assert (last.status, refused.retry_after >= 1) == (503, True)
            assert (await send_message(site, "DISK1", tries=1)).kind is Kind.FAIL
            assert await ask(session, site, "GET", schedules(), None) == 200
            assert [await ask(session, site, *other) for other in OTHERS] == [200] * 4
            pid = site.process.pid
            disk.free(site)
            after = [await Frontend(site, session).lock(f"D{n}", slots[n]) for n in range(2, 6)]
            assert [one.kind for one in after] == [Kind.OK] * 4
            assert (await send_message(site, "DISK1")).kind is Kind.OK
        assert await asyncio.to_thread(site.verdict) == []
        assert (site.process.pid, site.process.poll()) == (pid, None)


async def full(client: Frontend, slot: dict[str, Any]) -> Entry:
    """The write-ahead log may still have room in its last pages: ask until it has not."""
    for number in range(200):
        entry = await client.lock(f"F{number}", slot)
        if entry.status != 202:
            return entry
    raise AssertionError("it went on accepting")
