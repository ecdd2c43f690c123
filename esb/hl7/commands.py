"""``esb hl7 ...``: tools for the people who connect hospital systems, and the HL7 side of ``esb decode``."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

import click

from esb.codecs import json
from esb.codecs.hl7v2 import Message, framed
from esb.hl7 import sources
from esb.hl7.address import Tls, address

_T = TypeVar("_T")
_files = click.argument("files", type=click.Path(exists=True, allow_dash=True, path_type=Path), nargs=-1, required=True)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people.")
_charset = click.option("--charset", default="", help="The charset when MSH-18 does not say it, or says it wrong.")


@click.group()
def hl7() -> None:
    """HL7 v2: validate, compare and de-identify messages, send them and listen for them.

    FILES are files, folders (with all files below) or - for standard input; a file may hold one message, several, a
    batch or a dump of MLLP.
    """


@hl7.command()
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ignore", multiple=True, metavar="PATH", help="A segment, field or component, such as PID-3.4.")
@click.option("--all", "everything", is_flag=True, help="Compare MSH-7 and MSH-10 too.")
@_charset
@_as_json
def diff(a: Path, b: Path, ignore: tuple[str, ...], everything: bool, charset: str, as_json: bool) -> None:
    """Show by field how the messages of A and B differ.

    Messages are compared in order. One more OBX, or one more order with its results, is one difference, and the set ids
    after it are none. Delimiters, charset, escapes and empty fields at the end do not count. Exit status: 0 no
    difference, 1 differences, 2 something could not be read.
    """
    from esb.hl7.diff import differences
    from esb.hl7.leaves import USUAL, Ignored

    ignored = _given(lambda: Ignored((*ignore, *(() if everything else USUAL))))
    one, other = ([_read_or_exit(piece, charset) for piece in sources.wanted(_pieces([path]))] for path in (a, b))
    found = [
        (number, difference)
        for number, (left, right) in enumerate(zip(one, other, strict=False), 1)
        for difference in differences(left, right, ignored)
    ]
    if as_json:
        lines = [{"message": number, **difference.tree()} for number, difference in found]
        _print({"differences": lines, "messages": [len(one), len(other)]})
    else:
        for number, difference in found:
            click.echo(f"{f'message {number}: ' if max(len(one), len(other)) > 1 else ''}{difference}")
        if len(one) != len(other):
            click.echo(f"{a} has {len(one)} messages, {b} has {len(other)}")
    sys.exit(1 if found or len(one) != len(other) else 0)


@hl7.command()
@_files
@click.option("--version", default="", help="The HL7 version to hold them against; by default MSH-12.")
@click.option(
    "--profile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A message profile (XML)."
)
@_charset
@_as_json
def validate(files: tuple[Path, ...], version: str, profile: Path | None, charset: str, as_json: bool) -> None:
    """Hold the messages of FILES against HL7's own tables, or against a message profile.

    Every finding has its place and its code of HL7 table 0357, as in ERR; with --json there is a line for every message
    and one of counts. Exit status 1 when there are errors; warnings are none.
    """
    from esb.codecs.hl7v2.profile import read_profile
    from esb.hl7.checking import Counts, check

    demanded = _given(lambda: read_profile(profile.read_bytes())) if profile else None
    counts = Counts()
    try:
        for checked in check(_pieces(files), charset, version, demanded):
            counts.add(checked)
            for line in [json.encode(checked.tree()).decode()] if as_json else checked.lines():
                click.echo(line)
    except LookupError as error:
        _refuse(str(error))
    click.echo(json.encode({"counts": counts.tree()}).decode() if as_json else counts.text())
    sys.exit(1 if counts.wrong or counts.unreadable else 0)


@hl7.command()
@_files
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), required=True, help="A new folder.")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help="The secret; made when it is not there.")
@click.option("--seed", help="A text instead of a secret: whoever guesses it can undo the work.")
@click.option("--staff", is_flag=True, help="Replace doctors, nurses and other staff too.")
@click.option("--drop-z", is_flag=True, help="Leave out Z-segments and fields that HL7 does not have.")
@_charset
@_as_json
def deidentify(
    files: tuple[Path, ...],
    into: Path,
    key: Path | None,
    seed: str | None,
    staff: bool,
    drop_z: bool,
    charset: str,
    as_json: bool,
) -> None:
    """Write the messages of FILES as messages about people who do not exist.

    The same person becomes the same stranger everywhere, in every run with the same key. Give all files that belong
    together at once: who is who is learned from all of them. Exit status 1 when something could not be read, which is
    not written.
    """
    from esb.hl7.deidentify import Deidentifier, Options, Secret
    from esb.hl7.deidentify.files import deidentify as run

    if (key is None) == (seed is None):
        _refuse("give either --key or --seed")
    if Path(sources.STDIN) in files:
        _refuse("files are read twice: standard input cannot be")
    secret = _given(lambda: Secret(_key(key) if key else str(seed).encode()))
    work = Deidentifier(secret, Options(staff=staff, drop_unknown=drop_z))
    summary = _given(lambda: run(files, into, work, charset))
    if as_json:
        problems = [{"file": file, "error": problem.tree()} for file, problem in summary.problems]
        counts = {"files": summary.files, "messages": summary.messages, "changed": summary.changed}
        _print({**counts, "kept": dict(sorted(work.kept.items())), "problems": problems})
    else:
        for file, problem in summary.problems:
            click.echo(f"{file}: {problem}; left out", err=True)
        for name, count in sorted(work.kept.items()):
            click.echo(f"warning: {name} kept in {count} messages: nobody knows what it is (--drop-z)", err=True)
        click.echo(f"{summary.files} files, {summary.messages} messages, {summary.changed} changed")
    sys.exit(1 if summary.problems else 0)


def _tls_options(what: str) -> Callable[[Any], Any]:
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = (
        click.option("--tls", is_flag=True, help="Use TLS."),
        click.option("--ca", type=file, help=f"Certificates that {what}"),
        click.option("--cert", type=file, help="Our certificate."),
        click.option("--cert-key", type=file, help="Its key, if it is in another file."),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@hl7.command()
@click.argument("target", metavar="HOST:PORT")
@_files
@click.option(
    "--rate", type=click.FloatRange(min=0), default=0, help="Messages a second; by default as fast as it goes."
)
@click.option("--connections", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option("--pipelined", type=click.IntRange(1, 1000), default=1, show_default=True, help="Unanswered at a time.")
@click.option(
    "--per-connection", type=click.IntRange(0), default=0, help="Open a new connection after so many messages."
)
@click.option(
    "--timeout", type=click.FloatRange(min=0.01), default=30, show_default=True, help="Seconds for an answer."
)
@click.option("--repeat", "times", type=click.IntRange(1), default=1, show_default=True, help="Send all so many times.")
@click.option("--new-ids", is_flag=True, help="A new MSH-10 for every message, as a receiver that knows them wants.")
@click.option("--insecure", is_flag=True, help="With --tls: take any certificate.")
@_tls_options("must have signed theirs; by default those of the system.")
@_charset
@_as_json
def send(
    target: str,
    files: tuple[Path, ...],
    rate: float,
    connections: int,
    pipelined: int,
    per_connection: int,
    timeout: float,
    times: int,
    new_ids: bool,
    insecure: bool,
    tls: bool,
    ca: Path | None,
    cert: Path | None,
    cert_key: Path | None,
    charset: str,
    as_json: bool,
) -> None:
    """Send the messages of FILES over MLLP and say what became of them.

    Nothing is sent twice, not even after a lost connection. An answer belongs to a message by MSA-2. Exit status 1 when
    not every message was accepted (AA or CA), 2 when FILES cannot be read.
    """
    from esb.hl7.send import Load
    from esb.hl7.send import send as run
    from esb.hl7.tally import Tally

    at = _given(lambda: address(target))
    context = _given(lambda: Tls(ca, cert, cert_key, insecure).client()) if tls else None
    load = Load(connections, pipelined, rate, timeout, per_connection)
    tally = Tally()
    messages = _outgoing(files, charset, times, new_ids)

    async def work() -> None:
        showing = asyncio.create_task(_progress(lambda: f"{tally.sent} sent, {tally.accepted} accepted"))
        try:
            await run(at, messages, load, tally, context)
        finally:
            showing.cancel()

    with suppress(KeyboardInterrupt):
        asyncio.run(work())
    if as_json:
        _print(tally.tree())
    else:
        click.echo(tally.text())
    sys.exit(0 if tally.all_accepted and tally.sent else 1)


@hl7.command()
@click.argument("where", metavar="[HOST:]PORT")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Keep each message in a file here.")
@click.option("--ack", type=click.Choice(("AA", "AE", "AR", "CA", "none")), default="AA", show_default=True)
@click.option("--delay", type=click.IntRange(0), default=0, metavar="MS", help="Milliseconds before each answer.")
@click.option("--drop", default="0", metavar="N%", help="Neither keep nor answer so many of 100 messages.")
@click.option("--count", type=click.IntRange(0), default=0, help="End after so many messages.")
@_tls_options("must have signed those of clients, which are then asked for one.")
def listen(
    where: str,
    into: Path | None,
    ack: str,
    delay: int,
    drop: str,
    count: int,
    tls: bool,
    ca: Path | None,
    cert: Path | None,
    cert_key: Path | None,
) -> None:
    """Listen for MLLP at PORT of 127.0.0.1, or at HOST:PORT, and answer as told, for tests with a sender.

    It knows nothing of the bus. Ctrl-C ends it. A message is in its file before it is answered.
    """
    from esb.clock import SystemClock
    from esb.hl7.listen import Behaviour, Listener, report

    at = _given(lambda: address(where))
    share = _given(lambda: float(drop.removesuffix("%")))
    context = _given(lambda: Tls(ca, cert, cert_key).server()) if tls else None
    if context is not None and cert is None:
        _refuse("--tls needs --cert")
    listener = Listener(Behaviour(ack, delay / 1000, share, into, count), SystemClock())

    async def work() -> None:
        bound = await listener.start(at, context)
        click.echo(f"listening on {bound}", err=True)
        showing = asyncio.create_task(report(listener.received, lambda line: click.echo(line, err=True)))
        try:
            await listener.done.wait()
            await listener.settled()
        finally:
            showing.cancel()
            await listener.close()

    with suppress(KeyboardInterrupt):
        _given(lambda: asyncio.run(work()))
    click.echo(listener.received.text())


def decode_files(files: tuple[Path, ...], get: tuple[str, ...], charset: str, as_json: bool) -> None:
    """``esb decode hl7v2``; ends the process with its exit status."""
    from esb.hl7.reading import Lines

    alone = len(files) == 1 and not files[0].is_dir()
    lines = _given(lambda: Lines(get, charset, as_json=as_json, alone=alone))
    for line, is_error in lines.of(_pieces(files)):
        click.echo(line, err=is_error)
    sys.exit(1 if lines.failed or (get and not lines.found) else 0)


def encode_files(files: tuple[Path, ...], mllp: bool) -> None:
    """``esb encode hl7v2``; ends the process with its exit status."""
    from esb.hl7.writing import written

    failed = False
    for path in files:
        with sys.stdin.buffer if str(path) == sources.STDIN else path.open("rb") as stream:
            for one in written(stream):
                if one.error:
                    click.echo(f"{path}: {one.error}", err=True)
                    failed = True
                else:
                    sys.stdout.buffer.write(framed(one.raw) if mllp else one.raw)
    sys.exit(1 if failed else 0)


def _pieces(paths: Iterable[Path]) -> Iterator[sources.Piece]:
    for path in sources.expanded(paths):
        if str(path) == sources.STDIN:
            yield from sources.pieces("<stdin>", sys.stdin.buffer)
            continue
        with path.open("rb") as stream:
            yield from sources.pieces(str(path), stream)


def _read_or_exit(piece: sources.Piece, charset: str) -> Message:
    found = sources.read(piece, charset)
    if isinstance(found, Message):
        return found
    _refuse(f"{piece.file}: {found}")
    raise AssertionError


def _outgoing(files: tuple[Path, ...], charset: str, times: int, new_ids: bool) -> Iterator[Any]:
    """Read once when all is to be sent once; held in memory to be sent again."""
    from esb.hl7.send import Outgoing, outgoing, renumbered

    def read() -> Iterator[Outgoing]:
        return (outgoing(_read_or_exit(piece, charset)) for piece in sources.wanted(_pieces(files)))

    messages = read() if times == 1 else chain.from_iterable(repeat(list(read()), times))
    return renumbered(messages) if new_ids else messages


def _key(file: Path) -> bytes:
    """The secret in a file, which is made for its owner alone when it is not there."""
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    return file.read_bytes().strip()


async def _progress(text: Callable[[], str], every: float = 1.0) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every)
            click.echo(text(), err=True)


def _given(make: Callable[[], _T]) -> _T:
    """What was given on the command line, or the end with exit status 2."""
    try:
        return make()
    except (ValueError, OSError, ssl.SSLError) as error:
        _refuse(str(error))
        raise AssertionError from None


def _refuse(reason: str) -> None:
    click.echo(reason, err=True)
    sys.exit(2)


def _print(tree: Any) -> None:
    click.echo(json.pretty(tree).decode())
