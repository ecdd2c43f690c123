"""``esb audit``: what people did, and whether the account of it is whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import IO, Any

import click

from esb.cli.common import POSITION, as_json_option, guarded, print_json, settings_of


@click.group()
def audit() -> None:
    """What people did: list, verify, anchor."""


@audit.command("list")
@click.option("--actor", default="", help="Only what this person did.")
@click.option("--action", default="", help="Only this: release, discard, unmask, export, replay ...")
@click.option("--object", "on", default="", help="Only what was done to this exchange.")
@click.option("--before", type=POSITION, help="Older than this number: the next page.")
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@as_json_option
def audit_list(actor: str, action: str, on: str, before: int | None, most: int, as_json: bool) -> None:
    """List acts, the newest first."""
    from esb.audit import entries

    wanted = {"actor": actor, "action": action, "object": on}
    rows = _read(lambda connection: list(entries(connection, most, before=before, **wanted)))
    if as_json:
        print_json({"acts": [row._asdict() for row in rows]})
        return
    for row in rows:
        click.echo("  ".join((str(row.seq), row.at, row.actor, row.action, row.object, row.reason, row.details)))
    click.echo(f"{len(rows)} acts")


@audit.command("verify")
@click.option("--anchors", type=click.File("r", encoding="utf-8"), help="Lines of esb audit anchor, kept elsewhere.")
def audit_verify(anchors: IO[str] | None) -> None:
    """Go through the whole audit. Exit status 1 and the number of the first broken row when it is not whole."""
    from esb.audit import verify

    kept = list(_anchors(anchors)) if anchors else []
    found = _read(lambda connection: verify(connection, kept))
    if found.broken is None:
        click.echo(f"{found.rows} acts, each follows the one before it")
        return
    click.echo(f"row {found.broken}: {found.why}; {found.rows} before it are in order", err=True)
    sys.exit(1)


@audit.command("anchor")
def audit_anchor() -> None:
    """Print the newest row's number and digest as one line of JSON, to be kept where the bus cannot write."""
    from esb.audit import anchor
    from esb.clock import SystemClock

    print_json(_read(lambda connection: anchor(connection, SystemClock().now())._asdict()), pretty=False)


def _anchors(lines: Iterable[str]) -> Iterable[Any]:
    import json

    from esb.audit import Anchor

    for number, line in enumerate(lines, start=1):
        try:
            told = json.loads(line)
            yield Anchor(str(told["day"]), int(told["seq"]), str(told["hash"]))
        except (ValueError, KeyError, TypeError):
            raise click.UsageError(f"line {number} is no anchor") from None


def _read(work: Callable[[Any], Any]) -> Any:
    def run() -> Any:
        from esb.store.engines import transaction

        with transaction(settings_of(None).store, writes=False) as connection:
            return work(connection)

    return guarded(run)
