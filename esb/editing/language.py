"""The shape of mapping files, translations, parts and code tables as JSON Schema (draft-07) for editors.

An editor checks what can be said without the contract and the system: keys, outcomes, the look of an expression and the
names of functions. Paths, tables and parts are checked by ``esb lint``.
"""

from __future__ import annotations

from typing import Any

from esb.codecs.formats import FORMATS
from esb.editing.models import Schema
from esb.errors import Outcome
from esb.mapping.functions import FUNCTIONS

OUTCOMES = tuple(str(outcome) for outcome in Outcome)
CALLABLE = (*FUNCTIONS, "code", "meaning")
_TOLD = {
    "done": "It happened; the canonical answer, checked against the contract.",
    "accepted": "They will do it; the canonical answer.",
    "refused": "They said no: {code, message?}. The code is one of the operation's x-refusals.",
    "unavailable": "It certainly did not happen; a text.",
    "unknown": "Nobody knows whether it happened; a text.",
    "malformed": "That is no answer of theirs; a text.",
}
_PIECE = r"(?:[^'|]|'[^']*'|\|\s*(?:" + "|".join(sorted(CALLABLE)) + r")(?!\w))"
_VALUE = r"^(?:(?!\$)[\s\S]*|\$\$[\s\S]*|\$(?![\s$.?|])" + _PIECE + r"*)$"
_CONDITION = rf"^{_PIECE}+$"
_NAMING = rf"^{_PIECE}+\sas\s+[^\s|']+\s*$"
_FUNCTIONS = "Functions: " + ", ".join(sorted(CALLABLE)) + "."
_EXPRESSION = (
    "An expression when it begins with $: a path, `| function`, `??` for a default, `?` after a path that may be "
    "missing. $$ is a literal dollar. "
)


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def closed(properties: Schema, *required: str, **more: Any) -> Schema:
    """An object of these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
        **more,
    }


def mapping() -> Schema:
    """``mappings/<dialect>/<operation>.yaml``."""
    cases = {"anyOf": [ref("case"), {"type": "array", "minItems": 1, "items": ref("case")}]}
    properties = {
        "action": {
            **ref("text"),
            "description": "What the adapter is to do: a SOAP operation, QBP^Q22^QBP_Q21, search DiagnosticReport, "
            "POST /path/{name}, a SQL statement.",
        },
        "request": {**ref("shape"), "description": "What is sent; absent is nothing. For HL7 v2 a list of segments."},
        "response": {
            **cases,
            "description": "Cases in order: the first whose `when` holds decides; none is malformed.",
        },
        "examples": {"type": "array", "items": ref("example"), "description": "At least one for each outcome."},
        "prune": _prune(),
    }
    about = "What a system is sent for an operation and what its answers mean."
    return _document(about, closed(properties, "action", "response"), "case", "example", "refusal")


def translation() -> Schema:
    """A message into another, whatever operation it belongs to."""
    sides = {"type": "string", "pattern": rf"^(?:{'|'.join(FORMATS)})(?: \S.*)?$", "examples": list(FORMATS)}
    message = f"Write a format, {', '.join(FORMATS)}, and a type if there is one: hl7v2 ADT_A01"
    side = {**sides, "patternErrorMessage": message}
    example = closed(
        {
            "name": {"type": "string", "minLength": 1},
            "message": {"description": "A tree, or text as it stands on the wire."},
            "gives": {"description": "What it becomes."},
            **_surroundings(),
        },
        "name",
        "message",
        "gives",
    )
    properties = {
        "from": {**side, "description": "The format of the message, and its type: hl7v2 ADT_A01."},
        "to": {**side, "description": "The format of the result, and its type: fhir Bundle."},
        "gives": {**ref("shape"), "description": "The result. A bare path is a path of the message."},
        "examples": {"type": "array", "items": example},
        "prune": _prune(),
    }
    return _document("One message turned into another.", closed(properties, "from", "to", "gives"))


def parts() -> Schema:
    """``mappings/parts/<library>.yaml``."""
    name = {"type": "string", "pattern": r"^(?!(?:exchange|site)$)[^\W\d]\w*$"}
    part = closed(
        {
            "takes": {
                "anyOf": [name, {"type": "array", "items": name, "uniqueItems": True}],
                "description": "Its arguments, read as $name in `gives`.",
            },
            "gives": {**ref("shape"), "description": "The shape; it sees its arguments, $exchange and $site."},
        },
        "gives",
    )
    whole = {"type": "object", "properties": {"prune": _prune()}, "additionalProperties": part}
    return _document("Named shapes that many mappings use, as {$use: library.name, argument: value}.", whole)


def codes() -> Schema:
    """``mappings/codes/<table>.yaml``."""
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    default = closed(
        {
            "meaning": {"type": "string", "description": "The canonical word for their codes that are not here."},
            "code": {"type": "string", "description": "Their code for canonical words that are not here."},
        }
    )
    properties = {
        "source": {"type": "string", "minLength": 1, "description": "Where the codes come from."},
        "entries": {**words, "description": "Canonical word: their code, both ways. Write codes in quotes."},
        "to_canonical": {**words, "description": "More of their codes, one way: their code: canonical word."},
        "to_theirs": {**words, "description": "More canonical words, one way: canonical word: their code."},
        "default": {**default, "description": "Only where written; else what is not here is an error."},
        "standard": {"type": "boolean", "description": "Kept for reference: it may be used by no mapping."},
    }
    some = [{"required": [key]} for key in ("entries", "to_canonical", "to_theirs")]
    return {
        **_head("A code table: canonical words and one system's codes."),
        **closed(properties, "source", anyOf=some),
    }


def _document(about: str, whole: Schema, *more: str) -> Schema:
    names = ("text", "condition", "naming", "shape", "structure", *more)
    return {**_head(about), **whole, "definitions": {name: _DEFINITIONS[name] for name in names}}


def _head(about: str) -> Schema:
    return {"$schema": "http://json-schema.org/draft-07/schema#", "description": about}


def _prune() -> Schema:
    return {"type": "boolean", "description": "Leave out structures and lists that come out empty, as FHIR wants."}


def _surroundings() -> Schema:
    return {
        "exchange": {"type": "object", "description": "What $exchange is: id, key, operation, now."},
        "site": {"type": "object", "description": "What $site is: the endpoint's site in routes.yaml."},
    }


def _one_or_more(name: str, about: str) -> Schema:
    return {"anyOf": [ref(name), {"type": "array", "minItems": 1, "items": ref(name)}], "description": about}


def _structure() -> Schema:
    properties = {
        "$each": _one_or_more("naming", "Once for each: `$rows as row`; a list of these is nested loops, flattened."),
        "$with": _one_or_more("naming", "A name for what is used often: `$Locks.Lock[0] as lock`."),
        "$when": {**ref("condition"), "description": "Left out when this is false; in a loop, those items."},
        "$value": {**ref("shape"), "description": "A value instead of fields."},
        "$case": {
            "type": "array",
            "minItems": 1,
            "items": ref("shape"),
            "description": "Options; the first whose $when holds.",
        },
        "$use": {
            "type": "string",
            "pattern": r"^[^\s.]+\.[^\s.]+$",
            "patternErrorMessage": "Parts are written library.name and stand in mappings/parts/",
            "description": "A part, library.name; the other keys are its arguments.",
        },
    }
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {r"^(?!\$)": ref("shape"), r"^\$\$": ref("shape")},
        "additionalProperties": False,
        "dependencies": {
            "$case": {"maxProperties": 1},
            "$value": {"propertyNames": {"pattern": r"^\$(?!\$)"}},
            "$use": {"not": {"required": ["$value"]}},
        },
    }


def _case() -> Schema:
    told: Schema = {
        "done": ref("shape"),
        "accepted": ref("shape"),
        "refused": ref("refusal"),
        **{name: _words() for name in ("unavailable", "unknown", "malformed")},
    }
    properties = {name: {**told[name], "description": _TOLD[name]} for name in OUTCOMES}
    when = {**ref("condition"), "description": "When this holds the case decides; without it, always."}
    exactly_one = [{"required": [name]} for name in OUTCOMES]
    return closed({"when": when, **properties}, oneOf=exactly_one)


def _words() -> Schema:
    return {"anyOf": [ref("text"), {"type": "null"}, closed({"message": ref("text")})]}


def _refusal() -> Schema:
    return closed(
        {
            "code": {**ref("text"), "minLength": 1, "description": "One of the operation's x-refusals."},
            "message": {**ref("text"), "description": "Their words, for people."},
            "details": {**ref("structure"), "description": "More for the caller."},
        },
        "code",
    )


def _example() -> Schema:
    properties = {
        "name": {"type": "string", "minLength": 1, "description": "What it shows, in a sentence."},
        "given": {"type": "object", "description": "The canonical request."},
        **_surroundings(),
        "action": {"type": "string", "description": "The action that is built, where it is computed."},
        "sends": {"description": "What is sent."},
        "answer": {"description": "What comes back: a tree, or text as it stands on the wire."},
        **{name: {"description": _TOLD[name]} for name in OUTCOMES},
    }
    answered: Schema = {"anyOf": [{"required": [name]} for name in OUTCOMES]}
    return closed(
        properties,
        "name",
        anyOf=[{"required": ["sends"]}, {"required": ["answer"]}],
        dependencies={"answer": answered, **{name: ["answer"] for name in OUTCOMES}},
    )


_DEFINITIONS: dict[str, Schema] = {
    "text": {
        "type": "string",
        "pattern": _VALUE,
        "patternErrorMessage": "Not an expression: a path after $, quotes closed, known functions after |",
        "description": _EXPRESSION + _FUNCTIONS,
    },
    "condition": {
        "type": ["string", "boolean"],
        "pattern": _CONDITION,
        "patternErrorMessage": "Not a condition: quotes closed, known functions after |",
        "description": "A condition: == != < <= > >= in, and, or, not. " + _FUNCTIONS,
    },
    "naming": {
        "type": "string",
        "pattern": _NAMING,
        "patternErrorMessage": "Write 'expression as name'",
        "description": "expression as name. " + _FUNCTIONS,
    },
    "shape": {
        "if": {"type": "object"},
        "then": ref("structure"),
        "else": {
            "if": {"type": "array"},
            "then": {"items": ref("shape")},
            "else": {"if": {"type": "string"}, "then": ref("text")},
        },
    },
    "structure": _structure(),
    "case": _case(),
    "refusal": _refusal(),
    "example": _example(),
}
