"""Everything dies every few seconds under load and no promise is broken: F10, F11, F13, I1-I3, I8, I9, I11, I12."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.backends import NAMES, RUNS, Services
from tests.faults.monkey import Monkey, rage
from tests.faults.site import QUEUED, standing
from tests.faults.table import Tried
from tests.sandbox_process import Sandbox

DEATHS, EVERY = {"sqlite-sql": 2 * RUNS, "postgresql-sql": 3 * RUNS}, 1.5
"""RabbitMQ takes long to come back: with it the monkey works in the long run only (``ESB_FAULT_RUNS``)."""


@pytest.mark.parametrize("name", NAMES if RUNS > 1 else DEATHS)
async def test_with_a_monkey_in_the_machine_room_no_promise_is_broken(
    hospital: Sandbox, services: Services, tmp_path: Path, name: str, tried: Tried
) -> None:
    hospital.control.fault("soap", "reset_after", operation="LockRegistration", times=20)
    async with standing(hospital, services, tmp_path, QUEUED, name, ESB_LEASE="3") as site:
        monkey = Monkey(site, seed=len(name), tell=lambda death: tried(f"monkey: {death}", name))
        deaths = DEATHS.get(name, 5 * RUNS)
        intents, broken = await rage(site, monkey, deaths, EVERY, "k")
        assert broken == []
        assert (monkey.did.total(), intents > 20 * deaths) == (deaths, True), (intents, monkey.did)
