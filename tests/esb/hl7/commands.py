"""The commands as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from esb.cli import main

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "hl7v2"

ADT = (
    "MSH|^~\\&|HIS|H|LAB|L|20240315101500||ADT^A08^ADT_A01|C1|P|2.5.1|||||||UNICODE UTF-8\r"
    "EVN|A08|20240315101500\r"
    "PID|1||P0001234^^^HIS^MR||张^三^^^^^L||19491231|M\r"
)


def esb(*arguments: object, given: bytes | str | None = None) -> Result:
    """Standard output and standard error apart."""
    return CliRunner().invoke(main, [str(one) for one in arguments], input=given, catch_exceptions=False)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
