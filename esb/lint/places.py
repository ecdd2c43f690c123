"""Where a problem stands in its file: line and column of the character, the value or the key."""

from __future__ import annotations

from pathlib import Path

from esb.codecs import yaml
from esb.codecs.yaml import Document, PathTuple
from esb.errors import Finding
from esb.mapping import Problem


class Places:
    """Files that findings are placed in, each read once and only when something is wrong with it."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Document, list[str]]] = {}

    def of(self, problem: Problem) -> Finding:
        """The finding for a problem of a mapping or of a part that it uses."""
        place = problem.place
        document, lines = self._file(place.file)
        mark = document.key_mark(place.path) if place.at_key else document.mark(place.path)
        if place.offset:
            mark = yaml.within(lines, mark, place.text, place.offset)
        return Finding(place.file, *mark, problem.message, problem.hint)

    def at(self, file: str, path: PathTuple, message: str, hint: str = "") -> Finding:
        """A finding at the key of ``path``; in a list of HL7 segments the last step is looked for among them."""
        document, _ = self._file(file)
        found = [known for known in document.keys if known[:1] == path[:1] and known[-1] == path[-1]]
        return document.finding(found[0] if found else path, message, hint, at_key=True)

    def value(self, file: str, path: PathTuple, message: str, hint: str = "") -> Finding:
        """A finding at the value of ``path``."""
        return self._file(file)[0].finding(path, message, hint)

    def _file(self, file: str) -> tuple[Document, list[str]]:
        if file not in self._files:
            text = Path(file).read_text(encoding="utf-8")
            self._files[file] = yaml.load(text, file), text.split("\n")
        return self._files[file]
