"""The command line: every command is a function of a module here and says in its docstring what it promises."""

from __future__ import annotations

import os
from pathlib import Path

import click

from esb import __version__
from esb.cli import audit, checks, editing, events, journal, looking, messages, queue, replay, shadow
from esb.cli import received as received  # a part of journal
from esb.cli.common import guarded, routes_option, settings_of
from esb.hl7.commands import hl7


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
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


_host_option = click.option("--host", help="Address to listen on; by default ESB_HOST or 127.0.0.1.")
_port_option = click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; by default ESB_PORT or 8080."
)


@click.command()
@routes_option
@_host_option
@_port_option
@click.pass_context
def run(context: click.Context, routes: Path | None, host: str | None, port: int | None) -> None:
    """Run the whole bus in one process: facade, pipeline, journal, queues and listeners.

    The journal is the SQLite file var/esb.db unless ESB_STORE says otherwise. SIGTERM or Ctrl-C lets running effects
    finish and ends the process.
    """
    _run(context, routes, host, port)


@click.command()
@routes_option
@_host_option
@_port_option
@click.pass_context
def serve(context: click.Context, routes: Path | None, host: str | None, port: int | None) -> None:
    """Run the part that answers operations, beside any number of others on one PostgreSQL store."""
    _run(context, routes, host, port)


@click.command()
@routes_option
@_host_option
@_port_option
@click.pass_context
def work(context: click.Context, routes: Path | None, host: str | None, port: int | None) -> None:
    """Run the part that delivers what is queued and listens to the hospital's systems, beside any number of others.

    Over HTTP it shows /healthz, /readyz and /metrics and answers no operation.
    """
    _run(context, routes, host, port)


def _run(context: click.Context, routes: Path | None, host: str | None, port: int | None) -> None:
    from esb.app import Role
    from esb.app import serve as serve_as

    role = Role(context.info_name or "")
    guarded(lambda: serve_as(settings_of(routes, host=host, port=port), os.environ, role))


for command in (
    run,
    serve,
    work,
    checks.lint,
    checks.test,
    looking.explain,
    looking.try_,
    messages.translate,
    messages.decode,
    messages.encode,
    editing.schema,
    editing.new,
    editing.diff,
    queue.queue,
    events.events,
    journal.journal,
    audit.audit,
    replay.replay,
    shadow.shadow,
    hl7,
):
    main.add_command(command)
