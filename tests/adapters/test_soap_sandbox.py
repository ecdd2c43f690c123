"""The SOAP adapter and the envelopes against the simulated hospital, which shares no code with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.soap import Settings, Soap, connect
from adapters.soap.wsdl import Documents, read
from envelopes import sealed_12320, xml_string
from esb.spi import Effect, Envelope, Malformed, OutcomeUnknown, Refused, Tree
from tests.adapters.suite import make_call
from tests.sandbox_process import ROOT, Sandbox, start_sandbox

HIS = ROOT / "sandbox" / "wsdl" / "his.wsdl"
SEALED = ROOT / "sandbox" / "wsdl" / "his12320.wsdl"


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with start_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def hospital(running: Sandbox) -> Sandbox:
    running.control.reset()
    return running


async def ask(adapter: Soap, action: str, payload: Tree, seconds: float = 5.0) -> Tree:
    try:
        return await adapter.call(action, payload, make_call(seconds, Effect.READ))
    finally:
        await adapter.close()


def his(hospital: Sandbox, **settings: Any) -> Soap:
    return connect(Settings(wsdl=HIS, address=hospital.url("/soap/his"), **settings))


async def test_both_versions_of_soap_give_the_same_list(hospital: Sandbox) -> None:
    ports = [name for _, name, _ in _ports()]
    assert len(ports) == 2
    trees = [await ask(his(hospital, port=port), "SearchDoctors", {}) for port in ports]
    assert trees[0] == trees[1]
    assert trees[0]["ResultCode"] == "0"
    assert isinstance(trees[0]["Doctors"]["Doctor"], list)


def _ports() -> list[tuple[str, str, Any]]:
    return read(str(HIS), Documents(HIS.parent)).ports


async def test_gbk_that_is_declared_is_read_and_gbk_that_is_not_is_malformed(hospital: Sandbox) -> None:
    plain = await ask(his(hospital), "SearchDoctors", {})
    hospital.control.fault("soap", "gbk")
    assert await ask(his(hospital), "SearchDoctors", {}) == plain
    hospital.control.clear_faults()
    hospital.control.fault("soap", "gbk_undeclared")
    with pytest.raises(Malformed):
        await ask(his(hospital), "SearchDoctors", {})
    assert await ask(his(hospital, answer_charset="gbk"), "SearchDoctors", {}) == plain


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("hang_after", OutcomeUnknown),
        ("reset_before", OutcomeUnknown),
        ("reset_after", OutcomeUnknown),
        ("garbage", Malformed),
        ("truncated", (Malformed, OutcomeUnknown)),
        ("html_error", (Malformed, OutcomeUnknown)),
        ("empty", Malformed),
        ("dtd", Malformed),
        ("http_500", (OutcomeUnknown, Refused)),
    ],
)
async def test_every_fault_of_the_hospital_has_its_outcome(hospital: Sandbox, fault: str, error: Any) -> None:
    hospital.control.fault("soap", fault)
    with pytest.raises(error):
        await ask(his(hospital), "SearchDoctors", {}, 0.5)
    assert len(hospital.control.requests(channel="soap")) == 1


def layers(**keys: str) -> list[Envelope]:
    values = {"user": "HUB", "aes_key": "SbxAesKey1234567", "md5_key": "SBXMD5KEY"} | keys
    outer = xml_string.Settings(operation="HisInterface", parameter="xml", declaration=True, cdata=True)
    return [xml_string.connect(outer), sealed_12320.connect(sealed_12320.Settings(**values))]  # type: ignore[arg-type]


async def sealed(hospital: Sandbox, function: str, payload: Tree, **keys: str) -> Tree:
    envelopes, call = layers(**keys), make_call()
    action = function
    for envelope in reversed(envelopes):
        action, payload = envelope.wrap(action, payload, call)
    answer = await ask(connect(Settings(wsdl=SEALED, address=hospital.url("/soap/12320"))), action, payload)
    for envelope in envelopes:
        answer = envelope.unwrap(function, answer, call)
    return answer


async def test_the_sealed_style_is_understood_both_ways(hospital: Sandbox) -> None:
    tree = await sealed(hospital, "2001", {"HOS_ID": "1001", "DEPT_ID": "-1"})
    assert tree["RETURN_CODE"] == "0"
    assert {"DEPT_ID", "DEPT_NAME", "PARENT_ID"} <= tree["DEPT_LIST"][0].keys()
    [request] = hospital.control.requests(channel="12320")
    assert request["operation"] == "2001"
    assert request["decoded"]["fields"] == {"HOS_ID": "1001", "DEPT_ID": "-1"}


async def test_a_wrong_key_is_refused_by_the_hospital_and_its_answer_by_us(hospital: Sandbox) -> None:
    with pytest.raises(Malformed, match="signature"):
        await sealed(hospital, "2001", {"HOS_ID": "1001", "DEPT_ID": "-1"}, md5_key="WRONG")
