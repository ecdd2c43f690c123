"""The FHIR R4 channel, /fhir/r4: routing, ETags, OperationOutcomes, transactions."""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import parse_qsl

from sandbox.exact_json import dumps, loads
from sandbox.faults import Call
from sandbox.fhir import resources, search
from sandbox.fhir.resources import Resource
from sandbox.fhir.writes import Failed, Writes, failed
from sandbox.hospital import Hospital
from sandbox.http_server import Request, Response
from sandbox.registration import Refusal

ROOT = "/fhir/r4"
MEDIA_TYPE = "application/fhir+json; charset=utf-8"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
INTERACTIONS = {"GET": "read", "PUT": "update", "POST": "create"}


class FhirChannel:
    """Operations for faults: `read Patient`, `search Slot`, `create Appointment`, `update Slot`,
    `operation Slot/$hold`, `transaction`, `metadata`."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._writes = Writes(hospital)

    def read(self, request: Request) -> Call:
        path = [part for part in request.path.removeprefix(ROOT).split("/") if part]
        operation = _operation(request.method, path)
        decoded = {
            "url": f"{request.path}?{request.query}".rstrip("?"),
            "body": request.body.decode("utf-8", "replace"),
        }
        return Call("fhir", operation, decoded, partial(self._perform, request, path), _refused)

    def _perform(self, request: Request, path: list[str]) -> Response:
        base = f"http://{request.headers.get('host', '127.0.0.1')}{ROOT}"
        headers = {name: request.headers.get(name, "") for name in ("if-match", "if-none-exist")}
        try:
            if len(path) == 2 and path[0] == "Binary":
                return self._binary(path[1])
            if path[-1:] == ["_search"] and request.method == "POST":
                form = parse_qsl(request.body.decode("utf-8", "replace"))
                return _answer(200, search.bundle(self._hospital, self._kind(path[0]), request.params() + form, base))
            body = loads(request.body) if request.body else {}
            if not path and request.method == "POST":
                return _answer(200, self._transaction(body, base))
            status, resource = self._interaction(request.method, path, request.params(), body, headers, base)
            return _answer(status, resource, base)
        except Failed as error:
            return _answer(error.status, resources.outcome(error.code, error.text))
        except Refusal as refusal:
            problem = failed(refusal)
            return _answer(problem.status, resources.outcome(problem.code, problem.text))
        except search.BadSearch as error:
            return _answer(400, resources.outcome("invalid", str(error)))
        except (json.JSONDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
            return _answer(400, resources.outcome("invalid", f"{type(error).__name__}: {error}"))

    def _interaction(
        self,
        method: str,
        path: list[str],
        params: list[tuple[str, str]],
        body: Resource,
        headers: dict[str, str],
        base: str,
    ) -> tuple[int, Resource]:
        if path == ["metadata"]:
            return 200, _capabilities()
        kind = self._kind(path[0] if path else "")
        if len(path) == 1 and method == "GET":
            return 200, search.bundle(self._hospital, kind, params, base)
        if len(path) == 1 and method == "POST":
            return self._writes.create(kind, body, headers["if-none-exist"])
        if len(path) == 2 and method == "GET":
            return 200, self._one(kind, path[1])
        if len(path) == 2 and method == "PUT":
            return self._writes.update(kind, path[1], body, headers["if-match"])
        if len(path) == 3 and kind == "Slot" and method == "POST":
            return self._writes.operate(path[1], path[2], body)
        raise Failed(405, "not-supported", f"{method} is not possible here")

    def _kind(self, name: str) -> str:
        if name not in search.PARAMETERS:
            raise Failed(404, "not-supported", f"unknown resource type {name!r}")
        return name

    def _one(self, kind: str, no: str) -> Resource:
        if kind == "Slot" and no in self._hospital.book.slots:
            self._hospital.book.expire()
            return resources.slot(self._hospital.book.slots[no])
        for resource in search.everything(self._hospital, kind):
            if resource["id"] == no:
                return resource
        raise Failed(404, "not-found", f"no {kind}/{no}")

    def _binary(self, no: str) -> Response:
        if no not in self._hospital.reports:
            raise Failed(404, "not-found", f"no Binary/{no}")
        return Response(200, PDF, "application/pdf")

    def _transaction(self, body: Resource, base: str) -> Resource:
        """All entries or none; a batch does each for itself."""
        kind = body.get("type")
        if body.get("resourceType") != "Bundle" or kind not in ("transaction", "batch"):
            raise Failed(400, "invalid", "a Bundle of type transaction or batch is expected")
        kept = self._writes.snapshot()
        entries = []
        for entry in body.get("entry", []):
            try:
                entries.append(self._entry(entry, base))
            except (Failed, Refusal) as error:
                problem = failed(error) if isinstance(error, Refusal) else error
                if kind == "transaction":
                    self._writes.restore(kept)
                    raise problem from None
                refused = resources.outcome(problem.code, problem.text)
                entries.append({"response": {"status": str(problem.status), "outcome": refused}})
            except (search.BadSearch, ValueError, KeyError, TypeError, AttributeError):
                self._writes.restore(kept)
                raise
        return {"resourceType": "Bundle", "type": f"{kind}-response", "entry": entries}

    def _entry(self, entry: Resource, base: str) -> Resource:
        request = entry["request"]
        url, _, query = str(request["url"]).partition("?")
        headers = {"if-match": request.get("ifMatch", ""), "if-none-exist": request.get("ifNoneExist", "")}
        path = [part for part in url.split("/") if part]
        body = entry.get("resource") or {}
        status, resource = self._interaction(request["method"], path, parse_qsl(query), body, headers, base)
        location = f"{resource['resourceType']}/{resource.get('id', '')}"
        response = {"status": str(status), "location": location, "etag": _etag(resource)}
        return {"fullUrl": f"{base}/{location}", "resource": resource, "response": response}


def _operation(method: str, path: list[str]) -> str:
    if not path:
        return "transaction"
    if path == ["metadata"]:
        return "metadata"
    if path[-1].startswith("$"):
        return f"operation {path[0]}/{path[-1]}"
    if path[-1] == "_search" or (len(path) == 1 and method == "GET"):
        return f"search {path[0]}"
    return f"{INTERACTIONS.get(method, method.lower())} {path[0]}"


def _etag(resource: Resource) -> str:
    return f'W/"{resource.get("meta", {}).get("versionId", "1")}"'


def _answer(status: int, resource: Resource, base: str = "") -> Response:
    headers = {}
    if resource["resourceType"] not in ("Bundle", "OperationOutcome", "CapabilityStatement"):
        headers["ETag"] = _etag(resource)
        if status == 201:
            headers["Location"] = f"{base}/{resource['resourceType']}/{resource['id']}"
    return Response(status, dumps(_without_empty(resource)), MEDIA_TYPE, headers)


def _without_empty(resource: Resource) -> Resource:
    """FHIR allows no empty lists; a searchset without hits has no entry."""
    return {name: value for name, value in resource.items() if value != []}


def _refused(code: str | None) -> Response:
    return _answer(422, resources.outcome(code or "business-rule", "业务繁忙，请稍后再试"))


def _capabilities() -> Resource:
    codes = ("read", "search-type", "create", "update")
    types = [
        {
            "type": kind,
            "interaction": [{"code": code} for code in codes],
            "searchParam": [{"name": name, "type": "string"} for name in tests],
        }
        for kind, tests in search.PARAMETERS.items()
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [{"mode": "server", "resource": types}],
    }
