from datetime import datetime

from esb.clock import SHANGHAI, Ids, SystemClock


class Frozen:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 15, 9, 30, tzinfo=SHANGHAI)


def test_ids_made_in_one_millisecond_differ_and_sort_in_order() -> None:
    ids = Ids(Frozen())
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert made == sorted(made)
    assert {len(one) for one in made} == {26}


def test_the_wall_clock_is_in_shanghai() -> None:
    assert SystemClock().now().utcoffset() == SHANGHAI.utcoffset(None)
