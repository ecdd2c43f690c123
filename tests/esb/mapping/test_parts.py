"""Parts by their cases: what is refused, what a mapping that uses them sends."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from esb.codecs import json, yaml
from esb.errors import ConfigError
from esb.mapping import MappingError, Parts, compile_mapping, load_parts, load_used_parts
from esb.mapping.examples import EXCHANGE
from esb.mapping.parts import MAX_DEPTH, MAX_USES, read_parts
from tests.esb.mapping.support import CODES, data


def read(libraries: dict[str, str]) -> Parts:
    return read_parts([(name, f"{name}.yaml", text) for name, text in libraries.items()], CODES)


@pytest.mark.parametrize("case", data("parts.yaml"), ids=lambda case: case["name"])
def test_parts_are_used_or_refused(case: dict[str, Any]) -> None:
    if "findings" in case:
        with pytest.raises(ConfigError) as raised:
            read(case["libraries"])
        assert [str(finding) for finding in raised.value.findings] == case["findings"]
        return
    text = json.encode({"action": "Find", "request": case["request"], "response": {"done": {}}}).decode()
    mapping = compile_mapping(yaml.load(text, "mapping.yaml"), text, CODES, read(case["libraries"]))
    for build in (mapping.build, mapping.build_slowly):
        if "error" in case:
            with pytest.raises(MappingError) as failed:
                build(case["given"], EXCHANGE, {})
            assert str(failed.value) == case["error"]
        else:
            assert build(case["given"], EXCHANGE, {})[1] == case["sends"]
            assert mapping._request(case["given"], EXCHANGE, {}) == case["sends"]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_of_parts_has_an_end(backwards: bool) -> None:
    names = [f"p{at:03}" for at in range(MAX_DEPTH * 20)]
    links = [f"{name}: {{takes: [x], gives: {{$use: h.{after}, x: $x}}}}" for name, after in pairwise(names)]
    links.append(f"{names[-1]}: {{takes: [x], gives: $x}}")
    text = "\n".join(reversed(links) if backwards else links)
    with pytest.raises(ConfigError, match=f"parts use parts more than {MAX_DEPTH} deep"):
        read({"h": text})


def doubling(levels: int) -> Parts:
    """Parts of which each uses the next twice."""
    lines = [f"p{at}: {{gives: [{{$use: h.p{at + 1}}}, {{$use: h.p{at + 1}}}]}}" for at in range(levels)]
    return read({"h": "\n".join([*lines, f"p{levels}: {{gives: 1}}"])})


def test_parts_do_not_multiply_without_end() -> None:
    with pytest.raises(ConfigError) as raised:
        doubling(MAX_DEPTH - 2)
    assert [str(finding) for finding in raised.value.findings] == [
        f"h.yaml:2:1: part 'h.p1' comes to more than {MAX_USES} uses of parts"
    ]
    parts, text = doubling(12), "action: A\nrequest: [{$use: h.p0}, {$use: h.p0}]\nresponse: {done: {}}"
    with pytest.raises(ConfigError, match=f"comes to more than {MAX_USES} uses of parts"):
        compile_mapping(yaml.load(text, "m.yaml"), text, CODES, parts)


def test_a_loop_in_a_part_spends_what_the_whole_mapping_may(tmp_path: Path) -> None:
    parts = read({"h": "rows: {takes: [n, all], gives: {$each: $all as a, $value: $a}}"})
    text = "action: A\nrequest: {x: {$each: $all as n, $use: h.rows, n: $n, all: $all}}\nresponse: {done: {}}"
    mapping = compile_mapping(yaml.load(text, "m.yaml"), text, CODES, parts)
    assert len(mapping.build({"all": [1] * 400}, EXCHANGE, {})[1]["x"]) == 400
    with pytest.raises(MappingError, match="visit more than 200000 items"):
        mapping.build({"all": [1] * 500}, EXCHANGE, {})


def test_a_bus_reads_the_libraries_that_its_mappings_need(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.yaml").write_text("x: {gives: [{$use: b.y}]}")
    (folder / "b.yaml").write_text("y: {gives: 1}")
    (folder / "broken.yaml").write_text("z: [")
    user = tmp_path / "m.yaml"
    user.write_text('{"$use": "a.x", "$use" : h-7.z}')
    (folder / "h-7.yaml").write_text("z: {gives: 1}")
    assert set(load_used_parts(folder, CODES, [user, tmp_path / "none.yaml"])) == {"a.x", "b.y", "h-7.z"}
    with pytest.raises(ConfigError, match=r"broken.yaml"):
        load_parts(folder, CODES)


def test_a_library_that_is_not_utf8_is_a_finding_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "gbk.yaml").write_bytes("甲: {gives: 1}".encode("gbk"))
    (tmp_path / "wrong.yaml").write_text("x: {gives: $z}")
    with pytest.raises(ConfigError) as raised:
        load_parts(tmp_path, CODES)
    assert [finding.message for finding in raised.value.findings] == [
        "is not UTF-8 at byte 0",
        "nothing is called 'z' here",
    ]
