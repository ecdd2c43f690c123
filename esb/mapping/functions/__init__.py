"""The functions of the mapping language. ``python -m esb.mapping.functions`` prints their reference."""

from esb.mapping.functions import (
    digests,
    fhir,
    hl7,
    hl7_fhir,
    lists,
    money,
    numbers,
    patterns,
    people,
    stamps,
    text,
    times,
)
from esb.mapping.functions.registry import FUNCTIONS, Example, Function
from esb.mapping.values import FunctionError

__all__ = ["FUNCTIONS", "GROUPS", "Example", "Function", "FunctionError"]

GROUPS = {
    "Text": text,
    "Shapes of text": patterns,
    "Numbers": numbers,
    "Times and dates": times,
    "HL7 messages": hl7,
    "HL7 time stamps": stamps,
    "Money": money,
    "Lists": lists,
    "FHIR": fhir,
    "HL7 v2 as FHIR": hl7_fhir,
    "Persons": people,
    "Digests and codings": digests,
}
"""Heading of the reference -> module that holds the functions."""
