import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from envelopes import sealed_12320, xml_string
from esb.spi import Envelope, Malformed, Refused, Tree
from tests.adapters.suite import make_call

VECTORS = Path(__file__).parents[3] / "shared" / "specs" / "his-envelopes.vectors.json"
KEYS = {"user": "SBX", "aes_key": "SbxAesKey1234567", "md5_key": "SBXMD5KEY"}


def wrap(envelopes: list[Envelope], action: str, payload: Tree) -> tuple[str, Tree]:
    for envelope in reversed(envelopes):
        action, payload = envelope.wrap(action, payload, make_call())
    return action, payload


def unwrap(envelopes: list[Envelope], answer: Tree) -> Tree:
    for envelope in envelopes:
        answer = envelope.unwrap("2001", answer, make_call())
    return answer


def string(**settings: Any) -> xml_string.XmlString:
    return xml_string.connect(xml_string.Settings(**settings))


def sealed(**settings: Any) -> sealed_12320.Sealed:
    return sealed_12320.connect(sealed_12320.Settings(**(KEYS | settings)))


# xml_string: out


def test_a_document_travels_in_the_only_parameter() -> None:
    it = string(parameter="xml", operation="CallService", root="Request")
    assert it.wrap("LockOrder", {"TradeCode": "10015", "Fee": Decimal("15.00")}, make_call()) == (
        "CallService",
        {"xml": "<Request><TradeCode>10015</TradeCode><Fee>15.00</Fee></Request>"},
    )


def test_values_and_the_document_travel_in_cdata_where_the_system_wants_it() -> None:
    it = string(parameter="xml", root="R", cdata=True, declaration=True, document_in_cdata=True)
    text = '<?xml version="1.0" encoding="UTF-8"?><R><A><![CDATA[1<]]></A></R>'
    assert it.wrap("Op", {"A": "1<"}, make_call()) == ("Op", {"xml": {"#cdata": text}})


def test_two_parameters_carry_action_and_document() -> None:
    it = string(parameter="message", operation="HIPMessageServer", action_parameter="action")
    payload = {"PRPA_IN201311UV02": {"@xmlns": "urn:hl7-org:v3", "id": {"@extension": "1"}}}
    assert it.wrap("PatientInfoRegister", payload, make_call()) == (
        "HIPMessageServer",
        {
            "action": "PatientInfoRegister",
            "message": '<PRPA_IN201311UV02 xmlns="urn:hl7-org:v3"><id extension="1"></id></PRPA_IN201311UV02>',
        },
    )


def test_a_header_document_holds_constants_and_what_the_call_brings() -> None:
    header = {
        "root": {
            "serverName": "action",
            "format": "xml",
            "certificate": SecretStr("C3RT"),
            "msgNo": "exchange_id",
            "key": "exchange_key",
            "sendTime": "now",
        }
    }
    it = string(operation="CallInterface", parameters={"msgHeader": header, "msgBody": "payload"}, root="Request")
    action, parameters = it.wrap("QuerySchedule", {"a": "1"}, make_call())
    assert action == "CallInterface"
    assert parameters["msgBody"] == "<Request><a>1</a></Request>"
    assert parameters["msgHeader"].startswith(
        "<root><serverName>QuerySchedule</serverName><format>xml</format><certificate>C3RT</certificate>"
        "<msgNo>01JTESTEXCHANGE0000000001</msgNo><key>KEY1</key><sendTime>2"
    )


def test_namespaces_that_matter_are_kept_apart_in_both_documents() -> None:
    it = string(parameter="x", namespaces={"h": "urn:hl7-org:v3"})
    assert it.wrap("Op", {"h:Q": {"h:id": "1", "id": "2"}}, make_call())[1] == {
        "x": '<h:Q xmlns:h="urn:hl7-org:v3"><h:id>1</h:id><id>2</id></h:Q>'
    }
    answer = '<R xmlns="urn:hl7-org:v3"><id>1</id><o xmlns="">2</o></R>'
    assert it.unwrap("Op", {"return": answer}, make_call()) == {"h:id": "1", "o": "2"}


def test_a_text_goes_as_it_is() -> None:
    assert string(parameter="x").wrap("Op", "MSH|^~\\&|", make_call()) == ("Op", {"x": "MSH|^~\\&|"})


