"""``esb journal received``: messages that systems sent us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from esb.cli.common import POSITION, REASON, as_json_option, print_json
from esb.cli.journal import at_desk, journal, moment, writing

_STATES = ("event", "answer", "parked", "unwanted", "conflict", "unreadable", "superseded")
_TEXTS = (
    ("--endpoint", "That came to this endpoint."),
    ("--sender", "From this sender, as list shows it: MSH-3 and MSH-4, 'LIS|LAB'."),
    ("--control", "With this id of its sender's: MSH-10."),
    ("--kind", "Of this kind: 'ORU^R01'."),
    ("--event", "That became this event: report.released."),
)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--since", callback=moment, metavar="TIME", help="Since 2026-01-15T09:30, or 6h ago.")(
        command
    )
    command = click.option("--until", callback=moment, metavar="TIME", help="Before that time.")(command)
    states = click.Choice(_STATES)
    command = click.option("--state", "states", multiple=True, type=states, help="That became of it.")(command)
    for name, told in reversed(_TEXTS):
        command = click.option(name, default="", help=told)(command)
    return command


@journal.group()
def received() -> None:
    """What systems told us: list, show, export. Patients are masked. With --since a search is quick."""


@received.command("list")
@_options
@click.option("--before", type=POSITION, default=0, metavar="POSITION", help="Before this position: the next page.")
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@as_json_option
def received_list(before: int, most: int, as_json: bool, **options: Any) -> None:
    """List messages, the newest first."""
    from esb.journal.received import Wanted

    found = at_desk(lambda desk: desk.received(Wanted(**options), before=before, most=most))
    if as_json:
        print_json({"messages": found.rows, "before": int(found.before) if found.before else None})
        return
    for row in found.rows:
        click.echo(_line(row))
    more = f"; more with --before {found.before}" if found.before else ""
    click.echo(f"{len(found.rows)} messages{more}")


def _line(row: dict[str, Any]) -> str:
    who = f"{row['sender'] or row['peer']} {row['control']}".strip()
    facts = (row["position"], row["received"], row["endpoint"], who, row["kind"], row["state"], row["event"])
    broken = "broken: " + ", ".join(row["broken"]) if "broken" in row else ""
    return "  ".join(str(each) for each in (*facts, row["reason"], broken) if each)


@received.command("show")
@click.argument("message")
@click.option("--unmask", is_flag=True, help="Show patient data. The audit has who did it and why.")
@click.option("--reason", type=REASON, help="Why it must be seen; for --unmask.")
def received_show(message: str, unmask: bool, reason: str | None) -> None:
    """Show one as JSON, by its position or its id: what came, the event that it became, what its sender heard."""
    if unmask and not reason:
        raise click.UsageError("--unmask needs --reason")
    print_json(at_desk(lambda desk: desk.received_one(message, unmask=reason if unmask and reason else "")))


@received.command("export")
@_options
@click.option(
    "--output", type=click.Path(dir_okay=False), help="File; compressed when it ends in .gz. Default: output."
)
@click.option("--unmask", is_flag=True, help="With patient data.")
@click.option("--reason", type=REASON, required=True, help="What it is for; kept in the audit with your name.")
def received_export(output: str | None, unmask: bool, reason: str, **options: Any) -> None:
    """Write messages as JSON lines, the newest first, as many as there are."""
    from esb.journal.received import Wanted

    count = at_desk(lambda desk: writing(output, desk.received_export(Wanted(**options), reason, unmask=unmask)))
    click.echo(f"{count} messages", err=True)
