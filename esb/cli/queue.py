"""``esb queue``: what was accepted and waits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from esb.cli.common import as_json_option, guarded, print_json, settings_of

_WHERE = ("ready", "later", "held", "taken", "settling", "parked")


@click.group()
def queue() -> None:
    """What was accepted and waits: list, show, release, discard. Works beside a running bus."""


@queue.command("list")
@click.option("--where", multiple=True, type=click.Choice(_WHERE), help="Only these; by default all.")
@click.option("--endpoint", default="", help="Only this endpoint's.")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@as_json_option
def queue_list(where: tuple[str, ...], endpoint: str, most: int, as_json: bool) -> None:
    """List what waits, the oldest first, with why it waits."""
    found = _at_desk(lambda desk: desk.list(where, endpoint, most))
    if as_json:
        print_json({"messages": found})
        return
    for one in found:
        facts = (one["id"], one["operation"], f"to {one['endpoint']}", one["where"], f"{one['age_s']}s old")
        click.echo("  ".join((*facts, f"{one['tries']} tries", one["reason"])))
    click.echo(f"{len(found)} messages")


@queue.command("show")
@click.argument("exchange")
def queue_show(exchange: str) -> None:
    """Show one as JSON, with its request; patient data is masked."""
    print_json(_at_desk(lambda desk: desk.show(exchange)))


@queue.command("release")
@click.argument("exchanges", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why it will be well now.")
def queue_release(exchanges: tuple[str, ...], reason: str) -> None:
    """Let parked EXCHANGES be tried again, with all their tries."""
    from esb.parked import Desk

    for exchange in exchanges:
        _at_desk(partial(Desk.release, exchange_id=exchange, reason=reason))
        click.echo(f"{exchange} released")


@queue.command("discard")
@click.argument("exchanges", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why it is not wanted any more; kept in the journal with your name.")
def queue_discard(exchanges: tuple[str, ...], reason: str) -> None:
    """End parked EXCHANGES: they are not sent any more."""
    from esb.parked import Desk

    for exchange in exchanges:
        _at_desk(partial(Desk.discard, exchange_id=exchange, reason=reason))
        click.echo(f"{exchange} discarded")


def _at_desk(work: Callable[[Any], Any]) -> Any:
    from esb.clock import SystemClock
    from esb.parked import Desk, NotParkedError

    try:
        return guarded(lambda: work(Desk(settings_of(None), SystemClock())))
    except NotParkedError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
