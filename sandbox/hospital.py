"""The hospital's core: one object that holds everything and knows nothing of protocols."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

from sandbox import reports, seed
from sandbox.clock import Clock
from sandbox.ledger import Ledger
from sandbox.parking import Parking
from sandbox.registration import Book, Refusal, Slot
from sandbox.seed import Department, Doctor, Patient

HOSPITAL_ID = "1001"
HOSPITAL_NAME = "模拟医院"


class Hospital:
    """Departments, doctors, sessions, patients, reports, parking and the registration book of one seed and one day."""

    def __init__(self, clock: Clock, seed_number: int = 1) -> None:
        self.clock = clock
        self.ledger = Ledger(clock)
        rng = random.Random(seed_number)
        now = clock.now().replace(microsecond=0)
        self.departments = seed.departments()
        self.doctors = seed.doctors(self.departments)
        self.schedules, slots = seed.schedules(self.doctors, now.date(), rng)
        self.book = Book(slots, clock, self.ledger)
        self.patients = seed.patients(now)
        self.reports = reports.reports(self.patients, now, rng)
        self.parking = Parking(clock, self.ledger, rng)
        self.when_patient_made: list[Callable[[Patient], Any]] = []

    def slot(self, no: str) -> Slot:
        slot = self.book.slots.get(no)
        if slot is None:
            raise Refusal("slot_unknown", f"号源{no}不存在")
        return slot

    def slot_at(self, doctor: str, dept: str | None, begin: datetime) -> Slot:
        """The slot of a doctor that begins at a time; `dept` is checked when given. Raises Refusal."""
        for schedule in self.schedules.values():
            if schedule.doctor == doctor and schedule.date == begin.date() and dept in (None, "", schedule.dept):
                for slot in schedule.slots:
                    if slot.begin == begin:
                        return slot
        raise Refusal("slot_unknown", "没有该时间的号源")

    def patient(self, no: str) -> Patient:
        patient = self.patients.get(no)
        if patient is None:
            raise Refusal("patient_unknown", f"患者{no}不存在")
        return patient

    def find_patients(
        self, number: str | None = None, kind: str | None = None, name: str | None = None, birth: date | None = None
    ) -> list[Patient]:
        """Those with all that is given: number (and type) of an identifier, name, birth date. Needs number or name."""
        if number is None and name is None:
            return []
        return [
            person
            for person in self.patients.values()
            if name in (None, person.name)
            and birth in (None, person.birth)
            and (number is None or _has(person, number, kind))
        ]

    def create_patient(
        self, name: str, sex: str, birth: date, phone: str, address: str, identifiers: dict[str, str], channel: str
    ) -> tuple[Patient, bool]:
        """A new file, or the one that has one of these identifiers already (False)."""
        for kind, number in identifiers.items():
            known = self.find_patients(number=number, kind=kind)
            if known:
                return known[0], False
        no = f"P{len(self.patients) + 1:07d}"
        now = self.clock.now().replace(microsecond=0)
        patient = Patient(no, name, sex, birth, phone, address, {"PI": no, **identifiers}, now)
        self.patients[no] = patient
        self.ledger.add(channel, "patient_created", no)
        for tell in self.when_patient_made:
            tell(patient)
        return patient, True

    def search_doctors(self, keyword: str = "", dept: str = "", day: date | None = None) -> list[Doctor]:
        """By words in name, title, specialty or number; by department with those below it; by a session on a date."""
        busy = None if day is None else {s.doctor for s in self.schedules.values() if s.date == day}
        return [
            doctor
            for doctor in self.doctors.values()
            if doctor.dept.startswith(dept)
            and (busy is None or doctor.no in busy)
            and (
                keyword in doctor.name or keyword in doctor.title or keyword in doctor.specialty or keyword == doctor.no
            )
        ]

    def find_slots(
        self, dept: str = "", doctor: str = "", first: date | None = None, last: date | None = None
    ) -> Iterator[Slot]:
        """Slots of a department with those below it, of a doctor, of an inclusive span of dates."""
        self.book.expire()
        for schedule in self.schedules.values():
            if not schedule.dept.startswith(dept) or (doctor and schedule.doctor != doctor):
                continue
            if (first is None or first <= schedule.date) and (last is None or schedule.date <= last):
                yield from schedule.slots

    def department(self, no: str) -> Department | None:
        return self.departments.get(no)

    def stop_doctor(self, doctor: str, day: date | None, status: int = 0) -> int:
        """Stop a doctor's sessions (of a date); gives how many."""
        stopped = [s for s in self.schedules.values() if s.doctor == doctor and day in (None, s.date)]
        for schedule in stopped:
            self.book.change_slot(schedule.slots[0], status=status)
        return len(stopped)


def _has(person: Patient, number: str, kind: str | None) -> bool:
    number = number.upper()
    return any(number == value.upper() and kind in (None, "", name) for name, value in person.identifiers.items())
