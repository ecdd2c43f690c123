"""``esb translate``, ``decode`` and ``encode``: messages by themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from esb.cli.common import as_json_option, decode_or_exit, guarded, name_of, print_json
from esb.hl7.commands import decode_files, encode_files

_FORMATS = ("hl7v2", "xml", "fhir", "form", "json")
_File = click.Path(exists=True, allow_dash=True, path_type=Path)


@click.command()
@click.argument("translation", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("messages", type=click.File("rb"), nargs=-1, required=True)
@click.option("--charset", help="The charset when a message does not say it, or says it wrong.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Write each result into this folder.")
def translate(translation: Path, messages: tuple[Any, ...], charset: str | None, into: Path | None) -> None:
    """Turn MESSAGES into another format by a TRANSLATION file, such as mappings/hl7_to_fhir/ADT.yaml.

    Code tables and parts are those beside the translation's folder. Exit status 1 when a message cannot be read or
    translated; the others are written all the same.
    """
    from esb.clock import SystemClock
    from esb.translate import FAILURES, Translator

    translator = guarded(lambda: Translator(translation, SystemClock()))
    failed = False
    for message in messages:
        try:
            result = translator.translate(message.read(), charset)
        except FAILURES as error:
            click.echo(f"{name_of(message)}: {error}", err=True)
            failed = True
            continue
        if into is None:
            sys.stdout.buffer.write(result + b"\n")
        else:
            into.mkdir(parents=True, exist_ok=True)
            (into / f"{Path(name_of(message)).stem}.{translator.suffix}").write_bytes(result)
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("format", type=click.Choice(_FORMATS))
@click.argument("files", type=_File, nargs=-1, required=True)
@click.option("--charset", help="The charset when the message does not say it, or says it wrong.")
@click.option(
    "--get", multiple=True, metavar="PATH", help="hl7v2: only this field, such as PID-3.1; tabs between several."
)
@as_json_option
def decode(format: str, files: tuple[Path, ...], charset: str | None, get: tuple[str, ...], as_json: bool) -> None:
    """Read FILES (- for standard input) as FORMAT and print them as JSON.

    With --json the result is one line. Exit status 1 with the reason and the place when something cannot be read.

    Of hl7v2 there may be many files and folders, each with one message, several, a batch or a dump of MLLP: then every
    message is a JSON line with its file, number and byte offset, and what cannot be read is a line too. With --get
    there is a line of values for every message, empty where it has none; exit status 1 also when no message has any.
    """
    if format == "hl7v2":
        decode_files(files, get, charset or "", as_json)
    tree = decode_or_exit(format, _only(files, get), charset)
    print_json(tree, pretty=not as_json)


@click.command()
@click.argument("format", type=click.Choice(_FORMATS))
@click.argument("files", type=_File, nargs=-1, required=True)
@click.option("--charset", help="The charset to write in.")
@click.option("--mllp", is_flag=True, help="hl7v2: each message in a frame of MLLP.")
def encode(format: str, files: tuple[Path, ...], charset: str | None, mllp: bool) -> None:
    """Write the JSON in FILES (- for standard input), as ``esb decode`` prints it, as FORMAT on standard output.

    Of hl7v2 there may be many files, each with a message or with JSON lines; their messages follow one another. Exit
    status 1 when one cannot be written, or could not be read before; the others are written all the same.
    """
    from esb.codecs import EncodeError
    from esb.codecs.formats import FORMATS

    if format == "hl7v2":
        encode_files(files, mllp)
    file = _only(files, mllp)
    tree = decode_or_exit("json", file)
    try:
        sys.stdout.buffer.write(FORMATS[format].encode(tree, charset))
    except EncodeError as error:
        click.echo(f"{name_of(file)}: {error}", err=True)
        sys.exit(1)


def _only(files: tuple[Path, ...], other: object) -> Any:
    """The one file that formats other than hl7v2 take."""
    if len(files) > 1 or other:
        click.echo("only hl7v2 takes several files, --get and --mllp", err=True)
        sys.exit(2)
    return click.File("rb").convert(str(files[0]), None, click.get_current_context())
