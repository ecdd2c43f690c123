"""The places at which a test makes the process die."""

import pytest

from esb.crash import POINTS, armed


def test_nothing_happens_where_nothing_was_asked_for() -> None:
    at = armed("", lambda status: pytest.fail("it died"))
    for name in POINTS:
        at(name)


@pytest.mark.parametrize(("setting", "dies_at"), [(POINTS[0], 1), (f"{POINTS[0]}:3", 3)])
def test_it_dies_as_by_kill_at_its_place_and_time(setting: str, dies_at: int) -> None:
    died: list[int] = []
    at = armed(setting, died.append)
    for number in range(1, dies_at + 1):
        assert died == []
        at(POINTS[1])
        at(POINTS[0])
        assert len(died) == (number == dies_at)
    assert died == [137]


@pytest.mark.parametrize("setting", ["after_lunch", f"{POINTS[0]}:x", ":2"])
def test_a_place_that_does_not_exist_is_an_error(setting: str) -> None:
    with pytest.raises(ValueError, match="is none of after_accept_before_answer"):
        armed(setting)
