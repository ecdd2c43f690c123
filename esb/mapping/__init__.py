"""Mappings: data that turns one tree into another (DESIGN section 6), compiled to Python code."""

from esb.mapping.codes import Codes, load_codes
from esb.mapping.compile import Mapping, MappingError, Verdict, compile_mapping, load_mapping
from esb.mapping.examples import Example, ExampleResult, run_examples

__all__ = [
    "Codes",
    "Example",
    "ExampleResult",
    "Mapping",
    "MappingError",
    "Verdict",
    "compile_mapping",
    "load_codes",
    "load_mapping",
    "run_examples",
]
