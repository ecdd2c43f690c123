"""Errors and outcomes: the words in which every part of the bus says how something ended.

An outcome is one of six words (DESIGN section 2). Four of them can be raised by an adapter; ``done`` and ``accepted``
are ordinary results. Problems of configuration are collected as findings and raised all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    """How an exchange ended."""

    DONE = "done"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"


class AdapterError(Exception):
    """What an adapter may raise; exactly one of its four subclasses.

    ``reason`` is for operators and logs: it says what happened in protocol terms and never holds a body, a secret or
    patient data. ``raw`` is the answer as it arrived, for the journal.
    """

    outcome: ClassVar[Outcome]

    def __init__(self, reason: str, *, raw: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.raw = raw


class Unavailable(AdapterError):
    """It certainly did not happen: nothing was sent, or the system said so itself."""

    outcome = Outcome.UNAVAILABLE

    def __init__(self, reason: str, *, raw: bytes | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason, raw=raw)
        self.retry_after = retry_after


class OutcomeUnknown(AdapterError):
    """Bytes went out and no answer that decides came back: it may have happened."""

    outcome = Outcome.UNKNOWN


class Malformed(AdapterError):
    """An answer came and breaks the contract: not decodable, or not of the agreed shape."""

    outcome = Outcome.MALFORMED


class Refused(AdapterError):
    """The system answered no, in its own protocol: a SOAP fault, an AE/AR, an OperationOutcome, a 4xx."""

    outcome = Outcome.REFUSED

    def __init__(self, reason: str, *, code: str = "", message: str = "", raw: bytes | None = None) -> None:
        super().__init__(reason, raw=raw)
        self.code = code
        self.message = message
        self.detail: object = None
        """What the system added in its own structure, as a tree: a SOAP fault's detail."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake in a configuration file. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """Configuration that must not be started; carries every finding, in file order."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: Sequence[Finding] = sorted(set(findings))
        super().__init__("\n".join(map(str, self.findings)))


class PartlyBroken(ConfigError):
    """The same, with ``rest``: what could be read all the same, so that it can be checked with all else at once."""

    def __init__(self, findings: Iterable[Finding], rest: object) -> None:
        super().__init__(findings)
        self.rest = rest
