"""FHIR to HL7 v2 and back: what of a Patient, Appointment and DiagnosticReport returns."""

from __future__ import annotations

from collections.abc import Iterator

from esb.codecs import hl7v2
from tests.hl7_to_fhir.compare import compare, resources
from tests.hl7_to_fhir.corpus import Pair, to_fhir, to_hl7
from tests.hl7_to_fhir.score import Score, Tally

KINDS = {"Patient": "ADT", "Appointment": "SIU", "DiagnosticReport": "ORU"}
"""Which message carries a resource of that type."""


def round_trips(pair: Pair) -> Iterator[Score]:
    """For each of the types that the expected bundle of a pair has: it, sent as HL7 v2 and read back."""
    for kind, message in KINDS.items():
        wanted = resources(pair.expected).get(kind, [])
        if wanted:
            sent = hl7v2.build(to_hl7(message, pair.expected)).encode()
            found = resources(to_fhir(message, hl7v2.decode(sent))).get(kind, [])
            compared = compare(wanted, found)
            both = min(len(wanted), len(found))
            yield Score(
                {kind: Tally(both, len(wanted), len(found) - both)},
                {kind: Tally(compared.equal, compared.expected, compared.surplus)},
                [(kind, difference) for difference in compared.differences],
            )
