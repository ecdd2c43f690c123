"""``esb journal``: what became of exchanges."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import IO, Any, cast

import click

from esb.cli.common import REASON, as_json_option, guarded, print_json, settings_of

_STATES = ("received", "sent", "done", "accepted", "refused", "unavailable", "unknown", "malformed", "cancelled")
_TEXTS = (
    ("--operation", "Of this operation."),
    ("--endpoint", "To this endpoint."),
    ("--code", "That ended with this code: slot_full, no_answer ..."),
    ("--key", "With this idempotency key."),
    ("--request-id", "With this X-Request-Id."),
)


def moment(context: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """``2026-01-15``, ``2026-01-15T09:30``, or so long ago: ``90m``, ``6h``, ``3d``."""
    from esb.clock import SHANGHAI, SystemClock
    from esb.config.values import seconds

    if text is None:
        return None
    try:
        return SystemClock().now() - timedelta(seconds=seconds(text))
    except ValueError:
        pass
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("write 2026-01-15, 2026-01-15T09:30, or how long ago: 90m, 6h, 3d") from None
    return told if told.tzinfo else told.replace(tzinfo=SHANGHAI)


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ``query_of`` makes a query of."""
    command = click.option("--id", "ids", multiple=True, help="This exchange; may be given several times.")(command)
    command = click.option("--since", callback=moment, metavar="TIME", help="Since 2026-01-15T09:30, or 6h ago.")(
        command
    )
    command = click.option("--until", callback=moment, metavar="TIME", help="Before that time.")(command)
    states = click.Choice(_STATES)
    command = click.option("--state", "states", multiple=True, type=states, help="That stands there.")(command)
    command = click.option(
        "--patient", default="", help="About this patient: the number; '-' asks for it, so that no history has it."
    )(command)
    for name, told in reversed(_TEXTS):
        command = click.option(name, default="", help=told)(command)
    return command


def query_of(desk: Any, patient: str, **options: Any) -> Any:
    """The query; the patient's number is hashed before it goes anywhere."""
    from esb.journal.search import Query

    if patient == "-":
        patient = click.prompt("patient", hide_input=True, err=True)
    return Query(subjects=desk.marks(patient) if patient else (), **options)


@click.group()
def journal() -> None:
    """What became of exchanges: list, show, export. Works beside a running bus; patients are masked."""


@journal.command("list")
@query_options
@click.option("--before", default="", metavar="ID", help="Older than this exchange: the next page.")
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@as_json_option
def journal_list(before: str, most: int, as_json: bool, **options: Any) -> None:
    """List exchanges, the newest first."""
    found = at_desk(lambda desk: desk.list(query_of(desk, **options), before=before, most=most))
    if as_json:
        print_json({"exchanges": found.rows, "before": found.before or None})
        return
    for row in found.rows:
        click.echo(_line(row))
    more = f"; more with --before {found.before}" if found.before else ""
    click.echo(f"{len(found.rows)} exchanges{more}")


def _line(row: dict[str, Any]) -> str:
    took = (row["timings"] or {}).get("total", "") if isinstance(row["timings"], dict) else ""
    facts = (row["id"], row["received"], row["operation"], f"to {row['endpoint']}", row["state"], row["code"])
    broken = "broken: " + ", ".join(row["broken"]) if "broken" in row else ""
    rest = (f"{took} ms" if took else "", f"as {row['cause']}" if row["cause"] else "", row["reason"], broken)
    return "  ".join(str(each) for each in (*facts, *rest) if each)


@journal.command("show")
@click.argument("exchange")
@click.option("--unmask", is_flag=True, help="Show patient data. The audit has who did it and why.")
@click.option("--reason", type=REASON, help="Why it must be seen; for --unmask.")
def journal_show(exchange: str, unmask: bool, reason: str | None) -> None:
    """Show one as JSON: stages, request, what was sent, what came back, answer, and what it has to do with."""
    if unmask and not reason:
        raise click.UsageError("--unmask needs --reason")
    print_json(at_desk(lambda desk: desk.show(exchange, unmask=reason if unmask and reason else "")))


@journal.command("export")
@query_options
@click.option(
    "--output", type=click.Path(dir_okay=False), help="File; compressed when it ends in .gz. Default: output."
)
@click.option("--unmask", is_flag=True, help="With patient data.")
@click.option("--reason", type=REASON, required=True, help="What it is for; kept in the audit with your name.")
def journal_export(output: str | None, unmask: bool, reason: str, **options: Any) -> None:
    """Write exchanges as JSON lines, the newest first, as many as there are."""

    def write(desk: Any) -> int:
        return writing(output, desk.export(query_of(desk, **options), reason, unmask=unmask))

    click.echo(f"{at_desk(write)} exchanges", err=True)


def writing(output: str | None, trees: Iterable[Any]) -> int:
    """Write them as JSON lines into a file, standard output for None; how many there were."""
    from esb.codecs import json

    count = 0
    with _opened(output) as file:
        for tree in trees:
            file.write(json.encode(tree) + b"\n")
            count += 1
    return count


@contextmanager
def _opened(output: str | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        return
    with open(output, "wb", opener=_private) as file:
        if output.endswith(".gz"):
            with gzip.open(file, "wb") as packed:
                yield cast(IO[bytes], packed)
        else:
            yield file


def _private(name: str, flags: int) -> int:
    """What is exported is for its owner; a file that was there before keeps the rights it has."""
    return os.open(name, flags, 0o600)


@journal.command("reindex")
@click.option("--reason", type=REASON, required=True, help="Why; kept in the audit with your name.")
def journal_reindex(reason: str) -> None:
    """Write whom exchanges are about again, under the key in use. Stopped, it goes on when it is called again."""
    from esb.clock import SystemClock
    from esb.journal.reindex import reindex

    def run() -> dict[str, Any]:
        return dict(reindex(settings_of(None), SystemClock(), reason))

    for name, tally in guarded(run).items():
        click.echo(f"{name}: {tally.written} written, {tally.kept} as they were")


def at_desk(work: Callable[[Any], Any]) -> Any:
    """What ``work`` gives; findings end the process with 2, an exchange that is not there with 1."""
    from esb.clock import SystemClock
    from esb.journal.desk import Desk, NotFoundError

    try:
        return guarded(lambda: work(Desk(settings_of(None), SystemClock())))
    except NotFoundError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
