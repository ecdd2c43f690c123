"""MLLP: VT, message, FS, CR."""

from __future__ import annotations

from esb.codecs import DecodeError

START = b"\x0b"
END = b"\x1c\r"

_VT, _FS, _CR, _LF = 0x0B, 0x1C, 0x0D, 0x0A


def framed(message: bytes) -> bytes:
    """The frame of one message."""
    return START + message + END


class Framer:
    """Cuts a byte stream into messages, as lenient as is safe.

    Bytes before VT are skipped. FS ends a message when CR, LF or VT follows, or nothing does: then ``half_ended`` is
    true and ``finish`` takes the message without its CR. VT inside a message begins a new one, the unfinished one is
    dropped. An end with no VT before it, and more than ``limit`` bytes of one message, of one that is dropped or of
    what stands between two, raise ``DecodeError``; the stream is lost then. All this is so however the bytes arrive.
    Where whole messages came before it they are given and the error is ``failure``. ``started`` says that a message has
    begun and not ended. ``dropped`` has what was skipped or dropped and is no line end, ``limit`` bytes of it at most
    until somebody takes it out.
    """

    __slots__ = ("_buffer", "_limit", "_seen", "dropped", "failure", "half_ended", "started")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0
        self.dropped = bytearray()
        self.failure: DecodeError | None = None
        self.started = False
        self.half_ended = False

    @property
    def pending(self) -> bytes:
        """What arrived and is no whole message yet."""
        return bytes(self._buffer)

    @property
    def held(self) -> int:
        """How many bytes are kept: of a message that is not whole, and of what was dropped."""
        return len(self._buffer) + len(self.dropped)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, in order. Raises ``DecodeError``."""
        if self.failure is not None:
            raise self.failure
        self._buffer += data
        messages: list[bytes] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
            if len(self._buffer) > self._limit:
                self._shorten()
        except DecodeError as error:
            self.failure = error
            if not messages:
                raise
        return messages

    def _shorten(self) -> None:
        """What is too long with what was to be dropped may not be without."""
        if (start := self._buffer.rfind(_VT) if self.started else -1) >= 0:
            self._abandon(bytes(self._buffer[:start]))
            del self._buffer[: start + 1]
            self._seen = max(0, self._seen - start - 1)
        if len(self._buffer) > self._limit + self.half_ended:
            self._too_long()

    def _too_long(self) -> None:
        raise DecodeError(f"a frame is longer than {self._limit} bytes", self._limit)

    def finish(self) -> bytes | None:
        """The message that ended with FS alone, now that no CR is to be expected; None when there is none."""
        return self._cut(len(self._buffer) - 1, 1) if self.half_ended else None

    def _next(self) -> bytes | None:
        if not self.started and not self._begin():
            return None
        buffer = self._buffer
        end = buffer.find(_FS, self._seen)
        while 0 <= end < len(buffer) - 1:
            after = buffer[end + 1]
            if after in (_CR, _LF, _VT):
                return self._cut(end, 1 if after == _VT else 2)
            end = buffer.find(_FS, end + 1)
        self.half_ended = end >= 0
        self._seen = end if end >= 0 else len(buffer)
        return None

    def _begin(self) -> bool:
        """Skip to behind the next VT."""
        start = self._buffer.find(_VT, self._seen)
        if self._buffer.find(END, max(0, self._seen - 1), start if start >= 0 else len(self._buffer)) >= 0:
            raise DecodeError("a message ends that never began: VT is missing", 0)
        if start < 0:
            self._seen = len(self._buffer)
            return False
        if start > self._limit:
            self._too_long()
        if start:
            self._lose(self._buffer[:start])
        self._drop(start + 1)
        self.started = True
        return True

    def _cut(self, end: int, mark: int) -> bytes:
        unfinished, start, message = bytes(self._buffer[:end]).rpartition(START)
        if len(message) > self._limit:
            self._too_long()
        if start:
            self._abandon(unfinished)
        self._drop(end + mark)
        return message

    def _abandon(self, unfinished: bytes) -> None:
        """Messages that were begun before the last VT: each as long as it may be, however they arrived."""
        if len(unfinished) > self._limit and max(map(len, unfinished.split(START))) > self._limit:
            self._too_long()
        self._lose(unfinished)

    def _lose(self, data: bytes | bytearray) -> None:
        if data.strip(b"\r\n"):
            self.dropped += data[: max(0, self._limit - len(self.dropped))]

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._seen = 0
        self.started = self.half_ended = False
