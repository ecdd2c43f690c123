import base64
import hashlib
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zeep.wsdl
from lxml import etree
from pydantic import SecretStr, ValidationError
from zeep import xsd
from zeep.wsdl.utils import etree_to_string

from adapters.soap import Settings, connect, decode
from adapters.soap.security import digest, username_token
from adapters.soap.wsdl import Documents
from esb.spi import SHANGHAI, ConfigError, Effect, Malformed, OutcomeUnknown, Refused, SystemClock, Tree, Unavailable
from esb.types import Lost
from tests.adapters.soap_peer import SOAP11, SOAP12, WSDL, answering, envelope, http
from tests.adapters.suite import make_call

GOOD = http(envelope('<FindSlotsResponse xmlns="urn:test:his"><ResultCode>0</ResultCode></FindSlotsResponse>'))
BOOK = {"@version": "1", "Slot": {"SlotNo": "S1"}, "CardNo": "K1", "Remark": "r"}


def request_of(action: str, payload: Tree, **settings: Any) -> str:
    adapter = connect(Settings(wsdl=WSDL, **settings))
    service = adapter._service
    assert service is not None
    return adapter._envelope(service.operation(action), payload, make_call())[0]


def canonical(text: str | bytes) -> bytes:
    """Names by namespace, whatever the prefixes: expanded names, sorted attributes, texts."""

    def plain(element: Any) -> Any:
        texts = [element.text or "", *(child.tail or "" for child in element)]
        return (element.tag, sorted(element.items()), "".join(texts).strip(), [plain(child) for child in element])

    data = text.encode() if isinstance(text, str) else text
    return repr(plain(etree.fromstring(data))).encode()


def by_zeep(action: str, *args: Any, **values: Any) -> bytes:
    document = zeep.wsdl.Document(str(WSDL), Documents(WSDL.parent))  # type: ignore[arg-type]
    binding = next(one for one in document.bindings.values() if one.name.localname == "His11")
    return bytes(etree_to_string(binding.get(action).create(*args, **values).content))


# requests


def test_what_is_sent_means_what_zeep_would_send() -> None:
    assert canonical(request_of("FindSlots", {"DeptCode": "1 & <2>"})) == canonical(
        by_zeep("FindSlots", DeptCode="1 & <2>")
    )
    ours: Tree = {
        "@version": "2",
        "Slot": [{"SlotNo": "S1", "Fee": Decimal("1.50"), "@kind": 'a"b'}, {"SlotNo": "S2"}],
        "IdNo": "110",
        "Remark": None,
        "Urgent": True,
        "Scan": b"\x00\xff",
        "Key": ["k1", "k2"],
        "Value": ["v1", "v2"],
    }
    theirs = by_zeep(
        "Book",
        version="2",
        Slot=[{"SlotNo": "S1", "Fee": Decimal("1.50"), "kind": 'a"b'}, {"SlotNo": "S2"}],
        IdNo="110",
        Remark=xsd.Nil,
        Urgent=True,
        Scan=b"\x00\xff",
        _value_1=[{"Key": "k1", "Value": "v1"}, {"Key": "k2", "Value": "v2"}],
    )
    assert canonical(request_of("Book", ours)) == canonical(theirs)
    assert canonical(request_of("Notify", "hello")) == canonical(by_zeep("Notify", "hello"))


def test_the_schema_decides_the_order_not_the_mapping() -> None:
    text = request_of("FindSlots", {"From": "2026-01-16", "DoctorNo": "D1", "DeptCode": "1"})
    assert text.index("DeptCode") < text.index("DoctorNo") < text.index("From")


def test_a_derived_type_is_chosen_by_xsi_type() -> None:
    text = request_of("Book", BOOK | {"Slot": {"@xsi:type": "ExpertSlot", "SlotNo": "S1", "Skill": ["a", "b"]}})
    slot = etree.fromstring(text.encode()).find(".//{urn:test:his}Slot")
    assert slot is not None
    assert slot.get("{http://www.w3.org/2001/XMLSchema-instance}type") == "n1:ExpertSlot"
    assert [child.text for child in slot] == ["S1", "a", "b"]


