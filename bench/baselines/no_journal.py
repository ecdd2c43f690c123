"""The bus without a journal of its reads: no row is made and none is written. For ``bench.durable``."""

from __future__ import annotations

from typing import Any

from esb.cli import main
from esb.pipeline.journal import Journal
from esb.store import Store


def _nothing(*_: Any) -> None:
    return None


Journal._row = _nothing  # type: ignore[assignment, method-assign]
Store.write = _nothing  # type: ignore[assignment, method-assign]

if __name__ == "__main__":
    main()
