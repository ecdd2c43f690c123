"""``esb queue``: what was accepted and waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click

from esb.cli.common import REASON, as_json_option, guarded, print_json, settings_of

_TOGETHER = 100
"""In one transaction: quick, and short enough to stand in nobody's way."""
_WHERE = ("ready", "later", "held", "taken", "settling", "parked")


_all_like = click.option(
    "--all-like", default="", metavar="ID", help="All that are parked for the same kind of reason as this one."
)


@click.group()
def queue() -> None:
    """What was accepted and waits: list, show, edit, release, discard. Works beside a running bus."""


@queue.command("list")
@click.option("--where", multiple=True, type=click.Choice(_WHERE), help="Only these; by default all.")
@click.option("--endpoint", default="", help="Only this endpoint's.")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@click.option("--grouped", is_flag=True, help="What is parked, alike ones taken together.")
@as_json_option
def queue_list(where: tuple[str, ...], endpoint: str, most: int, grouped: bool, as_json: bool) -> None:
    """List what waits, the oldest first, with why it waits."""
    if grouped:
        _list_groups(endpoint, as_json)
        return
    found = _at_desk(lambda desk: desk.waiting(where, endpoint, most))
    if as_json:
        print_json({"messages": found})
        return
    for one in found:
        facts = (one["id"], one["operation"], f"to {one['endpoint']}", one["where"], f"{one['age_s']}s old")
        click.echo("  ".join((*facts, f"{one['tries']} tries", one["reason"])))
    click.echo(f"{len(found)} messages")


def _list_groups(endpoint: str, as_json: bool) -> None:
    found = _at_desk(lambda desk: desk.groups("", endpoint))
    if as_json:
        print_json({"groups": found})
        return
    for one in found:
        facts = (f"{one['count']} x", one["operation"], f"to {one['endpoint']}", f"oldest {one['oldest_s']}s")
        click.echo("  ".join((*facts, one["reason"], f"for example {one['example']}")))
    click.echo(f"{sum(one['count'] for one in found)} parked messages of {len(found)} kinds")


@queue.command("show")
@click.argument("exchange")
def queue_show(exchange: str) -> None:
    """Show one as JSON, with its request; patient data is masked."""
    print_json(_at_desk(lambda desk: desk.show(exchange)))


@queue.command("release")
@click.argument("exchanges", nargs=-1)
@_all_like
@click.option("--reason", type=REASON, required=True, help="Why it will be well now; kept in the audit with your name.")
def queue_release(exchanges: tuple[str, ...], all_like: str, reason: str) -> None:
    """Let parked EXCHANGES be tried again, with all their tries. Many of them: see esb replay --parked."""
    _each(exchanges, all_like, "release", "released", reason)


@queue.command("discard")
@click.argument("exchanges", nargs=-1)
@_all_like
@click.option(
    "--reason",
    type=REASON,
    required=True,
    help="Why it is not wanted any more; kept in journal and audit with your name.",
)
def queue_discard(exchanges: tuple[str, ...], all_like: str, reason: str) -> None:
    """End parked EXCHANGES: they are not sent any more."""
    _each(exchanges, all_like, "discard", "discarded", reason)


@queue.command("edit")
@click.argument("exchange")
@click.option("--set", "values", multiple=True, metavar="PATH=VALUE", help="A field of the request: patient.name=...")
@click.option("--unset", multiple=True, metavar="PATH", help="A field to take out.")
@click.option("--reason", type=REASON, required=True, help="Why; kept in journal and audit with your name.")
def queue_edit(exchange: str, values: tuple[str, ...], unset: tuple[str, ...], reason: str) -> None:
    """Change the request of a parked EXCHANGE, as far as the contract allows; then release it.

    What was asked before stays in the journal. The client's key goes on standing for what the client sent.
    """
    texts: dict[str, str | None] = dict.fromkeys(unset)
    for one in values:
        path, equals, text = one.partition("=")
        if not path or not equals:
            raise click.BadParameter(f"'{one}' is not PATH=VALUE")
        texts[path] = text
    if not texts:
        raise click.UsageError("say what to change with --set or --unset")
    _at_desk(lambda desk: desk.edit(exchange, texts, reason))
    click.echo(f"{exchange} edited; it is parked still")


def _each(exchanges: tuple[str, ...], all_like: str, method: str, done: str, reason: str) -> None:
    alike = _at_desk(lambda desk: desk.like(all_like)) if all_like else ()
    chosen = dict.fromkeys((*exchanges, *alike))
    if not chosen:
        raise click.UsageError("name exchanges, or give --all-like")
    for together in _hundreds(list(chosen)):
        _at_desk(partial(_done, method, together, reason))
        click.echo("\n".join(f"{exchange} {done}" for exchange in together))


def _hundreds(exchanges: list[str]) -> Iterator[list[str]]:
    return (exchanges[at : at + _TOGETHER] for at in range(0, len(exchanges), _TOGETHER))


def _done(method: str, exchanges: list[str], reason: str, desk: Any) -> None:
    getattr(desk, method)(exchanges, reason)


def _at_desk(work: Callable[[Any], Any]) -> Any:
    from esb.clock import SystemClock
    from esb.parked import Desk, NotEditedError, NotParkedError

    try:
        return guarded(lambda: work(Desk(settings_of(None), SystemClock())))
    except (NotParkedError, NotEditedError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