def test_what_the_schema_leaves_open_may_come_too() -> None:
    assert "<Extra><a>1</a></Extra></n1:Book>" in request_of("Book", BOOK | {"Extra": {"a": 1}})


def test_nil_is_written_where_it_is_said() -> None:
    assert '<n1:Remark xsi:nil="true"/>' in request_of("Book", BOOK | {"Remark": {"@xsi:nil": "true"}})
    assert "DoctorNo" not in request_of("FindSlots", {"DeptCode": "1", "DoctorNo": None})


@pytest.mark.parametrize(
    ("action", "payload", "reason"),
    [
        ("FindSlots", {"DeptCode": "1", "DocterNo": "2"}, "'DocterNo' is not in the WSDL (did you mean 'DoctorNo'?)"),
        ("FindSlots", {}, "DeptCode: is required"),
        ("FindSlots", {"DeptCode": None}, "DeptCode: is required"),
        ("FindSlots", {"DeptCode": ["1", "2"]}, "DeptCode: occurs once"),
        ("FindSlots", {"DeptCode": {"a": "1"}}, "DeptCode: is a text in the WSDL"),
        ("FindSlots", {"DeptCode": 1.5}, "DeptCode: a float has no XML text"),
        ("FindSlots", {"DeptCode": "a\x0bb"}, "DeptCode: character U+000B"),
        ("FindSlots", "text", "is a structure in the WSDL"),
        ("Book", BOOK | {"Slot": [{"SlotNo": "1"}, {"SlotNo": {"x": 1}}]}, "Slot[1].SlotNo: is a text"),
        ("Book", BOOK | {"Slot": []}, "Slot: is required"),
        ("Book", BOOK | {"IdNo": "1"}, "only one of CardNo, IdNo"),
        ("Book", {k: v for k, v in BOOK.items() if k != "@version"}, "@version: is required"),
        ("Book", BOOK | {"@other": "1"}, "'@other' is not in the WSDL"),
        ("Book", BOOK | {"Slot": {"@xsi:type": "NoSlot"}}, "Slot: type 'NoSlot' is not in the WSDL"),
        ("FindSlot", {}, "operation 'FindSlot' is not in the WSDL (did you mean 'FindSlots'?)"),
    ],
)
async def test_a_request_that_the_wsdl_does_not_allow_is_not_sent(action: str, payload: Tree, reason: str) -> None:
    async with answering(GOOD) as (adapter, seen):
        call = make_call()
        with pytest.raises(Refused) as caught:
            await adapter.call(action, payload, call)
        assert reason in str(caught.value)
        assert not call.wire.left
        assert not seen


def test_lint_finds_wrong_operations_and_leaves_names_to_the_description() -> None:
    adapter = connect(Settings(wsdl=WSDL))
    assert list(adapter.check("FindSlots", ["DeptCode", "_headers"])) == []
    assert list(adapter.check("FindSlotz", [])) == [
        "operation 'FindSlotz' is not in the WSDL (did you mean 'FindSlots'?)"
    ]
    request = adapter.describe("FindSlots").request
    assert request.at(["DeptCod"]) == Lost("DeptCod", tuple(request.fields))
    assert [name for name, inner in request.fields.items() if inner.required] == ["DeptCode"]


@pytest.mark.parametrize(
    ("style", "port", "line"),
    [
        ("quoted", "His11", b'SOAPAction: "urn:test:his:FindSlots"\r\n'),
        ("bare", "His11", b"SOAPAction: urn:test:his:FindSlots\r\n"),
        ("quoted", "His12", b'application/soap+xml; charset=utf-8; action="urn:test:his:FindSlots"\r\n'),
        ("bare", "His12", b"application/soap+xml; charset=utf-8; action=urn:test:his:FindSlots\r\n"),
        ("absent", "His12", b"application/soap+xml; charset=utf-8\r\n"),
    ],
)
async def test_the_action_is_sent_as_the_system_wants_it(style: str, port: str, line: bytes) -> None:
    async with answering(GOOD, soap_action=style, port=port) as (adapter, seen):
        await adapter.call("FindSlots", {"DeptCode": "1"}, make_call())
    assert line in seen[0]
    assert (SOAP12 if port == "His12" else SOAP11).encode() in seen[0]


