"""``esb hl7 send`` and ``esb hl7 listen``, against each other and against peers that misbehave."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from esb.codecs.hl7v2 import decode, framed
from esb.hl7.address import Address, Tls, address
from esb.hl7.send import outgoing, renumbered
from esb.hl7.tally import Latencies
from tests.esb.hl7.bench import ack, far_side, listening, sent
from tests.esb.hl7.commands import ADT, esb

END = b"\x1c\r"


@pytest.mark.parametrize(
    "load", [{}, {"connections": 4}, {"pipelined": 8}, {"connections": 3, "pipelined": 5}, {"each": 7}]
)
async def test_every_message_arrives_once_and_is_accepted(load: dict[str, int], tmp_path: Path) -> None:
    async with listening(into=tmp_path / "got") as (listener, at):
        tally = await sent(at, 100, **load)
    assert (tally.sent, tally.accepted, tally.verdicts, tally.mismatched) == (100, 100, {"AA": 100}, 0)
    assert tally.all_accepted
    kept = sorted((tmp_path / "got").iterdir())
    controls = [decode(file.read_bytes()).get("MSH", 0, 10) for file in kept]
    assert sorted(controls) == sorted(f"C{number}" for number in range(1, 101))
    assert listener.received.messages == listener.received.answers["AA"] == 100


async def test_messages_are_kept_byte_for_byte(tmp_path: Path) -> None:
    async with listening(into=tmp_path) as (_, at):
        await sent(at, 1)
    assert os.listdir(tmp_path) == ["000001-C1.hl7"]
    assert (tmp_path / "000001-C1.hl7").read_bytes() == ADT.encode()


@pytest.mark.parametrize("code", ["AE", "AR", "CE"])
async def test_a_refusal_is_counted_and_is_no_acceptance(code: str) -> None:
    async with listening(ack=code) as (_, at):
        tally = await sent(at, 5)
    assert (tally.accepted, tally.verdicts, tally.all_accepted) == (0, {code: 5}, False)


async def test_the_reason_of_a_refusal_is_counted_by_its_code() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(END):
            writer.write(framed(ack(request, "AE", rest="\rERR||PID^1^3|204^Unknown key^HL70357|E")))

    async with far_side(refuse) as at:
        tally = await sent(at, 3)
    assert tally.errors == {"204": 3}
    assert "ERR-3 204 3" in tally.text()


async def test_silence_ends_after_the_timeout_and_the_rest_is_sent() -> None:
    async with listening(drop=50) as (listener, at):
        tally = await sent(at, 6, timeout=0.1)
    assert (tally.sent, tally.accepted, tally.silent, tally.lost) == (6, 3, 3, 0)
    assert listener.received.dropped == 3
    assert tally.connections == 3


async def test_a_rate_is_kept() -> None:
    async with listening() as (_, at):
        tally = await sent(at, 21, rate=200.0, connections=2)
    assert 0.1 <= tally.seconds < 1
    assert tally.all_accepted


async def test_a_delayed_answer_shows_in_the_latency() -> None:
    async with listening(delay=0.05) as (_, at):
        tally = await sent(at, 4)
    assert 0.05 <= tally.latencies.percentile(50) <= tally.latencies.longest < 1


async def test_answers_to_other_messages_are_counted_and_taken_for_none_of_ours() -> None:
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As node-hl7-server does: every earlier answer again before the new one."""
        said: list[bytes] = []
        while request := await reader.readuntil(END):
            said.append(framed(ack(request)))
            writer.writelines(said)

    async with far_side(repeat) as at:
        tally = await sent(at, 4)
    assert (tally.accepted, tally.mismatched) == (4, 1 + 2 + 3)


async def test_an_answer_in_another_order_belongs_to_its_message() -> None:
    async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            both = [await reader.readuntil(END), await reader.readuntil(END)]
            writer.writelines(framed(ack(one, code)) for one, code in zip(reversed(both), ("AE", "AA"), strict=True))

    async with far_side(reverse) as at:
        tally = await sent(at, 10, pipelined=2)
    assert tally.verdicts == {"AA": 5, "AE": 5}
    assert tally.mismatched == 0


