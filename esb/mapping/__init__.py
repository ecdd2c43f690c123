"""Mappings: data that turns one tree into another (DESIGN section 6), compiled to Python code."""

from esb.mapping.checks import check, check_filling, check_translation
from esb.mapping.codes import Codes, load_codes
from esb.mapping.compile import Mapping, MappingError, Unreadable, Verdict, compile_mapping, load_mapping
from esb.mapping.examples import Example, ExampleResult, run_examples
from esb.mapping.filling import Filling, compile_filling
from esb.mapping.parts import Parts, load_parts, load_used_parts
from esb.mapping.translation import Translation, is_translation, load_translation, run_translation_examples
from esb.mapping.typed import Problem

__all__ = [
    "Codes",
    "Example",
    "ExampleResult",
    "Filling",
    "Mapping",
    "MappingError",
    "Parts",
    "Problem",
    "Translation",
    "Unreadable",
    "Verdict",
    "check",
    "check_filling",
    "check_translation",
    "compile_filling",
    "compile_mapping",
    "is_translation",
    "load_codes",
    "load_mapping",
    "load_parts",
    "load_translation",
    "load_used_parts",
    "run_examples",
    "run_translation_examples",
]
