"""Coverage-guided fuzzing of the mapping language: ``python -m tests.fuzz.mapping TARGET [--seconds N]``.

Needs atheris (``pip install -e .[fuzz]``). Each target runs an oracle of ``tests.fuzz.oracles`` on inputs that
libFuzzer grows by the branches they reach: ``expression`` and ``file`` on raw text, ``compiled``, ``texts`` and
``trees`` on what Hypothesis makes of the bytes. A finding is printed and its input kept in ``--found``, once for each
place that raised; the run goes on. What is found becomes an example of ``tests/esb/mapping/test_fuzz.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import atheris

with atheris.instrument_imports(include=["esb"]):
    from hypothesis import HealthCheck, given, settings

    from tests.fuzz import oracles, strategies

SLOW_S = 10
"""An input that takes longer is a finding too."""
_DETAILS = re.compile(r"[0-9]+|'[^']*'")
SEEDS = Path(__file__).resolve().parents[2] / "mappings"


class TooSlow(Exception):
    """An input took more than ``SLOW_S`` seconds."""


def _compiled(text: str, request: Any, answer: Any) -> None:
    found = oracles.file(text)
    if found is not None:
        oracles.encoded(list(oracles.runs(found, request, answer)))


def _made(check: Callable[..., None], *made: Any) -> Callable[[bytes], object]:
    """``check`` on what Hypothesis makes of the bytes."""
    quiet = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
    return quiet(given(*made)(check)).hypothesis.fuzz_one_input  # type: ignore[attr-defined,no-any-return]


def _text(check: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: check(data.decode("utf-8", "surrogatepass" if len(data) % 2 else "replace"))


def _raw(check: Callable[[str], object]) -> Callable[[bytes], object]:
    read = _text(check)

    def run(data: bytes) -> None:
        try:
            read(data)
        except UnicodeDecodeError:
            return

    return run


TARGETS: dict[str, Callable[[bytes], object]] = {
    "expression": _raw(oracles.expression),
    "file": _raw(oracles.file),
    "compiled": _made(_compiled, strategies.SOUND | strategies.WRITTEN, strategies.DATA, strategies.DATA),
    "texts": _made(oracles.written, strategies.HOSTILE_TEXTS),
    "trees": _made(
        lambda tree: oracles.encoded([tree, [{"MSH-9": "A"}, {"PID-3": tree}], {"a": tree}]), strategies.DATA
    ),
}


class Keeper:
    """Runs a target and keeps what it raises, once for each place."""

    def __init__(self, target: Callable[[bytes], object], folder: Path) -> None:
        self._target, self._folder = target, folder
        self._seen: set[tuple[str, int, str, str]] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, data: bytes) -> None:
        signal.alarm(SLOW_S)
        try:
            self._target(data)
        except Exception as error:
            self._keep(data, error)
        finally:
            signal.alarm(0)

    def _keep(self, data: bytes, error: Exception) -> None:
        place = (*_place(error.__traceback__), type(error).__name__, _DETAILS.sub("", str(error))[-60:])
        if place in self._seen:
            return
        self._seen.add(place)
        name = hashlib.sha256(data).hexdigest()[:16]
        (self._folder / name).write_bytes(data)
        lines = traceback.format_exception(error)[-6:]
        sys.stdout.write(f"\nFOUND {len(self._seen)}: {place} {name}\n{''.join(lines)}")
        sys.stdout.flush()


def _place(trace: TracebackType | None) -> tuple[str, int]:
    frames = traceback.extract_tb(trace)
    last = next((frame for frame in reversed(frames) if "/esb/" in frame.filename), frames[-1])
    return Path(last.filename).name, last.lineno or 0


def _too_slow(_: int, __: FrameType | None) -> None:
    raise TooSlow


def _seeded(target: str, folder: Path) -> Path:
    """A corpus to begin with: our own mapping files, and the expressions in them."""
    corpus = folder / f"corpus-{target}"
    corpus.mkdir(parents=True, exist_ok=True)
    texts = [file.read_text(encoding="utf-8") for file in SEEDS.glob("*/*.yaml")]
    if target == "expression":
        texts = [line.partition(": ")[2] for text in texts for line in text.splitlines() if ": $" in line]
    raw = target in ("expression", "file")
    for seed in [text.encode() for text in texts] if raw else map(random.Random(0).randbytes, range(500, 4000, 100)):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--found", type=Path, default=Path("var/fuzz"))
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_slow)
    corpus = _seeded(options.target, options.found)
    limits = [
        f"-max_total_time={options.seconds}",
        "-max_len=4096",
        "-len_control=0",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], Keeper(TARGETS[options.target], options.found / options.target))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
