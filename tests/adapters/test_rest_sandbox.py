"""The REST and SQL adapters against the simulated hospital, which shares no code with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters import rest, sql
from esb.spi import Malformed, OutcomeUnknown, Refused
from tests.adapters.suite import make_call
from tests.sandbox_process import Sandbox, start_sandbox

SIGN = {
    "signer": "md5",
    "key": "sbx",
    "timestamp": "%Y%m%d%H%M%S",
    "text": "{key}:{ts}:{secret}",
    "put": [
        {"into": "query", "name": "sign"},
        {"into": "header", "name": "Authorization", "value": "{key}:{ts}", "encode": "base64"},
    ],
}
ACTION = "POST /openydt/api/v3/{cmd}"
PAYLOAD = {"path": {"cmd": "getParkFee"}, "body": {"parkCode": "P1", "carCode": "京A12345"}}


@pytest.fixture(scope="module")
def hospital() -> Iterator[Sandbox]:
    with start_sandbox() as it:
        yield it


def parking(hospital: Sandbox, secret: str = "SBXAKESECRET") -> rest.Rest:
    given: dict[str, Any] = {"base_url": hospital.url(""), "sign": {**SIGN, "secret": secret}}
    return rest.connect(rest.Settings.model_validate(given))


async def test_the_parking_platform_accepts_our_signature_and_no_other(hospital: Sandbox) -> None:
    adapter = parking(hospital)
    assert (await adapter.call(ACTION, PAYLOAD, make_call(5)))["status"] in (1, 2)
    await adapter.close()
    stranger = parking(hospital, "WRONG")
    try:
        answer = await stranger.call(ACTION, PAYLOAD, make_call(5))
    except Refused:
        answer = {"status": 4}
    assert answer["status"] == 4
    await stranger.close()


async def test_faults_of_the_parking_platform_get_their_outcomes(hospital: Sandbox) -> None:
    adapter = parking(hospital)
    for fault, expected in (("reset_after", OutcomeUnknown), ("garbage", Malformed), ("hang", OutcomeUnknown)):
        hospital.control.reset()
        hospital.control.fault("rest", fault, times=1)
        with pytest.raises(expected):
            await adapter.call(ACTION, PAYLOAD, make_call(0.6))
    await adapter.close()
    hospital.control.reset()


async def test_the_view_of_departments_is_read(hospital: Sandbox) -> None:
    adapter = sql.connect(sql.Settings.model_validate({"url": f"sqlite:///{hospital.database}"}))
    action = "SELECT dept_id, dept_level FROM v_department WHERE (:level IS NULL OR dept_level = :level)"
    everything = (await adapter.call(action, {"level": None}, make_call(5)))["rows"]
    first = (await adapter.call(action, {"level": 1}, make_call(5)))["rows"]
    assert 0 < len(first) < len(everything)
    assert {row["dept_level"] for row in first} == {1}
    await adapter.close()
