"""The one catalogue of what the facade may say no with: code -> HTTP status, Chinese text, English text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esb.codecs import json
from esb.contract import FieldError

MEDIA_TYPE = b"application/problem+json"
_URN = "urn:hospital-esb:problem:"


class Entry(NamedTuple):
    """What one code means to a program (status) and to people."""

    status: int
    zh: str
    en: str


CATALOGUE: Mapping[str, Entry] = {
    "accepted": Entry(202, "已受理，正在处理", "The request was accepted and is being carried out"),
    "settling": Entry(
        202,
        "请求已发送，正在核实结果，请勿重复提交",
        "The request was sent and its result is being settled; do not send it again",
    ),
    "path_malformed": Entry(400, "地址无法解析", "The address cannot be parsed"),
    "query_malformed": Entry(400, "查询参数无法解析", "The query cannot be parsed"),
    "json_malformed": Entry(400, "请求体不是合格的 JSON", "The body is not acceptable JSON"),
    "body_unexpected": Entry(400, "该操作没有请求体", "This operation takes no body"),
    "http_malformed": Entry(
        400,
        "不是合格的 HTTP 请求；地址里的汉字须经百分号编码",
        "This is not a valid HTTP request; characters beyond ASCII in an address must be percent-encoded",
    ),
    "idempotency_key_missing": Entry(400, "缺少 Idempotency-Key 请求头", "The header Idempotency-Key is missing"),
    "idempotency_key_malformed": Entry(
        400,
        "Idempotency-Key 应为一个 1-128 个可见 ASCII 字符的请求头",
        "Idempotency-Key must be one header of 1-128 visible ASCII characters",
    ),
    "route_unknown": Entry(404, "没有这个地址", "There is nothing at this address"),
    "not_found": Entry(404, "不存在", "There is no such thing"),
    "method_not_allowed": Entry(405, "该地址不支持这个方法", "This address does not take this method"),
    "body_timeout": Entry(408, "请求体发送过慢", "The body arrived too slowly"),
    "head_timeout": Entry(408, "请求头发送过慢", "The headers arrived too slowly"),
    "idempotency_running": Entry(
        409, "同一个幂等键的请求仍在处理，请稍后用同一个键重试", "The same key is still running; try it again later"
    ),
    "body_too_large": Entry(413, "请求体过大", "The body is too large"),
    "uri_too_long": Entry(414, "地址过长", "The address is too long"),
    "media_type_unsupported": Entry(
        415, "请求体只接受 application/json（UTF-8，不压缩）", "A body is application/json only, UTF-8, not compressed"
    ),
    "invalid_request": Entry(422, "有字段不合格", "Fields of the request are wrong"),
    "idempotency_conflict": Entry(
        422, "这个幂等键已用于另一个请求", "The key was already used for a different request"
    ),
    "refused": Entry(422, "业务系统拒绝了请求", "The hospital system refused the request"),
    "invalid": Entry(
        422,
        "请求中有业务系统无法接收的内容，没有发出",
        "The request holds something that the hospital system cannot be sent; nothing was sent",
    ),
    "rate_limited": Entry(429, "请求过于频繁，请稍后再试", "Too many requests; try again later"),
    "headers_too_large": Entry(431, "请求头过大", "The headers are too large"),
    "internal_error": Entry(500, "系统内部错误", "The bus failed"),
    "mapping_failed": Entry(
        500,
        "总线无法向业务系统表达这个请求，没有发出",
        "The bus cannot express this request to the hospital system; nothing was sent",
    ),
    "malformed_answer": Entry(502, "业务系统的应答不符合约定", "The hospital system's answer breaks the contract"),
    "unavailable": Entry(
        503,
        "业务系统暂不可用，操作没有发生，请稍后再试",
        "The hospital system is unavailable and nothing happened; try again",
    ),
    "no_answer": Entry(503, "业务系统没有应答，请稍后再试", "The hospital system did not answer; try again"),
    "outcome_unknown": Entry(
        503,
        "结果未能确认，可用同一个请求再试一次",
        "It is not known whether this happened; the same request may be sent again",
    ),
    "not_happened": Entry(503, "已核实，操作没有发生，可以重试", "It was settled that this did not happen; try again"),
    "not_sent": Entry(503, "请求没有发出，可以重试", "The request was not sent; try again"),
    "cancelled": Entry(503, "请求已取消，操作没有发生", "The request was cancelled and nothing happened"),
    "endpoint_busy": Entry(503, "业务系统繁忙，请稍后再试", "The hospital system is busy; try again later"),
    "endpoint_down": Entry(503, "业务系统暂不可用，请稍后再试", "The hospital system is down; try again later"),
    "no_route": Entry(503, "该操作尚未接通业务系统", "No hospital system is connected for this operation"),
    "store_unavailable": Entry(
        503, "暂时无法记录请求，请稍后再试", "The bus cannot record requests now; try again later"
    ),
    "overloaded": Entry(503, "当前请求过多，请稍后再试", "The bus has too much to do; try again later"),
    "queue_full": Entry(
        503,
        "等待该业务系统的请求过多，请稍后再试",
        "Too many requests wait for the hospital system; try again later",
    ),
    "expired": Entry(
        503, "在限定时间内未能办理，操作没有发生", "It could not be carried out in its time and did not happen"
    ),
    "discarded": Entry(503, "请求已由工作人员撤销", "The request was withdrawn by the hospital's staff"),
    "shutting_down": Entry(503, "服务正在重启，请稍后再试", "The bus is restarting; try again"),
    "not_ready": Entry(503, "有业务系统不可用", "A hospital system is down"),
}


class Problem(Exception):
    """Raised anywhere in the facade to answer a request with an entry of the catalogue."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers


def problem_body(
    code: str, entry: Entry, *, detail: str = "", exchange: str = "", errors: Sequence[FieldError] = ()
) -> dict[str, object]:
    """The RFC 9457 object."""
    return {
        "type": _URN + code,
        "title": entry.en,
        "status": entry.status,
        "detail": detail or _detail(errors) or entry.en,
        "code": code,
        "message": {"zh": entry.zh, "en": entry.en},
        "exchange": exchange,
        "errors": [error.tree() for error in errors],
    }


def encode_problem(problem: Problem, exchange: str = "") -> tuple[int, bytes]:
    """Status and body of a raised problem."""
    entry = CATALOGUE[problem.code]
    body = problem_body(problem.code, entry, detail=problem.detail, exchange=exchange, errors=problem.errors)
    return entry.status, json.encode(body)


def _detail(errors: Sequence[FieldError]) -> str:
    if not errors:
        return ""
    shown = "; ".join(f"{error.pointer or 'the body'} {error.en}" for error in errors[:3])
    return shown[:1000] + ("; ..." if len(errors) > 3 else "")
