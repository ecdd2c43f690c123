"""``esb schema``, ``new`` and ``diff``: for people who write routes and mappings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from esb.cli.common import as_json_option, guarded, print_json, routes_option, settings_of


@click.command()
@click.option("--into", type=click.Path(path_type=Path), default="schemas/editor", show_default=True, help="Folder.")
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 when something is not current.")
@click.option("--refer", is_flag=True, help="Also name its schema in the first line of every file that has one.")
@routes_option
def schema(into: Path, check: bool, refer: bool, routes: Path | None) -> None:
    """Write the JSON Schemas by which editors complete and check our YAML; list every file that was not current."""
    from esb.editing import schemas

    settings = settings_of(routes)
    stale = dict(guarded(lambda: list(schemas.outdated(into, schemas.known(settings)))))
    if refer:
        found = ((file, schemas.referred(file, kind, into)) for file, kind in schemas.files(settings))
        stale |= {file: text for file, text in found if text is not None}
    for file, text in stale.items():
        click.echo(f"{file}{' is not current' if check else ''}")
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    sys.exit(1 if check and stale else 0)


@click.group()
def new() -> None:
    """Draft a new file from what there is."""


@new.command("mapping")
@click.argument("operation")
@click.option("--from", "source", required=True, help="his.wsdl#Op, fhir:Resource, or a sample of a request.")
@click.option("--answer", type=click.Path(path_type=Path, dir_okay=False), help="A sample of an answer.")
@click.option("--to", "endpoint", default="", help="The endpoint of the routes file that it is for.")
@click.option("--action", default="", help="What the adapter is to do, where the source does not say.")
@click.option("--words", type=click.Path(path_type=Path, dir_okay=False), multiple=True, help="Your own glossary.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@routes_option
def new_mapping(routes: Path | None, **wanted: Any) -> None:
    """Draft the mapping of OPERATION from a WSDL, a FHIR resource or sample messages without real patients.

    Every guess is marked 'review', with its likeness. It is written to the endpoint's mappings/DIALECT/OPERATION.yaml
    or to the file that is named, never over another; without either it is printed.
    """
    from esb.editing.new import Wanted
    from esb.editing.new import new_mapping as draft

    made = guarded(lambda: draft(Wanted(**wanted), settings_of(routes), os.environ))
    if made.file is None:
        click.echo(made.text, nl=False)
        return
    made.file.parent.mkdir(parents=True, exist_ok=True)
    made.file.write_text(made.text, encoding="utf-8")
    click.echo(f"{made.file}: {made.text.count('review: ')} places to review; then esb lint still says:")
    for finding in made.remaining():
        click.echo(str(finding))


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--on", "recorded", type=click.Path(path_type=Path, exists=True), required=True, help="Recordings.")
@routes_option
@as_json_option
def diff(old: str, new: str, recorded: Path, routes: Path | None, as_json: bool) -> None:
    """Show by field what changes on recorded exchanges between the mappings OLD and NEW.

    OLD and NEW are mapping files, folders of them, or REVISION:PATH of git. Recordings are *.json or *.jsonl files
    or a bus's journal. Patients' data is masked. Exit status: 0 no difference, 1 differences, 2 nothing compared.
    """
    from esb.editing.compare import as_text, as_tree, compared_on

    report = guarded(lambda: compared_on(old, new, recorded, settings_of(routes)))
    if as_json:
        print_json(as_tree(report))
    else:
        click.echo(as_text(report))
    sys.exit(2 if not report.compared else 1 if report.differences else 0)
