"""Queries of other systems, answered by the real process: the sandbox's LIS asks, and other people's clients do."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import hl7
import pytest
from hl7.client import MLLPClient

from sandbox.asking import Asker, QueryError
from sandbox.sender import Line
from tests.bus_process import Bus, start_bus
from tests.journeys.test_listener import END, PEERS, VT, inbox, port_of
from tests.sandbox_process import Sandbox

NUMBER, NAME = "110101190001011236", "患者一"


@pytest.fixture(scope="module")
def bus(shared_hospital: Sandbox) -> Iterator[Bus]:
    shared_hospital.control.reset()
    with start_bus(shared_hospital) as made:
        yield made


@pytest.fixture
def lis(bus: Bus, hospital: Sandbox) -> Iterator[Asker]:
    line = Line("127.0.0.1", port_of(bus, "lis_inbound"))
    yield Asker(line, prefix=f"Q{id(line):x}-")
    line.close()


def query(
    control: str, number: str = NUMBER, name: str = NAME, head: str = "|||||||UNICODE UTF-8", more: str = ""
) -> str:
    msh = f"MSH|^~\\&|LIS|LAB|HUB|WX|20260115093000||QBP^Q22^QBP_Q21|{control}|P|2.5.1{head}"
    return f"{msh}\rQPD|Q22^Find^HL7|T1|@PID.3.1^{number}~@PID.5.1^{name}\r{more}"


def frames(port: int, message: bytes, count: int) -> list[bytes]:
    """The first ``count`` frames that come back, without their marks."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(VT + message + END)
        heard = b""
        while heard.count(END) < count:
            data = sock.recv(65536)
            assert data, heard
            heard += data
    return [one.strip(VT) for one in heard.split(END)[:count]]


def test_a_patient_is_found_by_q22(lis: Asker) -> None:
    answer = lis.patients(NUMBER, NAME)
    assert answer.message[0][9] == hl7.parse("MSH|^~\\&|||||||RSP^K22^RSP_K21\r")[0][9]
    assert [str(line[0]) for line in answer.message] == ["MSH", "MSA", "QAK", "QPD", "PID"]
    assert answer.raw("QAK") == f"QAK|T{lis.asked}|OK|Q22^Find^HL7|1|1|0"
    assert answer.raw("QPD") == f"QPD|Q22^Find^HL7|T{lis.asked}|@PID.3.1^{NUMBER}~@PID.5.1^{NAME}"
    assert (answer.get("PID", 5), answer.get("PID", 8)) == (NAME, "M")
    numbers = {answer.get("PID", 3, 5, at): answer.get("PID", 3, 1, at) for at in (1, 2, 3)}
    assert (numbers["PI"], numbers["NI"]) == ("P0000001", NUMBER)


def test_nobody_found_is_no_error(lis: Asker) -> None:
    answer = lis.patients(NUMBER, "无名")
    assert (answer.get("MSA", 1), answer.get("QAK", 2), answer.raw("PID")) == ("AA", "NF", "")


def test_the_older_query_is_answered_in_its_own_form(lis: Asker) -> None:
    answer = lis.old_patients(NUMBER, NAME)
    assert (answer.kind, answer.get("MSH", 9, 3), answer.get("MSH", 12)) == ("ADR^A19", "ADR_A19", "2.3.1")
    assert [str(line[0]) for line in answer.message] == ["MSH", "MSA", "QRD", "PID"]
    assert answer.get("PID", 5) == NAME


def test_a_quantity_gives_pages_that_together_are_everything(lis: Asker, bus: Bus) -> None:
    status, _, everything = bus.call("GET", "/v1/departments?level=2")
    assert status == 200
    assert len(everything["items"]) > 4
    pages = list(lis.departments(2, 3))
    given = [str(line[1]) for page in pages for line in page.message if str(line[0]) == "LOC"]
    assert given == [one["id"] for one in everything["items"]]
    assert [int(page.get("QAK", 5)) for page in pages[:-1]] == [3] * (len(pages) - 1)
    left = [int(page.get("QAK", 6)) for page in pages]
    assert left == [max(0, len(given) - 3 * number) for number in range(1, len(pages) + 1)]
    assert {page.get("QAK", 4) for page in pages} == {str(len(given))}


