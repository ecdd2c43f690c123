"""``esb explain`` and ``esb try``: what would happen, without sending anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from esb.cli.common import (
    as_json_option,
    decode_or_exit,
    must_be_routed,
    plan_of,
    print_json,
    routes_option,
    settings_of,
)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"'{text}' is not NAME=VALUE")
    return name, value


@click.command()
@click.argument("what", metavar="OPERATION|FILE")
@click.option("--field", help="Only this field: PatientID, PID-3.1, items[].fee, or a field of the request.")
@click.option("--by", help="FILE's mapping: an operation, or a file of mappings/.")
@click.option("--side", type=click.Choice(("request", "answer")), help="What FILE is, if its form leaves a doubt.")
@click.option("--request", type=click.File("rb"), help="The canonical request that the answer in FILE is for (JSON).")
@click.option(
    "--site",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, option, values: [_named(value) for value in values],
    help="What $site holds beside the endpoint's own.",
)
@click.option("--unmask", is_flag=True, help="Show patient data.")
@routes_option
@as_json_option
def explain(what: str, request: Any, site: Any, routes: Path | None, as_json: bool, **options: Any) -> None:
    """Show what happens to OPERATION, or what its mapping makes of the message in FILE, field by field.

    OPERATION: contract, route with defaults applied, endpoint, limits, mapping, outcomes; with --field where the field
    comes from, what it passes through and what uses it. FILE: a canonical request, a system's answer, a message that is
    translated, or an exchange as {operation, request, answer}. Exit status 1 when the mapping fails on it.
    """
    from esb.explain import Asked, CannotExplainError, UnknownFieldError
    from esb.explain import explain as answer

    plan = plan_of(routes)
    if what in plan.mappings or not Path(what).is_file():
        must_be_routed(what, plan)
    given = None if request is None else decode_or_exit("json", request)
    try:
        found = answer(settings_of(routes), plan, Asked(what, request=given, site=dict(site), **options))
    except (CannotExplainError, UnknownFieldError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if as_json:
        print_json(found.tree)
    else:
        click.echo(found.text)
    sys.exit(1 if found.failed else 0)


@click.command("try")
@click.argument("operation")
@click.argument("file", type=click.File("rb"))
@click.option("--key", default="KEY1", show_default=True, help="The idempotency key to use.")
@routes_option
@as_json_option
def try_(operation: str, file: Any, key: str, routes: Path | None, as_json: bool) -> None:
    """Show what would be sent for the request in FILE (JSON; - for standard input). Nothing is sent.

    The request is checked against the contract, mapped, wrapped in the endpoint's envelopes and written as the adapter
    would write it.
    """
    from esb.explain import attempt

    plan = plan_of(routes)
    must_be_routed(operation, plan)
    request = decode_or_exit("json", file)
    facts = attempt(plan, operation, request, key)
    if as_json:
        print_json(facts)
    elif facts.get("errors"):
        for error in facts["errors"]:
            click.echo(f"{error['pointer'] or '/'}: {error['en']}", err=True)
    else:
        click.echo(f"to {facts['endpoint']}: {facts['action']}\n")
        if facts["enveloped"]:
            print_json(facts["payload"])
        click.echo(facts["wire"])
    sys.exit(1 if facts.get("errors") else 0)
