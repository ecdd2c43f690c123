"""What a shadow answers beside the live answer, by field."""

from __future__ import annotations

from typing import Any

import pytest

from esb.contract import Operation
from esb.errors import Outcome
from esb.model import Effect, Tree
from esb.shadow.comparing import Answered, differing

SLOTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "slotId": {"type": "string"},
                    "fee": {"type": "integer"},
                    "patient": {"type": "string", "x-phi": "name"},
                },
            },
        }
    },
}
LIST = Operation("slot.list", "GET", "/slots", Effect.READ, 200, "", {"type": "object", "properties": {}}, SLOTS)


def done(*items: Tree) -> Answered:
    return Answered(Outcome.DONE, "", {"items": list(items)})


def refused(code: str) -> Answered:
    return Answered(Outcome.REFUSED, code, None)


def test_the_order_of_items_with_an_id_is_nothing() -> None:
    one, other = {"slotId": "S1", "fee": 1}, {"slotId": "S2", "fee": 2}
    assert differing(done(one, other), done(other, one), LIST) == []


def test_the_order_of_items_without_one_counts() -> None:
    one, other = {"slotId": "S1", "fee": 1}, {"slotId": "S1", "fee": 2}
    assert [each.field for each in differing(done(one, other), done(other, one), LIST)] == ["items[].fee"]


def test_a_field_of_several_items_is_named_once_with_its_first_values() -> None:
    live = [{"slotId": f"S{at}", "fee": 100} for at in range(3)]
    shadow = [{**live[0]}, {**live[1], "fee": 90}, {**live[2], "fee": 80}]
    assert differing(done(*live), done(*shadow), LIST) == [("items[].fee", "100", "90")]


def test_items_are_the_same_by_what_the_route_says_where_their_ids_are_not() -> None:
    live = [{"slotId": "A1", "start": "08:00", "fee": 1}, {"slotId": "A2", "start": "09:00", "fee": 2}]
    shadow = [{"slotId": "X", "start": "09:00", "fee": 3}, {"slotId": "Y", "start": "08:00", "fee": 1}]
    found = differing(done(*live), done(*shadow), LIST, ["items[].slotId"], ["start"])
    assert found == [("items[].fee", "2", "3")]
    assert [one.field for one in differing(done(*live), done(*shadow), LIST)] == ["items[]"]


def test_an_item_that_one_side_lacks_is_one_difference() -> None:
    live = [{"slotId": "S1", "fee": 1}, {"slotId": "S2", "fee": 1}]
    assert differing(done(*live), done(live[1]), LIST) == [("items[]", "(there)", None)]


def test_a_patient_is_never_shown() -> None:
    live, shadow = {"slotId": "S1", "patient": "张三"}, {"slotId": "S1", "patient": "李四1"}
    assert differing(done(live), done(shadow), LIST) == [("items[].patient", "***", "xx9")]


def test_what_is_ignored_is_not_found() -> None:
    live, shadow = {"slotId": "S1", "fee": 1}, {"slotId": "S1", "fee": 2}
    assert differing(done(live), done(shadow), LIST, ["items[].fee"]) == []
    assert differing(done(live), done(shadow), LIST, ["items"]) == []
    assert differing(done(live), done(shadow), LIST, ["items[].f"]) != []


@pytest.mark.parametrize(
    ("live", "shadow", "found"),
    [
        (refused("not_found"), refused("not_found"), []),
        (refused("not_found"), refused("slot_full"), [("code", "not_found", "slot_full")]),
        (done(), refused("not_found"), [("outcome", "done", "refused (not_found)")]),
        (refused("not_found"), Answered(Outcome.UNAVAILABLE, "unavailable", None),
         [("outcome", "refused (not_found)", "unavailable (unavailable)")]),
    ],
)  # fmt: skip
def test_another_outcome_or_code_is_the_difference(live: Answered, shadow: Answered, found: list[Any]) -> None:
    assert differing(live, shadow, LIST) == found
