"""The WSDLs of the corpus as a table: python -m tests.adapters.wsdl_table [FOLDER] (default: ../shared/corpus/wsdl).

One line for each: its operations, or why it is refused. Nothing is asked of any network.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from adapters.soap.operations import compile_operations
from adapters.soap.wsdl import Documents, WsdlError, read

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "wsdl"


class Row(NamedTuple):
    """``operations`` can be called; ``expected`` are those that the manifest names, ``count`` is how many it counts."""

    name: str
    refused: str
    operations: frozenset[str]
    unusable: dict[str, str]
    expected: frozenset[str]
    count: int
    remarks: tuple[str, ...]
    zeep: str

    @property
    def verdict(self) -> str:
        if self.refused:
            return f"refused: {self.refused}"
        if self.agrees:
            return "loaded"
        return "loaded, without operations that are broken in the WSDL" if self.remarks else "loaded, differs"

    @property
    def agrees(self) -> bool:
        """Whether the operations are the manifest's, which names at most sixty of them and counts all."""
        found = self.operations | self.unusable.keys()
        return found >= self.expected and len(found) == self.count

    @property
    def kind(self) -> str:
        """The verdict without names, to count by."""
        if not self.refused:
            return self.verdict
        for word, kind in _KINDS.items():
            if word in self.refused:
                return f"refused: {kind}"
        return f"refused: {self.refused}"


_KINDS = {
    "which is outside": "refers to an address outside",
    "No such file": "refers to a file that is not there",
    "not well-formed": "is not well-formed",
    "doesn't match the imported": "imports a schema under another namespace than its own",
    "No namespace defined": "uses a prefix that is not declared",
    "Unable to resolve": "uses a type or attribute that is not defined",
    "No definition": "refers to a message or port type that is not defined",
    "not a WSDL": "is not a WSDL",
    "WSDL 2.0": "is WSDL 2.0",
}


def rows(corpus: Path = CORPUS) -> Iterator[Row]:
    """One row for each WSDL of the manifest, in its order."""
    for entry in json.loads((corpus / "manifest.json").read_text(encoding="utf-8")):
        path = corpus / entry["id"]
        expected, count, zeep = frozenset(entry["operations"]), entry["n_operations"], entry["zeep"]
        try:
            wsdl = read(str(path), Documents(corpus / Path(entry["id"]).parts[0]))
        except WsdlError as error:
            reason = str(error).replace(f"{corpus}/", "")
            yield Row(entry["id"], reason, frozenset(), {}, expected, count, (), zeep)
            continue
        found = {}
        for name, binding in wsdl.bindings.items():
            found.update(compile_operations(binding, wsdl.document.types, wsdl.encoded(name)))
        unusable = {name: reason for name, reason in found.items() if isinstance(reason, str)}
        usable = frozenset(found.keys() - unusable.keys())
        yield Row(entry["id"], "", usable, unusable, expected, count, tuple(wsdl.remarks), zeep)


def main() -> None:
    found = list(rows(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS))
    for row in found:
        sys.stdout.write(f"{row.name}\n    {len(row.operations)} operations, {row.verdict}\n")
    for kind, count in Counter(row.kind for row in found).most_common():
        sys.stdout.write(f"{count:5}  {kind}\n")


if __name__ == "__main__":
    main()