def test_a_pointer_of_an_answer_that_has_changed_is_refused(lis: Asker) -> None:
    pages = lis.departments(2, 3)
    next(pages)
    with pytest.raises(QueryError, match="AE 207 the answer is another one by now"):
        lis._ask("QBP^Z01^QBP_Q11", "2.5.1", "|2", "Z01^Departments^HUB", 3, "3-0123456789abcdef")
    with pytest.raises(QueryError, match="DSC-1 is no pointer"):
        lis._ask("QBP^Z01^QBP_Q11", "2.5.1", "|2", "Z01^Departments^HUB", 3, "next please")


@pytest.mark.parametrize(
    ("control", "rcp", "said"),
    [
        ("BAD1", "RCP|D|5^RD", "AE 103^Table value not found^HL70357 RCP^1^1^1"),
        ("BAD2", "RCP|I|5^CH", "AE 103^Table value not found^HL70357 RCP^1^2^1^2"),
        ("BAD3", "RCP|I|-5^RD", "AE 102^Data type error^HL70357 RCP^1^2^1^1"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_with_its_place(bus: Bus, control: str, rcp: str, said: str) -> None:
    raw = query(control, NUMBER, NAME, more=rcp + "\r").encode()
    (heard,) = frames(port_of(bus, "lis_inbound"), raw, 1)
    answer = hl7.parse(heard.decode())
    assert f"{answer.segment('MSA')[1]} {answer.segment('ERR')[3]} {answer.segment('ERR')[2]}" == said
    assert str(answer.segment("QAK")) == "QAK|T1|AE|Q22^Find^HL7"


def test_a_parameter_that_is_missing_is_named(bus: Bus) -> None:
    raw = query("MISS0", NUMBER).replace(f"~@PID.5.1^{NAME}", "").encode()
    (heard,) = frames(port_of(bus, "lis_inbound"), raw, 1)
    error = hl7.parse(heard.decode()).segment("ERR")
    said = (str(error[3]), str(error[8]))
    assert said == ("101^Required field missing^HL70357", "/name of the question is required")


def test_a_field_that_is_missing_is_named_and_the_query_kept(bus: Bus) -> None:
    raw = query("MISS1", NUMBER).split("\r")[0].encode() + b"\rQPD|Q22^Find^HL7|T1\r"
    (heard,) = frames(port_of(bus, "lis_inbound"), raw, 1)
    answer = hl7.parse(heard.decode())
    assert (str(answer.segment("MSH")[9]), str(answer.segment("MSA")[1])) == ("RSP^K22^RSP_K21", "AE")
    assert str(answer.segment("QAK")[2]) == "AE"
    error = answer.segment("ERR")
    assert (str(error[2]), str(error[3])) == ("QPD^1^3^1", "101^Required field missing^HL70357")
    assert ("MISS1", "parked", "") in inbox(bus.folder)


def test_what_the_contract_refuses_is_an_error_and_nothing_is_sent(bus: Bus, hospital: Sandbox) -> None:
    (heard,) = frames(port_of(bus, "lis_inbound"), query("BADREQ", "x" * 65, NAME).encode(), 1)
    assert b"\rMSA|AE|BADREQ|" in heard
    assert b"\rQAK|T1|AE|" in heard
    assert hospital.control.requests(channel="hl7") == []


def test_a_refusal_of_the_system_that_knows_is_passed_on(bus: Bus, lis: Asker, hospital: Sandbox) -> None:
    hospital.control.fault("hl7", "business_error", operation="QBP^Q22", times=1)
    with pytest.raises(QueryError, match="The patient index refused the query"):
        lis.patients(NUMBER, NAME)


def test_a_system_that_does_not_answer_costs_its_time_and_then_an_error(lis: Asker, hospital: Sandbox) -> None:
    hospital.control.fault("hl7", "reset_before", operation="QBP^Q22")
    with pytest.raises(QueryError, match="ask again later"):
        lis.patients(NUMBER, NAME)
    hospital.control.clear_faults()
    assert lis.patients(NUMBER, NAME).get("QAK", 2) == "OK"


def test_queries_are_journalled_and_are_no_messages(bus: Bus, lis: Asker) -> None:
    before = len(inbox(bus.folder))
    answer = lis.patients(NUMBER, NAME)
    row = bus.row("patient.find", answer.get("MSA", 2), "request_id")
    assert (row["principal"], row["state"]) == ("lis_inbound/LIS|LAB", "done")
    assert json.loads(row["request"]) == {"documentType": "id_card", "documentNumber": NUMBER, "name": NAME}
    assert len(inbox(bus.folder)) == before
    _, _, metrics = bus.call("GET", "/metrics")
    assert 'inbound_messages_total{endpoint="lis_inbound",result="answered"}' in metrics.decode()


def test_answers_keep_their_place_among_acknowledgements(bus: Bus) -> None:
    told = "MSH|^~\\&|LIS|LAB|HUB|WX|20260115||ZZZ^Z01|{}|P|2.5.1\r"
    asked = [query(f"ORD{number}", NUMBER) if number % 2 else told.format(f"ORD{number}") for number in range(10)]
    together = (END + VT).join(one.encode() for one in asked)
    heard = [hl7.parse(one.decode()) for one in frames(port_of(bus, "lis_inbound"), together, 10)]
    assert [str(one.segment("MSA")[2]) for one in heard] == [f"ORD{number}" for number in range(10)]


def test_in_enhanced_mode_the_commit_comes_first(bus: Bus) -> None:
    raw = query("ENH1", NUMBER, head="|||AL|AL||UNICODE UTF-8").encode()
    commit, answer = (hl7.parse(one.decode()) for one in frames(port_of(bus, "lis_inbound"), raw, 2))
    assert (str(commit.segment("MSA")[1]), str(commit.segment("MSA")[2])) == ("CA", "ENH1")
    assert (str(answer.segment("MSA")[1]), str(answer.segment("QAK")[2])) == ("AA", "OK")
    assert str(commit.segment("MSH")[10]) != str(answer.segment("MSH")[10])


def test_an_answer_is_written_in_the_charset_and_with_the_delimiters_of_the_query(bus: Bus) -> None:
    msh, *rest = query("GB2", NUMBER, head="||||||CHN|GB 18030-2000").split("\r")
    other = [line.translate(str.maketrans("|^&", "#!%")) for line in (msh, *rest)]
    (heard,) = frames(port_of(bus, "lis_inbound"), "\r".join(other).encode("gb18030"), 1)
    assert f"#{NAME}#".encode("gb18030") in heard
    assert b"\rQAK#T1#OK#Q22!Find!HL7#1#1#0\r" in heard


def test_a_name_that_the_charset_of_the_query_lacks_is_an_error_and_no_question_marks(bus: Bus) -> None:
    ascii_name = NAME.encode("utf-8").hex().upper()
    raw = query("L1", NUMBER, f"\\X{ascii_name}\\", head="|||||||8859/1").encode("ascii")
    (heard,) = frames(port_of(bus, "lis_inbound"), raw, 1)
    assert b"\rMSA|A" in heard
    assert b"?" not in heard


def test_python_hl7_asks(bus: Bus) -> None:
    with MLLPClient("127.0.0.1", port_of(bus, "lis_inbound")) as client:
        heard = client.send_message(query("PYQ1", NUMBER, more="RCP|I|10^RD\r"))
    answer = hl7.parse(heard.strip(VT + END).decode())
    assert (str(answer.segment("MSA")), str(answer.segment("PID")[5])) == ("MSA|AA|PYQ1", NAME)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_hl7_client_asks(bus: Bus) -> None:
    if not (PEERS / "node_modules" / "node-hl7-client").is_dir():
        pytest.skip("the peers are not installed: npm ci in tests/peers")
    command = ["node", "hl7_query.mjs", str(port_of(bus, "lis_inbound")), NUMBER, NAME]
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=90)
    assert json.loads(done.stdout) == {"verdict": "AA", "status": "OK", "name": NAME}, done.stderr


def test_the_answer_is_valid_by_hl7s_own_tables(bus: Bus) -> None:
    from esb.codecs.hl7v2 import decode
    from esb.codecs.hl7v2.validate import validate

    (heard,) = frames(port_of(bus, "lis_inbound"), query("VAL1", NUMBER, more="RCP|I|10^RD\r").encode(), 1)
    assert [str(one) for one in validate(decode(heard)) if one.segment != "QRI"] == []


def test_the_store_holds_no_query(bus: Bus, lis: Asker) -> None:
    lis.patients(NUMBER, NAME)
    with closing(sqlite3.connect(bus.folder / "esb.db")) as database:
        kinds = {kind for (kind,) in database.execute("SELECT kind FROM inbox WHERE state = 'event'")}
    assert not any(kind.startswith("Q") for kind in kinds)
