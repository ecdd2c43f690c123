"""The files under ``mappings/`` that no route needs: translations, other hospitals' mappings, what nothing uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from esb.codecs import yaml
from esb.codecs.yaml import nearest
from esb.config.routes import ANSWER
from esb.config.settings import Settings
from esb.errors import ConfigError, Finding, PartlyBroken
from esb.lint.mappings import mapping_findings, sheet_findings, translation_findings
from esb.lint.places import Places
from esb.lint.plan import Plan
from esb.mapping import Mapping as FieldMapping
from esb.mapping import Parts, Translation, Unreadable, is_translation, load_mapping, load_parts, load_translation

_TABLE = re.compile(r"\b(?:code|meaning)\(\s*(\w+)\s*\)")
_PART = re.compile(r"\$use['\"]?\s*:\s*['\"]?([\w.-]+)")
_COMMENT = re.compile(r"^[ \t]*#.*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Survey:
    """Translations by file, mappings that no route of this hospital uses by file, and everything that is wrong.

    ``idle`` are those of the others whose dialect this hospital uses: forgotten, or another hospital's with the same
    system.
    """

    translations: Mapping[str, Translation]
    others: Mapping[str, FieldMapping]
    idle: tuple[str, ...]
    findings: tuple[Finding, ...]


def survey(settings: Settings, plan: Plan) -> Survey:
    """Check every file of the mappings' folder that ``load`` had no reason to read, and find the unused ones."""
    findings: list[Finding] = []
    try:
        parts = load_parts(settings.mappings / "parts", plan.codes)
    except PartlyBroken as error:
        parts = cast(Parts, error.rest)
        findings += error.findings
    looking = _Looking(settings, plan, parts)
    findings += [*looking.strays(), *looking.files(), *looking.unused()]
    return Survey(looking.translations, looking.others, tuple(looking.idle), tuple(sorted(set(findings))))


class _Looking:
    def __init__(self, settings: Settings, plan: Plan, parts: Parts) -> None:
        self.parts = parts
        self.folder, self.plan, self.places = settings.mappings, plan, Places()
        self.named = sorted(self.folder.glob("*/*.yaml"))
        self.used = {one.file for one in plan.mappings.values()} | {one.file for one in plan.all_translations}
        self.dialects = {endpoint.dialect for endpoint in plan.routes.endpoints.values()}
        self.translations: dict[str, Translation] = {}
        self.others: dict[str, FieldMapping] = {}
        self.idle: list[str] = []
        self.shadows = {one.mapping.file for one in plan.shadows.values()}
        self.texts: dict[str, str] = {}

    def strays(self) -> Iterator[Finding]:
        """Files that are read by nobody because of where they stand or how they end."""
        for path in sorted(self.folder.rglob("*.y*ml")):
            if path.suffix in (".yml", ".yaml") and path not in self.named:
                message = "stands where nobody reads it"
                yield Finding(path.as_posix(), 1, 1, message, "mappings are mappings/<dialect>/<operation>.yaml")

    def files(self) -> Iterator[Finding]:
        """What is wrong with each file that is not part of the plan."""
        for path in self.named:
            text = path.read_bytes().decode("utf-8", "replace")  # what is wrong with it its own reader says
            self.texts[path.as_posix()] = _COMMENT.sub("", text)
            if path.parent.name in ("codes", "parts") or path.as_posix() in self.used:
                continue
            try:
                yield from self._file(path)
            except ConfigError as error:
                yield from error.findings

    def _file(self, path: Path) -> Iterator[Finding]:
        file, plan = path.as_posix(), self.plan
        document = yaml.load(path, file)
        if is_translation(document):
            self.translations[file] = load_translation(path, plan.codes, self.parts)
            whole = not path.stem.endswith(ANSWER)
            yield from translation_findings(self.translations[file], self.places, whole=whole)
            return
        operation = plan.contract.operations.get(path.stem)
        if operation is None:
            hint = nearest(path.stem, plan.contract.operations) or "a translation has 'from', 'to' and 'gives'"
            yield Finding(file, 1, 1, f"operation '{path.stem}' is not in the contract", hint)
            return
        try:
            self.others[file] = load_mapping(path, plan.codes, self.parts)
        except Unreadable as error:
            yield from (*error.findings, *sheet_findings(error.sheet, operation, None, self.places))
            return
        yield from mapping_findings(self.others[file], operation, None, self.places)
        if path.parent.name in self.dialects and file not in self.shadows:
            self.idle.append(file)

    def unused(self) -> Iterator[Finding]:
        """Code tables and parts that no file names."""
        tables = {name for text in self.texts.values() for name in _TABLE.findall(text)}
        for name, table in self.plan.codes.items():
            if name not in tables and not table.standard:
                file = (self.folder / "codes" / f"{name}.yaml").as_posix()
                yield Finding(file, 1, 1, f"no mapping uses code table '{name}'", "remove it, or say 'standard: true'")
        parts = {name for text in self.texts.values() for name in _PART.findall(text)}
        for name, part in self.parts.items():
            if name not in parts:
                yield self.places.at(
                    part.file, (name.partition(".")[2],), f"no mapping uses part '{name}'", "remove it"
                )
