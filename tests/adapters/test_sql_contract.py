"""The shared suite for SQL, against a server of our own that speaks just enough of MariaDB's protocol to be cut off."""

from __future__ import annotations

import asyncio
import struct

import pytest

from adapters import sql
from esb.spi import OutcomeUnknown
from tests.adapters.suite import AdapterContract, make_call, reset

CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x20000 | 0x80000
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
KNOWN = {
    b"VERSION": (["v"], ["10.11.0-MariaDB"]),
    b"sql_mode": (["v"], [""]),
    b"lower_case": (["v"], ["0"]),
    b"isolation": (["v"], ["REPEATABLE-READ"]),
    b"DATABASE": (["v"], ["lis"]),
}


def packet(payload: bytes, number: int) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def text(value: str) -> bytes:
    return bytes([len(value.encode())]) + value.encode()


def result(names: list[str], row: list[str]) -> bytes:
    """A whole result set of one row, every column a text in utf8mb4."""
    payloads = [bytes([len(names)])]
    for name in names:
        kind = struct.pack("<BHIBHBxx", 12, 45, 400, 253, 0, 0)
        payloads.append(text("def") + text("") * 3 + text(name) + text(name) + kind)
    payloads += [EOF, b"".join(map(text, row)), EOF]
    return b"".join(packet(payload, number) for number, payload in enumerate(payloads, 1))


class TestMariaDB(AdapterContract):
    action = "SELECT examname FROM v_lisresult WHERE hispatientid = :patient"
    payload = {"patient": "SECRETMARKER"}
    garbage = [
        b"HTTP/1.1 400 SECRETMARKER\r\n\r\n",
        packet(b"\x01", 1) + packet(b"\x03de", 2) + packet(EOF, 3),
        packet(b"\x01", 7),
    ]

    def connect(self, port: int) -> sql.Sql:
        url = f"mariadb://hub:SECRETMARKER@127.0.0.1:{port}/lis"
        return sql.connect(sql.Settings.model_validate({"url": url, "read_only": self.read_only}))

    read_only = True

    async def handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers = {**getattr(self, "_writers", {}), reader: writer}
        low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
        greeting = b"\x0a10.11.0-MariaDB\x00" + struct.pack("<I", 1) + b"saltsalt\x00"
        greeting += (
            struct.pack("<HBHHB", low, 45, 2, high, 21) + bytes(10) + b"saltsaltsalt\x00mysql_native_password\x00"
        )
        writer.write(packet(greeting, 0))
        await self._packet(reader)
        writer.write(packet(OK, 2))

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """The statement; all that drivers say around it is answered on the way."""
        while True:
            command = await self._packet(reader)
            if command.startswith(b"\x03SELECT examname"):
                return command
            self._writers[reader].write(self._small_talk(command))

    def _small_talk(self, command: bytes) -> bytes:
        if command[:1] == b"\x1b":
            return packet(EOF, 1)
        for word, (names, row) in KNOWN.items():
            if word in command and command[:1] == b"\x03" and b"SET" not in command:
                return result(names, row)
        return packet(OK, 1)

    async def _packet(self, reader: asyncio.StreamReader) -> bytes:
        header = await reader.readexactly(4)
        return await reader.readexactly(int.from_bytes(header[:3], "little"))

    def answer(self, request: bytes) -> bytes:
        assert b"SECRETMARKER" in request
        return result(["examname"], ["血常规"])

    async def test_the_answer_is_read_from_the_wire(self) -> None:
        seen: list[bytes] = []
        async with self._against(self._well(seen)) as (adapter, _):
            assert await adapter.call(self.action, self.payload, make_call()) == {"rows": [{"examname": "血常规"}]}


class TestMariaDBWriting:
    """What is special where writing is allowed: the end of the transaction can be lost too."""

    @pytest.mark.parametrize("act", [reset, asyncio.StreamWriter.close])
    async def test_a_connection_lost_at_commit_is_unknown(self, act: object) -> None:
        it = TestMariaDB()
        it.read_only = False

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await it.handshake(reader, writer)
            writer.write(it.answer(await it.read_request(reader)))
            while b"COMMIT" not in await it._packet(reader):
                pass
            act(writer)  # type: ignore[operator]

        async with it._against(behave) as (adapter, _):
            call = make_call()
            with pytest.raises(OutcomeUnknown):
                await adapter.call(it.action, it.payload, call)
            assert call.wire.left
