"""How long a process believes in its own lease, and when it may judge those of others."""

from __future__ import annotations

import time

import pytest

from esb.store.leases import Instance

TTL_S = 15.0


class Life:
    """An instance by a clock of its own."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.instance = Instance(lambda: "it", TTL_S, elapsed=lambda: self.at)

    def commits(self, *after: float) -> None:
        for seconds in after:
            self.at += seconds
            self.instance.entered(self.at)


@pytest.mark.skipif(
    not hasattr(time, "CLOCK_BOOTTIME"), reason="the system has no clock that a suspension leaves alone"
)
def test_a_lease_ends_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """I16: the monotonic clock stands still meanwhile, and others have taken its work."""
    slept = 0.0
    awake = {time.CLOCK_BOOTTIME: 500.0}
    monkeypatch.setattr(time, "clock_gettime", lambda which: awake[which] + slept)
    monkeypatch.setattr(time, "monotonic", lambda: 500.0)
    instance = Instance(lambda: "it", TTL_S)
    instance.entered(instance.now())
    assert instance.is_valid
    slept = TTL_S + 1
    assert not instance.is_valid


def test_others_are_judged_when_the_database_was_there_for_a_lease() -> None:
    life = Life()
    life.commits(0, *[TTL_S / 3] * 2)
    assert not life.instance.may_judge
    life.commits(TTL_S / 3)
    assert life.instance.may_judge


@pytest.mark.parametrize(("away", "judges"), [(0.45, True), (0.6, False), (0.9, False), (1.1, False)])
def test_an_outage_takes_no_work_from_those_whose_leases_ended_in_it(away: float, judges: bool) -> None:
    """I10: another instance may have renewed its lease a third of its time before the outage, as it should."""
    life = Life()
    life.commits(0, *[TTL_S / 3] * 4)
    left_of_anothers_lease = TTL_S - TTL_S / 3 - away * TTL_S
    life.at += away * TTL_S
    assert life.instance.may_judge is judges  # in the first transaction after it
    life.commits(0)
    assert life.instance.may_judge is judges
    assert judges <= (left_of_anothers_lease > 0)
    life.commits(*[TTL_S / 3] * 3)
    assert life.instance.may_judge
