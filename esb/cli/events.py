"""``esb events``: what systems told us, as events, and who has had them."""

from __future__ import annotations

import json

import click

from esb.cli.common import POSITION, as_json_option, guarded, print_json, settings_of


@click.group()
def events() -> None:
    """Events and their subscribers. Works beside a running bus."""


@events.command("list")
@click.option("--after", type=POSITION, default=0, show_default=True, help="Only those behind this position.")
@click.option("--event", default="", help="Only this one, such as report.released.")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@as_json_option
def events_list(after: int, event: str, most: int, as_json: bool) -> None:
    """List events in their order; patient data is masked. The last position is where to go on: --after."""
    from esb.events.reading import read_events

    found = guarded(lambda: read_events(settings_of(None), after, most, event))
    if as_json:
        print_json({"events": found})
        return
    for one in found:
        body = json.dumps(one["body"], ensure_ascii=False)
        click.echo("  ".join((str(one["position"]), one["received"], one["source"], one["event"], body)))
    click.echo(f"{len(found)} events")


@events.command("subscribers")
@as_json_option
def events_subscribers(as_json: bool) -> None:
    """List subscribers with the position that each has left behind."""
    from esb.events.reading import read_cursors

    found = guarded(lambda: read_cursors(settings_of(None)))
    if as_json:
        print_json({"subscribers": found})
        return
    for one in found:
        click.echo("  ".join((one["subscriber"], str(one["position"]), "" if one["wanted"] else "not configured")))
    if not found:
        click.echo("no subscribers: routes.yaml has none under 'events', or no bus has run with them on this store yet")
