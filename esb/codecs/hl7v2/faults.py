"""What is wrong with a message, as HL7 says it: where (ERR-2), which code (ERR-3, table 0357) and how bad (ERR-4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SEQUENCE: Final = 100
REQUIRED: Final = 101
DATA_TYPE: Final = 102
TABLE: Final = 103
TOO_LONG: Final = 104
CARDINALITY: Final = 198
OTHER: Final = 199
MESSAGE_TYPE: Final = 200
EVENT: Final = 201
VERSION: Final = 203

CODES: Final = {
    SEQUENCE: "Segment sequence error",
    REQUIRED: "Required field missing",
    DATA_TYPE: "Data type error",
    TABLE: "Table value not found",
    TOO_LONG: "Value too long",
    CARDINALITY: "Non-conformant cardinality",
    OTHER: "Other HL7 error",
    MESSAGE_TYPE: "Unsupported message type",
    EVENT: "Unsupported event code",
    VERSION: "Unsupported version id",
}
"""HL7 table 0357."""

Severity = Literal["E", "W"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding. ``text`` holds names and codes, never a patient's data.

    ``occurrence`` counts the segments of that name from 0; field, repetition, component and sub-component count from 1,
    0 is the whole of what is above. ``severity`` W is what a receiver may ignore.
    """

    segment: str
    occurrence: int
    code: int
    text: str
    field: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0
    severity: Severity = "E"

    @property
    def path(self) -> str:
        """``OBX[2]-5[2].1.3``, as paths are written in mappings."""
        path = self.segment + (f"[{self.occurrence}]" if self.occurrence else "")
        if self.field:
            path += f"-{self.field}" + (f"[{self.repetition}]" if self.repetition > 1 else "")
            path += "".join(f".{number}" for number in (self.component, self.subcomponent) if number)
        return path

    @property
    def location(self) -> dict[str, str]:
        """ERR-2 (ERL) by component, where segments count from 1."""
        parts = (self.field, self.repetition, self.component, self.subcomponent)
        numbers = {str(at): str(number) for at, number in enumerate(parts, 3) if number}
        return {"1": self.segment, "2": str(self.occurrence + 1), **numbers}
