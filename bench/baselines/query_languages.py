"""JSONata and JMESPath as contenders: each makes of a query and a way to run it something that can be timed.

JMESPath has no arithmetic, no code tables, no text slices and no times. These steps are host functions in Python,
registered as its documentation says, the very ones of ``by_hand``. A field that may be missing
is a ``merge``, because a JMESPath hash writes every key.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jmespath
from jmespath import functions
from jsonata import Jsonata

from bench.baselines import by_hand

QUERIES = Path(__file__).parent / "queries"
PEERS = Path(__file__).parent.parent / "peers"
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


class Node:
    """JSONata in a Node.js process that times itself; nothing of the pipe is in its time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def load(self, name: str, given: Any) -> Any:
        """Compile the query ``name``, keep ``given`` as its input and return its first result."""
        return self._ask({"query": _query(name, "jsonata"), "input": given})["result"]

    def seconds(self, count: int) -> float:
        """How long ``count`` evaluations take."""
        return float(self._ask({"count": count})["seconds"])

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("bench/peers/jsonata.mjs ended: npm ci --prefix bench/peers")
        return json.loads(answer)


@contextmanager
def node() -> Iterator[Node]:
    """A Node.js process with JSONata, ended when the block ends."""
    command = ["node", str(PEERS / "jsonata.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Node(process)
        assert process.stdin is not None
        process.stdin.close()


def _query(name: str, language: str) -> str:
    return (QUERIES / f"{name}.{language}").read_text(encoding="utf-8")
