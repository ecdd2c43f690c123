"""Endpoints: found, checked and connected at start; limited, isolated and classified at work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from esb.clock import SystemClock
from esb.codecs import yaml
from esb.config.routes import EndpointConfig
from esb.endpoint import Endpoint, load_endpoint
from esb.errors import ConfigError, Malformed, OutcomeUnknown, Refused, Unavailable
from esb.model import Effect, Tree
from esb.observe import Metrics
from esb.policies import Limited
from esb.spi import Call
from tests.esb.kit import FakeClock, Gate, ScriptedAdapter, hang, silence


def call(clock: Any, seconds: float = 2.0, effect: Effect = Effect.READ) -> Call:
    return Call("op", "EX", "KEY", effect, clock.monotonic() + seconds, clock)


class Made:
    def __init__(self, clock: Any = None, envelopes: Any = (), **limits: Any) -> None:
        self.clock = clock or FakeClock()
        self.his = ScriptedAdapter()
        self.metrics = Metrics()
        config = EndpointConfig.model_validate({"adapter": "a", "dialect": "d", "limits": limits})
        sleep = getattr(self.clock, "sleep", asyncio.sleep)
        self.endpoint = Endpoint(
            "his", config, self.his, envelopes, clock=self.clock, metrics=self.metrics, sleep=sleep
        )

    async def ask(self, effect: Effect = Effect.READ, seconds: float = 2.0, **more: Any) -> Tree:
        return await self.endpoint.call("A", {}, call(self.clock, seconds, effect), **more)

    def count(self, outcome: str) -> float:
        labels = {"endpoint": "his", "outcome": outcome}
        return self.metrics.registry.get_sample_value("endpoint_calls_total", labels) or 0.0


class Wrapped:
    """An envelope that marks what it saw."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log

    def wrap(self, action: str, payload: Tree, call: Call) -> tuple[str, Tree]:
        self._log.append(f"wrap {self._name} {action}")
        return f"{self._name}({action})", {self._name: payload}

    def unwrap(self, action: str, answer: Tree, call: Call) -> Tree:
        self._log.append(f"unwrap {self._name} {action}")
        return answer[self._name]


async def test_envelopes_wrap_from_the_last_to_the_first_and_unwrap_back() -> None:
    log: list[str] = []
    made = Made(envelopes=[Wrapped("outer", log), Wrapped("inner", log)])
    made.his.does("outer(inner(A))", {"outer": {"inner": "answer"}})
    assert await made.ask() == "answer"
    assert made.his.calls[0][:2] == ("outer(inner(A))", {"outer": {"inner": {}}})
    assert log == ["wrap inner A", "wrap outer inner(A)", "unwrap outer inner(A)", "unwrap inner A"]


@pytest.mark.parametrize("error", [Unavailable("down"), silence()])
async def test_absence_and_silence_open_the_breaker(error: Exception) -> None:
    made = Made(breaker={"failures": 2})
    made.his.does("A", error)
    for _ in range(2):
        with pytest.raises(type(error)):
            await made.ask()
    with pytest.raises(Limited):
        await made.ask()
    assert (made.his.count("A"), made.count("limited")) == (2, 1)
    assert made.metrics.registry.get_sample_value("breaker_state", {"endpoint": "his"}) == 2


@pytest.mark.parametrize("error", [Refused("no"), Malformed("garbage")])
async def test_an_answer_of_whatever_kind_does_not_open_the_breaker(error: Exception) -> None:
    made = Made(breaker={"failures": 1})
    made.his.does("A", error)
    for _ in range(3):
        with pytest.raises(type(error)):
            await made.ask()
    assert made.his.count("A") == 3


async def test_after_the_breaker_only_a_read_tries_whether_the_system_is_back() -> None:
    made = Made(breaker={"failures": 1, "open_s": 10.0})
    made.his.does("A", silence(), "answer")
    with pytest.raises(OutcomeUnknown):
        await made.ask()
    made.clock.at += 10
    with pytest.raises(Limited):
        await made.ask(Effect.ONCE)
    assert await made.ask(Effect.READ) == "answer"
    assert await made.ask(Effect.ONCE) == "answer"


