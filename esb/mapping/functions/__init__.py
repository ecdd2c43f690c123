"""The functions of the mapping language. ``python -m esb.mapping.functions`` prints their reference."""

from esb.mapping.functions import digests, fhir, lists, money, people, text, times
from esb.mapping.functions.registry import FUNCTIONS, Example, Function
from esb.mapping.values import FunctionError

__all__ = ["FUNCTIONS", "GROUPS", "Example", "Function", "FunctionError"]

GROUPS = {
    "Text and numbers": text,
    "Times and dates": times,
    "Money": money,
    "Lists": lists,
    "FHIR": fhir,
    "Persons": people,
    "Digests": digests,
}
"""Heading of the reference -> module that holds the functions."""