async def test_an_absent_action_is_no_header() -> None:
    async with answering(GOOD, soap_action="absent", http_headers={"X-Site": "1"}) as (adapter, seen):
        await adapter.call("FindSlots", {"DeptCode": "1"}, make_call())
    assert b"soapaction" not in seen[0].lower()
    assert b"X-Site: 1\r\n" in seen[0]


async def test_headers_come_from_the_settings_and_the_payload() -> None:
    static = {"Source": {"@xmlns": "urn:x", "#text": "HUB"}}
    async with answering(http(envelope('<BookResponse xmlns="urn:test:his"/>')), headers=static) as (adapter, seen):
        assert await adapter.call("Book", BOOK | {"_headers": {"Ticket": {"Token": "T1"}}}, make_call()) == {}
    root = etree.fromstring(seen[0].partition(b"\r\n\r\n")[2])
    assert root.findtext(f"{{{SOAP11}}}Header/{{urn:x}}Source") == "HUB"
    assert root.findtext(f"{{{SOAP11}}}Header/{{urn:test:his}}Ticket/{{urn:test:his}}Token") == "T1"


# WS-Security


def test_the_digest_is_the_profiles() -> None:
    expected = base64.b64encode(hashlib.sha1(b"0123456789abcdef2026-01-15T01:30:00Zsecret").digest()).decode()
    assert digest(b"0123456789abcdef", "2026-01-15T01:30:00Z", "secret") == expected
    now = SystemClock().now().replace(2026, 1, 15, 9, 30, 0, 0, tzinfo=SHANGHAI)
    text, shown = username_token("hub", "secret", "digest", now, lambda size: b"0123456789abcdef"[:size])
    assert expected in text
    assert "2026-01-15T01:30:00Z" in text
    assert expected not in shown


async def test_the_password_goes_out_and_not_into_the_journal() -> None:
    for kind in ("text", "digest"):
        settings = {"username": "hub", "password": "S3CRET<", "password_type": kind}
        async with answering(GOOD, **settings) as (adapter, seen):
            call = make_call()
            await adapter.call("FindSlots", {"DeptCode": "1"}, call)
        assert (b"S3CRET&lt;" in seen[0]) == (kind == "text")
        assert b"UsernameToken" in call.wire.sent
        assert b"S3CRET" not in call.wire.sent


async def test_a_secret_header_goes_out_and_neither_into_the_journal_nor_the_preview() -> None:
    headers = {"Ticket": {"Token": SecretStr("T0K<EN")}, "X": {"@key": SecretStr('a"b')}}
    async with answering(http(envelope("<BookResponse/>")), headers=headers) as (adapter, seen):
        call = make_call()
        await adapter.call("Book", BOOK, call)
        shown = adapter.preview("Book", BOOK, call)
    assert b"T0K&lt;EN" in seen[0]
    assert b'key="a&quot;b"' in seen[0]
    for text in (shown, call.wire.sent.decode()):
        assert "T0K" not in text
        assert "a&quot;b" not in text
        assert "<n1:Slot>" in text


# answers


async def ask(answer: bytes, action: str = "FindSlots", effect: Effect = Effect.READ, **settings: Any) -> Tree:
    async with answering(answer, **settings) as (adapter, seen):
        try:
            return await adapter.call(action, {"DeptCode": "1"} if action == "FindSlots" else "x", make_call(2, effect))
        finally:
            assert len(seen) == 1


async def test_one_slot_and_two_slots_look_alike() -> None:
    for slots in (1, 2):
        text = "".join(f"<Slot kind='k'><SlotNo>{n}</SlotNo><Skill>x</Skill></Slot>" for n in range(slots))
        body = f"<ResultCode>0</ResultCode><Slots>{text}</Slots>"
        tree = await ask(http(envelope(f'<FindSlotsResponse xmlns="urn:test:his">{body}</FindSlotsResponse>')))
        assert tree["Slots"]["Slot"] == [{"@kind": "k", "SlotNo": str(n), "Skill": ["x"]} for n in range(slots)]


