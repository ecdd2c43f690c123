"""What an HTTP answer of a FHIR server means: a resource, or one of the four errors."""

from __future__ import annotations

import re
from typing import NoReturn

from adapters.fhir.actions import Action, Request
from esb.codecs import DecodeError, fhir
from esb.http import HttpAnswer
from esb.spi import Malformed, OutcomeUnknown, Refused, Tree, Unavailable

_BY_STATUS = {404: "not-found", 409: "conflict", 410: "deleted", 412: "conflict"}
_EXPECTED = {
    "search": "Bundle",
    "transaction": "Bundle",
    "batch": "Bundle",
    "capabilities": "CapabilityStatement",
}
_LOCATION = re.compile(r"(?:^|/)([A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/([A-Za-z0-9.-]{1,64}))?/?$")
_ETAG = re.compile(r'(?:W/)?"([^"]+)"')
_OK = re.compile(r"2\d\d(\s|$)")


def interpret(action: Action, request: Request, answer: HttpAnswer) -> fhir.Resource:
    """The resource the server answered; raises ``Refused``, ``Unavailable``, ``OutcomeUnknown`` or ``Malformed``."""
    if not 200 <= answer.status < 300:
        _raise_status(action, answer)
    if not answer.body.strip():
        return _empty(action, answer)
    resource = _decode(answer)
    _expect(action, resource, answer)
    if action.verb in ("transaction", "batch"):
        _check_entries(action, request, resource, answer)
    return resource


def _decode(answer: HttpAnswer) -> fhir.Resource:
    try:
        return fhir.decode(answer.body)
    except DecodeError as error:
        shape = answer.headers.get("Content-Type", "no content type").split(";")[0][:60]
        raise Malformed(f"the answer ({answer.status}, {shape}) is not FHIR: {error.reason}", raw=answer.body) from None


def _expect(action: Action, resource: fhir.Resource, answer: HttpAnswer) -> None:
    kind = resource["resourceType"]
    if kind == "OperationOutcome":
        if _worst(resource):
            _refuse(action, answer, resource)
        if action.verb in ("create", "update", "delete", "operation"):
            return
    expected = _EXPECTED.get(action.verb, action.kind)
    if action.verb not in ("operation", "delete") and kind != expected:
        raise Malformed(f"'{action.verb}' was answered by a {kind[:60]}, not by a {expected}", raw=answer.body)


def _worst(outcome: fhir.Resource) -> fhir.Resource:
    """The first issue that is an error, {} when all are remarks."""
    issues = _objects(outcome.get("issue"))
    return next((issue for issue in issues if issue.get("severity") in ("fatal", "error")), {})


def _empty(action: Action, answer: HttpAnswer) -> fhir.Resource:
    """An answer without a body: what the headers say of a written resource, or an empty OperationOutcome."""
    if action.verb in ("create", "update"):
        found = _LOCATION.search(answer.headers.get("Location") or answer.headers.get("Content-Location") or "")
        if found and found[1] == action.kind:
            return _stub(found[1], found[2], found[3] or _version(answer))
    if action.verb in ("update", "delete", "operation"):
        return {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "information", "code": "informational", "diagnostics": f"HTTP {answer.status}"}],
        }
    raise Malformed(f"'{action.verb}' was answered {answer.status} without a body", raw=answer.body)


def _stub(kind: str, identifier: str, version: str) -> fhir.Resource:
    resource: fhir.Resource = {"resourceType": kind, "id": identifier}
    if version:
        resource["meta"] = {"versionId": version}
    return resource


def _version(answer: HttpAnswer) -> str:
    found = _ETAG.fullmatch(answer.headers.get("ETag") or "")
    return found[1] if found else ""


def _raise_status(action: Action, answer: HttpAnswer) -> NoReturn:
    """Only what says itself that nothing was processed is ``Unavailable``; a 5xx may come after the effect."""
    status, raw = answer.status, answer.body
    retry_after = answer.retry_after
    if status == 429 or (status == 503 and retry_after is not None):
        raise Unavailable(f"the server answered {status}, come back later", raw=raw, retry_after=retry_after)
    if status >= 500 or status == 408:
        raise OutcomeUnknown(f"the server failed with {status}", raw=raw)
    if status == 401:
        raise Refused("the server answered 401: the login is not accepted", code="login", raw=raw)
    if status < 400:
        raise Malformed(f"the server answered {status}, which is not followed", raw=raw)
    _refuse(action, answer, _outcome(answer))


