"""HL7 v2: bytes <-> lazy, lossless ``Message``; repetitions and groups; building from field paths; JSON form; files;
MLLP frames.

Where HL7 libraries disagree: formatting escapes stay in the value (``plain_text`` takes them out), ``\\X..\\`` is
decoded with the message's charset, unknown and unclosed escapes are literal, five encoding characters and short ones
are read, any version or none, and a line that is no segment is kept under the name it has.
"""

from esb.codecs.hl7v2.batch import Batch, enveloped
from esb.codecs.hl7v2.build import build, flat, lines
from esb.codecs.hl7v2.continuation import Joiner, joined
from esb.codecs.hl7v2.groups import Group, groups
from esb.codecs.hl7v2.message import Message, Segment, decode
from esb.codecs.hl7v2.mllp import Framer, framed
from esb.codecs.hl7v2.paths import Path, parse, path
from esb.codecs.hl7v2.repetition import Repetition
from esb.codecs.hl7v2.syntax import formatted_text, plain_text
from esb.codecs.hl7v2.tree import from_tree, to_tree

__all__ = [
    "Batch",
    "Framer",
    "Group",
    "Joiner",
    "Message",
    "Path",
    "Repetition",
    "Segment",
    "build",
    "decode",
    "enveloped",
    "flat",
    "formatted_text",
    "framed",
    "from_tree",
    "groups",
    "joined",
    "lines",
    "parse",
    "path",
    "plain_text",
    "to_tree",
]