async def test_namespaces_and_prefixes_of_an_answer_do_not_matter() -> None:
    for body in (
        "<FindSlotsResponse><ResultCode>0</ResultCode></FindSlotsResponse>",
        '<x:FindSlotsResponse xmlns:x="urn:other"><x:ResultCode>0</x:ResultCode></x:FindSlotsResponse>',
    ):
        for namespace in (SOAP11, SOAP12):
            assert await ask(http(envelope(body, namespace))) == {"ResultCode": "0"}


async def test_a_fault_is_a_refusal_with_code_message_and_detail() -> None:
    fault = (
        "<s:Fault><faultcode>s:Server.Busy</faultcode><faultstring> 号源已满 </faultstring>"
        "<detail><Reason xmlns='urn:x'><Code>1001</Code></Reason></detail></s:Fault>"
    )
    for status in ("500 Internal Server Error", "200 OK", "400 Bad Request"):
        with pytest.raises(Refused) as caught:
            await ask(http(envelope(fault), status))
        assert (caught.value.code, caught.value.message) == ("Server.Busy", "号源已满")
        assert caught.value.detail == {"Reason": {"Code": "1001"}}
        assert caught.value.raw
        assert "号源" not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        "<s:Fault><faultcode>s:Server</faultcode><faultstring>Timeout expired</faultstring></s:Fault>",
        "<s:Fault><faultcode>s:Server</faultcode><faultstring>Timeout expired</faultstring><detail/></s:Fault>",
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code></s:Fault>",
    ],
)
async def test_a_server_fault_that_gives_no_reason_leaves_open_whether_it_happened(fault: str) -> None:
    answer = http(envelope(fault), "500 Internal Server Error")
    for effect in (Effect.ONCE, Effect.IDEMPOTENT):
        with pytest.raises(OutcomeUnknown) as caught:
            await ask(answer, effect=effect)
        assert caught.value.raw == envelope(fault).encode()
        assert "Timeout" not in str(caught.value)
    with pytest.raises(Refused):
        await ask(answer)
    with pytest.raises(Refused):
        await ask(
            http(envelope(fault.replace(":Server<", ":Client<").replace(":Receiver<", ":Sender<"))), effect=Effect.ONCE
        )


async def test_a_fault_of_soap_12_speaks_chinese_where_it_can() -> None:
    fault = (
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value xmlns:m='urn:m'>m:Full</s:Value></s:Subcode>"
        "</s:Code><s:Reason>"
        "<s:Text xml:lang='en'>full</s:Text><s:Text xml:lang='zh-CN'>满</s:Text></s:Reason></s:Fault>"
    )
    with pytest.raises(Refused) as caught:
        await ask(http(envelope(fault, SOAP12), "500 Internal Server Error", "application/soap+xml"), port="His12")
    assert (caught.value.code, caught.value.message) == ("Receiver/Full", "满")


@pytest.mark.parametrize(
    ("status", "more", "error"),
    [
        ("500 Internal Server Error", "", OutcomeUnknown),
        ("502 Bad Gateway", "", OutcomeUnknown),
        ("504 Gateway Timeout", "", OutcomeUnknown),
        ("503 Service Unavailable", "", OutcomeUnknown),
        ("503 Service Unavailable", "Retry-After: 7\r\n", Unavailable),
        ("429 Too Many Requests", "Retry-After: 7\r\n", Unavailable),
        ("403 Forbidden", "", Malformed),
        ("302 Found", "Location: http://127.0.0.1:1/\r\n", Malformed),
        ("200 OK", "", Malformed),
    ],
)
@pytest.mark.parametrize("body", ["<html>SECRET</html>", "", "SECRET", "<?xml version='1.0'?><a>SECRET</a>"])
async def test_an_answer_without_envelope_is_classified_by_its_status(
    status: str, more: str, error: type[Exception], body: str
) -> None:
    with pytest.raises(error) as caught:
        await ask(http(body, status, "text/html", more), effect=Effect.ONCE)
    assert "SECRET" not in str(caught.value)
    assert caught.value.raw == body.encode()  # type: ignore[attr-defined]
    if isinstance(caught.value, Unavailable):
        assert caught.value.retry_after == 7


