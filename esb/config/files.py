"""The files that a configuration is made of: what they hold, and whether they have changed."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from esb.config.settings import Settings

Look: TypeAlias = Mapping[str, tuple[int, ...]]
"""File -> what the file system says of it; equal as long as nobody has written."""

_NAMED = re.compile(r"\$(file|secret)\.([^\s?'\",}\]]+)")
_SHARED = ("mappings/codes/", "mappings/parts/")
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 of every file by its part in the configuration: ``routes``, ``mappings/his_soap/registration.lock.yaml``,
    ``schemas/common.yaml``, ``file/ca.pem``, ``secret/parking``. Equal wherever the files stand.
    """

    files: Mapping[str, str]

    @property
    def version(self) -> str:
        """The name of this configuration: twelve hexadecimal digits over all but the secrets."""
        told = {name: digest for name, digest in self.files.items() if not name.startswith("secret/")}
        return _digest(told)[:_SHORT]

    def mapping(self, name: str) -> str:
        """Over one mapping file and all that it may use: code tables and parts."""
        return _digest({one: self.files[one] for one in self.files if one == name or one.startswith(_SHARED)})

    def differing(self, other: Digests, start: str) -> list[str]:
        """The names with ``start`` that the two do not have alike."""
        names = {name for name in (*self.files, *other.files) if name.startswith(start)}
        return sorted(name for name in names if self.files.get(name) != other.files.get(name))


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name}\0{files[name]}\n" for name in sorted(files)).encode()).hexdigest()


class Files:
    """The files of one bus's settings. What ``$file`` and ``$secret`` name in routes.yaml belongs to them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def look(self) -> Look:
        """Cheap: nothing is read but routes.yaml. A link is followed: it is what it leads to that counts."""
        return {name: _stat(path) for name, path in self._all()}

    def read(self) -> Digests:
        """Every file's content."""
        return Digests({name: _content(path) for name, path in self._all()})

    def name(self, mapping: str) -> str:
        """The name of a mapping by its file."""
        return f"mappings/{Path(mapping).relative_to(self._settings.mappings).as_posix()}"

    def _all(self) -> Iterator[tuple[str, Path]]:
        settings = self._settings
        yield "routes", settings.routes
        for pattern in ("*.yaml", "*/*.yaml"):
            yield from _within("mappings", settings.mappings, pattern)
        yield from _within("schemas", settings.schemas, "*.yaml")
        yield from self._named()

    def _named(self) -> Iterator[tuple[str, Path]]:
        folders = {"file": self._settings.routes.resolve().parent, "secret": self._settings.secrets}
        try:
            text = _bytes(self._settings.routes).decode("utf-8", "replace")
        except OSError:
            return
        for kind, name in set(_NAMED.findall(text)):
            yield f"{kind}/{name}", folders[kind] / name


def _within(part: str, folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Without hidden names: editors keep half-written copies there, and Kubernetes its earlier volumes."""
    for path in folder.glob(pattern):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(".") and "/." not in name:
            yield f"{part}/{name}", path


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(_bytes(path)).hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _bytes(path: Path) -> bytes:
    """A pipe would be waited for, and with it every change of another file."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file")
    return path.read_bytes()