async def test_an_answer_without_msa_2_is_that_of_the_oldest() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(END):
            writer.write(framed(ack(request, control=b"")))

    async with far_side(answer) as at:
        assert (await sent(at, 3)).accepted == 3


async def test_a_commit_is_final_only_where_no_other_answer_is_asked_for() -> None:
    asked = decode(ADT.replace("|2.5.1|||||||", "|2.5.1|||AL|AL|||").encode())
    assert outgoing(asked).twice
    assert not outgoing(decode(ADT.encode())).twice


async def test_a_lost_connection_loses_what_is_in_flight_and_nothing_else() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(framed(ack(await reader.readuntil(END))))
        await reader.readuntil(END)

    async with far_side(leave) as at:
        tally = await sent(at, 9)
    assert (tally.sent, tally.accepted, tally.lost, tally.dropped_connections) == (9, 6, 3, 3)
    assert not tally.all_accepted


async def test_a_peer_that_closes_after_each_answer_loses_nothing_with_a_connection_a_message() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(ack(await reader.readuntil(END))))

    async with far_side(once) as at:
        tally = await sent(at, 20, each=1)
    assert (tally.accepted, tally.lost, tally.connections) == (20, 0, 20)


@pytest.mark.parametrize(
    "noise",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x1c\r",
        b"\x0bno hl7\x1c\r",
        b"\x0bMSH|^~\\&|||||||ACK\r\x1c\r",
        b"\x0b" * 9,
    ],
)
async def test_no_answer_of_a_peer_stops_the_sender(noise: bytes) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(END):
            writer.write(noise)

    async with far_side(babble) as at:
        tally = await sent(at, 2, timeout=0.1)
    assert tally.accepted == 0
    assert tally.silent + tally.lost == tally.sent == 2


async def test_an_answer_whose_end_is_late_or_without_cr_counts() -> None:
    async def drop_by_drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(END):
            for byte in framed(ack(request))[:-1]:
                writer.write(bytes([byte]))
                await writer.drain()

    async with far_side(drop_by_drop) as at:
        assert (await sent(at, 2)).accepted == 2


async def test_where_nobody_listens_all_is_told_as_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esb.hl7.send._PAUSE_S", 0)
    async with listening() as (_, at):
        pass
    tally = await sent(at, 7, connections=2)
    assert (tally.sent, tally.unsent, tally.all_accepted) == (0, 7, False)


async def raw(at: Address, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*at)
    writer.write(data)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_the_answer_has_the_version_charset_and_delimiters_of_the_sender() -> None:
    asked = "MSH#*!\\&#医院#H#LAB#L#2024##ADT*A08#C!1#P#2.3######GB 18030-2000\rPID#1\r".encode("gb18030")
    async with listening() as (_, at):
        answer = decode((await raw(at, framed(asked)))[1:-2])
    assert answer.text.startswith(
        "MSH#*!\\&#LAB#L#医院#H#20260115093000##ACK*A08#L1#P#2.3######GB 18030-2000\rMSA#AA#C!1"
    )
    assert answer.charset == "gb18030"


@pytest.mark.parametrize("data", [b"\x0b\x1c\r", b"\x0bnonsense\x1c\r", b"\x0bMSH\x1c\r", b"\x0bMSH|^~\\&&&&&|\x1c\r"])
async def test_what_is_no_message_is_answered_with_a_reason_and_the_next_is_taken(data: bytes) -> None:
    async with listening() as (listener, at):
        both = (await raw(at, data + framed(ADT.encode()))).split(END)
    assert decode(both[0][1:]).get("MSA", 0, 1) == "AR"
    assert decode(both[0][1:]).get("MSA", 0, 3)
    assert decode(both[1][1:]).get("MSA", 0, 1) == "AA"
    assert listener.received.unreadable == 1


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x1c\r", b"\x0bMSH|half", bytes(range(256)) * 10])
async def test_no_sender_ends_the_listener(data: bytes) -> None:
    async with listening() as (_, at):
        await raw(at, data)
        assert (await sent(at, 1)).accepted == 1


