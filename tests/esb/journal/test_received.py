"""``esb journal received`` on a store of either kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb.codecs import hl7v2
from esb.journal import received
from esb.journal.received import Wanted
from esb.observe import Metrics
from esb.store import Arrival, Store
from esb.store.inbox import inbox, prune_inbox
from tests.esb.configured import ROOT
from tests.esb.journal.databases import KINDS, opened, store_url
from tests.esb.journal.kit import CLOCK, IDS
from tests.esb.journal.test_commands import acts, esb

RAW = "MSH|^~\\&|LIS|LAB|HUB|WX|20260115||ADT^A28^ADT_A05|M1|P|2.5.1\rPID|1||P0000001||测试患者\r"
EVENT = {"change": "registered", "patient": {"id": "P0000001", "name": "测试患者", "birthDate": "1990-01-01"}}


def arrival(**more: Any) -> Arrival:
    """A patient that the laboratory told, a second after the message before it."""
    CLOCK.at += 1
    usual = {
        "id": IDS.new(), "endpoint": "lis_inbound", "sender": "LIS|LAB", "control": f"M{CLOCK.at}", "kind": "ADT^A28",
        "peer": "127.0.0.1", "received": CLOCK.now().isoformat(timespec="milliseconds"), "state": "event",
        "event": "patient.changed", "mapping": "patient.changed.yaml@0123", "version": "0123456789ab", "sequence": -1,
        "digest": b"d", "raw": RAW.encode(), "body": json.dumps(EVENT).encode(),
        "answer": hl7v2.framed(b"MSH|^~\\&|HUB|WX|LIS|LAB|20260115||ACK^A28|L1|P|2.5.1\rMSA|AA|M1\r"),
    }  # fmt: skip
    texts: dict[str, Any] = dict.fromkeys(Arrival._fields, "")
    return Arrival(**{**texts, **usual, **more})


PARKED: dict[str, Any] = {
    "state": "parked", "event": "", "body": b"", "reason": "field_missing: PID-3 is missing, call 13800001234",
}  # fmt: skip


@pytest.fixture(params=KINDS)
def store(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ESB_SECRETS", str(tmp_path))
    with store_url(request.param, tmp_path) as url, opened(url):
        monkeypatch.setenv("ESB_STORE", url)
        yield url


def put(url: str, *arrivals: Arrival) -> None:
    """As a listener does."""

    async def keep() -> None:
        made = Store(url, Metrics())
        await made.start()
        await asyncio.gather(*(made.receive(one, "", arrival) for one in arrivals))
        await made.close()

    asyncio.run(keep())


def listed(*arguments: str) -> list[str]:
    return [
        one["id"] for one in json.loads(esb("journal", "received", "list", "--json", *arguments).output)["messages"]
    ]


def test_messages_are_listed_for_people_and_for_programs(store: str) -> None:
    told, parked = arrival(), arrival(**PARKED)
    put(store, told, parked)
    text = esb("journal", "received", "list").output.splitlines()
    assert text == [
        f"2  {parked.received}  lis_inbound  LIS|LAB {parked.control}  ADT^A28  parked  "
        "field_missing: PID-3 is missing, call 138****1234",
        f"1  {told.received}  lis_inbound  LIS|LAB {told.control}  ADT^A28  event  patient.changed",
        "2 messages",
    ]
    (first,) = json.loads(esb("journal", "received", "list", "--json", "--state", "event").output)["messages"]
    assert (first["position"], first["id"], first["control"], first["sequence"]) == (1, told.id, told.control, None)


def test_an_empty_inbox_has_no_messages(store: str) -> None:
    assert esb("journal", "received", "list").output == "0 messages\n"
    assert "no message 7" in esb("journal", "received", "show", "7", status=1).output


SEARCHES: tuple[tuple[list[str], list[int]], ...] = (
    (["--sender", "HIS|H1"], [1]),
    (["--control", "SAME"], [3, 1]),
    (["--control", "SAME", "--sender", "HIS|H1"], [1]),
    (["--event", "report.released"], [2]),
    (["--kind", "ORU^R01"], [2]),
    (["--endpoint", "his_inbound"], [1]),
    (["--state", "parked", "--state", "unwanted"], [3]),
    (["--sender", "nobody"], []),
)


def test_a_search_goes_by_whatever_is_known(store: str) -> None:
    made = [
        arrival(),
        arrival(sender="HIS|H1", control="SAME", endpoint="his_inbound"),
        arrival(kind="ORU^R01", event="report.released"),
        arrival(**PARKED, control="SAME"),
    ]
    put(store, *made)
    for asked, found in SEARCHES:
        assert listed(*asked) == [made[number].id for number in found], asked


def test_a_time_is_found_among_many(store: str) -> None:
    """Also across stretches, and where clocks went back."""
    made = [arrival() for _ in range(30)]
    made[7] = made[7]._replace(received=made[3].received)
    put(store, *made)
    assert listed("--since", made[10].received, "--until", made[13].received) == [one.id for one in made[12:9:-1]]
    assert listed("--until", made[4].received, "--most", "2") == [made[7].id, made[3].id]
    assert listed("--since", "2099-01-01") == []


def test_a_message_that_came_again_hides_no_other_from_a_search(store: str) -> None:
    """Positions are halved by time: it stands in the middle, and comes again an hour later."""
    made = [arrival(**(PARKED if number == 15 else {})) for number in range(31)]
    until, middle = CLOCK.now().isoformat(timespec="seconds"), made[15]
    CLOCK.at += 3600
    put(store, *made)
    put(store, arrival(**{**PARKED, "reason": "unknown_code: PV1-2"}, control=middle.control))
    assert listed("--until", until) == [one.id for one in made[-2::-1]]
    lines = esb("journal", "received", "export", "--until", until, "--reason", "r").stdout.splitlines()
    assert len(lines) == 30
    tree = json.loads(esb("journal", "received", "show", middle.id).output)
    assert (tree["position"], tree["received"], tree["reason"]) == (16, middle.received, "unknown_code: PV1-2")


def test_a_page_follows_another(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "_STRETCH", 3)
    made = [arrival(**(PARKED if number % 3 else {})) for number in range(20)]
    put(store, *made)
    wanted, pages, before = [one.id for one in reversed(made) if one.state == "parked"], list[str](), "0"
    while before != "None":
        page = json.loads(
            esb("journal", "received", "list", "--json", "--state", "parked", "--most", "5", "--before", before).output
        )
        pages += [one["id"] for one in page["messages"]]
        before = str(page["before"])
    assert pages == wanted


def test_one_is_shown_masked_and_bare_only_with_a_reason(store: str) -> None:
    told = arrival()
    put(store, arrival(), told)
    which = told.id
    shown = esb("journal", "received", "show", which).output
    assert shown == esb("journal", "received", "show", "2").output
    assert "测试患者" not in shown
    assert "P0000001" not in shown
    tree = json.loads(shown)
    assert (tree["id"], tree["raw"]["format"], tree["raw"]["bytes"]) == (told.id, "hl7v2", len(RAW.encode()))
    assert (tree["body"]["change"], set(tree["body"]["patient"].values())) == ("registered", {"***"})
    assert [one["format"] for one in tree["answer"]] == ["hl7v2"]
    esb("journal", "received", "show", which, "--unmask", status=2)
    bare = json.loads(esb("journal", "received", "show", which, "--unmask", "--reason", "complaint 17").output)
    assert bare["body"]["patient"]["name"] == "测试患者"
    assert "测试患者" in json.dumps(bare["raw"], ensure_ascii=False)
    assert [(act["action"], act["object"], act["reason"]) for act in acts()] == [
        ("unmask", f"inbox/{which}", "complaint 17")
    ]


def test_both_answers_of_enhanced_mode_are_shown(store: str) -> None:
    one = hl7v2.framed(b"MSH|^~\\&|HUB\rMSA|CA|M1\r")
    put(store, arrival(answer=one * 2))
    assert len(json.loads(esb("journal", "received", "show", "1").output)["answer"]) == 2


def test_one_that_is_not_there_is_said_to_be_so(store: str) -> None:
    put(store, arrival(), arrival())
    for which in ("3", "0", "x", "01KF0H3Y8Z6Q2V4N7R9T1W5X00", "9" * 30, ""):
        assert f"the inbox has no message {which}" in esb("journal", "received", "show", which, status=1).output


def test_messages_are_exported_with_a_reason_that_the_audit_keeps(store: str, tmp_path: Path) -> None:
    made = [arrival() for _ in range(3)]
    put(store, *made)
    file = tmp_path / "out.jsonl"
    esb("journal", "received", "export", "--sender", "LIS|LAB", "--output", str(file), "--reason", "monthly")
    lines = [json.loads(one) for one in file.read_text("utf-8").splitlines()]
    assert [one["id"] for one in lines] == [one.id for one in reversed(made)]
    assert "测试患者" not in file.read_text("utf-8")
    (act,) = acts()
    assert (act["action"], act["object"]) == ("export", "inbox")
    assert json.loads(act["details"])["query"] == {"sender": "LIS|LAB"}
    bare = esb("journal", "received", "export", "--unmask", "--reason", "court").stdout
    assert bare.count("测试患者") == 6, "in the message and in the event"


def test_a_damaged_row_says_so_and_hides_no_other(store: str) -> None:
    put(store, *(arrival() for _ in range(3)))
    engine = sa.create_engine(store.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(inbox.update().where(inbox.c.position == 2).values(content=b"\x01broken"))
    engine.dispose()
    lines = esb("journal", "received", "export", "--reason", "r").stdout.splitlines()
    assert [sorted(json.loads(one).get("broken", ())) for one in lines] == [[], ["content"], []]


DAMAGE = (
    ("reason", 5, "holds int"),
    ("reason", b"\xff", "holds bytes"),
    ("received", b"\xff", "holds bytes"),
    ("sequence", "many", "holds str"),
    ("raw_bytes", "many", "holds str"),
    ("body_bytes", 1.5, "holds float"),
    ("content", 3, ""),
    ("state", "exploded", "there is no state 'exploded'"),
    ("control", "M\N{REPLACEMENT CHARACTER}", "has characters that could not be read"),
)
"""Column, what it holds, why that is none. A number in a column of texts becomes a text, so columns have no type."""


@pytest.mark.parametrize(("column", "value", "why"), DAMAGE)
def test_on_sqlite_a_column_of_a_wrong_type_is_shown_as_broken_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: Any, why: str
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ESB_SECRETS", str(tmp_path))
    with store_url("sqlite", tmp_path) as url, opened(url) as engine:
        monkeypatch.setenv("ESB_STORE", url)
        made = [arrival() for _ in range(7)]
        put(url, *made)
        damage(engine, column, value)
        assert listed() == [one.id for one in reversed(made)]
        assert listed("--since", made[1].received) == [one.id for one in made[:0:-1]]
        lines = [json.loads(one) for one in esb("journal", "received", "export", "--reason", "r").stdout.splitlines()]
        assert [sorted(one.get("broken", ())) for one in lines] == [*[[]] * 3, [column], *[[]] * 3]
        assert lines[3]["broken"][column].startswith(why)
        assert ("raw" in lines[3]) == (column not in ("raw_bytes", "body_bytes", "content"))
        assert json.loads(esb("journal", "received", "show", "4").output)["broken"] == lines[3]["broken"]
        is_listed = column not in ("raw_bytes", "body_bytes", "content")
        assert (f"broken: {column}" in esb("journal", "received", "list").output) == is_listed


@pytest.mark.parametrize(
    ("column", "value"), [("received", 5), ("received", b"x"), ("raw_bytes", "many"), ("content", 3)]
)
def test_on_sqlite_a_column_of_a_wrong_type_keeps_no_message_out_and_none_from_being_pruned(
    tmp_path: Path, column: str, value: Any
) -> None:
    with store_url("sqlite", tmp_path) as url, opened(url) as engine:
        made = [arrival() for _ in range(7)]
        put(url, *made)
        damage(engine, column, value)
        put(url, made[3], arrival())
        with engine.begin() as connection:
            assert connection.scalar(sa.select(inbox.c.control).where(inbox.c.position == 8)) == made[3].control
            assert prune_inbox(connection, "2999", 100) == 8


def damage(engine: sa.Engine, column: str, value: Any) -> None:
    """Of the row in the middle, where times are halved; the table's columns lose their types, or SQLite would mend."""
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        untyped = "replace(replace(sql, ' TEXT ', ' '), ' BIGINT ', ' ')"
        connection.exec_driver_sql(f"UPDATE sqlite_schema SET sql = {untyped} WHERE name = 'inbox'")
        connection.exec_driver_sql("PRAGMA writable_schema = RESET")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE inbox SET {column} = ? WHERE position = 4", (value,))


def test_what_a_search_wants_is_bounded_by_its_time(store: str) -> None:
    """It looks at no more rows than may be of that time."""
    CLOCK.at += 3600
    old = [arrival() for _ in range(40)]
    CLOCK.at += 3600
    new = arrival()
    put(store, *old, new)
    engine = sa.create_engine(store.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        since = CLOCK.now() - timedelta(minutes=1)
        assert received._range(connection, Wanted(since=since), 0) == (41, 42)
        assert received._range(connection, Wanted(until=since - timedelta(minutes=30)), 0) == (1, 41)
    engine.dispose()