@pytest.mark.parametrize("payload", [{"a": "1", "b": "2"}, {"A": 1.5}, {"A": "\x00"}, {"a b": "1"}])
def test_what_cannot_be_written_is_not_sent(payload: Tree) -> None:
    with pytest.raises(Refused) as caught:
        string(parameter="x").wrap("Op", payload, make_call())
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"parameter": "a", "parameters": {"b": "payload"}},
        {"parameters": {"a": "constant"}},
        {"parameter": "a", "other": 1},
        {"parameter": "a", "namespaces": {"xml": "urn:x"}},
        {"parameter": "a", "namespaces": {"a": "urn:x", "b": "urn:x"}},
    ],
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        xml_string.Settings(**settings)


# xml_string: back

DOCUMENT = "<Response><ResultCode>0</ResultCode></Response>"


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({}, {"HisInterfaceResult": DOCUMENT}),
        ({}, {"return": DOCUMENT, "other": "x"}),
        ({"result": "output2"}, {"output1": "x", "output2": DOCUMENT}),
        ({}, {"CallServiceResult": {"#text": DOCUMENT}}),
        ({}, {"code": {"a": "1"}, "text": DOCUMENT}),
        ({}, DOCUMENT),
        ({}, {"r": "<?xml version='1.0' encoding='GB2312'?>\n" + DOCUMENT}),
        ({}, {"r": "\ufeff " + DOCUMENT}),
        ({}, {"r": DOCUMENT.replace("<", "&lt;").replace(">", "&gt;")}),
        ({}, {"r": DOCUMENT.replace("<", "&amp;lt;").replace(">", "&amp;gt;")}),
        ({"start": "<Response"}, {"r": "ok~junk & more" + DOCUMENT}),
        ({}, {"r": {"Response": {"ResultCode": "0"}}}),
        ({}, {"r": DOCUMENT.replace("0", "\x0b0")}),
    ],
)
def test_the_document_is_found_and_read_however_it_comes(settings: dict[str, Any], answer: Tree) -> None:
    assert string(parameter="x", **settings).unwrap("Op", answer, make_call()) == {"ResultCode": "0"}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "certificate check failed",
        "<a>",
        {"a": "<x/>", "b": "<y/>"},
        {"a": ["<x/>"]},
        {},
        None,
        {"r": "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><x>&e;</x>"},
        {"r": "&lt;!DOCTYPE x&gt;&lt;x/&gt;"},
    ],
)
def test_an_answer_without_a_document_is_malformed_and_not_repeated(answer: Tree) -> None:
    with pytest.raises(Malformed) as caught:
        string(parameter="x").unwrap("Op", answer, make_call())
    assert "certificate" not in str(caught.value)
    with pytest.raises(Malformed):
        string(parameter="x", result="other").unwrap("Op", {"r": DOCUMENT}, make_call())


# sealed_12320


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    if not VECTORS.exists():
        pytest.skip("the vectors are not beside the checkout")
    found: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))["jkt_12320"]
    return found


def test_a_request_is_sealed_and_signed_as_the_vectors_say(vectors: dict[str, Any]) -> None:
    assert vectors["aes_key"] == KEYS["aes_key"]
    action, payload = sealed().wrap("2001", {"HOS_ID": "1001", "DEPT_ID": "-1"}, make_call())
    assert action == "2001"
    assert payload == {
        "ROOT": {
            "FUN_CODE": "2001",
            "USER_ID": "SBX",
            "SIGN_TYPE": "MD5",
            "SIGN": vectors["SIGN"],
            "REQ_ENCRYPTED": vectors["REQ_ENCRYPTED"],
        }
    }
    assert (
        sealed(sign="upper").wrap("2001", {"HOS_ID": "1001", "DEPT_ID": "-1"}, make_call())[1]["ROOT"]["SIGN"]
        == (vectors["SIGN_upper"])
    )
    assert sealed().open(vectors["REQ_ENCRYPTED"]) == vectors["req_plain"]


