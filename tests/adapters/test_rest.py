"""The REST adapter against an HTTP server that shows what arrived."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from adapters import rest
from esb.spi import Malformed, OutcomeUnknown, Refused, Unavailable
from tests.adapters.suite import make_call, peer
from tests.esb.test_http import read_request
from tests.ports import free_port


class Server:
    """Answers every request with the next of ``answers`` (the last one again and again)."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.seen.append(await read_request(reader))
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    @property
    def head(self) -> str:
        return self.seen[-1].partition(b"\r\n\r\n")[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(" ")[1]

    @property
    def body(self) -> bytes:
        return self.seen[-1].partition(b"\r\n\r\n")[2]


def http(body: bytes = b"{}", status: int = 200, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextlib.asynccontextmanager
async def against(*answers: bytes, base: str = "", **settings: Any) -> AsyncIterator[tuple[rest.Rest, Server]]:
    server = Server(*(answers or (http(),)))
    async with peer(server.serve) as (_, port):
        settings["base_url"] = f"http://127.0.0.1:{port}{base}"
        adapter = rest.connect(rest.Settings.model_validate(settings))
        try:
            yield adapter, server
        finally:
            await adapter.close()


async def test_json_goes_out_compact_and_comes_back_with_exact_money() -> None:
    async with against(http(b'{"due":12.50,"id":1234567890123456789,"list":[null]}')) as (adapter, server):
        call = make_call()
        answer = await adapter.call("POST /pay", {"body": {"plate": "京A12345", "fee": Decimal("12.50")}}, call)
        assert answer == {"due": Decimal("12.50"), "id": 1234567890123456789, "list": [None]}
        assert server.body == '{"plate":"京A12345","fee":12.50}'.encode()
        assert "Content-Type: application/json" in server.head
        assert call.wire.sent == b"POST /pay\n" + server.body
        assert call.wire.received == b'{"due":12.50,"id":1234567890123456789,"list":[null]}'


async def test_a_list_at_the_top_is_the_answer_itself() -> None:
    async with against(http(b"[1,2]")) as (adapter, _):
        assert await adapter.call("GET /x", {}, make_call()) == [1, 2]


async def test_path_query_and_headers_are_written_and_encoded() -> None:
    async with against(base="/openydt/") as (adapter, server):
        await adapter.call(
            "GET /api/{cmd}/of/{who}",
            {
                "path": {"cmd": "a/b?c#d%", "who": "张 三"},
                "query": {"q": "1 & 2", "n": [1, 2], "nothing": None, "yes": True},
                "headers": {"traceid": "T1", "version": Decimal("1.0"), "absent": None},
            },
            make_call(),
        )
        assert server.target == ("/openydt/api/a%2Fb%3Fc%23d%25/of/%E5%BC%A0%20%E4%B8%89?q=1+%26+2&n=1&n=2&yes=true")
        assert server.head.endswith("traceid: T1\r\nversion: 1.0")
        assert "absent" not in server.head
        assert server.body == b""


@pytest.mark.parametrize("value", ["..", ".", "", None, ["a"], {"a": 1}])
async def test_a_path_value_cannot_leave_its_place(value: Any) -> None:
    async with against() as (adapter, server):
        call = make_call()
        with pytest.raises(Refused):
            await adapter.call("DELETE /locks/{no}", {"path": {"no": value}}, call)
        assert not call.wire.left
        assert not server.seen


@pytest.mark.parametrize(
    "payload",
    [
        {"path": {}},
        {"path": {"no": "1", "more": "2"}},
        {"path": {"no": "1"}, "headers": {"X": "a\r\nEvil: yes"}},
        {"path": {"no": "1"}, "headers": {"X\r\nEvil": "yes"}},
        {"path": {"no": "1"}, "query": {"a": {"b": 1}}},
        {"path": {"no": "1"}, "body": {"a": 1.5}},
        {"path": {"no": "1"}, "boddy": {}},
        ["no"],
    ],
)
async def test_a_payload_that_cannot_be_written_sends_nothing(payload: Any) -> None:
    async with against() as (adapter, server):
        call = make_call()
        with pytest.raises(Refused):
            await adapter.call("POST /locks/{no}", payload, call)
        assert not call.wire.left
        assert not server.seen


async def test_forms_and_text_go_both_ways_in_gbk() -> None:
    async with against(http("name=%C0%EE&ok=1".encode("gbk")), body="form", answer="form", charset="gbk") as (
        adapter,
        server,
    ):
        assert await adapter.call("POST /f", {"body": {"name": "张三", "n": 1}}, make_call()) == {
            "name": "李",
            "ok": "1",
        }
        assert server.body == b"name=%D5%C5%C8%FD&n=1"
        assert "Content-Type: application/x-www-form-urlencoded; charset=gbk" in server.head
    async with against(http("成功".encode("gbk")), body="text", answer="text", charset="gbk") as (adapter, server):
        assert await adapter.call("POST /t", {"body": "张三"}, make_call()) == "成功"
        assert server.body == "张三".encode("gbk")


async def test_json_in_gbk_is_read_and_written() -> None:
    async with against(http('{"msg":"成功"}'.encode("gbk")), charset="gbk") as (adapter, server):
        assert await adapter.call("POST /t", {"body": {"n": "张"}}, make_call()) == {"msg": "成功"}
        assert server.body == '{"n":"张"}'.encode("gbk")


async def test_xml_goes_both_ways() -> None:
    answer = b'<?xml version="1.0" encoding="UTF-8"?><Response><Code>0</Code><Row a="1">x</Row></Response>'
    async with against(http(answer), body="xml", answer="xml") as (adapter, server):
        tree = await adapter.call("POST /x", {"body": {"Request": {"Name": "张 & 三"}}}, make_call())
        assert tree == {"Code": "0", "Row": {"@a": "1", "#text": "x"}}
        assert "<Request><Name>张 &amp; 三</Name></Request>" in server.body.decode()
        assert "Content-Type: application/xml" in server.head


async def test_namespaces_that_matter_are_kept_apart_in_xml() -> None:
    answer = b'<R xmlns:p="urn:hl7-org:v3"><p:id>1</p:id><id>2</id></R>'
    listed = {"h": "urn:hl7-org:v3"}
    async with against(http(answer), body="xml", answer="xml", namespaces=listed) as (adapter, server):
        tree = await adapter.call("POST /x", {"body": {"h:Q": {"h:id": "1"}}}, make_call())
        assert tree == {"h:id": "1", "id": "2"}
        assert b'<h:Q xmlns:h="urn:hl7-org:v3"><h:id>1</h:id></h:Q>' in server.body


async def test_xml_in_gbk_is_read_and_written() -> None:
    answer = "<?xml version='1.0' encoding='GBK'?><R><Name>李四</Name></R>".encode("gbk")
    async with against(http(answer), body="xml", answer="xml", charset="gbk") as (adapter, server):
        assert await adapter.call("POST /x", {"body": {"Request": {"Name": "张三"}}}, make_call()) == {"Name": "李四"}
        assert "张三".encode("gbk") in server.body
        assert b"GBK" in server.body.upper().partition(b"?>")[0]


async def test_sealed_bytes_of_an_envelope_go_out_as_they_are() -> None:
    async with against(content_type="application/octet-stream") as (adapter, server):
        await adapter.call("POST /x", {"body": b"\x00sealed"}, make_call())
        assert server.body == b"\x00sealed"
        assert "Content-Type: application/octet-stream" in server.head


async def test_no_body_is_promised_and_none_is_looked_for() -> None:
    async with against(http(b"whatever"), answer="none") as (adapter, _):
        assert await adapter.call("POST /x", {"body": {}}, make_call()) == {}
    async with against(http(b"", 204)) as (adapter, _):
        assert await adapter.call("DELETE /x", {}, make_call()) == {}


async def test_who_we_are_is_said_and_kept_out_of_the_journal_and_of_texts() -> None:
    for auth, header in (
        ({"basic": {"user": "hub", "password": "SECRETMARKER"}}, "Basic aHViOlNFQ1JFVE1BUktFUg=="),
        ({"bearer": "SECRETMARKER"}, "Bearer SECRETMARKER"),
    ):
        async with against(auth=auth, headers={"access_token": "SECRETTOKEN"}, key_header="Idempotency-Key") as (
            adapter,
            server,
        ):
            call = make_call()
            await adapter.call("GET /x", {}, call)
            assert f"Authorization: {header}" in server.head
            assert "access_token: SECRETTOKEN" in server.head
            assert "Idempotency-Key: KEY1" in server.head
            assert b"SECRET" not in call.wire.sent
            assert "SECRET" not in repr(adapter._settings)


async def test_a_signed_request_is_verified_by_the_far_side_and_the_journal_has_no_signature() -> None:
    sign = {
        "signer": "md5",
        "key": "sbx",
        "secret": "SBXAKESECRET",
        "timestamp": "%Y%m%d%H%M%S",
        "text": "{key}:{ts}:{body}:{secret}",
        "put": [
            {"into": "query", "name": "sign"},
            {"into": "header", "name": "X-Ts", "value": "{ts}"},
        ],
    }
    async with against(sign=sign) as (adapter, server):
        call = make_call()
        await adapter.call(
            "POST /openydt/api/v3/{cmd}",
            {"path": {"cmd": "getParkFee"}, "query": {"lot": "P1"}, "body": {"carCode": "京A12345"}},
            call,
        )
        ts = next(line[6:] for line in server.head.split("\r\n") if line.startswith("X-Ts: "))
        expected = hashlib.md5(b"sbx:%s:%s:SBXAKESECRET" % (ts.encode(), server.body)).hexdigest()
        assert server.target == f"/openydt/api/v3/getParkFee?lot=P1&sign={expected}"
        assert call.wire.sent.startswith(b"POST /openydt/api/v3/getParkFee?lot=P1\n{")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_4xx_is_a_refusal_with_its_code_and_message(status: int) -> None:
    body = '{"message":"号源已满","name":"SECRETMARKER"}'.encode()
    async with against(http(body, status)) as (adapter, _):
        with pytest.raises(Refused) as caught:
            await adapter.call("POST /x", {"body": {}}, make_call())
        assert caught.value.code == str(status)
        assert caught.value.message == "号源已满"
        assert caught.value.raw == body
        assert "SECRETMARKER" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [("Retry-After: 7\r\n", 7.0), ("", None), ("Retry-After: soon\r\n", 30.0), ("Retry-After: 99999999\r\n", 86400.0)],
)
async def test_too_busy_is_unavailable_with_its_wish(headers: str, seconds: float | None) -> None:
    async with against(http(b"busy", 429, headers)) as (adapter, _):
        with pytest.raises(Unavailable) as caught:
            await adapter.call("POST /x", {"body": {}}, make_call())
        assert caught.value.retry_after == seconds
        assert caught.value.raw == b"busy"


DATES = "Date: Wed, 21 Oct 2015 07:26:30 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"


async def test_a_date_to_retry_after_counts_from_the_answers_own_date() -> None:
    async with against(http(b"", 503, DATES)) as (adapter, _):
        with pytest.raises(Unavailable) as caught:
            await adapter.call("POST /x", {"body": {}}, make_call())
        assert caught.value.retry_after == 90.0


async def test_the_charset_that_an_answer_declares_is_believed() -> None:
    body = '{"name":"医生甲"}'.encode("gb18030")
    answer = http(body, 200, "Content-Type: application/json; charset=GBK\r\n")
    async with against(answer) as (adapter, _):
        assert await adapter.call("POST /x", {"body": {}}, make_call()) == {"name": "医生甲"}


async def test_a_gateway_known_to_say_404_when_it_is_lost_is_unavailable() -> None:
    async with against(http(b"", 404), unavailable_status=[404, 429, 503]) as (adapter, _):
        with pytest.raises(Unavailable):
            await adapter.call("POST /x", {"body": {}}, make_call())


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_a_5xx_leaves_the_outcome_unknown(status: int) -> None:
    async with against(http(b"<html>oops</html>", status)) as (adapter, _):
        with pytest.raises(OutcomeUnknown) as caught:
            await adapter.call("POST /x", {"body": {}}, make_call())
        assert caught.value.raw == b"<html>oops</html>"


async def test_a_redirect_is_malformed_and_not_followed() -> None:
    async with against(http(b"", 302, "Location: http://127.0.0.1:1/\r\n")) as (adapter, server):
        with pytest.raises(Malformed):
            await adapter.call("POST /x", {"body": {}}, make_call())
        assert len(server.seen) == 1


async def test_on_request_an_error_with_a_body_is_an_answer_for_the_mapping() -> None:
    async with against(
        http(b'{"code":"5000"}', 500),
        http(b'{"code":"7"}', 400),
        http(b"<html>", 500),
        http(b"x", 404),
        errors="answer",
    ) as (adapter, _):
        assert await adapter.call("GET /x", {}, make_call()) == {"code": "5000", "@status": 500}
        assert await adapter.call("GET /x", {}, make_call()) == {"code": "7", "@status": 400}
        with pytest.raises(OutcomeUnknown):
            await adapter.call("GET /x", {}, make_call())
        with pytest.raises(Refused):
            await adapter.call("GET /x", {}, make_call())


@pytest.mark.parametrize("answer", ["json", "form", "xml", "text"])
@pytest.mark.parametrize(
    "blob", [b"", b" \r\n", b"<!DOCTYPE html><html></html>", b"\xef\xbb\xbf<HTML><body/></HTML>", b"\xff\xfe\x80"]
)
async def test_an_html_page_or_nothing_where_data_was_promised_is_malformed(answer: str, blob: bytes) -> None:
    async with against(http(blob), answer=answer) as (adapter, _):
        call = make_call()
        with pytest.raises(Malformed) as caught:
            await adapter.call("GET /x", {}, call)
        assert caught.value.raw == blob
        assert call.wire.received == blob


@pytest.mark.parametrize("blob", [b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 100 + b"]" * 100, b'{"a":', b'{"a":"\x01"}'])
async def test_json_that_two_readers_would_read_differently_is_malformed(blob: bytes) -> None:
    async with against(http(blob)) as (adapter, _):
        with pytest.raises(Malformed):
            await adapter.call("GET /x", {}, make_call())


async def test_xml_with_a_doctype_is_malformed() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    async with against(http(bomb), answer="xml") as (adapter, _):
        with pytest.raises(Malformed):
            await adapter.call("GET /x", {}, make_call())


async def test_an_answer_over_its_limit_is_malformed() -> None:
    async with against(http(b'"' + b"a" * 5000 + b'"'), max_answer_bytes=1000) as (adapter, _):
        with pytest.raises(Malformed, match="1000 bytes"):
            await adapter.call("GET /x", {}, make_call())


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_any_http_answer_to_the_probe_is_life(status: int) -> None:
    async with against(http(b"", status)) as (adapter, server):
        await adapter.probe(make_call())
        assert server.head.startswith("GET / ")
    async with against(http(b"x", status), base="/v1", probe="/ping?deep=no") as (adapter, server):
        await adapter.probe(make_call())
        assert server.head.startswith("GET /v1/ping?deep=no ")
    dead = rest.connect(rest.Settings(base_url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable):
        await dead.probe(make_call())
    await dead.close()


@pytest.mark.parametrize(
    ("action", "fields", "word"),
    [
        ("POST /a/{b}", ["path", "body"], None),
        ("GET /a", ["query", "headers"], None),
        ("post /a", [], "METHOD"),
        ("FETCH /a", [], "METHOD"),
        ("POST a", [], "METHOD"),
        ("POST http://evil.invalid/a", [], "METHOD"),
        ("GET /a?b=c", [], "without a query"),
        ("GET /a/../b", [], "'..'"),
        ("GET /{a}/{a}", ["path"], "once"),
        ("GET /{}", ["path"], "once"),
        ("GET /{a b}", ["path"], "METHOD"),
        ("GET /病", [], "percent-encoded"),
        ("POST /a/{b}", ["body"], "under 'path'"),
        ("POST /a", ["path"], "no {placeholder}"),
        ("POST /a", ["boddy"], "did you mean 'body'?"),
    ],
)
def test_lint_says_what_is_wrong_with_an_action(action: str, fields: list[str], word: str | None) -> None:
    adapter = rest.connect(rest.Settings(base_url="http://his.invalid"))
    found = list(adapter.check(action, fields))
    assert (not found) if word is None else (word in " ".join(found))


def test_lint_knows_that_an_endpoint_takes_no_body() -> None:
    adapter = rest.connect(rest.Settings(base_url="http://his.invalid", body="none"))
    assert "body: none" in " ".join(adapter.check("POST /a", ["body"]))


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "ftp://x"},
        {"base_url": "http://x/?a=b"},
        {"base_url": "http://病/"},
        {"charset": "klingon"},
        {"auth": {}},
        {"auth": {"bearer": "a", "basic": {"user": "u", "password": "p"}}},
        {"sign": {"signer": "md5", "secret": "SECRETMARKER", "text": "{key}", "put": [{"into": "query", "name": "s"}]}},
        {"answer": "yaml"},
        {"retries": 3},
    ],
)
def test_settings_that_cannot_work_are_refused_and_tell_no_secret(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        rest.Settings.model_validate({"base_url": "http://x.invalid", **change})
    assert "SECRETMARKER" not in str(caught.value)


def test_an_example_answer_given_as_text_is_decoded() -> None:
    assert rest.decode(' {"a": 1.50}') == {"a": Decimal("1.50")}
    assert rest.decode("[1]") == [1]
    assert rest.decode("<a><b>1</b></a>") == {"b": "1"}
    assert rest.decode("SUCCESS") == "SUCCESS"
