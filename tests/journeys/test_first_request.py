"""The first requests of the READMEs, typed as they stand there."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bus_process import ROOT, Bus

FENCE = re.compile(r"^```(sh|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def requests(readme: str) -> list[tuple[str, dict[str, object]]]:
    """Each shell block that calls the bus, with the answer shown below it."""
    found = FENCE.findall((ROOT / readme).read_text("utf-8"))
    pairs = itertools.pairwise(found)
    return [(text, json.loads(answer)) for (kind, text), (after, answer) in pairs if (kind, after) == ("sh", "json")]


def typed(command: str, bus: Bus) -> dict[str, object]:
    command = command.replace(":8080", f":{bus.port}").replace(".venv/bin/python", Path(sys.executable).as_posix())
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=90, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_first_request_gets_the_answer_that_is_shown(readme: str, bus: Bus) -> None:
    command, shown = requests(readme)[0]
    assert typed(command, bus) == shown


def test_the_lock_of_the_readme_is_made(bus: Bus) -> None:
    command, shown = requests("README.md")[1]
    made = typed(command, bus)
    assert (made["orderNo"], made["status"], made["fee"], set(made)) == ("R1", "locked", shown["fee"], set(shown))
