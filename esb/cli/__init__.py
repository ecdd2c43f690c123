"""The command line: every command is a function of a module here and says in its docstring what it promises."""

from __future__ import annotations

import os
from pathlib import Path

import click

from esb import __version__
from esb.cli import checks, editing, looking, messages, queue, shadow
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


@main.command()
@routes_option
@click.option("--host", help="Address to listen on; by default ESB_HOST or 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; by default ESB_PORT or 8080.")
def run(routes: Path | None, host: str | None, port: int | None) -> None:
    """Run the whole bus in one process: facade, pipeline and journal.

    The journal is the SQLite file var/esb.db unless ESB_STORE says otherwise. SIGTERM or Ctrl-C lets running effects
    finish and ends the process.
    """
    from esb.app import serve

    guarded(lambda: serve(settings_of(routes, host=host, port=port), os.environ))


for command in (
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
    shadow.shadow,
    hl7,
):
    main.add_command(command)
