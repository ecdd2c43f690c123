"""Puts the hospital, its channels and the two servers together."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

from sandbox import faults as fault_menu
from sandbox.ake import AkeChannel
from sandbox.clock import Clock
from sandbox.control import Control
from sandbox.database import Database
from sandbox.faults import Call, Faults
from sandbox.fhir import FhirChannel
from sandbox.his12320 import His12320Channel
from sandbox.hl7v2 import Hl7Channel
from sandbox.hospital import Hospital
from sandbox.http_server import HttpProtocol, Request, Response
from sandbox.ledger import RequestLog
from sandbox.soap import SoapChannel


class Channel(Protocol):
    """An HTTP channel: understands a request without carrying it out."""

    def read(self, request: Request) -> Call: ...


class Sandbox:
    """One hospital with its channels. `restart` replaces the hospital by a fresh one; ports are told after binding."""

    def __init__(self, state: Path, seed: int) -> None:
        self.state, self.seed = state, seed
        self.ports = {"http": 0, "mllp": 0}
        self.faults = Faults()
        self.database = Database(state / "hospital.db")
        self.restart()
        self._control = Control(self)

    def restart(self) -> None:
        """Fresh data of the same seed, real time, no faults, empty ledger and request list."""
        self.clock = Clock()
        self.faults.clear()
        self.requests = RequestLog(self.clock)
        self.hospital = Hospital(self.clock, self.seed)
        self.database.fill(self.hospital)
        self.hospital.when_patient_made.append(self.database.add_patient)
        port = self._http_port
        self.hl7 = Hl7Channel(self.hospital)
        self._channels: dict[str, Channel] = {
            "/soap/his": SoapChannel(self.hospital, port),
            "/soap/12320": His12320Channel(self.hospital, port),
        }
        self._folders: dict[str, Channel] = {
            "/fhir/r4": FhirChannel(self.hospital),
            "/openydt/api/v3": AkeChannel(self.hospital),
        }

    def _http_port(self) -> int:
        return self.ports["http"]

    def __call__(self, request: Request, wire: HttpProtocol) -> Response | Awaitable[None]:
        channel = self._channels.get(request.path)
        if channel is not None:
            return self._carry(channel.read(request), wire)
        for folder, other in self._folders.items():
            if request.path.startswith(folder):
                return self._carry(other.read(request), wire)
        if request.path.startswith("/control"):
            return self._control(request)
        return Response(404, b"no such path", "text/plain")

    def _carry(self, call: Call, wire: HttpProtocol) -> Response | Awaitable[None]:
        fault = self.faults.take(call.channel, call.operation)
        self.requests.add(call.channel, call.operation, call.decoded, fault.fault if fault else None)
        if fault is not None:
            return fault_menu.play(fault, call, wire, self.faults.cleared)
        answer: Response = call.perform()
        return answer
