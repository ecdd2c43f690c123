"""``esb replay``: what was asked before, once more."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from esb.cli.common import REASON, as_json_option, guarded, moment_of, plan_of, print_json, routes_option, settings_of

_RATE = re.compile(r"(\d{1,5}(?:\.\d+)?)/([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _rate(context: Any, option: Any, text: str) -> float:
    """So many a second."""
    match = _RATE.fullmatch(text)
    if not match or not float(match[1]):
        raise click.BadParameter("write it like 5/s or 100/m")
    return float(match[1]) / _SECONDS[match[2]]


@click.command()
@click.argument("exchanges", nargs=-1)
@click.option("--from-file", type=click.File("r"), help="A file with an exchange's id a line; - for standard input.")
@click.option("--parked", is_flag=True, help="Those that wait for a person.")
@click.option("--operation", default="", help="Only this operation's.")
@click.option("--endpoint", default="", help="Only this endpoint's.")
@click.option("--outcome", "states", multiple=True, help="Only with this outcome, as unavailable.")
@click.option("--code", default="", help="Only with this code, as expired.")
@click.option("--key", default="", help="Only with this idempotency key.")
@click.option("--since", callback=moment_of, help="Only received then or later: 6h, 2d, or a time.")
@click.option("--until", callback=moment_of, help="Only received before.")
@click.option("--really", is_flag=True, help="Do it; without, nothing is sent.")
@click.option("--reason", type=REASON, help="Why; kept in the audit with your name.")
@click.option("--rate", default="5/s", show_default=True, callback=_rate, help="So many begin in a time.")
@routes_option
@as_json_option
def replay(
    exchanges: tuple[str, ...],
    from_file: Any,
    parked: bool,
    states: tuple[str, ...],
    really: bool,
    reason: str | None,
    rate: float,
    routes: Path | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Carry out EXCHANGES once more, or those of a file or a query: same pipeline, same key, no second effect.

    By default nothing is sent: it shows what would be sent now beside what was sent then, by field, patients masked.
    With --really the workers of the running bus deliver them at the rate. What has its answer keeps it, what may have
    happened and happens once is settled and not sent. Exit status: 0; 1 some cannot be carried out; 2 none can, or the
    call is wrong.
    """
    if really and not reason:
        raise click.UsageError("--really needs --reason")
    named = (*exchanges, *(line.strip() for line in from_file or () if line.strip()))
    if not named and not parked and not states and not any(wanted.values()):
        raise click.UsageError("name exchanges, or give --from-file, --parked or a query")
    plan, store = plan_of(routes), settings_of(routes).store
    ids = guarded(lambda: _ids(store, named, parked, states, wanted))
    if really and reason:
        _perform(store, plan, ids, reason, rate, as_json)
    _rehearse(store, plan, ids, as_json)


def _ids(
    store: str, named: tuple[str, ...], parked: bool, states: tuple[str, ...], wanted: dict[str, Any]
) -> list[str]:
    from esb.errors import ConfigError, Finding
    from esb.journal.search import Query
    from esb.replay import Selection, selected
    from esb.replay.selecting import TooManyError
    from esb.store.engines import transaction

    try:
        with transaction(store, writes=False) as connection:
            return selected(connection, Selection(named, Query(states=states, **wanted), parked))
    except TooManyError as error:
        raise ConfigError([Finding("replay", 0, 0, str(error))]) from None


def _rehearse(store: str, plan: Any, ids: list[str], as_json: bool) -> None:
    from esb.replay import as_text, as_tree, rehearse
    from esb.store.engines import transaction

    found = guarded(lambda: rehearse(lambda: transaction(store, writes=False), ids, plan))
    if as_json:
        print_json(as_tree(found))
    else:
        click.echo(as_text(found))
    failing = any(one.error for one in found.groups)
    sys.exit(2 if not found.carried_out else 1 if failing or found.carried_out < found.exchanges else 0)


def _perform(store: str, plan: Any, ids: list[str], reason: str, rate: float, as_json: bool) -> None:
    from esb.clock import SystemClock
    from esb.replay import Performer
    from esb.replay.judging import CARRIED_OUT

    performer = Performer(store, plan, SystemClock(), reason, rate)
    counts: Counter[str] = Counter()
    left: list[dict[str, str]] = []
    for chunk in guarded(lambda: _each(performer.perform(ids), as_json)):
        counts.update(str(one.verdict) for one in chunk)
        left += [{"id": o.id, "verdict": str(o.verdict), "why": o.why} for o in chunk if o.verdict not in CARRIED_OUT]
    done = sum(counts[str(one)] for one in CARRIED_OUT)
    if as_json:
        print_json({"exchanges": len(ids), "carried_out": done, "counts": dict(counts), "left": left})
    else:
        for one in left:
            click.echo(f"{one['id']} {one['verdict']}: {one['why']}")
        click.echo(f"{done} of {len(ids)} are with the workers, the last begins after {done / rate:.0f}s")
    sys.exit(2 if not done else 1 if left else 0)


def _each(chunks: Any, as_json: bool) -> list[Any]:
    done = []
    for chunk in chunks:
        done.append(chunk)
        if not as_json:
            click.echo(f"{sum(map(len, done))} looked at", err=True)
    return done
