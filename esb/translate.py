"""Messages through a translation file, bytes to bytes, as ``esb translate`` does it."""

from __future__ import annotations

from pathlib import Path

from esb.clock import Clock, Ids
from esb.codecs import DecodeError, EncodeError
from esb.codecs.formats import FORMATS
from esb.mapping import MappingError, load_codes, load_translation, load_used_parts

_SUFFIX = {"hl7v2": "hl7", "xml": "xml", "form": "txt"}


class Translator:
    """A translation with the code tables and parts that stand beside its folder; raises ``ConfigError``."""

    def __init__(self, file: Path, clock: Clock) -> None:
        folder = file.parent.parent if file.parent.name not in ("", "..") else file.resolve().parent.parent
        codes = load_codes(folder / "codes")
        self.translation = load_translation(file, codes, load_used_parts(folder / "parts", codes, [file]))
        self._clock, self._ids = clock, Ids(clock)
        self._read = FORMATS[self.translation.source.format].read
        self._write = FORMATS[self.translation.target.format].write
        self.suffix = _SUFFIX.get(self.translation.target.format, "json")
        """How files of the target format end."""

    def translate(self, message: bytes, charset: str | None = None) -> bytes:
        """One message; raises ``DecodeError``, ``MappingError`` or ``EncodeError``."""
        made = self._ids.new()
        now = self._clock.now().isoformat(timespec="seconds")
        exchange = {"id": made, "key": made, "operation": "translate", "now": now}
        return self._write(self.translation.translate(self._read(message, charset), dict(exchange), {}), None)


FAILURES = (DecodeError, EncodeError, MappingError)
"""What can be wrong with one message."""
