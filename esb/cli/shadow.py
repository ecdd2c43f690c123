"""``esb shadow``: what second systems answer beside the live ones."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from esb.cli.common import as_json_option, guarded, moment_of, print_json, settings_of


@click.group()
def shadow() -> None:
    """What a second system answers beside the live one: see 'shadow' of a route."""


@shadow.command("report")
@click.option("--operation", default="", help="Only this one.")
@click.option("--since", default="7d", show_default=True, callback=moment_of, help="6h, 2d, or a time.")
@as_json_option
def shadow_report(operation: str, since: datetime, as_json: bool) -> None:
    """Show by field how often shadows answered otherwise than the live system, with masked examples.

    Works beside a running bus. Exit status: 0 nothing differs, 1 something does, 2 nothing was compared.
    """
    from esb.shadow import as_text, as_tree, report

    shadows = guarded(lambda: report(_counted(since, operation)))
    if as_json:
        print_json({"shadows": as_tree(shadows)})
    else:
        click.echo(as_text(shadows))
    sys.exit(2 if not shadows else 1 if any(one.fields for one in shadows) else 0)


def _counted(since: datetime, operation: str) -> Any:
    from esb.clock import SHANGHAI
    from esb.store.engines import transaction
    from esb.store.shadow import counted

    with transaction(settings_of(None).store, writes=False) as connection:
        return counted(connection, since.astimezone(SHANGHAI).isoformat()[: len("2026-01-15T09")], operation)
