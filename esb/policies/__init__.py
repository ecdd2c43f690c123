"""Policies: what the bus does so that a slow or broken system harms neither itself nor its neighbours."""

from __future__ import annotations

from esb.errors import Unavailable


class Limited(Unavailable):
    """A policy said no before anything was sent; not retried by the bus. ``code`` is the stable code of the answer."""

    def __init__(self, code: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.code = code
