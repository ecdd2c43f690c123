"""The documents tell the truth: links lead somewhere, YAML is YAML, commands run and print what is shown."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from esb.cli import main
from esb.codecs.yaml import load

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def blocks(kind: str) -> list[tuple[str, str]]:
    return [
        (name(file), text) for file in DOCS for found, text in FENCE.findall(file.read_text("utf-8")) if found == kind
    ]


def commands() -> list[tuple[str, str, str]]:
    found = []
    for file, text in blocks("console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((file, command, output))
    return [(file, command, output) for file, command, output in found if command.startswith("esb ")]


@pytest.mark.parametrize("file", DOCS, ids=name)
def test_every_relative_link_leads_somewhere(file: Path) -> None:
    targets = [target for target, _ in LINK.findall(file.read_text("utf-8")) if "://" not in target]
    missing = [target for target in targets if not (file.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize(("file", "text"), blocks("yaml"))
def test_every_yaml_block_is_strict_yaml(file: str, text: str) -> None:
    assert load(text, file).value is not None


@pytest.mark.parametrize(("file", "command", "output"), commands())
def test_every_command_shown_runs_and_prints_the_lines_shown(
    file: str, command: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ESB_SECRETS", "sandbox/secrets")
    done = CliRunner().invoke(main, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    shown = [line for line in output.strip().splitlines() if line.strip() not in ("", "...")]
    patterns = [re.sub(r"\d+(?=\\ passed)", r"\\d+", re.escape(line)) for line in shown]
    assert not [pattern for pattern in patterns if not re.search(pattern, done.output)], done.output


def test_the_tutorial_adds_an_operation_by_its_three_pieces_of_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("schemas", "mappings", "sandbox/secrets"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    path, mapping, route = (text for file, text in blocks("yaml") if file == "docs/add-an-operation.md")
    contract = tmp_path / "schemas" / "departments.yaml"
    contract.write_text(contract.read_text("utf-8").replace("components:\n", f"{path}components:\n", 1), "utf-8")
    (tmp_path / "mappings" / "hospital_db" / "department.get.yaml").write_text(mapping, "utf-8")
    routes = (ROOT / "routes.yaml").read_text("utf-8").replace("\nroutes:\n", f"\nroutes:\n{route}", 1)
    (tmp_path / "routes.yaml").write_text(routes, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESB_SECRETS", "sandbox/secrets")
    for command, shown in (("lint", "sound: 11 routes"), ("test department.get", "2 passed, 0 failed")):
        done = CliRunner().invoke(main, command.split())
        assert (done.exit_code, shown in done.output) == (0, True), done.output


def test_the_readmes_name_two_set_up_commands_and_no_other() -> None:
    for file in ("README.md", "README.zh-CN.md"):
        text = (ROOT / file).read_text("utf-8")
        assert set(re.findall(r"^make (\w+)", "\n".join(found for _, found in FENCE.findall(text)), re.MULTILINE)) == {
            "demo",
            "test",
        }


def test_the_function_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esb.mapping.functions"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "mapping-functions.md").read_text("utf-8") == done.stdout