def _outcome(answer: HttpAnswer) -> fhir.Resource:
    """The OperationOutcome of a 4xx; {} without a body; any other body of a FHIR server is malformed."""
    if not answer.body.strip():
        return {}
    try:
        resource = fhir.decode(answer.body)
    except DecodeError as error:
        if answer.status == 403:
            return {}
        raise Malformed(
            f"the answer {answer.status} is not an OperationOutcome: {error.reason}", raw=answer.body
        ) from None
    if resource["resourceType"] != "OperationOutcome":
        raise Malformed(f"the answer {answer.status} is not an OperationOutcome", raw=answer.body)
    return resource


def _refuse(action: Action, answer: HttpAnswer, outcome: fhir.Resource) -> NoReturn:
    code, message = explain(answer.status, outcome)
    what = f"{action.verb} {action.kind}".strip()
    raise Refused(f"'{what}' was answered {answer.status} ({code})", code=code, message=message, raw=answer.body)


def explain(status: int, outcome: fhir.Resource) -> tuple[str, str]:
    """Code and text of an OperationOutcome: ``conflict``, or ``conflict/slot-full`` when its details have a code."""
    issue = _worst(outcome) or next(iter(_objects(outcome.get("issue"))), {})
    details = _object(issue.get("details"))
    code = _BY_STATUS.get(status) or _word(issue.get("code")) or ("forbidden" if status == 403 else "invalid")
    own = next((word for coding in _objects(details.get("coding")) if (word := _word(coding.get("code")))), "")
    code = f"{code}/{own}" if own else code
    return code, str(details.get("text") or issue.get("diagnostics") or "")


def _word(value: Tree) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[\w.:-]{1,80}", value) else ""


def _check_entries(action: Action, request: Request, resource: fhir.Resource, answer: HttpAnswer) -> None:
    """One answer for each entry; in a transaction all good, or all failed: half done breaks what a transaction is."""
    asked = fhir.entries(request.resource or {})
    answered = fhir.entries(resource)
    if len(asked) != len(answered):
        raise Malformed(
            f"{len(asked)} entries were sent and {len(answered)} were answered: it is not known what was done",
            raw=answer.body,
        )
    failed = []
    for number, (entry, response) in enumerate(zip(asked, answered, strict=True)):
        result = _object(response.get("response"))
        status = str(result.get("status") or "")
        if not status:
            raise Malformed(f"entry {number} was answered without a status", raw=answer.body)
        if not _OK.match(status):
            failed.append((number, _name(entry), status, result))
    if failed and action.verb == "transaction":
        _refuse_entries(failed, len(asked), answer)


def _refuse_entries(failed: list[tuple[int, str, str, fhir.Resource]], total: int, answer: HttpAnswer) -> NoReturn:
    whys = [explain(_number(status), _object(result.get("outcome"))) for _, _, status, result in failed]
    listed = [
        f"entry {number} ({name}): {_number(status)} {code}"
        for (number, name, status, _), (code, _) in zip(failed, whys, strict=True)
    ]
    text = "; ".join(listed[:10])
    if len(failed) < total:
        raise Malformed(f"the transaction was half done, {total - len(failed)} entries stand: {text}", raw=answer.body)
    code, message = whys[0]
    raise Refused(f"every entry of the transaction failed: {text}", code=code, message=message or text, raw=answer.body)


def _name(entry: fhir.Resource) -> str:
    """Method and type of an entry, without its id or query."""
    request = _object(entry.get("request"))
    return f"{request.get('method', '?')} {re.split(r'[/?]', str(request.get('url', '')))[0]}"[:80]


def _object(value: Tree) -> fhir.Resource:
    return value if isinstance(value, dict) else {}


def _objects(value: Tree) -> list[fhir.Resource]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(status: str) -> int:
    return int(status[:3]) if status[:3].isdigit() else 0
