"""The language server that VS Code, Vim and others use for YAML, spoken to as they do: JSON-RPC over its pipes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.esb.configured import ROOT

SERVER = ROOT / "tests" / "peers" / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
_SETTINGS = {"validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}


class Editor:
    """One open editor. Lines and columns count from 1, as in findings."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._asked = 0
        self._told: list[dict[str, Any]] = []
        self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": _CAPABILITIES})
        self._tell("initialized", {})
        self._tell("workspace/didChangeConfiguration", {"settings": {"yaml": _SETTINGS}})

    def open(self, file: Path, text: str) -> list[tuple[int, str]]:
        """The file opened with this text: every problem that is shown, line and message."""
        document = {"uri": file.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})
        while not (shown := [one for one in self._told if one["params"]["uri"] == file.as_uri()]):
            self._take()
        self._told.clear()
        return [(one["range"]["start"]["line"] + 1, one["message"]) for one in shown[-1]["params"]["diagnostics"]]

    def complete(self, file: Path, line: int, column: int) -> set[str]:
        """What is offered at a place of an open file."""
        found = self.ask("textDocument/completion", _at(file, line, column))
        return {item["label"] for item in found["items"]}

    def hover(self, file: Path, line: int, column: int) -> str:
        """What is shown of the word at a place of an open file."""
        return str(self.ask("textDocument/hover", _at(file, line, column))["contents"]["value"])

    def ask(self, method: str, params: Any) -> Any:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params})
        while (answer := self._take()).get("id") != self._asked or "method" in answer:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _take(self) -> dict[str, Any]:
        """The next message; what the server asks of us is answered with our settings, or with nothing."""
        message = self._receive()
        if message.get("method") == "textDocument/publishDiagnostics":
            self._told.append(message)
        elif "method" in message and "id" in message:
            items = message.get("params", {}).get("items", [])
            values = [_SETTINGS if item.get("section") == "yaml" else {} for item in items]
            self._send({"id": message["id"], "result": values if items else None})
        return message

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


_CAPABILITIES = {
    "textDocument": {"completion": {"completionItem": {"snippetSupport": True}}, "publishDiagnostics": {}},
    "workspace": {"configuration": True},
}


def _at(file: Path, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": file.as_uri()}, "position": {"line": line - 1, "character": column - 1}}


@contextlib.contextmanager
def editor() -> Iterator[Editor]:
    """A running server; ends with the block."""
    command = ["node", str(SERVER), "--stdio"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield Editor(process)
        finally:
            process.kill()
