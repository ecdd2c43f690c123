"""What the commands share: options, the configuration they work on, and how findings and trees are printed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from esb.errors import ConfigError

_AGO = re.compile(r"(\d{1,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class _Reason(click.ParamType[str]):
    """Why somebody does something: some words on one line, that can be printed wherever the audit is read."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        reason = str(value).strip()
        if not reason or not reason.isprintable():
            self.fail("say it in words, on one line", param, context)
        return reason


REASON = _Reason()
POSITION = click.IntRange(0, 2**63 - 1)

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people."
)
routes_option = click.option(
    "--routes",
    type=click.Path(path_type=Path),
    help="The routes file; by default ESB_ROUTES or routes.yaml.",
)


def settings_of(routes: Path | None, **given: Any) -> Any:
    """The settings of the environment with what the command line says; raises ``ConfigError``."""
    from pydantic import ValidationError

    from esb.config.settings import Settings
    from esb.errors import Finding

    chosen = {name: value for name, value in {"routes": routes, **given}.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValidationError as error:
        found = ((f"ESB_{str(one['loc'][0]).upper()}", one["msg"]) for one in error.errors())
        raise ConfigError(Finding(name, 0, 0, text) for name, text in found) from None


def plan_of(routes: Path | None) -> Any:
    """The sound configuration; findings end the process with 2."""
    return guarded(lambda: _load(routes))


def _load(routes: Path | None) -> Any:
    from esb.clock import SystemClock
    from esb.lint import load
    from esb.observe import Metrics

    return load(settings_of(routes), os.environ, SystemClock(), Metrics())


def guarded(work: Callable[[], Any], *, as_json: bool = False) -> Any:
    """What ``work`` gives; findings are printed and end the process with 2."""
    try:
        return work()
    except ConfigError as error:
        print_findings(error, as_json)
        sys.exit(2)


def must_be_routed(operation: str, plan: Any) -> None:
    """An operation without a route ends the process with 2 and the nearest name."""
    from esb.codecs.yaml import nearest

    if operation not in plan.mappings:
        hint = nearest(operation, plan.mappings) or "routed operations: " + ", ".join(plan.mappings)
        click.echo(f"operation '{operation}' has no route ({hint})", err=True)
        sys.exit(2)


def decode_or_exit(format: str, file: Any, charset: str | None = None) -> Any:
    from esb.codecs import DecodeError
    from esb.codecs.formats import FORMATS

    try:
        return FORMATS[format].decode(file.read(), charset)
    except DecodeError as error:
        place = f" (byte {error.offset})" if error.offset is not None else ""
        click.echo(f"{name_of(file)}: {error.reason}{place}", err=True)
        sys.exit(1)


def name_of(file: Any) -> str:
    return getattr(file, "name", "<stdin>")


def print_findings(error: ConfigError, as_json: bool) -> None:
    if as_json:
        names = ("file", "line", "column", "message", "hint")
        print_json({"findings": [{name: getattr(each, name) for name in names} for each in error.findings]})
        return
    for finding in error.findings:
        click.echo(str(finding), err=True)
    count = len(error.findings)
    click.echo(f"{count} finding{'s' if count != 1 else ''}; nothing was started", err=True)


def moment_of(context: Any, option: Any, text: str | None) -> datetime | None:
    """For click: the moment so long ago (``6h``, ``2d``), or of an RFC 3339 text; a bare one is Chinese time."""
    from esb.clock import SHANGHAI, SystemClock

    if text is None:
        return None
    if match := _AGO.fullmatch(text):
        return SystemClock().now() - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("write it like 90m, 6h, 2d or 2026-01-15T09:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI)


def print_json(tree: Any, pretty: bool = True) -> None:
    from esb.codecs import json

    click.echo((json.pretty(tree) if pretty else json.encode(tree)).decode())
