"""Search: what each type may be asked for, dates with prefixes, tokens, paging."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from sandbox.clock import SHANGHAI
from sandbox.fhir import resources
from sandbox.fhir.resources import Resource
from sandbox.hospital import Hospital

PAGE, PAGE_MOST = 20, 100
CONTROLS = ("_count", "_offset", "_include", "_format", "_sort", "_summary", "_total")
Test = Callable[[Resource, str], bool]


class BadSearch(Exception):
    """A parameter the type does not know, or a value that is none of its kind."""


def identifier(resource: Resource, value: str) -> bool:
    system, bar, number = value.rpartition("|")
    return any(i["value"] == number and (not bar or system == i["system"]) for i in resource.get("identifier", []))


def text_of_name(resource: Resource, value: str) -> bool:
    names = resource["name"]
    return value in names if isinstance(names, str) else any(value in name["text"] for name in names)


def reference(*path: str) -> Test:
    """Matches `Type/id` or a bare id anywhere under the path."""

    def test(resource: Resource, value: str) -> bool:
        found: Iterable[Any] = [resource]
        for step in path:
            found = [inner for outer in found for inner in _list(outer.get(step))]
        return any(value in (item["reference"], item["reference"].partition("/")[2]) for item in found)

    return test


def token(*path: str) -> Test:
    """Matches a code, `system|code`, or a plain text value."""

    def test(resource: Resource, value: str) -> bool:
        found: Iterable[Any] = [resource]
        for step in path:
            found = [inner for outer in found for inner in _list(outer.get(step))]
        code = value.rpartition("|")[2]
        return any(code == (item["code"] if isinstance(item, dict) else item) for item in found)

    return test


def dated(name: str) -> Test:
    def test(resource: Resource, value: str) -> bool:
        return _date_matches(datetime.fromisoformat(resource[name]), value)

    return test


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _date_matches(at: datetime, value: str) -> bool:
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    try:
        first = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise BadSearch(f"not a date: {value}") from None
    span = timedelta(days=1) if len(text) == 10 else timedelta(seconds=1)
    first = first if first.tzinfo else first.replace(tzinfo=SHANGHAI)
    tests = {
        "eq": first <= at < first + span,
        "ge": at >= first,
        "gt": at >= first + span,
        "le": at < first + span,
        "lt": at < first,
    }
    if prefix not in tests:
        raise BadSearch(f"prefix {prefix} is not supported")
    return tests[prefix]


def identity(resource: Resource, value: str) -> bool:
    return bool(resource["id"] == value)


PARAMETERS: dict[str, dict[str, Test]] = {
    "Patient": {
        "identifier": identifier,
        "name": text_of_name,
        "birthdate": token("birthDate"),
        "gender": token("gender"),
    },
    "Organization": {"name": text_of_name, "partof": reference("partOf"), "type": token("type", "coding")},
    "Practitioner": {"name": text_of_name},
    "Schedule": {"actor": reference("actor")},
    "Slot": {"schedule": reference("schedule"), "start": dated("start"), "status": token("status")},
    "Appointment": {
        "identifier": identifier,
        "patient": reference("participant", "actor"),
        "actor": reference("participant", "actor"),
        "status": token("status"),
        "date": dated("start"),
    },
    "DiagnosticReport": {
        "patient": reference("subject"),
        "subject": reference("subject"),
        "date": dated("effectiveDateTime"),
        "issued": dated("issued"),
        "category": token("category", "coding"),
        "status": token("status"),
        "code": token("code", "coding"),
    },
    "Observation": {"patient": reference("subject"), "subject": reference("subject"), "code": token("code", "coding")},
}


def everything(hospital: Hospital, kind: str) -> Iterable[Resource]:
    """All resources of a type, reports newest first."""
    if kind == "Patient":
        return map(resources.patient, hospital.patients.values())
    if kind == "Organization":
        return [resources.hospital_organization(), *map(resources.organization, hospital.departments.values())]
    if kind == "Practitioner":
        return map(resources.practitioner, hospital.doctors.values())
    if kind == "Schedule":
        return map(resources.schedule, hospital.schedules.values())
    if kind == "Slot":
        return map(resources.slot, hospital.find_slots())
    if kind == "Appointment":
        hospital.book.expire()
        return [resources.appointment(lock, hospital) for lock in hospital.book.locks.values()]
    reports = sorted(hospital.reports.values(), key=lambda report: report.issued, reverse=True)
    if kind == "DiagnosticReport":
        return map(resources.diagnostic_report, reports)
    return [resources.observation(report, n) for report in reports for n in range(1, len(report.items) + 1)]


def matching(hospital: Hospital, kind: str, params: list[tuple[str, str]]) -> list[Resource]:
    """Every parameter must match; commas within one are alternatives. Raises BadSearch."""
    known = {"_id": identity, **PARAMETERS[kind]}
    tests: list[tuple[Test, list[str]]] = []
    for name, value in params:
        if name in CONTROLS:
            continue
        if name not in known:
            raise BadSearch(f"{kind} has no search parameter {name}")
        tests.append((known[name], value.split(",")))
    found = everything(hospital, kind)
    return [r for r in found if all(any(test(r, value) for value in values) for test, values in tests)]


def bundle(hospital: Hospital, kind: str, params: list[tuple[str, str]], base: str) -> Resource:
    """One page as a searchset with links self and next; `_include=DiagnosticReport:result` adds the Observations."""
    found = matching(hospital, kind, params)
    controls = dict(params)
    try:
        count = min(int(controls.get("_count", PAGE)), PAGE_MOST)
        offset = int(controls.get("_offset", 0))
    except ValueError:
        raise BadSearch("_count and _offset are numbers") from None
    page = found[offset : offset + count]
    entries = [{"fullUrl": f"{base}/{kind}/{r['id']}", "resource": r, "search": {"mode": "match"}} for r in page]
    if ("_include", "DiagnosticReport:result") in params:
        entries += _included(hospital, page, base)
    plain = [(name, value) for name, value in params if name != "_offset"]
    links = [{"relation": "self", "url": _url(base, kind, [*plain, ("_offset", str(offset))])}]
    if offset + count < len(found) and count > 0:
        links.append({"relation": "next", "url": _url(base, kind, [*plain, ("_offset", str(offset + count))])})
    return {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links, "entry": entries}


def _included(hospital: Hospital, page: list[Resource], base: str) -> list[Resource]:
    included = []
    for report in page:
        for number in range(1, len(report.get("result", [])) + 1):
            resource = resources.observation(hospital.reports[report["id"]], number)
            url = f"{base}/Observation/{resource['id']}"
            included.append({"fullUrl": url, "resource": resource, "search": {"mode": "include"}})
    return included


def _url(base: str, kind: str, params: list[tuple[str, str]]) -> str:
    return f"{base}/{kind}?{urlencode(params)}"
