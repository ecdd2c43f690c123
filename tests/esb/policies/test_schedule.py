"""When what was accepted is tried again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from esb.config.routes import RouteConfig
from esb.config.values import Again
from esb.policies.schedule import Schedule


@pytest.mark.parametrize(
    ("times", "over_s"), [(20, 21_600.0), (3, 30.0), (1, 5.0), (1000, 86_400.0), (5, 2.0), (2, 7200.0)]
)
def test_all_waits_together_last_as_long_as_the_route_says_and_grow(times: int, over_s: float) -> None:
    plan = Schedule(times, over_s)
    waits = [plan.wait(made, 0.5) for made in range(times)]
    assert sum(waits) == pytest.approx(over_s, rel=0.01)
    assert all(one <= after * 1.000001 for one, after in pairwise(waits))
    assert waits[0] == min(1.0, over_s / times) or times == 1


def test_jitter_spreads_a_wait_by_a_quarter_to_both_sides() -> None:
    plan = Schedule(20, 21_600)
    assert plan.wait(5, 0.0) == pytest.approx(plan.wait(5, 0.5) * 0.75)
    assert plan.wait(5, 0.999999) == pytest.approx(plan.wait(5, 0.5) * 1.25, rel=0.001)


def test_a_route_that_says_nothing_is_tried_twenty_times_over_six_hours() -> None:
    assert Schedule.of(Again()) == Schedule(20, 21_600)
    assert Schedule.of(Again(times=3, over_s=60)) == Schedule(3, 60)


def test_waits_after_the_last_do_not_grow_any_more() -> None:
    plan = Schedule(3, 30)
    assert plan.wait(50, 0.5) == plan.wait(2, 0.5)


def test_the_retries_of_one_who_waits_are_no_schedule_for_a_message() -> None:
    """A route that was queued and is direct now: two tries, the second after six hours, were not meant."""
    direct = RouteConfig.model_validate({"to": "his", "retry": 2})
    queued = RouteConfig.model_validate({"to": "his", "retry": "2 over 3s", "deliver": "queued"})
    assert Schedule.of(direct.again) == Schedule(20, 6 * 3600.0)
    assert Schedule.of(queued.again) == Schedule(2, 3.0)
    assert Schedule.of(direct.again).wait(1, 0.5) < 3
