"""``esb lint`` and ``esb test``: is the configuration sound, do the mappings do what their examples say?"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from esb.cli.common import (
    as_json_option,
    must_be_routed,
    plan_of,
    print_findings,
    print_json,
    routes_option,
    settings_of,
)
from esb.errors import ConfigError


@click.command()
@routes_option
@as_json_option
def lint(routes: Path | None, as_json: bool) -> None:
    """Check routes, contract, mappings, code tables and adapters against each other; list every finding.

    A finding is FILE:LINE:COLUMN, what is wrong and the nearest valid word. Translations, the mappings of other
    hospitals in the same folder and files that nothing uses are looked at too. Exit status 2 when there is any.
    """
    from esb.clock import SystemClock
    from esb.lint import examine, survey
    from esb.observe import Metrics

    try:
        settings = settings_of(routes)
    except ConfigError as error:
        print_findings(error, as_json)
        sys.exit(2)
    plan, findings = examine(settings, os.environ, SystemClock(), Metrics())
    surveyed = survey(settings, plan) if plan is not None else None
    if plan is None or surveyed is None or findings or surveyed.findings:
        print_findings(ConfigError([*findings, *(surveyed.findings if surveyed else ())]), as_json)
        sys.exit(2)
    counts = {"routes": len(plan.routes.routes), "endpoints": len(plan.endpoints), "mappings": len(plan.mappings)}
    if plan.translations:
        counts["callbacks"] = len(plan.translations)
    if surveyed.translations:
        counts["translations"] = len(surveyed.translations)
    if as_json:
        print_json({"findings": [], "idle": list(surveyed.idle), **counts})
        return
    click.echo("sound: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    for file in surveyed.idle:
        click.echo(f"{file}: no route leads here")


@click.command()
@click.argument("operations", nargs=-1)
@routes_option
@as_json_option
def test(operations: tuple[str, ...], routes: Path | None, as_json: bool) -> None:
    """Run the examples that stand beside the mappings; nothing is sent.

    OPERATIONS limits the run to some operations. Exit status 1 when an example fails.
    """
    from esb.lint import run_all_examples, survey
    from esb.mapping import run_translation_examples

    plan = plan_of(routes)
    for operation in operations:
        must_be_routed(operation, plan)
    results: list[Any] = list(run_all_examples(plan, operations or tuple(plan.mappings)))
    used = {one.file: one for one in plan.all_translations}
    for translation in () if operations else (used | dict(survey(settings_of(routes), plan).translations)).values():
        results += [(translation, result) for result in run_translation_examples(translation)]
    failed = [(mapping, result) for mapping, result in results if not result.passed]
    if as_json:
        print_json({"examples": [{"file": mapping.file, **asdict(each)} for mapping, each in results]})
    else:
        for mapping, result in failed:
            click.echo(f"{mapping.file}:{result.line}: example '{result.name}' failed")
            click.echo("".join(f"    {difference}\n" for difference in result.differences), nl=False)
        click.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)
