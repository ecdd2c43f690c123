"""Schemathesis against a running facade, for the facade's own tests and for the journeys."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,positive_data_acceptance,missing_required_header,"
    "unsupported_method,allow_header_conformance"
)


async def check_conformance(
    url: str,
    folder: Path,
    *,
    examples: int = 10,
    checks: str = CHECKS,
    seed: int = 20261124,
    phases: str = "examples,coverage,fuzzing",
) -> str:
    """Run schemathesis against the facade at ``url`` from another process and assert that it found nothing.

    Returns its report. ``folder`` takes what it writes. 502 and 503 count as server errors: give it a healthy
    hospital that answers whatever the contract allows.
    """
    command = [
        *(sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"),
        *("run", f"{url}/v1/openapi.json", "--checks", checks, "--phases", phases, "--seed", str(seed)),
        *("--max-examples", str(examples), "--workers", "1", "--request-timeout", "10", "--warnings", "off"),
        *("--suppress-health-check", "all", "--generation-database", "none"),
    ]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200", "SCHEMATHESIS_HOOKS": "tests.esb.facade.formats"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    report = output.decode(errors="replace")
    assert process.returncode == 0, report
    return report
