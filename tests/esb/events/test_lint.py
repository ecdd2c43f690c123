"""What lint says of subscribers, with the place in routes.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.esb.configured import Configured

LINE = "{call: registration.unlock, with: {orderNo: $patient.id}}"
UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"


@pytest.fixture
def demo(tmp_path: Path) -> Configured:
    made = Configured(tmp_path)
    made.edit("routes.yaml", UNLOCK, "registration.unlock: {to: his, timeout: 4s, deliver: queued}")
    with (tmp_path / "routes.yaml").open("a", encoding="utf-8") as file:
        file.write(f"events:\n  visit.changed:\n    - {LINE}\n")
    return made


def test_a_subscriber_is_loaded_with_its_request(demo: Configured) -> None:
    plan = demo.load()
    (one,) = plan.routes.events["visit.changed"]
    assert (one.call, one.begin, one.label) == ("registration.unlock", "now", "registration.unlock")
    filling = plan.fillings["visit.changed", "registration.unlock"]
    assert filling is not None
    assert filling.fill({"patient": {"id": "P1"}}, {}) == {"orderNo": "P1"}


MISTAKES = [
    ("visit.changed:\n    -", "visit.chnged:\n    -", "event 'visit.chnged' is not in the contract"),
    (f"- {LINE}", LINE, "must be a list of subscribers"),
    (LINE, LINE.replace("unlock,", "unlok,"), "operation 'registration.unlok' has no route"),
    (LINE, "{call: registration.find, with: {orderNo: $patient.id}}", "is a read, and nobody waits for its answer"),
    ("deliver: queued}", "retry: 2}", "what fails must be tried again later"),
    (LINE, f"{LINE}\n    - {LINE}", "'registration.unlock' is told of 'visit.changed' already"),
    (LINE, LINE.replace("$patient.id", "$patient.idd"), "has no 'idd' (did you mean 'id'?)"),
    (LINE, LINE.replace("orderNo:", "orderNr:"), "the request has no 'orderNr' (did you mean 'orderNo'?)"),
    (LINE, LINE.replace("$patient.id", "$exchange.sendr"), "the exchange has no 'sendr' (did you mean 'sender'?)"),
    (LINE, LINE.replace("with: {orderNo: $patient.id}", "with: {}"), "required and not given: orderNo"),
    (LINE, "{call: registration.unlock}", "the event is no request of 'registration.unlock': 'orderNo' may be missing"),
    (LINE, LINE.replace("call:", "cal:"), "unknown key 'cal' (did you mean 'call'?)"),
    (LINE, LINE.replace("}}", "}, from: beginning}"), "'from' should be 'now' or 'start'"),
]


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES, ids=[said for *_, said in MISTAKES])
def test_a_mistake_is_found_with_its_place(demo: Configured, old: str, new: str, said: str) -> None:
    demo.edit("routes.yaml", old, new)
    found = demo.findings()
    assert [one for one in found if said in one and one.startswith("routes.yaml:")], found