async def test_a_system_without_reads_is_found_back_by_a_sign_of_life() -> None:
    made = Made(breaker={"failures": 1, "open_s": 10.0})
    made.his.does("A", Unavailable("refused"), "answer")
    made.his.closed = True
    with pytest.raises(Unavailable):
        await made.ask(Effect.ONCE)

    async def turned_away() -> None:
        with pytest.raises(Limited):
            await made.ask(Effect.ONCE)
        await asyncio.sleep(0)

    made.clock.at += 10
    await turned_away()  # it looks, and there is no sign
    made.his.closed = False
    made.clock.at += 9
    await turned_away()  # not yet time to look again
    made.clock.at += 1
    await turned_away()
    assert await made.ask(Effect.ONCE) == "answer"
    assert made.his.count("A") == 2


async def test_an_adapter_that_fails_to_probe_or_close_is_a_reason_and_no_crash() -> None:
    made = Made()

    async def broken(*_: object) -> None:
        raise KeyError("secret text")

    made.his.probe = made.his.close = broken  # type: ignore[method-assign]
    assert await made.endpoint.probe() == "the adapter raised KeyError"
    await made.endpoint.close()


async def test_a_cancelled_try_leaves_the_decision_to_the_next_read() -> None:
    made = Made(breaker={"failures": 1, "open_s": 10.0})
    gate = Gate("late")
    made.his.does("A", silence(), gate, "answer")
    with pytest.raises(OutcomeUnknown):
        await made.ask()
    made.clock.at += 10
    trying = asyncio.create_task(made.ask())
    await gate.entered.wait()
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    assert await made.ask() == "answer"


async def test_no_more_calls_at_once_than_the_system_bears() -> None:
    made = Made(concurrency=3, queue=50)
    gate = Gate("answer")
    made.his.does("A", gate)
    tasks = [asyncio.create_task(made.ask()) for _ in range(20)]
    await gate.entered.wait()
    await asyncio.sleep(0)
    in_flight = made.metrics.registry.get_sample_value("endpoint_in_flight", {"endpoint": "his"})
    gate.open.set()
    assert await asyncio.gather(*tasks) == ["answer"] * 20
    assert (in_flight, made.his.most_under_way) == (3, 3)


async def test_an_effect_does_not_wait_behind_a_crowd_of_reads() -> None:
    made = Made(SystemClock(), concurrency=1, queue=3)
    gate, order = Gate("answer"), []
    made.his.does("A", gate)

    async def ask(effect: Effect) -> None:
        await made.ask(effect)
        order.append(effect)

    async with asyncio.TaskGroup() as group:
        for effect in (*[Effect.READ] * 4, Effect.ONCE):
            group.create_task(ask(effect))
            await asyncio.sleep(0)
        await gate.entered.wait()
        with pytest.raises(Limited):
            await made.ask(Effect.READ)
        gate.open.set()
    assert order == [Effect.READ, Effect.ONCE, Effect.READ, Effect.READ, Effect.READ]


async def test_a_hanging_system_does_not_hold_its_neighbour() -> None:
    clock = SystemClock()
    slow, quick = Made(clock, concurrency=2, queue=1), Made(clock, concurrency=2, queue=1)
    slow.his.does("A", hang)
    quick.his.does("A", "answer")
    tasks = [asyncio.create_task(slow.ask(seconds=0.05)) for _ in range(5)]
    await asyncio.sleep(0)
    assert await quick.ask() == "answer"
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in results].count(OutcomeUnknown) == 2
    assert [type(one) for one in results].count(Limited) == 3


async def test_an_adapter_that_overruns_is_stopped_and_classified_by_what_had_left() -> None:
    async def never_sends(action: str, payload: Tree, call: Call) -> Tree:
        await asyncio.Event().wait()

    made = Made(SystemClock())
    made.his.does("A", never_sends, hang)
    with pytest.raises(Unavailable):
        await made.ask(seconds=0.01)
    with pytest.raises(OutcomeUnknown):
        await made.ask(seconds=0.01)
    assert made.his.cancelled == 2


async def test_an_adapters_bug_is_classified_and_its_text_is_not_repeated() -> None:
    async def bug(action: str, payload: Tree, call: Call) -> Tree:
        call.wire.sending(b"x")
        raise ZeroDivisionError("SECRET")

    made = Made()
    made.his.does("A", bug)
    with pytest.raises(OutcomeUnknown, match="ZeroDivisionError") as raised:
        await made.ask()
    assert "SECRET" not in raised.value.reason


