"""Many files, one OpenAPI document: references between files become references inside it, nodes keep their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from esb.codecs.yaml import Document, PathTuple, load, nearest
from esb.errors import ConfigError, Finding

COMMON = "common.yaml"
_DANGLING = "#/dangling"
_T = TypeVar("_T", dict[str, Any], list[Any])
_TOP = {"openapi", "info", "tags", "paths", "webhooks", "components", "x-responses"}


@dataclass(slots=True)
class Merged:
    """The one document, and what was wrong on the way. A path in it is also the path in the file that it came from."""

    tree: dict[str, Any] = field(
        default_factory=lambda: {"openapi": "3.1.0", "paths": {}, "webhooks": {}, "components": {}}
    )
    origins: dict[PathTuple, Document] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    common: Document | None = None

    def find(self, path: Iterable[str | int], message: str, hint: str = "", *, at_key: bool = False) -> None:
        """Record a finding at ``path``, in the file where that node is written."""
        path = tuple(path)
        document = self.origins.get(path[:2]) or self.origins.get(path[:3]) or self.common
        if document is None:
            raise LookupError(path)
        self.findings.append(document.finding(path, message, hint, at_key=at_key))

    def child(self, node: Mapping[str, Any], key: str, kind: type[_T], path: PathTuple) -> _T:
        """``node[key]``; empty when it is not there, and also, with a finding, when it is of another kind."""
        value = node.get(key)
        if value is not None and not isinstance(value, kind):
            self.find(
                (*path, key), f"'{key}' should be {'a list' if kind is list else 'keys with values'}", at_key=True
            )
        return value if isinstance(value, kind) else kind()

    def get(self, reference: str) -> Any:
        """The node that ``#/components/...`` names; None for a dangling reference, which was found while merging."""
        node: Any = self.tree
        for step in pointer_steps(reference):
            node = node.get(step) if isinstance(node, dict) else None
        return node


def pointer_steps(reference: str) -> tuple[str, ...]:
    """``#/paths/~1v1`` as ``("paths", "/v1")``."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in reference.removeprefix("#/").split("/"))


def merge(folder: Path) -> Merged:
    """Read and join every ``*.yaml`` of ``folder``; raises ``ConfigError`` when a file cannot be read at all."""
    documents = _load(folder)
    merged = Merged(common=documents[COMMON])
    for document in documents.values():
        _top(document, merged)
    for document in documents.values():
        _join(document, documents, merged)
    return merged


def _load(folder: Path) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    findings: list[Finding] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            documents[path.name] = document = load(path)
            if not isinstance(document.value, dict):
                findings.append(document.finding((), "should be an OpenAPI document"))
        except ConfigError as error:
            findings.extend(error.findings)
    if COMMON not in documents and not findings:
        findings.append(Finding(str(folder), 0, 0, f"has no {COMMON}", "it names title, version and shared answers"))
    if findings:
        raise ConfigError(findings)
    return documents


def _top(document: Document, merged: Merged) -> None:
    for key in document.value:
        if key not in _TOP:
            hint = nearest(key, _TOP) or "known keys: " + ", ".join(sorted(_TOP))
            merged.findings.append(document.finding((key,), f"unknown key '{key}'", hint, at_key=True))
    version = document.value.get("openapi")
    if not isinstance(version, str) or not version.startswith("3.1."):
        merged.findings.append(document.finding(("openapi",), "should be an OpenAPI 3.1 document", "openapi: 3.1.0"))


def _join(document: Document, documents: Mapping[str, Document], merged: Merged) -> None:
    rewrite = _Rewriter(document, documents, merged.findings)
    tree = merged.tree
    if document is merged.common:
        tree["info"] = document.value.get("info")
    tree.setdefault("tags", []).extend(document.value.get("tags") or [])
    for path, place, holder in _parts(document, tree, merged.findings):
        if place in merged.origins:
            other = merged.origins[place]
            message = f"'{place[-1]}' is already in {Path(other.file).name}:{other.key_mark(place).line}"
            merged.findings.append(document.finding(place, message, at_key=True))
            continue
        merged.origins[place] = document
        holder[place[-1]] = rewrite(path, place)


def _parts(document: Document, tree: dict[str, Any], findings: list[Finding]) -> Iterator[tuple[Any, PathTuple, Any]]:
    """Each path item, webhook and component of a file: its value, its place and the dict of the one document for it."""
    sections: dict[tuple[str, ...], Any] = {(name,): document.value.get(name) for name in ("paths", "webhooks")}
    components = document.value.get("components")
    if isinstance(components, dict):
        sections.update({("components", name): value for name, value in components.items()})
    for place, section in sections.items():
        if section is not None and not isinstance(section, dict):
            findings.append(document.finding(place, f"'{place[-1]}' should be keys with values"))
            continue
        holder = tree[place[0]] if len(place) == 1 else tree["components"].setdefault(place[-1], {})
        for name, value in (section or {}).items():
            yield value, (*place, name), holder


class _Rewriter:
    def __init__(self, document: Document, documents: Mapping[str, Document], findings: list[Finding]) -> None:
        self.document = document
        self.documents = documents
        self.findings = findings

    def __call__(self, node: Any, path: PathTuple) -> Any:
        if isinstance(node, list):
            return [self(item, (*path, index)) for index, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        return {
            key: self._reference(value, (*path, key)) if key == "$ref" else self(value, (*path, key))
            for key, value in node.items()
        }

    def _reference(self, reference: Any, path: PathTuple) -> Any:
        if not isinstance(reference, str) or "#/" not in reference:
            self._find(path, "a reference looks like '#/components/...' or 'file.yaml#/components/...'")
            return _DANGLING
        file, _, inside = reference.partition("#")
        target = self.documents.get(file) if file else self.document
        if target is None:
            self._find(path, f"there is no file '{file}'", nearest(file, self.documents))
            return _DANGLING
        return "#" + inside if self._exists(target, inside, path) else _DANGLING

    def _exists(self, target: Document, inside: str, path: PathTuple) -> bool:
        node = target.value
        for step in pointer_steps(f"#{inside}"):
            if not isinstance(node, dict) or step not in node:
                hint = nearest(step, node) if isinstance(node, dict) else ""
                self._find(path, f"there is no '{inside[1:]}' in {Path(target.file).name}", hint)
                return False
            node = node[step]
        return True

    def _find(self, path: PathTuple, message: str, hint: str = "") -> None:
        self.findings.append(self.document.finding(path, message, hint))
