"""Coverage-guided fuzzing of the HL7 v2 codec: ``python -m tests.fuzz.hl7 TARGET [--seconds N]``.

Needs atheris (``pip install -e .[fuzz]``). The targets are the oracles of ``tests.fuzz.hl7_oracles``, and ``all`` of
them by the first byte. It begins with the messages of the shared corpus where that is, else with a few of its own. A
finding is printed and its input kept in ``--found``; the run goes on. What is found becomes an example of
``tests/esb/codecs/test_hl7v2_fuzz.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import atheris

with atheris.instrument_imports(include=["esb"]):
    from tests.fuzz import hl7_oracles as oracles
    from tests.fuzz.mapping import Keeper, TooSlow

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "hl7v2"
LONGEST_SEED = 3000
OWN = (
    b"MSH|^~\\&|A||||||ADT^A01|1|P|2.5\rPID|1||P1^^^H&1&ISO^PI~X9||A\\F\\B\\X41\\\\.br\\\\M2442\\;3ED\\C2842\\\r",
    b"FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&#|A\r\nBTS|1\rFTS|1\r",
    b"\x0bMSH|^~\\&|A\rADD|x\rDSC|1|F\r\x1c\r\x0bMSH|^~\\&||||||||||||1\r\x1c\r",
    "MSH|^~\\&|||||||||||||||||ASCII~ISO IR87\rPID|||||山田\r".encode("iso2022_jp"),
    "MSH|^~\\&|||||||||||||||||GB 18030-2000\rPID|||||璣晐\r".encode("gb18030"),
)

TARGETS: dict[str, Callable[[bytes], object]] = {
    "message": oracles.message,
    "checked": oracles.checked,
    "stream": oracles.stream,
    "frames": oracles.frames,
    "batch": oracles.batch,
    "written": oracles.written,
}


def every(data: bytes) -> None:
    """One of the targets, by the first byte."""
    names = list(TARGETS)
    TARGETS[names[data[0] % len(names)] if data else "message"](data[1:])


def _too_slow(_: int, __: FrameType | None) -> None:
    raise TooSlow


def _seeded(folder: Path) -> Path:
    """Each seed once for every target of ``every``."""
    corpus = folder / "corpus-hl7"
    corpus.mkdir(parents=True, exist_ok=True)
    files = sorted(CORPUS.glob("*/*/*.hl7"))[::4]
    seeds = [*OWN, *(data for file in files if len(data := file.read_bytes()) < LONGEST_SEED)]
    for seed in seeds:
        for first in range(len(TARGETS)):
            (corpus / hashlib.sha256(bytes((first,)) + seed).hexdigest()[:16]).write_bytes(bytes((first,)) + seed)
    return corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--found", type=Path, default=Path("var/fuzz"))
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_slow)
    limits = (f"-max_total_time={options.seconds}", "-max_len=4096", "-len_control=0", "-rss_limit_mb=2048")
    arguments = [sys.argv[0], *limits, "-print_final_stats=1", str(_seeded(options.found))]
    atheris.Setup(arguments, Keeper({**TARGETS, "all": every}[options.target], options.found / f"hl7-{options.target}"))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
