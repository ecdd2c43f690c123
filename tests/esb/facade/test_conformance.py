"""What schemathesis, which knows the contract only, has to say about the running facade."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.esb.facade.conformance import check_conformance
from tests.esb.facade.doubles import ExamplePipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_schemathesis_finds_no_server_error_and_no_contract_violation(
    url: str, pipeline: ExamplePipeline, tmp_path: Path
) -> None:
    report = await check_conformance(url, tmp_path, phases="examples,fuzzing")
    assert "11 selected / 11 total" in report
    assert {exchange.operation for exchange in pipeline.begun} == set(pipeline.contract.operations)