async def test_the_rate_holds_back_and_the_last_word_before_sending_comes_after_all_limits() -> None:
    order: list[str] = []

    async def before() -> None:
        order.append(f"before at {made.clock.at:.1f}")

    made = Made(rate={"count": 1, "per_s": 1.0})
    made.his.does("A", "answer")
    for _ in range(2):
        await made.ask(before=before)
    assert order == ["before at 1000.0", "before at 1001.0"]


async def test_when_the_last_word_fails_nothing_is_sent() -> None:
    async def before() -> None:
        raise RuntimeError("not durable")

    made = Made(breaker={"failures": 1})
    with pytest.raises(RuntimeError):
        await made.ask(before=before)
    assert made.his.calls == []


async def test_nothing_is_sent_after_the_deadline() -> None:
    made = Made()
    made.his.does("A", "answer")
    with pytest.raises(Limited, match="deadline"):
        await made.ask(seconds=0.0)
    assert made.his.calls == []


ROUTES = """endpoints:
  his:
    adapter: {adapter}
    dialect: his
    settings: {settings}
    envelope: {envelope}
routes: {{}}
"""
ADAPTER = """
from esb.spi import AdapterSettings, ConfigError, Finding
class Settings(AdapterSettings):
    url: str
    size: int = 1
class Connected:
    def __init__(self, settings): self.settings = settings
    def check(self, action, fields): return [f"{action} {sorted(fields)}"]
def connect(settings):
    if settings.url == "bad":
        raise ConfigError([Finding("some.wsdl", 3, 1, "is no WSDL")])
    return Connected(settings)
def decode(text): return {"decoded": text}
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Loads an endpoint from packages made for this test alone."""
    name = f"made_{abs(hash(request.node.name))}"
    for package in (f"{name}_adapters", f"{name}_envelopes"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "good.py").write_text(ADAPTER)
        (tmp_path / package / "needy.py").write_text("import package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)

    def load(adapter: str = "good", settings: str = "{url: u}", envelope: str = "[]") -> Endpoint:
        document = yaml.load(ROUTES.format(adapter=adapter, settings=settings, envelope=envelope), "routes.yaml")
        config = EndpointConfig.model_validate(document.value["endpoints"]["his"])
        packages = {"adapters": f"{name}_adapters", "envelopes": f"{name}_envelopes"}
        return load_endpoint("his", config, document, clock=FakeClock(), metrics=Metrics(), **packages)

    return load


def test_an_adapter_is_found_by_name_and_connected(load: Any) -> None:
    endpoint = load()
    assert list(endpoint.check("List", ["b", "a"])) == ["List ['a', 'b']"]
    assert endpoint.decode_example("x") == {"decoded": "x"}


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"adapter": "goood"}, "routes.yaml:3:14: adapter 'goood' does not exist (did you mean 'good'?)"),
        ({"adapter": "zzz"}, "routes.yaml:3:14: adapter 'zzz' does not exist (adapters: good, needy)"),
        ({"settings": "{}"}, "routes.yaml:5:5: key 'url' is missing"),
        ({"settings": "{url: u, sise: 2}"}, "routes.yaml:5:24: unknown key 'sise' (did you mean 'size'?)"),
        ({"settings": "{url: u, size: big}"}, "routes.yaml:5:30: 'size'"),
        ({"settings": "{url: bad}"}, "some.wsdl:3:1: is no WSDL"),
        ({"envelope": "[gud]"}, "routes.yaml:6:16: envelope 'gud' does not exist"),
        ({"envelope": "[good: {}]"}, "key 'url' is missing"),
        ({"envelope": "['../x']"}, "'../x' is not the name of an envelope"),
    ],
)
def test_a_mistake_is_found_at_its_place(load: Any, changed: dict[str, str], finding: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**changed)
    assert finding in str(raised.value)


def test_a_missing_extra_is_named(load: Any) -> None:
    with pytest.raises(ConfigError, match="needs the package 'package_that_is_not_there'") as raised:
        load(adapter="needy")
    assert "pip install 'hospital-esb[needy]'" in str(raised.value)


def test_all_mistakes_of_an_endpoint_are_found_at_once(load: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        load(adapter="zzz", envelope="[gud, good: {url: bad}]")
    assert len(raised.value.findings) == 3