async def test_an_operation_without_answer_is_done_with_an_empty_one() -> None:
    assert await ask(http("", "202 Accepted"), "Notify") == {}
    with pytest.raises(Malformed):
        await ask(http("", "202 Accepted"))


async def test_the_result_is_picked_where_it_is_named() -> None:
    body = '<FindSlotsResponse xmlns="urn:test:his"><ResultCode>0</ResultCode></FindSlotsResponse>'
    assert await ask(http(envelope(body)), result="ResultCode") == "0"
    with pytest.raises(Malformed, match="no part 'Other'"):
        await ask(http(envelope(body)), result="Other")


async def test_gbk_goes_out_and_comes_back() -> None:
    body = "<FindSlotsResponse xmlns='urn:test:his'><ResultCode>珅三</ResultCode></FindSlotsResponse>"
    for kind, declaration in (
        ("text/xml; charset=GBK", ""),
        ("text/xml", "<?xml version='1.0' encoding='gb2312'?>"),
        ("text/xml; charset=iso-8859-1", "<?xml version='1.0' encoding='gb2312'?>"),
        ("text/xml; charset=utf-8", "<?xml version='1.0' encoding='GBK'?>"),
    ):
        data = envelope(body, declaration=declaration).encode("gbk")
        async with answering(http(data, kind=kind), charset="gbk") as (adapter, seen):
            assert await adapter.call("FindSlots", {"DeptCode": "珅𠮷"}, make_call()) == {"ResultCode": "珅三"}
        assert "珅&#134071;".encode("gbk") in seen[0]
        assert b"charset=gbk\r\n" in seen[0]
        assert b'encoding="gbk"' in seen[0]


async def test_a_charset_that_the_system_never_tells_can_be_set() -> None:
    body = "<FindSlotsResponse xmlns='urn:test:his'><ResultCode>张</ResultCode></FindSlotsResponse>"
    data = http(envelope(body).encode("gbk"), kind="text/xml; charset=utf-8")
    with pytest.raises(Malformed):
        await ask(data)
    assert await ask(data, answer_charset="gbk") == {"ResultCode": "张"}


async def test_control_characters_of_an_old_system_are_dropped() -> None:
    body = "<FindSlotsResponse xmlns='urn:test:his'><ResultCode>a\x0bb&#x0;c</ResultCode></FindSlotsResponse>"
    assert await ask(http(envelope(body))) == {"ResultCode": "abc"}


async def test_the_root_part_of_a_multipart_answer_is_read_with_what_it_includes() -> None:
    body = (
        '<FindSlotsResponse xmlns="urn:test:his"><ResultCode>'
        '<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:p1@x"/></ResultCode></FindSlotsResponse>'
    )
    parts = (
        b"--B\r\nContent-Type: image/png\r\nContent-ID: <p1@x>\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"\x00\x89\xff\r\n\r\n"
        b'--B\r\nContent-Type: application/xop+xml; charset=utf-8; type="text/xml"\r\nContent-ID: <root@x>\r\n\r\n'
        + envelope(body).encode()
        + b"\r\n--B--\r\n"
    )
    kind = 'multipart/related; type="application/xop+xml"; start="<root@x>"; boundary=B'
    assert await ask(http(parts, kind=kind)) == {"ResultCode": base64.b64encode(b"\x00\x89\xff\r\n").decode()}


async def test_an_answer_over_the_limit_is_malformed() -> None:
    with pytest.raises(Malformed):
        await ask(http(b" " * 5000), max_answer_bytes=4000)


# examples and SOAP encoding


def test_an_example_may_be_an_envelope_or_only_its_content() -> None:
    content = '<FindSlotsResponse xmlns="urn:test:his"><ResultCode>0</ResultCode></FindSlotsResponse>'
    assert decode(content) == decode(envelope(content)) == {"ResultCode": "0"}
    with pytest.raises(Refused):
        decode(envelope("<s:Fault><faultcode>s:Server</faultcode><faultstring>no</faultstring></s:Fault>"))
    for text in ("", "text", "<a>", "<s:Envelope xmlns:s='urn:x'/>"):
        with pytest.raises(Malformed):
            decode(text)


ENCODED = (
    '<r:fR xmlns:r="urn:x" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/" '
    'xmlns:e="http://schemas.xmlsoap.org/soap/encoding/" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">{}</r:fR>{}'
)


