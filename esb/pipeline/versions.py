"""The versions of the configuration that are alive: the one in use, and earlier ones until their exchanges ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from esb.endpoint import Endpoint
from esb.observe import Metrics, get_logger
from esb.pipeline.version import Version

_log = get_logger()


class Versions:
    """``current`` is what a new exchange runs on. One event loop."""

    def __init__(self, first: Version, metrics: Metrics) -> None:
        self.current = first
        self._metrics = metrics
        self._earlier: list[Version] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, version: Version) -> Version:
        """``version`` while it lives, then the one in use."""
        return self.current if version.is_over else version

    def replace(self, version: Version, retired: Callable[[], object]) -> None:
        """From now on new exchanges run on ``version``. Nothing is awaited: no exchange sees half of it.

        ``retired`` is called when the earlier one has gone, with the endpoints that no other version has.
        """
        earlier, self.current = self.current, version
        for name, endpoint in version.endpoints.items():
            if earlier.has(endpoint):
                endpoint.set_limits(version.loaded[name].limits)
            else:
                endpoint.join(earlier.endpoints.get(name), self._metrics)
        self._earlier.append(earlier)
        self._begin(_close(list(version.spare())))
        self._begin(self._retire(earlier)).add_done_callback(lambda task: None if task.cancelled() else retired())
        version.loaded = version.endpoints

    async def close(self) -> None:
        """Close every endpoint of every version."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _close({id(one): one for one in self._endpoints(self.current, *self._earlier)}.values())

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _retire(self, version: Version) -> None:
        await version.over()
        others = [one for one in (self.current, *self._earlier) if one is not version]
        gone = [one for one in version.endpoints.values() if not any(other.has(one) for other in others)]
        await _close(gone)
        self._earlier.remove(version)
        for endpoint in gone:
            if endpoint.name not in self.current.endpoints:
                endpoint.forget(self._metrics)
        await version.release()
        _log.info("version_retired", version=version.name)

    def _endpoints(self, *versions: Version) -> Iterator[Endpoint]:
        for version in versions:
            yield from version.endpoints.values()


async def _close(endpoints: Collection[Endpoint]) -> None:
    await asyncio.gather(*(endpoint.close() for endpoint in endpoints))
