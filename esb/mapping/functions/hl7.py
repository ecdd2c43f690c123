"""Functions for HL7 v2 messages."""

from __future__ import annotations

from esb.codecs import hl7v2
from esb.mapping.functions.registry import function
from esb.mapping.functions.sorts import Same
from esb.mapping.values import FunctionError, is_message, kind
from esb.model import Tree

_ORU = hl7v2.decode(b"MSH|^~\\&|LIS\rPID|1\rORC|RE|1\rOBR|1|1\rOBX|1|NM|WBC\rOBX|2|NM|RBC\rOBR|2|2\rOBX|1|NM|HGB\r")


@function(
    ("$message | groups('ORC', 'OBR') | count", 2, {"message": _ORU}),
    ("$message | groups('OBR') | first | groups('OBX') | count", 2, {"message": _ORU}),
    ("'OBR' | groups('OBR')", FunctionError),
)
def groups(value: Tree, *anchors: str) -> list[Same]:
    """The groups of a message, or of a group, that begin at segments of these names; each is read like a message."""
    if not is_message(value):
        raise FunctionError(f"needs an HL7 message, got {kind(value)}")
    return hl7v2.groups(value, *anchors)
