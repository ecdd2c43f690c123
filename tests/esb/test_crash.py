"""The places at which a test makes the process die."""

from pathlib import Path

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
    with pytest.raises(ValueError, match="is none of during_accept"):
        armed(setting)


def test_a_file_may_name_the_place_while_the_process_runs(tmp_path: Path) -> None:
    died: list[int] = []
    at = armed(str(tmp_path / "place"), died.append)
    at(POINTS[0])
    (tmp_path / "place").write_text(f"{POINTS[1]}:2\n")
    for name in (POINTS[0], POINTS[1]):
        at(name)
    assert died == []
    at(POINTS[1])
    assert died == [137]
