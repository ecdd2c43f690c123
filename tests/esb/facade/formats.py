"""Hooks for schemathesis: times as the contract has them, which its generator would otherwise throw away one by one."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format(
    "date-time",
    st.datetimes().map(lambda value: value.replace(microsecond=0).isoformat() + "+08:00"),
)
