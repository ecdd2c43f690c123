"""Child processes that end when the tests do, however those end: also with kill -9."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any

_GUARD = 'exec 3<&0; setsid sh -c "read _ <&3 || kill -9 -$$" >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'
"""The pipe has no other end when we are gone; a line through it means that the guard is not needed any more."""


def start(*command: str, **more: Any) -> subprocess.Popen[bytes]:
    """Start it as the leader of a session and process group of its own, which is killed when this process has ended.

    PR_SET_PDEATHSIG would not do: it goes by the thread that started a child, and is forgotten by the child's children.
    """
    return subprocess.Popen(
        ["sh", "-c", _GUARD, "guarded", *command], stdin=subprocess.PIPE, start_new_session=True, **more
    )


def kill(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGKILL, *, group: bool = True) -> None:
    """End it, with its group or alone, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how) if group else process.send_signal(how)
    process.wait(20)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"\n")
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()  # tries once more what could not be written