def test_soap_encoding_is_read_as_if_it_were_literal() -> None:
    text = envelope(
        ENCODED.format(
            '<slots i:type="e:Array" e:arrayType="r:Slot[1]"><item href="#1"/></slots><n i:type="r:int">5</n>'
            '<z i:nil="true"/><o href="#1"/>',
            '<multiRef id="1" xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="Slot">'
            '<no i:type="string">S1</no></multiRef>',
        )
    )
    assert decode(text) == {"slots": {"item": [{"no": "S1"}]}, "n": "5", "z": None, "o": {"no": "S1"}}


def test_references_that_lead_nowhere_back_or_into_the_millions_are_malformed() -> None:
    circle = ENCODED.format('<a href="#1"/>', '<multiRef id="1"><b href="#1"/></multiRef>')
    bomb = "".join(f'<m id="{n}">' + f'<x href="#{n + 1}"/>' * 10 + "</m>" for n in range(8)) + '<m id="8">x</m>'
    for text in (ENCODED.format('<a href="#9"/>', ""), circle, ENCODED.format('<a href="#0"/>', bomb)):
        with pytest.raises(Malformed):
            decode(envelope(text))


# WSDLs


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "<wsdl:types>",
            '<wsdl:import namespace="urn:x" location="http://127.0.0.1:1/x.wsdl"/><wsdl:types>',
            "outside",
        ),
        (
            '<xs:complexType name="Slot">',
            '<xs:import namespace="urn:x" schemaLocation="https://example.invalid/x.xsd"/><xs:complexType name="Slot">',
            "which is outside",
        ),
        (
            '<xs:complexType name="Slot">',
            '<xs:import namespace="urn:x" schemaLocation="../x.xsd"/><xs:complexType name="Slot">',
            "cannot be read",
        ),
        (
            '<xs:complexType name="Slot">',
            '<xs:import namespace="urn:x" schemaLocation="/etc/hostname"/><xs:complexType name="Slot">',
            "outside of its folder",
        ),
        (
            '<xs:complexType name="Slot">',
            '<xs:import namespace="urn:x" schemaLocation="file:///etc/hostname"/><xs:complexType name="Slot">',
            "outside of its folder",
        ),
        ("<wsdl:definitions ", "<!DOCTYPE x [<!ENTITY y 'z'>]><wsdl:definitions ", "DOCTYPE"),
        ('type="tns:Slot"', 'type="tns:Slott"', "Slott"),
        ("</wsdl:types>", "", "not well-formed"),
        ("<soap", "<nosoap", "not well-formed"),
        ('http://schemas.xmlsoap.org/wsdl/"', 'http://www.w3.org/ns/wsdl/"', "not a WSDL"),
    ],
)
def test_a_wsdl_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    file = tmp_path / "his.wsdl"
    file.write_text(WSDL.read_text().replace(old, new))
    with pytest.raises(ConfigError) as caught:
        connect(Settings(wsdl=file))
    assert reason in str(caught.value)


def test_a_wsdl_that_is_not_there_or_too_new_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        connect(Settings(wsdl=tmp_path / "none.wsdl"))
    file = tmp_path / "new.wsdl"
    file.write_text('<description xmlns="http://www.w3.org/ns/wsdl"/>')
    with pytest.raises(ConfigError, match=r"WSDL 2\.0"):
        connect(Settings(wsdl=file))


def test_a_schema_beside_the_folder_is_read_where_that_is_allowed(tmp_path: Path) -> None:
    inner = tmp_path / "wsdl"
    inner.mkdir()
    (tmp_path / "x.xsd").write_text('<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x"/>')
    added = '<xs:import namespace="urn:x" schemaLocation="../x.xsd"/><xs:complexType name="Slot">'
    (inner / "his.wsdl").write_text(WSDL.read_text().replace('<xs:complexType name="Slot">', added))
    with pytest.raises(ConfigError, match="wsdl_folder"):
        connect(Settings(wsdl=inner / "his.wsdl"))
    assert connect(Settings(wsdl=inner / "his.wsdl", wsdl_folder=tmp_path))


