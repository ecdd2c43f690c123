"""The hospital's people, places and sessions, made from a seed. Nobody here exists."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from sandbox.clock import SHANGHAI
from sandbox.registration import OPEN, STOPPED, UNRELEASED, Schedule, Slot

DAYS = 14
BENCH_DEPT = "B0101"
STEMS, BRANCHES = "甲乙丙丁戊己庚辛壬癸", "子丑寅卯辰巳午未申酉戌亥"
DEPARTMENTS = {
    "内科": ("心血管内科", "呼吸内科", "消化内科", "神经内科"),
    "外科": ("普通外科", "骨科", "泌尿外科"),
    "妇产科": ("妇科", "产科"),
    "儿科": ("小儿内科", "小儿外科"),
    "五官科": ("眼科", "耳鼻喉科"),
    "中医科": ("针灸科", "推拿科"),
}
SESSIONS = {"S": (8, 12), "X": (14, 17), "Y": (18, 20)}


@dataclass(slots=True)
class Department:
    """`level` 1 to 3; `parent` is None at the top; `status` 1 in use, 0 closed."""

    id: str
    name: str
    parent: str | None
    level: int
    address: str
    phone: str
    intro: str
    status: int = 1


@dataclass(slots=True)
class Doctor:
    """`sex` 1 male, 2 female; `fee` of a registration in fen; `level` 1 ordinary, 2 expert, 3 emergency."""

    no: str
    name: str
    title: str
    dept: str
    specialty: str
    intro: str
    sex: str
    level: int
    fee: int


@dataclass(slots=True)
class Patient:
    """`sex` M, F, O or U; `identifiers` type -> number: PI hospital, NI identity card, HC health card,
    SS insurance card, PPN passport, HM Hong Kong and Macau permit, BCT birth certificate."""

    id: str
    name: str
    sex: str
    birth: date
    phone: str
    address: str
    identifiers: dict[str, str]
    created: datetime
    version: int = 1


def departments() -> dict[str, Department]:
    made: dict[str, Department] = {}

    def add(no: str, name: str, parent: str | None, status: int = 1) -> None:
        level = 1 if parent is None else made[parent].level + 1
        floor = len(made) % 8 + 1
        intro = f"{name}的模拟介绍"
        made[no] = Department(no, name, parent, level, f"门诊楼{floor}层", f"0755-0000{len(made):04d}", intro, status)

    for first, (name, seconds) in enumerate(DEPARTMENTS.items(), 1):
        add(f"{first:02d}", name, None)
        for second, child in enumerate(seconds, 1):
            no = f"{first:02d}{second:02d}"
            add(no, child, no[:2])
            add(no + "01", child + "普通门诊", no)
            add(no + "02", child + "专家门诊", no)
    add("B01", "压测科", None)
    add(BENCH_DEPT, "压测门诊", "B01")
    return made


def doctor_name(number: int) -> str:
    """医生甲 to 医生癸, then 医生甲子, 医生乙丑 ..., all different for the first seventy."""
    if number < len(STEMS):
        return f"医生{STEMS[number]}"
    number -= len(STEMS)
    return f"医生{STEMS[number % 10]}{BRANCHES[number % 12]}"


def doctors(depts: dict[str, Department]) -> dict[str, Doctor]:
    """Two a third-level department, D001 (医生甲) first, and five in the bench department."""
    made: dict[str, Doctor] = {}
    for dept in (d for d in depts.values() if d.level == 3):
        for _ in range(2):
            n = len(made)
            expert = dept.id.endswith("02")
            chief = n % 2 == 0
            title = ("主任医师" if chief else "副主任医师") if expert else ("主治医师" if chief else "住院医师")
            fee = (5000 if chief else 3000) if expert else (1500 if chief else 1200)
            specialty = f"{depts[str(dept.parent)].name}常见病"
            no = f"D{n + 1:03d}"
            sex = "1" if n % 3 else "2"
            level = 2 if expert else 1
            name = doctor_name(n)
            made[no] = Doctor(no, name, title, dept.id, specialty, f"{name}的模拟简介", sex, level, fee)
    for n in range(1, 6):
        no = f"BD{n}"
        made[no] = Doctor(no, f"压测医生{STEMS[n - 1]}", "主治医师", BENCH_DEPT, "压测", "压测简介", "1", 1, 1550)
    return made


def schedules(staff: dict[str, Doctor], today: date, rng: random.Random) -> tuple[dict[str, Schedule], dict[str, Slot]]:
    """Fourteen days from today. D001: always open and unsold; D002: afternoons stopped; D003: first slot of each
    session full; the last two days of the others unreleased; the bench department: fifty open slots every day."""
    made: dict[str, Schedule] = {}
    for offset in range(DAYS):
        day = today + timedelta(days=offset)
        for index, doctor in enumerate(staff.values()):
            for session in _sessions(doctor, index + offset):
                schedule = _schedule(f"R{len(made) + 1}", doctor, day, session)
                _sell(schedule, doctor, offset, rng)
                made[schedule.no] = schedule
    return made, {slot.no: slot for schedule in made.values() for slot in schedule.slots}


def _sessions(doctor: Doctor, turn: int) -> tuple[str, ...]:
    if doctor.dept == BENCH_DEPT or doctor.no in ("D001", "D002", "D003"):
        return ("S", "X")
    if doctor.dept == "040101":
        return ("S", "X", "Y")
    return (("S",), ("X",), ("S", "X"))[turn % 3]


def _schedule(no: str, doctor: Doctor, day: date, session: str) -> Schedule:
    level = 3 if session == "Y" else doctor.level
    schedule = Schedule(no, doctor.no, doctor.dept, day, session, level, doctor.fee, OPEN)
    first, last = SESSIONS[session]
    minutes = 60 if doctor.level == 2 else 30
    places = 3 if doctor.level == 2 else 5
    begin = datetime.combine(day, time(first), SHANGHAI)
    count = 5 if doctor.dept == BENCH_DEPT else (last - first) * 60 // minutes
    for n in range(count):
        start = begin + timedelta(minutes=minutes * n)
        slot = Slot(f"{no}-{n + 1}", schedule, start, start + timedelta(minutes=minutes), places)
        schedule.slots.append(slot)
    return schedule


def _sell(schedule: Schedule, doctor: Doctor, offset: int, rng: random.Random) -> None:
    if doctor.dept == BENCH_DEPT or doctor.no == "D001":
        return
    if doctor.no == "D002":
        schedule.status = STOPPED if schedule.session == "X" else OPEN
        return
    if doctor.no == "D003":
        schedule.slots[0].sold = schedule.slots[0].total
        return
    if offset >= DAYS - 2:
        schedule.status = UNRELEASED
    elif rng.random() < 0.04:
        schedule.status = STOPPED
    for slot in schedule.slots:
        slot.sold = rng.choice((0, 0, 1, 2, slot.total))


def identity_number(birth: date, sequence: int, region: str = "110101") -> str:
    """Eighteen characters with the GB 11643 check; an odd sequence is male."""
    body = f"{region}{birth:%Y%m%d}{sequence:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(c) * w for c, w in zip(body, weights, strict=True)) % 11]


def patients(now: datetime) -> dict[str, Patient]:
    """P0000001 (患者一, 110101190001011236) to P0000050. P0000048's name has GBK bytes that look like a pipe; 49 and 50
    share a name and a birthday; 47 is a child without an identity card; 46 a passport, 45 a permit holder."""
    made: dict[str, Patient] = {}
    for n in range(1, 51):
        no = f"P{n:07d}"
        birth = date(1900, 1, 1) + timedelta(days=37 * (n - 1 if n < 50 else 48))
        sex = "M" if n % 2 else "F"
        identifiers = {"PI": no, "HC": f"HC{n:08d}", **_documents(n, birth)}
        name = {48: "患者珅", 49: "患者同名", 50: "患者同名"}.get(n, f"患者{chinese(n)}")
        made[no] = Patient(no, name, sex, birth, f"130000000{n:02d}", f"测试路{n}号", identifiers, now)
    return made


def _documents(n: int, birth: date) -> dict[str, str]:
    if n == 45:
        return {"HM": "H19000045"}
    if n == 46:
        return {"PPN": "X1900046"}
    if n == 47:
        return {"BCT": "A190000047"}
    extra = {"SS": f"SS{n:09d}"} if n % 3 == 0 else {}
    return {"NI": identity_number(birth, 122 + n), **extra}


def chinese(n: int) -> str:
    """1 to 99 in Chinese."""
    digits = "零一二三四五六七八九"
    tens, ones = divmod(n, 10)
    head = "" if tens == 0 else ("十" if tens == 1 else digits[tens] + "十")
    return head + (digits[ones] if ones or not tens else "")
