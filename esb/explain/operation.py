"""What would happen to a request: the facts of an operation in order of travel, and a dry run up to the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from esb.clock import SystemClock
from esb.codecs import json
from esb.config.routes import RouteConfig
from esb.errors import AdapterError
from esb.explain.fields import table
from esb.lint import Plan
from esb.mapping import MappingError
from esb.model import Effect, Tree
from esb.policies.schedule import Schedule
from esb.spi import Call

_KEPT = ("type", "enum", "format", "minLength", "maxLength", "minimum", "maximum", "pattern")


def explanation(plan: Plan, operation: str) -> dict[str, Any]:
    """Everything that decides what happens to ``operation``, defaults applied, as a JSON tree."""
    contract, route = plan.contract.operations[operation], plan.routes.routes[operation]
    config, mapping = plan.routes.endpoints[route.to], plan.mappings[operation]
    return {
        "operation": operation,
        "summary": contract.summary,
        "requirement": list(contract.requirement),
        "http": f"{contract.method} {contract.path}",
        "effect": str(contract.effect),
        "request": _fields(contract.request_schema),
        "route": {**_plain(route), "retried": _retried(contract.effect, route)},
        "endpoint": {
            "name": route.to,
            "adapter": config.adapter,
            "envelope": [name for name, _ in config.envelope],
            "settings": {name: _masked(value) for name, value in plan.endpoints[route.to].settings.items()},
            "limits": _plain(config.limits),
        },
        "mapping": {
            "file": mapping.file,
            "action": mapping.action if mapping.action_is_fixed else "(computed)",
            "fields": list(mapping.request_fields),
            "outcomes": sorted(mapping.outcomes),
            "made_from": table(mapping),
        },
        "answers": _answers(plan, operation),
    }


def as_text(facts: dict[str, Any]) -> str:
    """The explanation for people: one line a fact, nested facts indented."""
    return "\n".join(_lines(facts, ""))


def attempt(plan: Plan, operation: str, request: Tree, key: str) -> dict[str, Any]:
    """What would be sent for ``request``: ``action``, ``payload`` and ``wire``, or ``errors`` with their places."""
    contract, route = plan.contract.operations[operation], plan.routes.routes[operation]
    endpoint, clock = plan.endpoints[route.to], SystemClock()
    request = contract.typed(request)
    wrong = contract.check_request(request)
    if wrong:
        return {"errors": [{"pointer": each.pointer, "zh": each.zh, "en": each.en} for each in wrong]}
    context = {"id": "TRY", "key": key, "operation": operation, "now": clock.now().isoformat(timespec="seconds")}
    call = Call(operation, "TRY", key, contract.effect, clock.monotonic() + route.timeout_s, clock)
    try:
        action, payload = plan.mappings[operation].build(request, context, dict(endpoint.site))
        wire = endpoint.preview(action, payload, call)
    except (MappingError, AdapterError) as error:
        return {"errors": [{"pointer": "", "zh": str(error), "en": str(error)}]}
    enveloped = bool(plan.routes.endpoints[route.to].envelope)
    return {"endpoint": endpoint.name, "action": action, "payload": payload, "enveloped": enveloped, "wire": wire}


def _fields(schema: Any) -> dict[str, str]:
    """Every field by its path, with what the contract says of it in one line."""
    required = set(schema.get("required", ()))
    fields: dict[str, str] = {}
    for name, part in schema.get("properties", {}).items():
        rules = [f"{key} {part[key]}" for key in _KEPT if key in part]
        fields[name] = ", ".join(["required" if name in required else "optional", *rules])
        fields |= {f"{name}.{inner}": rule for inner, rule in _fields(part).items()}
    return fields


def _retried(effect: Effect, route: RouteConfig) -> str:
    if route.is_queued:
        plan = Schedule.of(route.retry)
        often = f"up to {plan.times} times over {plan.over_s:g}s, then parked"
        return f"{often}; only what certainly did not happen" if effect is Effect.ONCE else often
    if effect is Effect.ONCE:
        return "never; what is unknown is settled"
    return f"up to {route.retry.times} times within the timeout" if route.retry.times else "no"


def _answers(plan: Plan, operation: str) -> dict[str, str]:
    contract = plan.contract.operations[operation]
    refusals = {code: f"{refusal.status} {refusal.en}" for code, refusal in sorted(contract.refusals.items())}
    unknown = {"unknown": "202 with the exchange's URL"} if contract.effect is Effect.ONCE else {}
    queued = plan.routes.routes[operation].is_queued
    accepted = {"accepted": "202 with the exchange's URL, where the others are shown"} if queued else {}
    return {
        **accepted,
        "done": str(contract.success_status),
        **refusals,
        "unavailable": "503 with Retry-After",
        **unknown,
        "malformed": "502",
    }


def _plain(model: BaseModel) -> dict[str, Any]:
    plain: dict[str, Any] = json.decode(model.model_dump_json().encode())
    return plain


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value if isinstance(value, bool | int | None) else str(value)


def _lines(facts: Any, indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list | tuple):
            lines.append(f"{indent}{name}: {', '.join(map(str, value)) or '-'}")
        else:
            lines.append(f"{indent}{name}: {'-' if value in (None, {}, '') and value is not False else value}")
    return lines
