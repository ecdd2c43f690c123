"""JSONata and JMESPath as contenders: each makes of a query and a way to run it something that can be timed.

JMESPath has no arithmetic, no code tables, no text slices and no times. These steps are host functions in Python,
registered as its documentation says, the very ones of ``by_hand``. A field that may be missing
is a ``merge``, because a JMESPath hash writes every key.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jmespath
from jmespath import functions
from jsonata import Jsonata

from bench.baselines import by_hand
from bench.baselines.node_peer import Peer

QUERIES = Path(__file__).parent / "queries"
TABLES: dict[str, dict[str, str]] = {
    "gender": by_hand.GENDERS,
    "document_type": by_hand.DOCUMENTS,
    "session": by_hand.SESSIONS,
    "slot_status": by_hand.STATUSES,
    "level": by_hand.LEVELS,
}


class HostFunctions(functions.Functions):  # type: ignore[misc]
    """What JMESPath cannot say."""

    @functions.signature({"types": ["string"]}, {"types": ["string"]})
    def _func_code(self, table: str, word: str) -> str:
        return by_hand.FLAGS.get(word, "abnormal") if table == "flag" else TABLES[table][word]

    @functions.signature({"types": ["string"]})
    def _func_fen(self, yuan: str) -> int:
        return by_hand.fen(yuan)

    @functions.signature({"types": ["number"]})
    def _func_yuan(self, fen: int) -> str:
        return by_hand.yuan(fen)

    @functions.signature({"types": ["string"]})
    def _func_digits(self, time: str) -> str:
        return by_hand.digits(time)

    @functions.signature({"types": ["string"]})
    def _func_timestamp(self, text: str) -> str:
        return by_hand.issued(text)


def jmespath_function(name: str) -> Callable[[Any], Any]:
    """The query ``name`` compiled, as a function of its input."""
    compiled = jmespath.compile(_query(name, "jmespath"))
    options = jmespath.Options(custom_functions=HostFunctions())
    return lambda given: compiled.search(given, options)


def jsonata_function(name: str) -> Callable[[Any], Any]:
    """The same by jsonata-python."""
    return Jsonata(_query(name, "jsonata")).evaluate


class Node(Peer):
    """JSONata in a Node.js process that times itself; nothing of the pipe is in its time."""

    script = "jsonata.mjs"

    def load(self, name: str, given: Any) -> Any:
        """Compile the query ``name``, keep ``given`` as its input and return its first result."""
        return self.ask({"query": _query(name, "jsonata"), "input": given})["result"]


def _query(name: str, language: str) -> str:
    return (QUERIES / f"{name}.{language}").read_text(encoding="utf-8")
