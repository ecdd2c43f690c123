"""The control API under /control: what happened, what was asked, what shall go wrong."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from sandbox.http_server import Request, Response
from sandbox.registration import Refusal

if TYPE_CHECKING:
    from sandbox.app import Sandbox


def answer(body: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(body, ensure_ascii=False).encode())


class Control:
    """Routes `METHOD /control/...` to one short method each; a bad body is 400 with the reason."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "/health"): lambda _: {"status": "up", **sandbox.ports, "pid": os.getpid()},
            ("GET", "/ledger"): self._ledger,
            ("GET", "/requests"): lambda _: sandbox.requests.rows(),
            ("GET", "/state"): lambda _: self._state(),
            ("GET", "/slots"): lambda _: self._slots(),
            ("GET", "/faults"): lambda _: sandbox.faults.listed(),
            ("POST", "/faults"): self._add_fault,
            ("DELETE", "/faults"): lambda _: self._clear_faults(),
            ("POST", "/reset"): lambda _: self._reset(),
            ("POST", "/clock"): self._advance,
            ("POST", "/doctor_stop"): self._doctor_stop,
            ("POST", "/slot"): self._slot,
        }

    def __call__(self, request: Request) -> Response:
        route = self._routes.get((request.method, request.path.removeprefix("/control")))
        if route is None:
            return answer({"error": "no such control call"}, 404)
        try:
            return answer(route(json.loads(request.body) if request.body else {}))
        except (ValueError, KeyError, TypeError) as error:
            return answer({"error": str(error)}, 400)
        except Refusal as refusal:
            return answer({"error": refusal.text}, 409)

    def _ledger(self, _: dict[str, Any]) -> Any:
        self._sandbox.hospital.book.expire()
        return self._sandbox.hospital.ledger.rows()

    def _state(self) -> dict[str, Any]:
        sandbox = self._sandbox
        book = sandbox.hospital.book
        book.expire()
        slots = list(book.slots.values())
        return {
            "now": sandbox.clock.now().isoformat(timespec="seconds"),
            "slots": len(slots),
            "places": sum(slot.total for slot in slots),
            "sold": sum(slot.sold for slot in slots),
            "held": sum(slot.held for slot in slots),
            "oversold": sum(slot.left < 0 for slot in slots),
            "locks": dict(Counter(lock.status for lock in book.locks.values())),
            "patients": len(sandbox.hospital.patients),
            "reports": len(sandbox.hospital.reports),
            "cars": len(sandbox.hospital.parking.stays),
            "faults": sandbox.faults.listed(),
            "seed": sandbox.seed,
        }

    def _slots(self) -> dict[str, Any]:
        """Places that are still to be had, by slot."""
        book = self._sandbox.hospital.book
        book.expire()
        return {slot.no: slot.left for slot in book.slots.values()}

    def _add_fault(self, body: dict[str, Any]) -> Any:
        if body.get("channel") == "sql":
            self._sandbox.faults.clear_channel("sql")
            self._sandbox.database.repair()
        fault = self._sandbox.faults.add(body)
        if fault.channel == "sql":
            self._sandbox.database.break_by(fault)
        return {"set": body, "effect": fault.effect}

    def _clear_faults(self) -> Any:
        self._sandbox.faults.clear()
        self._sandbox.database.repair()
        return {"faults": []}

    def _reset(self) -> Any:
        self._sandbox.database.repair()
        self._sandbox.restart()
        return {"status": "fresh"}

    def _advance(self, body: dict[str, Any]) -> Any:
        self._sandbox.clock.advance(float(body["advance"]))
        return {"now": self._sandbox.clock.now().isoformat(timespec="seconds")}

    def _doctor_stop(self, body: dict[str, Any]) -> Any:
        day = date.fromisoformat(body["date"]) if body.get("date") else None
        return {"stopped": self._sandbox.hospital.stop_doctor(body["doctor"], day)}

    def _slot(self, body: dict[str, Any]) -> Any:
        hospital = self._sandbox.hospital
        slot = hospital.slot(body["slot"])
        hospital.book.change_slot(slot, body.get("total"), body.get("sold"), body.get("status"))
        return {
            "slot": slot.no,
            "total": slot.total,
            "sold": slot.sold,
            "held": slot.held,
            "status": slot.schedule.status,
        }
