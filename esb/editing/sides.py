"""The two sides of ``esb diff``: mappings from a file, a folder, or a revision of either in git."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from esb.editing.recorded import Recording
from esb.errors import ConfigError, Finding
from esb.mapping import Mapping, load_codes, load_mapping, load_used_parts

_REVISION = re.compile(r"([^:-][^:]*):(.+)")
_NO_DIALECT = ("codes", "parts")


@dataclass(frozen=True, slots=True)
class Side:
    """Mappings by dialect and operation; ``name`` is what the side was called, ``root`` what its files begin with."""

    name: str
    root: str
    mappings: dict[tuple[str, str], Mapping]

    def mapping(self, recording: Recording) -> Mapping | None:
        """The mapping of a recording; None where there is none, or several and the recording does not say which."""
        found = [
            mapping
            for (dialect, operation), mapping in self.mappings.items()
            if operation == recording.operation and recording.dialect in ("", dialect)
        ]
        return found[0] if len(found) == 1 else None


def load_side(name: str, scratch: Path, operations: Collection[str]) -> Side:
    """The mappings of ``operations`` that ``name`` stands for; raises ``ConfigError``.

    ``scratch`` takes what comes out of git.
    """
    path, root = Path(name), ""
    if not path.exists():
        path, root = _checked_out(name, scratch)
    files = [path] if path.is_file() else _files(path)
    if not files:
        raise ConfigError([Finding(name, 0, 0, "holds no mapping")])
    files = [file for file in files if file.stem in operations]
    home = _home(path)
    codes = load_codes(home / "codes")
    parts = load_used_parts(home / "parts", codes, files)
    findings: list[Finding] = []
    mappings: dict[tuple[str, str], Mapping] = {}
    for file in files:
        try:
            mappings[(file.parent.name, file.stem)] = load_mapping(file, codes, parts)
        except ConfigError as error:
            findings += error.findings
    if findings and not mappings:
        raise ConfigError(findings)
    return Side(name, root, mappings)


def _files(folder: Path) -> list[Path]:
    """Mappings of operations in a dialect's folder, or in the folder of all dialects."""
    found = sorted(folder.glob("*.yaml")) or sorted(folder.glob("*/*.yaml"))
    return [file for file in found if file.parent.name not in _NO_DIALECT and not _is_translation(file)]


def _is_translation(file: Path) -> bool:
    return re.search(r"(?m)^response:", file.read_text("utf-8")) is None


def _home(path: Path) -> Path:
    """The folder that holds ``codes`` and ``parts``: the nearest above that does."""
    return next((one for one in (path, *path.absolute().parents) if (one / "codes").is_dir()), path)


def _checked_out(name: str, scratch: Path) -> tuple[Path, str]:
    """``rev:path`` as it was in that revision, with the code tables and parts beside it."""
    match = _REVISION.fullmatch(name)
    if not match:
        raise ConfigError([Finding(name, 0, 0, "does not exist", "a file, a folder, or REVISION:PATH of git")])
    revision, path = match.groups()
    top = path.split("/")[0]
    done = subprocess.run(["git", "archive", "--format=tar", revision, "--", top], capture_output=True, check=False)
    if done.returncode:
        raise ConfigError([Finding(name, 0, 0, f"cannot be read: {done.stderr.decode().strip().splitlines()[-1]}")])
    folder = scratch / re.sub(r"\W", "_", revision)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    if not (folder / path).exists():
        raise ConfigError([Finding(name, 0, 0, "does not exist in that revision")])
    return folder / path, str(folder)
