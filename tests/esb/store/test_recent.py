"""What is remembered of the inbox is a stretch without gaps, and no longer than it may be."""

from __future__ import annotations

from esb.store import Arrival, Told, recent
from esb.store.recent import Recent


def arrival(number: int, body: bytes = b"{}") -> Arrival:
    one = f"ID{number}"
    return Arrival(
        one, "his", "HIS|H1", "M\0", "ORU^R01", "", "now", "event", "report.released", "", "m@1", "v1", -1, b"", b"raw",
        body, b"ack",
    )  # fmt: skip


def positions(found: tuple[list[Told], int] | None) -> tuple[list[int], int] | None:
    return None if found is None else ([one.position for one in found[0]], found[1])


def filled(*positions: int) -> Recent:
    one = Recent()
    for position in positions:
        one.note(position, arrival(position))
    return one


def test_it_knows_what_comes_behind_a_position_and_up_to_where() -> None:
    one = filled(5, 6, 7)
    one.note(8, None)
    assert positions(one.upcoming("report.released", 4, 100)) == ([5, 6, 7], 8)
    assert positions(one.upcoming("report.released", 6, 100)) == ([7], 8)
    assert positions(one.upcoming("report.released", 7, 100)) == ([], 8)
    assert positions(one.upcoming("visit.changed", 4, 100)) == ([], 8)
    found = one.upcoming("report.released", 6, 100)
    assert found == ([Told(7, "ID7", "his", "HIS|H1", "M\ufffd", "ORU^R01", "now", "report.released", b"{}")], 8)
    assert positions(one.upcoming("report.released", 4, 2)) == ([5, 6], 6)


def test_nothing_waited_when_the_last_one_was_kept() -> None:
    one = filled(5)
    assert not one.is_clear
    one.note(6, None, is_clear=True)
    assert one.is_clear
    one.note(7, arrival(7))
    assert not one.is_clear


def test_it_says_nothing_of_what_it_has_not_seen() -> None:
    one = filled(5, 6)
    assert one.upcoming("report.released", 3, 100) is None
    assert one.upcoming("report.released", 6, 100) is None
    assert Recent().upcoming("report.released", 0, 100) is None


def test_behind_a_gap_it_begins_anew() -> None:
    one = filled(5, 6, 9)
    assert one.upcoming("report.released", 4, 100) is None
    assert one.upcoming("report.released", 7, 100) is None
    assert positions(one.upcoming("report.released", 8, 100)) == ([9], 9)


def test_it_keeps_so_many_events_and_bytes() -> None:
    one = filled(*range(1, recent._MOST + 3))
    assert one.upcoming("report.released", 1, 100) is None
    found = one.upcoming("report.released", 2, recent._MOST + 1)
    assert found is not None
    assert len(found[0]) == recent._MOST
    last = recent._MOST + 3
    one.note(last, arrival(last, body=bytes(recent._MOST_BYTES)))
    assert positions(one.upcoming("report.released", last - 1, 100)) == ([last], last)
    assert one.upcoming("report.released", last - 2, 100) is None
