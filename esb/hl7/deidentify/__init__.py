"""Patient data -> made-up data, consistently, so that captured messages may become test cases.

What a value becomes depends on the secret and on the value alone, so the same person is the same stranger in every
message, file and run. Without the secret nothing leads back. ``rules.yaml`` says which fields hold what.
"""

from esb.hl7.deidentify.engine import Deidentifier, Options
from esb.hl7.deidentify.people import People
from esb.hl7.deidentify.secret import Secret

__all__ = ["Deidentifier", "Options", "People", "Secret"]
