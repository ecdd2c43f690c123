"""The same views in a real PostgreSQL, and the stored procedure with its output parameters."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.ports import free_port
from tests.sandbox_process import start_sandbox


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A throw-away cluster on a free port, under an unprivileged user where we are root; gives its URL."""
    if not shutil.which("initdb") or not shutil.which("postgres"):
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    folder = Path(tempfile.mkdtemp(prefix="sandbox-pg-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    port = free_port()
    quick = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
    command = ["initdb", "-D", str(data), "-U", "sandbox", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(command, user=user, check=True, capture_output=True, cwd=folder)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            ["postgres", "-D", str(data), "-p", str(port), *quick], user=user, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_ready(folder, port)
        yield f"postgresql://sandbox@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_ready(folder: Path, port: int) -> None:
    command = ["pg_isready", "-h", str(folder), "-p", str(port), "-t", "1"]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if subprocess.run(command, capture_output=True).returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError((folder / "log").read_text())


async def test_postgresql_has_the_same_views_and_a_procedure_that_never_oversells(postgres: str) -> None:
    with start_sandbox("--postgres", postgres) as sandbox:
        connection = await asyncpg.connect(postgres)
        try:
            assert (
                await connection.fetchval("SELECT dept_name FROM v_department WHERE dept_id = '0101'") == "心血管内科"
            )
            assert await connection.fetchval("SELECT count(*) FROM v_lisresult WHERE hispatientid = 'P0000001'") == 24
            assert len(await connection.fetch("SELECT * FROM f_departments(1)")) == 7
            codes = [await lock(connection, f"O{n}", "R1-1") for n in range(6)]
            assert codes == ["0", "0", "0", "0", "0", "1001"]
            assert await lock(connection, "O0", "R1-1") == "0"
            assert await lock(connection, "O0", "R1-2") == "1006"
            assert await lock(connection, "O9", "R0-0") == "1002"
        finally:
            await connection.close()
        assert sandbox.control.health()["status"] == "up"


async def lock(connection: asyncpg.Connection, order: str, slot: str) -> str:
    row = await connection.fetchrow("CALL p_lock_source($1, $2, $3)", order, "P0000001", slot)
    return str(row["result_code"])
