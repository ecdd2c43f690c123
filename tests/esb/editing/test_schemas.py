"""The schemas that editors use: current, true of every file of ours, and sharp enough for the usual mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from esb.cli import main
from esb.codecs import yaml
from esb.config.settings import Settings
from esb.editing import language, schemas
from esb.mapping import codes, examples, functions, reader, translation
from tests.esb.configured import ROOT, Configured

FOLDER = ROOT / "schemas" / "editor"
SETTINGS = Settings(routes=ROOT / "routes.yaml", schemas=ROOT / "schemas", mappings=ROOT / "mappings")
MISTAKES = yaml.load(Path(__file__).with_name("mistakes.yaml")).value
OTHERS = [(file, "routes") for file in sorted((ROOT / "examples").rglob("routes*.yaml"))]
FILES = [*schemas.files(SETTINGS), *OTHERS]


def validator(kind: str) -> Any:
    schema = json.loads((FOLDER / f"{kind}.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


VALIDATORS = {kind: validator(kind) for kind in ("routes", "mapping", "translation", "parts", "codes")}


def test_the_committed_schemas_are_what_the_code_makes() -> None:
    stale = [file.name for file, _ in schemas.outdated(FOLDER, schemas.known(SETTINGS))]
    assert stale == [], "run: esb schema"


def plain(tree: Any) -> Any:
    """As an editor reads it: numbers are floats."""
    return json.loads(json.dumps(tree, default=float))


@pytest.mark.parametrize(("file", "kind"), FILES, ids=lambda value: value.name if isinstance(value, Path) else value)
def test_every_file_passes_its_schema(file: Path, kind: str) -> None:
    found = VALIDATORS[kind].iter_errors(plain(yaml.load(file).value))
    assert [f"{error.json_path}: {error.message[:200]}" for error in found] == []


@pytest.mark.parametrize(("file", "kind"), FILES, ids=lambda value: value.name if isinstance(value, Path) else value)
def test_every_file_names_its_schema_for_editors(file: Path, kind: str) -> None:
    assert schemas.referred(file, kind, FOLDER) is None, "run: esb schema --refer"


def innermost(error: Any) -> Iterator[Any]:
    yield from (one for inner in error.context for one in innermost(inner)) if error.context else (error,)


def lines(document: yaml.Document, error: Any) -> Iterator[int]:
    """Where an editor underlines: a key that is too many, else the value."""
    place = tuple(error.absolute_path)
    if error.validator != "additionalProperties":
        yield document.mark(place).line
        return
    for name in set(error.instance) - set(error.schema.get("properties", {})):
        yield document.key_mark((*place, name)).line


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: f"{one['kind']}: {one['name']}")
def test_the_usual_mistakes_are_caught(mistake: dict[str, Any]) -> None:
    document = yaml.load(mistake["text"])
    errors = VALIDATORS[mistake["kind"]].iter_errors(plain(document.value))
    found = (one for error in errors for one in innermost(error))
    assert mistake["line"] in {line for error in found for line in lines(document, error)}


def test_the_schemas_know_every_word_of_the_language() -> None:
    """The language is read elsewhere; a word that is new there must be new here."""
    structure = language.mapping()["definitions"]["structure"]["properties"]
    assert set(structure) == set(reader._STRUCTURE_KEYS)
    assert set(language.mapping()["definitions"]["example"]["properties"]) == {*map(str, examples._KEYS)}
    assert set(language.codes()["properties"]) == set(codes._KEYS)
    assert set(language.translation()["properties"]) == {*translation._KEYS, "prune"}
    listed = language.mapping()["definitions"]["text"]["description"]
    assert all(name in listed for name in functions.FUNCTIONS)


def test_every_field_of_routes_has_a_description() -> None:
    definitions = schemas.routes(schemas.known(SETTINGS))["definitions"]
    for name in ("route", "endpoint", "endpoint.Limits"):
        for field, about in definitions[name]["properties"].items():
            assert about.get("description"), f"{name}: {field}"


def test_a_schema_command_writes_checks_and_refers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Configured(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    for schema in (tmp_path / "schemas" / "editor").glob("*.json"):
        schema.unlink()
    assert run(main, ["schema", "--check"]).exit_code == 1
    written = run(main, ["schema"])
    assert (written.exit_code, len(written.output.splitlines())) == (0, 5)
    assert run(main, ["schema", "--check"]).exit_code == 0
    table = tmp_path / "mappings" / "codes" / "new.yaml"
    table.write_text("source: S\nentries: {a: '1'}\n", "utf-8")
    assert "new.yaml" in run(main, ["schema", "--refer"]).output
    assert table.read_text("utf-8").splitlines()[0] == f"{schemas.MARK}../../schemas/editor/codes.json"
    assert run(main, ["schema", "--refer"]).output == ""