def test_a_sloppy_wsdl_is_read_where_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "his.wsdl"
    file.write_text(WSDL.read_text().replace("</wsdl:definitions>", "<undeclared:x/></wsdl:definitions>"))
    with pytest.raises(ConfigError, match="wsdl_strict"):
        connect(Settings(wsdl=file))
    assert list(connect(Settings(wsdl=file, wsdl_strict=False)).check("FindSlots", ["DeptCode"])) == []


def test_standard_schemas_need_no_network(tmp_path: Path) -> None:
    imports = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{location}"/>'
        for namespace, location in (
            ("http://schemas.xmlsoap.org/soap/encoding/", "http://schemas.xmlsoap.org/soap/encoding/"),
            ("http://www.w3.org/XML/1998/namespace", "http://www.w3.org/2001/xml.xsd"),
            ("http://www.w3.org/2005/05/xmlmime", "http://www.w3.org/2005/05/xmlmime"),
            ("http://www.w3.org/2003/05/soap-encoding", "http://www.w3.org/2003/05/soap-encoding"),
        )
    )
    file = tmp_path / "his.wsdl"
    file.write_text(WSDL.read_text().replace('<xs:complexType name="Slot">', imports + '<xs:complexType name="Slot">'))
    assert connect(Settings(wsdl=file))


def test_a_port_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"HisService/His11 \(His11\), HisService/His12"):
        connect(Settings(wsdl=WSDL, port="His13"))


def test_settings_that_cannot_be_right_are_refused() -> None:
    for wrong in ({"charset": "klingon"}, {"username": "u"}, {"soap_action": "maybe"}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            Settings(wsdl=WSDL, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wsdl_hosts"):
        connect(Settings(wsdl="http://127.0.0.1:1/his?wsdl"))
    with pytest.raises(ConfigError):
        connect(Settings(wsdl=WSDL, address="ftp://his"))


async def test_a_reviewed_address_is_read_once_and_its_imports_only_from_allowed_hosts(tmp_path: Path) -> None:
    shutil.copy(WSDL, tmp_path / "his.wsdl")
    added = '<xs:import namespace="urn:x" schemaLocation="x.xsd"/><xs:complexType name="Slot">'
    text = WSDL.read_text().replace('<xs:complexType name="Slot">', added)
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x"/>'

    def answer(request: bytes) -> bytes:
        if request.startswith(b"GET /his?wsdl "):
            return http(text)
        return http(schema) if request.startswith(b"GET /x.xsd ") else GOOD

    async with answering(answer) as (known, seen):
        address = str(known._settings.address)
        adapter = connect(Settings(wsdl=f"{address}?wsdl", wsdl_hosts={"127.0.0.1"}, address=address))
        for _ in range(2):
            call = make_call()
            assert await adapter.call("FindSlots", {"DeptCode": "1"}, call) == {"ResultCode": "0"}
        await adapter.close()
        assert [request.split(b" ")[0] for request in seen] == [b"GET", b"GET", b"POST", b"POST"]
        elsewhere = connect(Settings(wsdl=f"{address}?wsdl", wsdl_hosts={"127.0.0.1"}))
        text = text.replace("http://127.0.0.1:1/his", "http://example.invalid/his")
        call = make_call()
        with pytest.raises(Unavailable, match="wsdl_hosts"):
            await elsewhere.call("FindSlots", {"DeptCode": "1"}, call)
        assert not call.wire.left


async def test_a_wsdl_that_cannot_be_fetched_is_unavailable_and_tried_again() -> None:
    answers = [http("no", "404 Not Found"), http(WSDL.read_text()), GOOD]
    async with answering(lambda _: answers.pop(0)) as (known, _):
        address = str(known._settings.address)
        adapter = connect(Settings(wsdl=f"{address}?wsdl", wsdl_hosts={"127.0.0.1"}, address=address))
        call = make_call()
        with pytest.raises(Unavailable, match="HTTP 404"):
            await adapter.call("FindSlots", {"DeptCode": "1"}, call)
        assert not call.wire.left
        assert await adapter.call("FindSlots", {"DeptCode": "1"}, make_call()) == {"ResultCode": "0"}
        await adapter.close()
