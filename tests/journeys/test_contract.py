"""Schemathesis judges the whole bus against its own contract, with the hospital behind it."""

from pathlib import Path

from tests.bus_process import start_bus
from tests.esb.facade.conformance import CHECKS, check_conformance
from tests.sandbox_process import Sandbox

UNLIMITED = {"limits: {concurrency: 5, rate: 300/m}": "limits: {concurrency: 5}"}


async def test_no_request_brings_a_server_error_or_an_answer_outside_the_contract(
    hospital: Sandbox, tmp_path: Path
) -> None:
    checks = CHECKS.replace(",positive_data_acceptance", "")  # a hospital may refuse what the contract allows
    with start_bus(hospital, changes=UNLIMITED) as bus:
        report = await check_conformance(f"http://127.0.0.1:{bus.port}", tmp_path, checks=checks)
    assert "11 selected / 11 total" in report
