"""Static checks by their cases: a mapping against the types of both its sides, and every finding in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esb.codecs import json, yaml
from esb.lint.places import Places
from esb.mapping import check, compile_mapping
from esb.mapping.parts import read_parts
from esb.types import ANY, Description, Type
from tests.esb.mapping.support import CODES, data


def typed(written: Any, *, many: bool = False) -> Type:
    """A type from the notation of the cases."""
    if written is None:
        return ANY
    if isinstance(written, list):
        return typed(written[0], many=True)
    if isinstance(written, str):
        return Type(written.removesuffix("!"), many=many, required=written.endswith("!"))
    if set(written) == {"listed_or_not"}:
        return replace(typed(written["listed_or_not"]), many=True, single=True)
    if set(written) == {"words"}:
        return Type("text", many=many, words=tuple(written["words"]))
    fields: Mapping[str, Type] = {name: typed(part) for name, part in written.items()}
    return Type("structure", many=many, make=lambda: fields)


@pytest.mark.parametrize("case", data("checks.yaml"), ids=lambda case: case["name"])
def test_what_cannot_be_right_is_found_in_its_place(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = written_out(case)
    Path("mapping.yaml").write_text(text, encoding="utf-8")
    Path("h.yaml").write_text(case.get("parts", ""), encoding="utf-8")
    parts = read_parts([("h", "h.yaml", case["parts"])], CODES) if "parts" in case else {}
    mapping = compile_mapping(yaml.load(text, "mapping.yaml"), text, CODES, parts)
    contract, system = case.get("contract", {}), case.get("system", {})
    description = Description(typed(system.get("request")), typed(system.get("answer")))
    found = check(mapping.sheet, typed(contract.get("request")), typed(contract.get("answer")), description)
    findings = sorted(map(Places().of, found))
    assert [str(finding).removeprefix("mapping.yaml:") for finding in findings] == case.get("findings", [])


def written_out(case: dict[str, Any]) -> str:
    """The mapping of a case as a file: line 2 is the request, a line for each segment or case, and each field."""
    lines = ["action: A"]
    request = case.get("request", {})
    lines += _lines("request", request) if isinstance(request, list) else [f"request: {_flow(request)}"]
    response = case.get("response", {"done": {}})
    if isinstance(response, dict) and isinstance(response["done"], dict) and len(response["done"]) > 1:
        lines += ["response:", "  done:"]
        lines += [f"      {name}: {_flow(part)}" for name, part in response["done"].items()]
    else:
        lines += _lines("response", response) if isinstance(response, list) else [f"response: {_flow(response)}"]
    return "\n".join(lines) + "\n"


def _lines(name: str, items: list[Any]) -> list[str]:
    return [f"{name}:", *(f"  - {_flow(item)}" for item in items)]


def _flow(value: Any) -> str:
    """Flow style as the cases write it: expressions bare where they can be."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(name)}: {_flow(part)}" for name, part in value.items()) + "}"
    return _word(value) if isinstance(value, str) else json.encode(value).decode()


def _word(text: str) -> str:
    plain = not set(",[]{}#") & set(text) and text != "" and ": " not in text and not text[0].isdigit()
    return text if plain else "'" + text.replace("'", "''") + "'"
