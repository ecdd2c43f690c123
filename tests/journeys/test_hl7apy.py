"""hl7apy on either side of the real process: its messages ask us, its server is asked by us."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bus_process import Bus, start_bus
from tests.journeys.test_listener import END, VT, port_of
from tests.journeys.test_queries import NAME, NUMBER
from tests.sandbox_process import Sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    core = pytest.importorskip("hl7apy.core", reason="hl7apy is not installed")
    mllp = pytest.importorskip("hl7apy.mllp", reason="hl7apy is not installed")
    parser = pytest.importorskip("hl7apy.parser", reason="hl7apy is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CHANGES = {"      connections: 4\n": "      connections: 4\n      idle_s: 0\n"}


class Index(mllp.AbstractHandler):  # type: ignore[misc,name-defined]
    """A patient index that knows one patient. It reads and writes by hl7apy alone."""

    asked: list[list[str]] = []

    def reply(self) -> str:
        query = parser.parse_message(self.incoming_message, find_groups=False)
        parameters = [one.to_er7() for one in query.qpd.qpd_3]
        self.asked.append(parameters)
        answer = core.Message("RSP_K21", version="2.5.1")
        answer.msh.msh_3, answer.msh.msh_9, answer.msh.msh_10 = "INDEX", "RSP^K22^RSP_K21", "A1"
        answer.msh.msh_11, answer.msh.msh_18 = "P", "UNICODE UTF-8"
        answer.msa.msa_1, answer.msa.msa_2 = "AA", query.msh.msh_10.to_er7()
        is_known = f"@PID.3.1^{NUMBER}" in parameters
        answer.qak.qak_1, answer.qak.qak_2 = query.qpd.qpd_2.to_er7(), "OK" if is_known else "NF"
        answer.qpd = query.qpd.to_er7()
        if is_known:
            person = answer.rsp_k21_query_response.pid
            for number in ("P7^^^HIS^PI", f"{NUMBER}^^^GA^NI"):
                person.add_field("pid_3").value = number
            person.pid_5, person.pid_7, person.pid_8 = NAME, "19900101", "F"
        return str(answer.to_mllp())


@pytest.fixture
def index() -> Iterator[int]:
    Index.asked.clear()
    server = mllp.MLLPServer("127.0.0.1", 0, {"QBP^Q22^QBP_Q21": (Index,)})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bus(shared_hospital: Sandbox, index: int) -> Iterator[Bus]:
    """In front of that index; hl7apy closes each connection after its answer."""
    with start_bus(shared_hospital, changes=CHANGES, environ={"INDEX_PORT": str(index)}) as made:
        yield made


def query(control: str, name: str) -> Any:
    made = core.Message("QBP_Q21", version="2.5.1")
    made.msh.msh_3, made.msh.msh_4, made.msh.msh_9, made.msh.msh_10 = "LIS", "LAB", "QBP^Q22^QBP_Q21", control
    made.msh.msh_11, made.msh.msh_18 = "P", "UNICODE UTF-8"
    made.qpd = f"QPD|Q22^Find^HL7|T1|@PID.3.1^{NUMBER}~@PID.5.1^{name}"
    made.rcp.rcp_1 = "I"
    return made


def asked(port: int, message: Any) -> Any:
    """The answer, as hl7apy reads it."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(message.to_mllp().encode())
        heard = b""
        while not heard.endswith(END):
            data = sock.recv(65536)
            assert data, heard
            heard += data
    return parser.parse_message(heard.strip(VT + END).decode(), find_groups=False)


def test_hl7apy_asks_and_hl7apy_answers_through_the_bus(bus: Bus) -> None:
    """Its query in, an operation, a query of ours to its server, its answer, our answer to it."""
    answer = asked(port_of(bus, "lis_inbound"), query("APYQ1", NAME))
    assert (answer.msh.msh_9.to_er7(), answer.msa.to_er7()) == ("RSP^K22^RSP_K21", "MSA|AA|APYQ1")
    assert (answer.qak.qak_1.to_er7(), answer.qak.qak_2.to_er7()) == ("T1", "OK")
    assert (answer.pid.pid_5.to_er7(), answer.pid.pid_8.to_er7()) == (NAME, "F")
    assert Index.asked == [[f"@PID.3.1^{NUMBER}", f"@PID.5.1^{NAME}"]]


def test_hl7apys_server_is_a_system_like_any_other(bus: Bus) -> None:
    for number, found in ((NUMBER, ["P7"]), ("110101190001019999", [])):
        status, _, body = bus.call(
            "POST", "/v1/patients/search", {"documentType": "id_card", "documentNumber": number, "name": NAME}
        )
        assert (status, [one["id"] for one in body["items"]]) == (200, found)
    assert len(Index.asked) == 2
