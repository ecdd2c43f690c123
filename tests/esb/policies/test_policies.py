"""Breaker, bulkhead, rate limit, retry and cache, each alone and on our clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from esb.errors import AdapterError, Malformed, OutcomeUnknown, Refused, Unavailable
from esb.model import Effect
from esb.policies import Limited
from esb.policies.breaker import CircuitBreaker, State
from esb.policies.bulkhead import Bulkhead
from esb.policies.cache import Cache
from esb.policies.ratelimit import RateLimit
from esb.policies.retry import Retry
from tests.esb.kit import FakeClock


def _opened(clock: FakeClock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, failures=3, window_s=30.0, open_s=10.0)
    for _ in range(3):
        breaker.failed(breaker.enter(Effect.READ))
    return breaker


def test_the_breaker_opens_after_enough_failures_and_says_when_to_come_back() -> None:
    breaker = _opened(FakeClock())
    with pytest.raises(Limited) as refused:
        breaker.enter(Effect.READ)
    assert (breaker.state, refused.value.code, refused.value.retry_after) == (State.OPEN, "endpoint_down", 10.0)


def test_other_numbers_leave_an_open_breaker_open_and_count_from_then_on() -> None:
    clock = FakeClock()
    breaker = _opened(clock)
    breaker.adjust(failures=1, window_s=60.0, open_s=5.0)
    assert breaker.state is State.OPEN
    clock.at += 10.0
    breaker.succeeded(breaker.enter(Effect.READ))
    breaker.failed(breaker.enter(Effect.READ))
    with pytest.raises(Limited) as refused:
        breaker.enter(Effect.READ)
    assert refused.value.retry_after == 5.0


def test_failures_outside_the_window_do_not_count() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, failures=3, window_s=30.0)
    for _ in range(5):
        breaker.failed(breaker.enter(Effect.READ))
        breaker.failed(breaker.enter(Effect.READ))
        clock.at += 31
    assert breaker.state is State.CLOSED


def test_a_few_failures_among_many_answers_do_not_open_it() -> None:
    breaker = CircuitBreaker(FakeClock(), failures=3)
    for _ in range(100):
        breaker.succeeded(breaker.enter(Effect.READ))
    for _ in range(99):
        breaker.failed(breaker.enter(Effect.READ))
    assert breaker.state is State.CLOSED
    breaker.failed(breaker.enter(Effect.READ))
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("effect", [Effect.ONCE, Effect.IDEMPOTENT])
def test_half_open_lets_one_read_through_and_never_an_effect(effect: Effect) -> None:
    clock = FakeClock()
    breaker = _opened(clock)
    clock.at += 10
    with pytest.raises(Limited):
        breaker.enter(effect)
    ticket = breaker.enter(Effect.READ)
    for other in Effect:
        with pytest.raises(Limited):
            breaker.enter(other)
    breaker.succeeded(ticket)
    breaker.enter(effect)
    assert breaker.state is State.CLOSED


def test_a_failed_try_opens_it_again_and_an_abandoned_one_leaves_the_next_read_to_decide() -> None:
    clock = FakeClock()
    breaker = _opened(clock)
    clock.at += 10
    breaker.abandoned(breaker.enter(Effect.READ))
    breaker.failed(breaker.enter(Effect.READ))
    clock.at += 9.9
    with pytest.raises(Limited):
        breaker.enter(Effect.READ)


def test_a_late_verdict_from_before_the_breaker_opened_is_not_counted() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, failures=1)
    old = breaker.enter(Effect.READ)
    breaker.failed(breaker.enter(Effect.READ))
    breaker.succeeded(old)
    assert breaker.state is State.OPEN
    clock.at += 10
    breaker.enter(Effect.READ)
    breaker.abandoned(old)
    with pytest.raises(Limited):
        breaker.enter(Effect.READ)


async def test_the_bulkhead_serves_in_order_and_refuses_who_finds_the_queue_full() -> None:
    bulkhead, order = Bulkhead(1, 2), []
    await bulkhead.enter(5)

    async def wait(name: int) -> None:
        await bulkhead.enter(5)
        order.append(name)
        bulkhead.leave()

    tasks = [asyncio.create_task(wait(name)) for name in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Limited, match="waiting"):
        await bulkhead.enter(5)
    bulkhead.leave()
    await asyncio.gather(*tasks)
    assert (order, bulkhead.in_flight) == ([0, 1], 0)


async def test_a_bulkhead_that_grows_lets_the_first_who_wait_in() -> None:
    bulkhead = Bulkhead(1, 5)
    await bulkhead.enter(1.0)
    waiting = [asyncio.create_task(bulkhead.enter(1.0, effect)) for effect in (Effect.READ, Effect.READ, Effect.ONCE)]
    await asyncio.sleep(0)
    bulkhead.resize(3, 5)
    await asyncio.sleep(0)
    assert ([one.done() for one in waiting], bulkhead.in_flight) == ([True, False, True], 3)
    bulkhead.leave()
    await asyncio.gather(*waiting)
    for _ in range(3):
        bulkhead.leave()
    assert bulkhead.in_flight == 0


async def test_a_bulkhead_that_shrinks_takes_no_place_away_and_gives_none_until_it_is_below() -> None:
    bulkhead = Bulkhead(3, 5)
    for _ in range(3):
        await bulkhead.enter(1.0)
    bulkhead.resize(1, 0)
    with pytest.raises(Limited):
        await bulkhead.enter(1.0)
    bulkhead.resize(1, 1)
    waiting = asyncio.create_task(bulkhead.enter(1.0))
    await asyncio.sleep(0)
    for left, is_in in ((2, False), (1, False), (1, True)):
        bulkhead.leave()
        await asyncio.sleep(0)
        assert (bulkhead.in_flight, waiting.done()) == (left, is_in)


async def test_waiting_for_a_place_ends_in_time_and_leaves_nothing_behind() -> None:
    bulkhead = Bulkhead(1, 5)
    await bulkhead.enter(1)
    with pytest.raises(Limited, match="in time"):
        await bulkhead.enter(0.01)
    bulkhead.leave()
    await bulkhead.enter(0)
    assert bulkhead.in_flight == 1


async def test_a_place_given_to_one_who_was_cancelled_goes_to_the_next() -> None:
    bulkhead = Bulkhead(1, 5)
    await bulkhead.enter(1)
    first, second = [asyncio.create_task(bulkhead.enter(5)) for _ in range(2)]
    await asyncio.sleep(0)
    bulkhead.leave()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.wait_for(second, 1)
    bulkhead.leave()
    assert bulkhead.in_flight == 0


@pytest.mark.parametrize(("count", "per_s", "at_once"), [(1, 3.0, 1), (5, 1.0, 1), (60, 1.0, 6), (300, 60.0, 30)])
async def test_never_more_calls_go_in_any_stretch_of_time_than_the_system_bears(
    count: int, per_s: float, at_once: int
) -> None:
    """F21: from the first call of a burst on, not only on average."""
    clock = FakeClock()
    limit = RateLimit(clock, clock.sleep, count, per_s)
    times = []
    for _ in range(3 * count):
        with contextlib.suppress(Limited):
            await limit.enter(10)
            times.append(clock.at)
            continue
        clock.at += per_s / count
    assert len([at for at in times if at == times[0]]) == at_once
    assert max(sum(at <= other < at + per_s - 1e-6 for other in times) for at in times) == min(count, len(times))
    assert times[-1] - times[0] < 4 * per_s, "it bears nearly as much as it may"


async def test_who_would_wait_past_the_deadline_or_too_long_is_refused_and_takes_no_token() -> None:
    clock = FakeClock()
    limit = RateLimit(clock, clock.sleep, 1, 3.0)
    await limit.enter(10)
    for _ in range(2):
        with pytest.raises(Limited) as refused:
            await limit.enter(10)
        assert (refused.value.code, refused.value.retry_after) == ("rate_limited", pytest.approx(3.0))
    clock.at += 2.5
    with pytest.raises(Limited):
        await limit.enter(0.1)
    await limit.enter(0.6)


def _failing(*errors: AdapterError) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    left, calls = list(errors), [0]

    async def attempt() -> str:
        calls[0] += 1
        if left:
            raise left.pop(0)
        return "answer"

    return attempt, calls


@pytest.mark.parametrize("error", [Malformed("x"), Refused("x"), Limited("endpoint_busy", "x")])
async def test_a_no_and_our_own_limits_are_not_retried(error: AdapterError) -> None:
    clock = FakeClock()
    attempt, calls = _failing(error)
    with pytest.raises(type(error)):
        await Retry(clock, clock.sleep, lambda: 0.5).run(attempt, 5, clock.at + 60)
    assert calls == [1]


async def test_the_last_error_is_raised_when_the_attempts_are_spent() -> None:
    clock = FakeClock()
    attempt, calls = _failing(Unavailable("one"), OutcomeUnknown("two"), Unavailable("three"))
    with pytest.raises(Unavailable, match="three"):
        await Retry(clock, clock.sleep, lambda: 0.5).run(attempt, 2, clock.at + 60)
    assert calls == [3]


async def test_a_system_that_names_a_time_is_not_asked_before() -> None:
    clock = FakeClock()
    attempt, _ = _failing(Unavailable("busy", retry_after=7.0))
    assert await Retry(clock, clock.sleep, lambda: 0.5).run(attempt, 1, clock.at + 60) == "answer"
    assert clock.slept == [7.0]


async def test_waits_grow_to_a_bound_and_carry_jitter() -> None:
    for luck, waits in ((0.0, [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5]), (1.0, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])):
        clock = FakeClock()
        attempt, _ = _failing(*[Unavailable("x")] * 7)
        await Retry(clock, clock.sleep, lambda luck=luck: luck).run(attempt, 7, clock.at + 600)
        assert clock.slept == pytest.approx(waits)


async def _keep(cache: Cache[str], key: bytes, answer: str, size: int = 10) -> str:
    async def fetch() -> tuple[str, int | None]:
        return answer, size

    return await cache.get(key, fetch)


async def test_the_cache_drops_the_least_recently_used_over_its_entries() -> None:
    cache: Cache[str] = Cache(FakeClock(), 5.0, entries=2)
    await _keep(cache, b"a", "A")
    await _keep(cache, b"b", "B")
    assert cache.peek(b"a") == "A"
    await _keep(cache, b"c", "C")
    assert [cache.peek(key) for key in (b"a", b"b", b"c")] == ["A", None, "C"]


async def test_the_cache_holds_no_more_bytes_than_it_may() -> None:
    cache: Cache[str] = Cache(FakeClock(), 5.0, size=2000)
    await _keep(cache, b"a", "A", 900)
    await _keep(cache, b"b", "B", 900)
    await _keep(cache, b"huge", "H", 5000)
    assert [cache.peek(key) for key in (b"a", b"b", b"huge")] == [None, "B", None]


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    cache: Cache[str] = Cache(FakeClock(), 5.0)
    calls = 0

    async def fetch() -> tuple[str, int | None]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(cache.get(b"k", fetch) for _ in range(3)), return_exceptions=True)
    assert ([str(one) for one in results], calls) == (["no"] * 3, 1)
    assert await _keep(cache, b"k", "yes") == "yes"


async def test_who_joins_as_the_last_one_leaves_gets_a_flight_of_their_own() -> None:
    cache: Cache[str] = Cache(FakeClock(), 5.0)
    started, never = asyncio.Event(), asyncio.Event()

    async def stuck() -> tuple[str, int | None]:
        started.set()
        await never.wait()
        return "never", None

    first = asyncio.create_task(cache.get(b"k", stuck))
    await started.wait()
    first.cancel()
    second = asyncio.create_task(_keep(cache, b"k", "mine"))
    assert await second == "mine"
    assert first.cancelled()
