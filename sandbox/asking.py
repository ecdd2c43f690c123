"""The LIS asks a bus: patients by QBP^Q22 or, as older ones do, by QRY^A19; departments by QBP^Z01, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.hl7_text import Incoming, decode
from sandbox.sender import Line
from sandbox.telling import e


class QueryError(Exception):
    """The bus said no; the text is MSA-1, ERR-3 and ERR-8, or what was wrong with its answer."""


@dataclass
class Asker:
    """One LIS at one connection. Every query has a control id and a tag of its own."""

    line: Line
    prefix: str = "Q"
    mode: str = "|"
    """MSH-15 and MSH-16 with the delimiter between them."""
    asked: int = 0

    def patients(self, number: str, name: str) -> Incoming:
        """The answer to QBP^Q22. Raises QueryError."""
        return self._ask("QBP^Q22^QBP_Q21", "2.5.1", f"@PID.3.1^{e(number)}~@PID.5.1^{e(name)}", "Q22^Find^HL7", 10)

    def old_patients(self, number: str, name: str) -> Incoming:
        """The answer to QRY^A19 of HL7 2.3.1. Raises QueryError."""
        self.asked += 1
        query = f"QRD|20260115093000|R|I|T{self.asked}|||10^RD|{e(number)}^{e(name)}|DEM\r"
        return self._heard("QRY^A19", "2.3.1", query)

    def departments(self, level: int, at_once: int) -> Iterator[Incoming]:
        """Every page of QBP^Z01, by the pointer of the one before. Raises QueryError."""
        pointer = ""
        while True:
            page = self._ask("QBP^Z01^QBP_Q11", "2.5.1", f"|{level}", "Z01^Departments^HUB", at_once, pointer)
            yield page
            pointer = page.get("DSC", 1)
            if not pointer:
                return

    def _ask(self, kind: str, version: str, what: str, name: str, most: int, pointer: str = "") -> Incoming:
        self.asked += 1
        more = f"DSC|{pointer}|I\r" if pointer else ""
        return self._heard(kind, version, f"QPD|{name}|T{self.asked}|{what}\rRCP|I|{most}^RD\r{more}")

    def _heard(self, kind: str, version: str, query: str) -> Incoming:
        control = f"{self.prefix}{self.asked}"
        head = f"MSH|^~\\&|LIS|LAB|HUB|WX|20260115093000||{kind}|{control}|P|{version}|||{self.mode}||UNICODE UTF-8\r"
        answer = decode(self.line.say((head + query).encode()))
        if answer.get("MSA", 2) != control:
            raise QueryError(f"the answer is to {answer.get('MSA', 2)!r}")
        if answer.get("MSA", 1) != "AA":
            raise QueryError(f"{answer.get('MSA', 1)} {answer.get('ERR', 3)} {answer.get('ERR', 8)}".strip())
        return answer