def test_an_answer_is_verified_and_opened_as_the_vectors_say(vectors: dict[str, Any]) -> None:
    response = vectors["response"]
    answer = {
        "RETURN_CODE": "0",
        "RETURN_MSG": "成功",
        "SIGN_TYPE": "MD5",
        "SIGN": response["SIGN"],
        "RES_ENCRYPTED": response["RES_ENCRYPTED"],
    }
    expected = {
        "RETURN_CODE": "0",
        "RETURN_MSG": "成功",
        "DEPT_LIST": {"DEPT_ID": "0101", "DEPT_NAME": "心内科门诊", "PARENT_ID": "01"},
    }
    assert sealed().unwrap("2001", answer, make_call()) == expected
    assert sealed().unwrap("2001", answer | {"SIGN": response["SIGN"].upper()}, make_call()) == expected
    for changed in ({"RETURN_CODE": "1"}, {"RETURN_MSG": ""}, {"SIGN": ""}, {"SIGN": "0" * 32}, {"SIGN": None}):
        with pytest.raises(Malformed, match="signature"):
            sealed().unwrap("2001", answer | changed, make_call())


def answered(it: sealed_12320.Sealed, plain: str | None, code: str = "0", message: str = "ok") -> dict[str, Tree]:
    text = "" if plain is None else it.seal(plain)
    sign = it.sign(RES_ENCRYPTED=text, RETURN_CODE=code, RETURN_MSG=message)
    return {"RETURN_CODE": code, "RETURN_MSG": message, "SIGN": sign, "RES_ENCRYPTED": text}


def test_an_empty_answer_is_no_mistake_and_a_code_of_the_content_never_hides_the_envelopes() -> None:
    it = sealed()
    for plain in ("", None, "<RES></RES>", "<RES/>"):
        assert it.unwrap("2006", answered(it, plain, "13", "满"), make_call()) == {
            "RETURN_CODE": "13",
            "RETURN_MSG": "满",
        }
    tree = it.unwrap("1", answered(it, "<RES><RETURN_CODE>0</RETURN_CODE><A>1</A></RES>", "99"), make_call())
    assert tree == {"RETURN_CODE": "99", "RETURN_MSG": "ok", "A": "1"}


def _resealed(it: sealed_12320.Sealed, text: str) -> dict[str, Tree]:
    sign = it.sign(RES_ENCRYPTED=text, RETURN_CODE="0", RETURN_MSG="ok")
    return answered(it, None) | {"RES_ENCRYPTED": text, "SIGN": sign}


def _other_key(it: sealed_12320.Sealed) -> dict[str, Tree]:
    return _resealed(it, sealed(aes_key="0" * 16).seal("<RES/>"))


@pytest.mark.parametrize(
    "make",
    [
        lambda it: "text",
        lambda it: {},
        lambda it: {"RETURN_CODE": "0"},
        lambda it: answered(it, "no xml"),
        lambda it: answered(it, "<!DOCTYPE a><RES/>"),
        _other_key,
        lambda it: _resealed(it, "*"),
        lambda it: _resealed(it, "QUJD"),
    ],
)
def test_a_broken_or_foreign_answer_is_malformed(make: Callable[[sealed_12320.Sealed], Tree]) -> None:
    with pytest.raises(Malformed):
        sealed().unwrap("2001", make(sealed()), make_call())


def test_keys_have_their_length_and_are_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        sealed(aes_key="SHORTSECRET")
    assert "SHORTSECRET" not in str(caught.value.errors(include_input=False))
    assert "SBXMD5KEY" not in repr(sealed_12320.Settings(**KEYS))  # type: ignore[arg-type]


def test_the_layers_stack() -> None:
    layers: list[Envelope] = [string(operation="HisInterface", parameter="xml", declaration=True, cdata=True), sealed()]
    action, payload = wrap(layers, "2001", {"HOS_ID": "1001"})
    assert action == "HisInterface"
    assert payload["xml"].startswith(
        '<?xml version="1.0" encoding="UTF-8"?><ROOT><FUN_CODE><![CDATA[2001]]></FUN_CODE><USER_ID><![CDATA[SBX]]>'
    )
    it = sealed()
    inner = answered(it, "<RES><A>1</A></RES>")
    text = "<ROOT>" + "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in inner.items()) + "</ROOT>"
    assert unwrap(layers, {"HisInterfaceResult": text}) == {"RETURN_CODE": "0", "RETURN_MSG": "ok", "A": "1"}
