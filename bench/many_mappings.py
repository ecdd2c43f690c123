"""Five hundred mappings: how long they take to load and lint, how soon a broken file is reported, what one keeps.

The configuration is the demo hospital's, copied fifty times under other names: its ten mappings as they are, examples
included, their operations in the contract and their routes. The least of three runs counts.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml as pyyaml

from bench.harness import ROOT, Row, row
from esb.codecs import yaml
from esb.errors import ConfigError
from esb.mapping import (
    Codes,
    Mapping,
    Parts,
    Translation,
    is_translation,
    load_codes,
    load_mapping,
    load_parts,
    load_translation,
)

COPIES = 50
BROKEN_LINES = 5_000
RUNS = 3
_FILES = ("schemas", "sandbox/secrets")
_TABLE = re.compile(r"(?:code|meaning)\((\w+)\)")
_OPERATION = re.compile(r'"operationId": "([a-z.]+)"')


def measure() -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = configuration(folder)
        loading, whole = map(min, zip(*[lint(folder) for _ in range(RUNS)], strict=True))
        codes = load_codes(ROOT / "mappings/codes")
        parts = load_parts(ROOT / "mappings/parts", codes)
        many = sorted(folder.glob("mappings/*/*_copy*.yaml"))
        files = [file for file in sorted(ROOT.glob("mappings/*/*.yaml")) if file.parent.name not in ("codes", "parts")]
        others = [file for file in files if is_translation(yaml.load(file))]
        own = [file for file in files if file not in others]
        return [
            row(f"{count} mappings with contract and adapters, load and lint", loading, "s", "<= 3"),
            row("the same with the start of the process", whole, "s", "<= 3"),
            row(f"a broken file of {BROKEN_LINES} lines, reported", broken(folder, codes), "s", "<= 0.5"),
            row(f"kept by one of {len(many)} compiled mappings", kept(many, codes, {}), "kB", "<= 20"),
            row(f"kept by one of our {len(own)} mappings of operations", kept(own, codes, {}), "kB", "<= 20"),
            row(
                f"kept by one of our {len(others)} translations, with its parts",
                kept(others, codes, parts),
                "kB",
                "<= 20",
            ),
        ]


def configuration(folder: Path) -> int:
    """Write the copies into ``folder`` and return how many mappings are routed."""
    for name in _FILES:
        shutil.copytree(ROOT / name, folder / name)
    text = (ROOT / "routes.yaml").read_text(encoding="utf-8")
    head, _, own = _without_callbacks(text).partition("\nroutes:\n")
    lines = re.findall(r"^  ([a-z.]+): +\{(.*)\}$", own, re.MULTILINE)
    copied = [_route(name, rest, number) for number in range(COPIES) for name, rest in lines]
    (folder / "routes.yaml").write_text("\n".join([head, "routes:", *copied, ""]), encoding="utf-8")
    for file in (folder / "schemas").glob("*.yaml"):
        _operations(file, {name for name, _ in lines})
    configured = pyyaml.safe_load(text)
    for name, _ in lines:
        dialect = configured["endpoints"][configured["routes"][name]["to"]]["dialect"]
        _mappings(Path("mappings", dialect, f"{name}.yaml"), folder)
    return len(copied)


def _without_callbacks(text: str) -> str:
    """Routes alone: callbacks and the endpoints that listen for them would need their translations."""
    text = re.sub(r"\ncallbacks:\n(?:[ #].*\n|\n)*", "\n", text)
    return re.sub(r"(?m)^  \w+:.*\n(?:    .*\n)*?    .*listen: .*\n(?:    .*\n)*", "", text)


def _mappings(file: Path, folder: Path) -> None:
    """Copies of a mapping, and the code tables that it names."""
    for parent in (folder / file.parent, folder / "mappings/codes"):
        parent.mkdir(parents=True, exist_ok=True)
    for table in set(_TABLE.findall((ROOT / file).read_text(encoding="utf-8"))):
        shutil.copy(ROOT / f"mappings/codes/{table}.yaml", folder / "mappings/codes")
    for number in range(COPIES):
        shutil.copyfile(ROOT / file, folder / file.with_stem(f"{file.stem}_copy{number}"))


def _route(name: str, rest: str, number: int) -> str:
    settled = re.sub(r"(settle: [a-z.]+)", rf"\1_copy{number}", rest)
    return f"  {name}_copy{number}: {{{settled}}}"


def _operations(file: Path, names: set[str]) -> None:
    """Write beside a file of the contract another one, with copies of its operations."""
    paths = pyyaml.safe_load(file.read_text(encoding="utf-8")).get("paths") or {}
    copies = dict(_copies(paths, file.name, names))
    if copies:
        text = json.dumps({"openapi": "3.1.0", "paths": copies}, ensure_ascii=False, indent=1, default=str)
        file.with_stem(f"{file.stem}_copies").write_text(text, encoding="utf-8")


def _copies(paths: dict[str, Any], file: str, names: set[str]) -> Iterator[tuple[str, Any]]:
    for path, item in paths.items():
        text = json.dumps(item, default=str).replace('"$ref": "#/', f'"$ref": "{file}#/')
        if names & set(_OPERATION.findall(text)):
            for number in range(COPIES):
                yield f"/copy{number}{path}", json.loads(_OPERATION.sub(rf'"operationId": "\1_copy{number}"', text))


_LINT = """
import os, time
from esb.clock import SystemClock
from esb.config.settings import Settings
from esb.lint import load
from esb.observe import Metrics
began = time.perf_counter()
load(Settings(), os.environ, SystemClock(), Metrics())
print(time.perf_counter() - began)
"""


def lint(folder: Path) -> tuple[float, float]:
    """Seconds that loading and lint take, and those of a process that does it, its start and imports included."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "ESB_SECRETS": "sandbox/secrets"}
    began = perf_counter()
    done = subprocess.run([sys.executable, "-c", _LINT], cwd=folder, env=environ, capture_output=True, text=True)
    taken = perf_counter() - began
    if done.returncode:
        raise SystemExit(f"lint of the copies: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(done.stdout), taken


def broken(folder: Path, codes: Codes) -> float:
    """Seconds until a long mapping with mistakes is refused, the slowest of several kinds of mistake."""
    return max(min(_refusal(folder, codes, text) for _ in range(RUNS)) for text in _broken_files())


def _broken_files() -> Iterator[str]:
    head = "action: Find\nrequest:\n"
    field = "  F{0}:\n    $each: $rows.r{0} as row\n    Code: $row.code | code(gender_gbt2261)\n    Name: $row.name\n"
    body = "".join(field.format(number) for number in range(BROKEN_LINES // 4))
    tail = "response:\n  - done: {a: $b}\n"
    yield head + body + "  Last: [unclosed\n" + tail
    yield head + body + "  Last: $row | nothing\n" + tail
    yield head + body.replace("as row", "as") + tail
    yield head + re.sub(r"row\.name", lambda found: f"row.name | trim_{found.start()}", body) + tail


def _refusal(folder: Path, codes: Codes, text: str) -> float:
    file = folder / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    began = perf_counter()
    try:
        load_mapping(file, codes)
    except ConfigError as error:
        "\n".join(map(str, error.findings))
        return perf_counter() - began
    raise SystemExit("a broken mapping was not refused")


def kept(files: list[Path], codes: Codes, parts: Parts) -> float:
    """Kilobytes (10^3) that one loaded and packed mapping keeps, on average: everything allocated and not freed."""
    _packed(files[0], codes, parts)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    mappings = [_packed(file, codes, parts) for file in files]
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(mappings) / 1000


def _packed(file: Path, codes: Codes, parts: Parts) -> Mapping | Translation:
    """As a running bus keeps it, after lint."""
    load = load_translation if is_translation(yaml.load(file)) else load_mapping
    mapping = load(file, codes, parts)
    mapping.pack()
    return mapping
