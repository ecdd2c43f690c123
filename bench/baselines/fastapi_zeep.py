"""Baseline A, written the usual way: FastAPI, zeep's AsyncClient, pydantic models, one SQLAlchemy insert a request.

python -m bench.baselines.fastapi_zeep PORT WSDL_URL DATABASE
"""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import uvicorn
from fastapi import FastAPI, Query
from pydantic import BaseModel
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, Text, insert
from sqlalchemy.ext.asyncio import create_async_engine
from zeep import AsyncClient

SESSIONS = {"S": "morning", "X": "afternoon", "Y": "evening"}
metadata = MetaData()
log = Table(
    "exchange",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime),
    Column("operation", String(64)),
    Column("answer", Text),
)


class Slot(BaseModel):
    slotId: str
    scheduleId: str
    doctorId: str
    doctorName: str
    doctorTitle: str | None
    departmentId: str
    departmentName: str
    date: dt.date
    session: str
    start: dt.datetime
    end: dt.datetime
    total: int
    left: int
    fee: int
    status: str


class SlotList(BaseModel):
    items: list[Slot]


def build(wsdl: str, database: str) -> FastAPI:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    his: dict[str, AsyncClient] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        his["client"] = AsyncClient(wsdl)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/v1/schedules")
    async def schedules(departmentId: str, to: str, from_: str = Query(alias="from")) -> SlotList:
        answer = await his["client"].service.ListSchedules(DeptCode=departmentId, From=from_, To=to)
        items = SlotList(items=[slot(one) for one in answer.Schedules.Slot])
        async with engine.begin() as connection:
            await connection.execute(
                insert(log).values(
                    at=dt.datetime.now(dt.UTC), operation="schedule.list", answer=items.model_dump_json()
                )
            )
        return items

    return app


def slot(one: Any) -> Slot:
    return Slot(
        slotId=one.SlotNo,
        scheduleId=one.ScheduleNo,
        doctorId=one.DoctorNo,
        doctorName=one.DoctorName,
        doctorTitle=one.Title,
        departmentId=one.DeptCode,
        departmentName=one.DeptName,
        date=one.Date,
        session=SESSIONS[one.Session],
        start=f"{one.Date}T{one.Begin}:00+08:00",
        end=f"{one.Date}T{one.End}:00+08:00",
        total=int(one.Total),
        left=int(one.Left),
        fee=int(Decimal(one.Fee) * 100),
        status="open" if str(one.Status) == "1" else "stopped",
    )


if __name__ == "__main__":
    uvicorn.run(
        build(sys.argv[2], sys.argv[3]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