async def test_a_message_that_cannot_be_kept_is_answered_with_ae(tmp_path: Path) -> None:
    async with listening(into=tmp_path / "got") as (_, at):
        (tmp_path / "got").rmdir()
        tally = await sent(at, 1)
    assert tally.verdicts == {"AE": 1}


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "bench.pem").write_bytes(pem)
    return folder / "bench.pem"


async def test_tls_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esb.hl7.send._PAUSE_S", 0)
    file = certificate(tmp_path)
    async with listening(Tls(cert=file).server()) as (_, at):
        assert (await sent(at, 3, Tls(ca=file).client())).accepted == 3
        assert (await sent(at, 3, Tls(unchecked=True).client())).accepted == 3
        assert (await sent(at, 3, Tls().client())).unsent == 3
    async with listening(Tls(cert=file, ca=file).server()) as (_, at):
        assert (await sent(at, 3, Tls(ca=file, cert=file).client())).accepted == 3
        assert (await sent(at, 1, Tls(ca=file).client(), timeout=1)).accepted == 0


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("MSH|^~\\&|A||||||ADT^A01|C1|P\rPID|1||C1\r", "MSH|^~\\&|A||||||ADT^A01|", "|P\rPID|1||C1\r"),
        ("MSH|^~\\&|A\nPID|1", "MSH|^~\\&|A|||||||", "\nPID|1"),
        ("MSH|^~\\&|医||||||ADT|X", "MSH|^~\\&|医||||||ADT|", ""),
        ("\r\nMSH#^~\\&#A######ADT##P\r\n", "\r\nMSH#^~\\&#A######ADT#", "#P\r\n"),
    ],
)
def test_a_new_number_leaves_everything_else(text: str, before: str, after: str) -> None:
    first, second = renumbered([outgoing(decode(text.encode()))] * 2)
    assert first.control != second.control
    assert first.raw.decode() == before + first.control + after


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("2575", "127.0.0.1", 2575),
        (":2575", "127.0.0.1", 2575),
        ("lab:1", "lab", 1),
        ("mllp://h:2/", "h", 2),
        ("[::1]:3", "::1", 3),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["lab", "lab:", "lab:x", "lab:99999", "::1:2575"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        address(text)


def test_percentiles_are_at_most_2_percent_off_and_take_no_memory() -> None:
    times = Latencies()
    for number in range(1, 10001):
        times.add(number / 10000)
    for percent in (50, 90, 99, 99.9):
        assert percent / 100 <= times.percentile(percent) <= percent / 100 * 1.03
    assert times.percentile(100) == times.longest == 1
    assert Latencies().percentile(50) == 0


def test_the_commands_together(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.hl7").write_bytes(ADT.encode() * 3)
    command = [sys.executable, "-m", "esb.cli", "hl7", "listen", "0", "--into", str(tmp_path / "got"), "--count", "6"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        match = re.search(r"listening on (127\.0\.0\.1:\d+)", process.stderr.readline())
        assert match
        found = esb("hl7", "send", match[1], tmp_path / "in", "--repeat", "2", "--new-ids", "--json")
        out, _ = process.communicate(timeout=10)
    assert found.exit_code == 0
    tree = json.loads(found.stdout)
    assert (tree["sent"], tree["accepted"], tree["acknowledgements"]) == (6, 6, {"AA": 6})
    assert set(tree["latency_ms"]) == {"p50", "p90", "p99", "p99.9", "max", "mean"}
    assert out.startswith("6 messages, ")
    assert len({decode(file.read_bytes()).get("MSH", 0, 10) for file in (tmp_path / "got").iterdir()}) == 6


def test_what_cannot_be_sent_is_refused_before_anything_goes_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nonsense")
    assert esb("hl7", "send", "127.0.0.1:1", tmp_path / "a").exit_code == 2
    assert esb("hl7", "send", "nowhere", tmp_path / "a").exit_code == 2
