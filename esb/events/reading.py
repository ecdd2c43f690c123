"""Events as a person reads them, beside a running bus: patient data masked, and how far each subscriber has come."""

from __future__ import annotations

from collections.abc import Mapping

from esb.codecs import json
from esb.config.settings import Settings
from esb.contract import Event, load_contract
from esb.model import Tree
from esb.observe import mask
from esb.store import Told, cursors, inbox
from esb.store.engines import transaction

_ITEM = "*"


def read_events(settings: Settings, after: int, most: int, event: str = "") -> list[dict[str, Tree]]:
    """The events behind the position ``after``, in order; raises ``ConfigError`` when store or contract is unusable."""
    known = load_contract(settings.schemas).events
    with transaction(settings.store, writes=False) as connection:
        if event:
            found, _ = cursors.upcoming(connection, event, after, most)
        else:
            found = inbox.events_after(connection, after, most)
    return [_shown(told, known) for told in found]


def read_cursors(settings: Settings) -> list[dict[str, Tree]]:
    """Every subscriber with its position; ``wanted`` is whether the configuration of the last start named it."""
    with transaction(settings.store, writes=False) as connection:
        rows = connection.execute(cursors.cursor.select().order_by(cursors.cursor.c.name)).all()
    return [{"subscriber": row.name, "position": row.position, "wanted": row.wanted == 1} for row in rows]


def _shown(told: Told, known: Mapping[str, Event]) -> dict[str, Tree]:
    event = known.get(told.event)
    if event is None:
        body: Tree = "the contract has no such event"
    else:
        body = masked(json.decode(told.body), event) if told.body else "it is damaged"
    return {
        "position": told.position,
        "event": told.event,
        "id": told.id,
        "source": told.endpoint,
        "received": told.received,
        "body": body,
    }


def masked(tree: Tree, event: Event, path: tuple[str, ...] = ()) -> Tree:
    """What the contract calls a patient's is hidden; what looks like somebody's number is masked as in logs."""
    if path in event.phi:
        return "***"
    if isinstance(tree, dict):
        return {name: masked(value, event, (*path, name)) for name, value in tree.items()}
    if isinstance(tree, list):
        return [masked(item, event, (*path, _ITEM)) for item in tree]
    return mask(tree) if isinstance(tree, str) else tree
