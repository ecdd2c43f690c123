"""The tutorial of the third hospital is done as its reader would: files written, commands typed, answers compared."""

from __future__ import annotations

import ast
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "third-hospital.md"
EXAMPLE = ROOT / "examples" / "third_hospital"
BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n?```(?P<kind>yaml|shell-session)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
CHANGING = {
    r"\b[0-9A-HJKMNP-TV-Z]{26}\b": "<exchange>",
    r'"version":\s?"[0-9a-f]{12}"': "<version>",
    r'"(since|time)":\s?"[^"]*"': "<time>",
    r"\b20\d{12}\b": "<now>",
    r'"seconds":[0-9.]+': "<seconds>",
}
"""What is another one at each run, in what the page shows and in what a command prints."""
LIMIT_S = 120.0


@dataclass(frozen=True)
class Step:
    """A command with what it prints, or a file with what it holds; ``line`` is where the page has it."""

    line: int
    command: str = ""
    shown: str = ""
    file: str = ""
    written: bool = False


def steps() -> Iterator[Step]:
    """The page's blocks in order. A file stands in the sentence before its block: ``Write `X`:`` or ``In `X```."""
    page = PAGE.read_text("utf-8")
    for block in BLOCK.finditer(page):
        line = page[: block.start("text")].count("\n") + 1
        if block["kind"] == "yaml":
            file = re.findall(r"`(var/third/[^`]+\.yaml)`", block["before"])
            assert file, f"{PAGE.name}:{line}: no sentence says which file this is"
            yield Step(line, shown=block["text"], file=file[-1], written="Write " in block["before"])
            continue
        for part in re.finditer(
            r"^\$ (?P<command>.*(?:\n> .*)*)\n(?P<shown>(?:(?!\$ ).*\n)*)", block["text"], re.MULTILINE
        ):
            at = line + block["text"][: part.start()].count("\n")
            yield Step(at, part["command"].replace("\n> ", "\n"), part["shown"])


class Shell:
    """One bash that keeps variables, the folder and background jobs between commands; they read nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ports = folder, {one: str(free_port()) for one in ("8080", "18090", "12590")}
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ESB_")}
        environ |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ESB_PORT": self.ports["8080"],
            "THIRD_HIS": f"http://127.0.0.1:{self.ports['18090']}",
            "THIRD_LIS": self.ports["12590"],
            "LC_ALL": "C.UTF-8",
        }
        self.bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """What it prints, standard error included."""
        assert self.bash.stdin is not None
        for page, here in self.ports.items():
            command = command.replace(f"127.0.0.1:{page}", f"127.0.0.1:{here}")
        self.bash.stdin.write(f"{{ {command}\n}} < /dev/null\necho; echo END-OF-COMMAND\n".encode())
        self.bash.stdin.flush()
        return self._until(b"\nEND-OF-COMMAND\n", command).decode()

    def _until(self, mark: bytes, command: str) -> bytes:
        assert self.bash.stdout is not None
        end, read = time.monotonic() + LIMIT_S, b""
        while not read.endswith(mark):
            if not select.select([self.bash.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"{command!r} takes more than {LIMIT_S} s; so far it printed {read.decode()}")
            read += os.read(self.bash.stdout.fileno(), 65536)
        return read.removesuffix(mark)

    def close(self) -> None:
        """End bash and what it started."""
        subprocess.run(["kill", "--", f"-{self.bash.pid}"], check=False, stderr=subprocess.DEVNULL)
        self.bash.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """In a folder with what the reader's checkout has."""
    for folder in ("schemas", "mappings/codes", "examples/third_hospital"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shell = Shell(tmp_path)
    yield shell
    shell.close()


def steady(text: str) -> list[str]:
    """The lines without what is another one at each run."""
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def prints(wanted: list[str], said: list[str]) -> bool:
    """Whether the lines are those wanted, where ``...`` is any number of lines."""
    if wanted[:1] == ["..."]:
        return any(prints(wanted[1:], said[skipped:]) for skipped in range(len(said) + 1))
    return wanted == said or (wanted[:1] == said[:1] and bool(said) and prints(wanted[1:], said[1:]))


def test_everything_the_tutorial_shows_happens(shell: Shell) -> None:
    for step in steps():
        if step.command:
            said = shell.run(step.command)
            assert prints(steady(step.shown), steady(said)), f"{PAGE.name}:{step.line}: {step.command}\n{said}"
        elif step.written:
            (shell.folder / step.file).write_text(step.shown, "utf-8")
        else:
            assert step.shown in (shell.folder / step.file).read_text("utf-8"), f"{PAGE.name}:{step.line}: {step.file}"


def test_the_page_is_short_and_uses_the_tools() -> None:
    commands = [step.command for step in steps() if step.command]
    assert PAGE.read_text("utf-8").count("\n") < 250
    for tool in ("new mapping", "lint", "test", "explain", "try", "run", "diff"):
        assert any(f"esb {tool}" in command for command in commands), tool


def test_the_stand_in_is_small_and_shares_no_code_with_the_bus() -> None:
    text = (EXAMPLE / "stand_in.py").read_text("utf-8")
    names = {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    assert text.count("\n") < 100
