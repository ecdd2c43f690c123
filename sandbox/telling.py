"""What the hospital's systems tell others: one HL7 v2 message for each thing that happens, as HIS or as LIS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sandbox.hl7_text import ESCAPES
from sandbox.hospital import Hospital
from sandbox.reports import Report
from sandbox.seed import Doctor, Patient

SIU = (*(f"S{number}" for number in range(12, 25)), "S26")
SLOTS = ("S23", "S24")
"""Of a schedule that is blocked or opened: no patient has anything to do with it."""
MDM = tuple(f"T{number:02}" for number in range(1, 12))
STRUCTURES = {
    **{f"ADT^{one}": f"ADT_{one}" for one in ("A01", "A02", "A03", "A05", "A06", "A12", "A18")},
    **{f"ADT^{one}": "ADT_A01" for one in ("A04", "A08", "A13")},
    **{"ADT^A07": "ADT_A06", "ADT^A11": "ADT_A09", "ADT^A28": "ADT_A05", "ADT^A31": "ADT_A05"},
    **{"ADT^A34": "ADT_A30", "ADT^A40": "ADT_A39", "ADT^A47": "ADT_A30"},
    **{f"SIU^{one}": "SIU_S12" for one in SIU},
    **{"ORM^O01": "ORM_O01", "OML^O21": "OML_O21", "OMG^O19": "OMG_O19", "ORU^R01": "ORU_R01"},
    **{"DFT^P03": "DFT_P03", "DFT^P11": "DFT_P11", "BAR^P01": "BAR_P01", "BAR^P05": "BAR_P05", "BAR^P06": "BAR_P06"},
    **{f"MDM^{one}": "MDM_T02" if int(one[1:]) % 2 == 0 else "MDM_T01" for one in MDM},
}
"""Kind -> structure: everything that the two systems can tell."""
OF_LIS = ("ORU^R01",)
MERGES = ("A18", "A34", "A40", "A47")
PERSONS = ("A28", "A31", *MERGES)


def e(text: object) -> str:
    """A value with its delimiters escaped."""
    return str(text).translate(ESCAPES)


def row(name: str, **fields: object) -> str:
    """A segment by field numbers: row("PID", f1=1, f3="P1^^^HIS^PI")."""
    numbers = {int(key[1:]): str(value) for key, value in fields.items()}
    return "|".join([name, *(numbers.get(number, "") for number in range(1, max(numbers) + 1))])


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S")


class Teller:
    """Makes messages of one hospital; every one has a control id of its own, and an order of patients that repeats."""

    def __init__(self, hospital: Hospital, prefix: str = "S") -> None:
        self._hospital, self._prefix, self._number = hospital, prefix, 0
        self._patients = list(hospital.patients.values())
        self._doctors = list(hospital.doctors.values())
        self._reports = [one for one in hospital.reports.values() if one.status != "preliminary"]
        bodies: dict[str, Callable[[str], Iterator[str]]] = {"ADT": self._adt, "SIU": self._siu, "ORM": self._order}
        bodies |= {
            "OML": self._order,
            "OMG": self._order,
            "ORU": self._oru,
            "DFT": self._dft,
            "BAR": self._bar,
            "MDM": self._mdm,
        }
        self._bodies = bodies

    def message(self, kind: str) -> tuple[str, bytes]:
        """The control id and the bytes of the next message of that kind, in UTF-8."""
        self._number += 1
        type_, _, event = kind.partition("^")
        control = f"{self._prefix}{self._number:06d}"
        sender = "LIS|LAB" if kind in OF_LIS else "HIS|H1"
        now = stamp(self._hospital.clock.now())
        head = f"MSH|^~\\&|{sender}|HUB|WX|{now}||{kind}^{STRUCTURES[kind]}|{control}|P|2.5.1||||||UNICODE UTF-8"
        return control, ("\r".join([head, *self._bodies[type_](event)]) + "\r").encode()

    @property
    def _patient(self) -> Patient:
        return self._patients[self._number % len(self._patients)]

    @property
    def _doctor(self) -> Doctor:
        return self._doctors[self._number % len(self._doctors)]

    def _pid(self, patient: Patient, account: str = "") -> str:
        numbers = [
            f"{e(patient.id)}^^^HIS^PI",
            *(f"{e(no)}^^^GA^{e(t)}" for t, no in patient.identifiers.items() if t != "PI"),
        ]
        return row(
            "PID", f1=1, f3="~".join(numbers), f5=e(patient.name), f7=patient.birth.strftime("%Y%m%d"), f8=patient.sex,
            f11=e(patient.address), f13=e(patient.phone), f18=account,
        )  # fmt: skip

    def _pv1(self, kind: str, ended: bool = False) -> str:
        doctor, now = self._doctor, self._hospital.clock.now()
        begun = stamp(now - timedelta(hours=2))
        end = {"f45": stamp(now)} if ended else {}
        place = f"{e(doctor.dept)}^2^12"
        return row(
            "PV1",
            f1=1,
            f2=kind,
            f3=place,
            f7=f"{doctor.no}^{e(doctor.name)}",
            f19=f"V{self._number:06d}",
            f44=begun,
            **end,
        )

    def _adt(self, event: str) -> Iterator[str]:
        yield row("EVN", f1=event, f2=stamp(self._hospital.clock.now()))
        yield self._pid(self._patient)
        if event in MERGES:
            yield row("MRG", f1=f"{self._patient.id}X^^^HIS^PI")
        elif event not in PERSONS:
            yield self._pv1("O" if event in ("A04", "A07") else "I", ended=event == "A03")

    def _siu(self, event: str) -> Iterator[str]:
        when = self._hospital.clock.now() + timedelta(days=1)
        status = {"S15": "Cancelled", "S17": "Deleted", "S23": "Blocked", "S26": "Noshow"}.get(event, "Booked")
        yield row(
            "SCH",
            f1=f"A{self._number}",
            f2=f"F{self._number}",
            f7="CHECKUP^Check-up",
            f11=f"^^^{stamp(when)}",
            f25=status,
        )
        if event not in SLOTS:
            yield self._pid(self._patient)
        yield row("RGS", f1=1)
        yield row("AIP", f1=1, f3=f"{self._doctor.no}^{e(self._doctor.name)}")

    def _order(self, _: str) -> Iterator[str]:
        yield self._pid(self._patient)
        yield self._pv1("O")
        for number, (code, name) in enumerate((("CBC", "血常规"), ("BIO", "肝肾功能")), 1):
            placer = f"O{self._number}{number}"
            yield row("ORC", f1="NW", f2=placer, f9=stamp(self._hospital.clock.now()))
            yield row("OBR", f1=number, f2=placer, f4=f"{code}^{e(name)}")

    def _oru(self, _: str) -> Iterator[str]:
        report: Report = self._reports[self._number % len(self._reports)]
        yield self._pid(self._hospital.patients[report.patient])
        yield row("ORC", f1="RE", f2=f"O{e(report.id)}", f3=e(report.id))
        status = {"final": "F", "corrected": "C", "amended": "C"}.get(report.status, "F")
        named, issued = f"{e(report.code)}^{e(report.name)}", stamp(report.issued)
        yield row(
            "OBR",
            f1=1,
            f2=f"O{e(report.id)}",
            f3=e(report.id),
            f4=named,
            f7=stamp(report.collected),
            f22=issued,
            f25=status,
        )
        for number, item in enumerate(report.items, 1):
            yield row(
                "OBX", f1=number, f2="NM", f3=f"{e(item.code)}^{e(item.name)}", f5=e(item.result), f6=e(item.unit),
                f7=e(item.range), f8=e(item.flag), f11="F",
            )  # fmt: skip
        if not report.items:
            yield row("OBX", f1=1, f2="TX", f3="CON^结论", f5=e(report.conclusion), f11="F")

    def _dft(self, event: str) -> Iterator[str]:
        now = stamp(self._hospital.clock.now())
        yield row("EVN", f1=event, f2=now)
        yield self._pid(self._patient, account=f"ACC{self._number}")
        yuan = f"{self._doctor.fee // 100}.{self._doctor.fee % 100:02d}"
        yield row("FT1", f1=1, f2=f"T{self._number}", f4=now, f6="CG", f7="REG^挂号费", f10=1, f11=yuan)

    def _bar(self, event: str) -> Iterator[str]:
        yield row("EVN", f1=event, f2=stamp(self._hospital.clock.now()))
        yield self._pid(self._patient, account=f"ACC{self._number}")
        if event != "P06":
            yield self._pv1("I")

    def _mdm(self, event: str) -> Iterator[str]:
        now = stamp(self._hospital.clock.now())
        yield row("EVN", f1=event, f2=now)
        yield self._pid(self._patient)
        yield self._pv1("I")
        yield row("TXA", f1=1, f2="DS^出院小结", f3="TX", f4=now, f12=f"DOC{self._number}", f17="AU")
        if STRUCTURES[f"MDM^{event}"] == "MDM_T02":
            yield row("OBX", f1=1, f2="TX", f3="DS^出院小结", f5="患者一般情况良好", f11="F")
