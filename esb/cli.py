"""The command line: ``esb run``, ``lint``, ``test``, ``explain``, ``try``, ``decode``, ``encode``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from esb import __version__
from esb.errors import ConfigError
from esb.hl7.commands import decode_files, encode_files, hl7

_WHERE = ("ready", "later", "held", "taken", "settling", "parked")
_FORMATS = ("hl7v2", "xml", "fhir", "form", "json")
_File = click.Path(exists=True, allow_dash=True, path_type=Path)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people.")
_routes = click.option(
    "--routes",
    type=click.Path(path_type=Path),
    help="The routes file; by default ESB_ROUTES or routes.yaml.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="esb")
def main() -> None:
    """The hospital's integration bus: one HTTP contract in front, the hospital's own protocols behind.

    \b
    Start here:
      esb lint                         is the configuration sound?
      esb test                         do the mappings do what their examples say?
      esb explain registration.lock    what happens to this operation?
      esb run                          serve it on http://127.0.0.1:8080

    Every command reads routes.yaml, schemas/ and mappings/ in the working directory. Exit status: 0 all well,
    1 something was found wrong with what you gave, 2 the configuration or the call is wrong.
    """


main.add_command(hl7)


@main.command()
@_routes
@click.option("--host", help="Address to listen on; by default ESB_HOST or 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; by default ESB_PORT or 8080.")
def run(routes: Path | None, host: str | None, port: int | None) -> None:
    """Run the whole bus in one process: facade, pipeline and journal.

    The journal is the SQLite file var/esb.db unless ESB_STORE says otherwise. SIGTERM or Ctrl-C lets running effects
    finish and ends the process.
    """
    from esb.app import serve

    _guarded(lambda: serve(_settings(routes, host=host, port=port), os.environ))


@main.command()
@_routes
@_as_json
def lint(routes: Path | None, as_json: bool) -> None:
    """Check routes, contract, mappings, code tables and adapters against each other; list every finding.

    A finding is FILE:LINE:COLUMN, what is wrong and the nearest valid word. Translations, the mappings of other
    hospitals in the same folder and files that nothing uses are looked at too. Exit status 2 when there is any.
    """
    from esb.clock import SystemClock
    from esb.lint import examine, survey
    from esb.observe import Metrics

    try:
        settings = _settings(routes)
    except ConfigError as error:
        _print_findings(error, as_json)
        sys.exit(2)
    plan, findings = examine(settings, os.environ, SystemClock(), Metrics())
    surveyed = survey(settings, plan) if plan is not None else None
    if plan is None or surveyed is None or findings or surveyed.findings:
        _print_findings(ConfigError([*findings, *(surveyed.findings if surveyed else ())]), as_json)
        sys.exit(2)
    counts = {"routes": len(plan.routes.routes), "endpoints": len(plan.endpoints), "mappings": len(plan.mappings)}
    if plan.translations:
        counts["callbacks"] = len(plan.translations)
    if surveyed.translations:
        counts["translations"] = len(surveyed.translations)
    if as_json:
        _print_json({"findings": [], "idle": list(surveyed.idle), **counts})
        return
    click.echo("sound: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    for file in surveyed.idle:
        click.echo(f"{file}: no route leads here")


@main.command()
@click.argument("operations", nargs=-1)
@_routes
@_as_json
def test(operations: tuple[str, ...], routes: Path | None, as_json: bool) -> None:
    """Run the examples that stand beside the mappings; nothing is sent.

    OPERATIONS limits the run to some operations. Exit status 1 when an example fails.
    """
    from esb.lint import run_all_examples, survey
    from esb.mapping import run_translation_examples

    plan = _plan(routes)
    for operation in operations:
        _known(operation, plan)
    results: list[Any] = list(run_all_examples(plan, operations or tuple(plan.mappings)))
    used = {one.file: one for one in plan.translations.values()}
    for translation in () if operations else (used | dict(survey(_settings(routes), plan).translations)).values():
        results += [(translation, result) for result in run_translation_examples(translation)]
    failed = [(mapping, result) for mapping, result in results if not result.passed]
    if as_json:
        _print_json({"examples": [{"file": mapping.file, **asdict(each)} for mapping, each in results]})
    else:
        for mapping, result in failed:
            click.echo(f"{mapping.file}:{result.line}: example '{result.name}' failed")
            click.echo("".join(f"    {difference}\n" for difference in result.differences), nl=False)
        click.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("what", metavar="OPERATION|FILE")
@click.option("--field", help="Only this field: PatientID, PID-3.1, items[].fee, or a field of the request.")
@click.option("--by", help="FILE's mapping: an operation, or a file of mappings/.")
@click.option("--side", type=click.Choice(("request", "answer")), help="What FILE is, if its form leaves a doubt.")
@click.option("--request", type=click.File("rb"), help="The canonical request that the answer in FILE is for (JSON).")
@click.option(
    "--site",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, option, values: [_named(value) for value in values],
    help="What $site holds beside the endpoint's own.",
)
@click.option("--unmask", is_flag=True, help="Show patient data.")
@_routes
@_as_json
def explain(what: str, request: Any, site: Any, routes: Path | None, as_json: bool, **options: Any) -> None:
    """Show what happens to OPERATION, or what its mapping makes of the message in FILE, field by field.

    OPERATION: contract, route with defaults applied, endpoint, limits, mapping, outcomes; with --field where the field
    comes from, what it passes through and what uses it. FILE: a canonical request, a system's answer, a message that is
    translated, or an exchange as {operation, request, answer}. Exit status 1 when the mapping fails on it.
    """
    from esb.explain import Asked, CannotExplainError, UnknownFieldError
    from esb.explain import explain as answer

    plan = _plan(routes)
    if what in plan.mappings or not Path(what).is_file():
        _known(what, plan)
    given = None if request is None else _decode_or_exit("json", request)
    try:
        found = answer(_settings(routes), plan, Asked(what, request=given, site=dict(site), **options))
    except (CannotExplainError, UnknownFieldError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if as_json:
        _print_json(found.tree)
    else:
        click.echo(found.text)
    sys.exit(1 if found.failed else 0)


@main.command("try")
@click.argument("operation")
@click.argument("file", type=click.File("rb"))
@click.option("--key", default="KEY1", show_default=True, help="The idempotency key to use.")
@_routes
@_as_json
def try_(operation: str, file: Any, key: str, routes: Path | None, as_json: bool) -> None:
    """Show what would be sent for the request in FILE (JSON; - for standard input). Nothing is sent.

    The request is checked against the contract, mapped, wrapped in the endpoint's envelopes and written as the adapter
    would write it.
    """
    from esb.explain import attempt

    plan = _plan(routes)
    _known(operation, plan)
    request = _decode_or_exit("json", file)
    facts = attempt(plan, operation, request, key)
    if as_json:
        _print_json(facts)
    elif facts.get("errors"):
        for error in facts["errors"]:
            click.echo(f"{error['pointer'] or '/'}: {error['en']}", err=True)
    else:
        click.echo(f"to {facts['endpoint']}: {facts['action']}\n")
        if facts["enveloped"]:
            _print_json(facts["payload"])
        click.echo(facts["wire"])
    sys.exit(1 if facts.get("errors") else 0)


@main.command()
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

    translator = _guarded(lambda: Translator(translation, SystemClock()))
    failed = False
    for message in messages:
        try:
            result = translator.translate(message.read(), charset)
        except FAILURES as error:
            click.echo(f"{_name(message)}: {error}", err=True)
            failed = True
            continue
        if into is None:
            sys.stdout.buffer.write(result + b"\n")
        else:
            into.mkdir(parents=True, exist_ok=True)
            (into / f"{Path(_name(message)).stem}.{translator.suffix}").write_bytes(result)
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("format", type=click.Choice(_FORMATS))
@click.argument("files", type=_File, nargs=-1, required=True)
@click.option("--charset", help="The charset when the message does not say it, or says it wrong.")
@click.option(
    "--get", multiple=True, metavar="PATH", help="hl7v2: only this field, such as PID-3.1; tabs between several."
)
@_as_json
def decode(format: str, files: tuple[Path, ...], charset: str | None, get: tuple[str, ...], as_json: bool) -> None:
    """Read FILES (- for standard input) as FORMAT and print them as JSON.

    With --json the result is one line. Exit status 1 with the reason and the place when something cannot be read.

    Of hl7v2 there may be many files and folders, each with one message, several, a batch or a dump of MLLP: then every
    message is a JSON line with its file, number and byte offset, and what cannot be read is a line too. With --get
    there is a line of values for every message, empty where it has none; exit status 1 also when no message has any.
    """
    if format == "hl7v2":
        decode_files(files, get, charset or "", as_json)
    tree = _decode_or_exit(format, _only(files, get), charset)
    _print_json(tree, pretty=not as_json)


@main.command()
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
    tree = _decode_or_exit("json", file)
    try:
        sys.stdout.buffer.write(FORMATS[format].encode(tree, charset))
    except EncodeError as error:
        click.echo(f"{_name(file)}: {error}", err=True)
        sys.exit(1)


def _only(files: tuple[Path, ...], other: object) -> Any:
    """The one file that formats other than hl7v2 take."""
    if len(files) > 1 or other:
        click.echo("only hl7v2 takes several files, --get and --mllp", err=True)
        sys.exit(2)
    return click.File("rb").convert(str(files[0]), None, click.get_current_context())


def _decode_or_exit(format: str, file: Any, charset: str | None = None) -> Any:
    from esb.codecs import DecodeError
    from esb.codecs.formats import FORMATS

    try:
        return FORMATS[format].decode(file.read(), charset)
    except DecodeError as error:
        place = f" (byte {error.offset})" if error.offset is not None else ""
        click.echo(f"{_name(file)}: {error.reason}{place}", err=True)
        sys.exit(1)


def _name(file: Any) -> str:
    return getattr(file, "name", "<stdin>")


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"'{text}' is not NAME=VALUE")
    return name, value


def _settings(routes: Path | None, **given: Any) -> Any:
    from pydantic import ValidationError

    from esb.config.settings import Settings
    from esb.errors import Finding

    chosen = {name: value for name, value in {"routes": routes, **given}.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValidationError as error:
        found = ((f"ESB_{str(one['loc'][0]).upper()}", one["msg"]) for one in error.errors())
        raise ConfigError(Finding(name, 0, 0, text) for name, text in found) from None


def _plan(routes: Path | None) -> Any:
    return _guarded(lambda: _load(routes))


def _load(routes: Path | None) -> Any:
    from esb.clock import SystemClock
    from esb.lint import load
    from esb.observe import Metrics

    return load(_settings(routes), os.environ, SystemClock(), Metrics())


def _guarded(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ConfigError as error:
        _print_findings(error, as_json=False)
        sys.exit(2)


def _known(operation: str, plan: Any) -> None:
    from esb.codecs.yaml import nearest

    if operation not in plan.mappings:
        hint = nearest(operation, plan.mappings) or "routed operations: " + ", ".join(plan.mappings)
        click.echo(f"operation '{operation}' has no route ({hint})", err=True)
        sys.exit(2)


def _print_findings(error: ConfigError, as_json: bool) -> None:
    if as_json:
        names = ("file", "line", "column", "message", "hint")
        _print_json({"findings": [{name: getattr(each, name) for name in names} for each in error.findings]})
        return
    for finding in error.findings:
        click.echo(str(finding), err=True)
    count = len(error.findings)
    click.echo(f"{count} finding{'s' if count != 1 else ''}; nothing was started", err=True)


def _print_json(tree: Any, pretty: bool = True) -> None:
    from esb.codecs import json

    click.echo((json.pretty(tree) if pretty else json.encode(tree)).decode())


@main.command()
@click.option("--into", type=click.Path(path_type=Path), default="schemas/editor", show_default=True, help="Folder.")
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 when something is not current.")
@click.option("--refer", is_flag=True, help="Also name its schema in the first line of every file that has one.")
@_routes
def schema(into: Path, check: bool, refer: bool, routes: Path | None) -> None:
    """Write the JSON Schemas by which editors complete and check our YAML; list every file that was not current."""
    from esb.editing import schemas

    settings = _settings(routes)
    stale = dict(_guarded(lambda: list(schemas.outdated(into, schemas.known(settings)))))
    if refer:
        found = ((file, schemas.referred(file, kind, into)) for file, kind in schemas.files(settings))
        stale |= {file: text for file, text in found if text is not None}
    for file, text in stale.items():
        click.echo(f"{file}{' is not current' if check else ''}")
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    sys.exit(1 if check and stale else 0)


@main.group()
def new() -> None:
    """Draft a new file from what there is."""


@new.command("mapping")
@click.argument("operation")
@click.option("--from", "source", required=True, help="his.wsdl#Op, fhir:Resource, or a sample of a request.")
@click.option("--answer", type=click.Path(path_type=Path, dir_okay=False), help="A sample of an answer.")
@click.option("--to", "endpoint", default="", help="The endpoint of the routes file that it is for.")
@click.option("--action", default="", help="What the adapter is to do, where the source does not say.")
@click.option("--words", type=click.Path(path_type=Path, dir_okay=False), multiple=True, help="Your own glossary.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@_routes
def new_mapping(routes: Path | None, **wanted: Any) -> None:
    """Draft the mapping of OPERATION from a WSDL, a FHIR resource or sample messages without real patients.

    Every guess is marked 'review', with its likeness. It is written to the endpoint's mappings/DIALECT/OPERATION.yaml
    or to the file that is named, never over another; without either it is printed.
    """
    from esb.editing.new import Wanted
    from esb.editing.new import new_mapping as draft

    made = _guarded(lambda: draft(Wanted(**wanted), _settings(routes), os.environ))
    if made.file is None:
        click.echo(made.text, nl=False)
        return
    made.file.parent.mkdir(parents=True, exist_ok=True)
    made.file.write_text(made.text, encoding="utf-8")
    click.echo(f"{made.file}: {made.text.count('review: ')} places to review; then esb lint still says:")
    for finding in made.remaining():
        click.echo(str(finding))


@main.command()
@click.argument("old")
@click.argument("new")
@click.option("--on", "recorded", type=click.Path(path_type=Path, exists=True), required=True, help="Recordings.")
@_routes
@_as_json
def diff(old: str, new: str, recorded: Path, routes: Path | None, as_json: bool) -> None:
    """Show by field what changes on recorded exchanges between the mappings OLD and NEW.

    OLD and NEW are mapping files, folders of them, or REVISION:PATH of git. Recordings are *.json or *.jsonl files
    or a bus's journal. Patients' data is masked. Exit status: 0 no difference, 1 differences, 2 nothing compared.
    """
    from esb.editing.compare import as_text, as_tree, compared_on

    report = _guarded(lambda: compared_on(old, new, recorded, _settings(routes)))
    if as_json:
        _print_json(as_tree(report))
    else:
        click.echo(as_text(report))
    sys.exit(2 if not report.compared else 1 if report.differences else 0)


@main.group()
def queue() -> None:
    """What was accepted and waits: list, show, release, discard. Works beside a running bus."""


@queue.command("list")
@click.option("--where", multiple=True, type=click.Choice(_WHERE), help="Only these; by default all.")
@click.option("--endpoint", default="", help="Only this endpoint's.")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@_as_json
def queue_list(where: tuple[str, ...], endpoint: str, most: int, as_json: bool) -> None:
    """List what waits, the oldest first, with why it waits."""
    found = _at_desk(lambda desk: desk.list(where, endpoint, most))
    if as_json:
        _print_json({"messages": found})
        return
    for one in found:
        facts = (one["id"], one["operation"], f"to {one['endpoint']}", one["where"], f"{one['age_s']}s old")
        click.echo("  ".join((*facts, f"{one['tries']} tries", one["reason"])))
    click.echo(f"{len(found)} messages")


@queue.command("show")
@click.argument("exchange")
def queue_show(exchange: str) -> None:
    """Show one as JSON, with its request; patient data is masked."""
    _print_json(_at_desk(lambda desk: desk.show(exchange)))


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
        return _guarded(lambda: work(Desk(_settings(None), SystemClock())))
    except NotParkedError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
