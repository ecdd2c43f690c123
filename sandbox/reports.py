"""Laboratory and imaging reports of the simulated patients."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.seed import Patient


@dataclass(slots=True)
class Item:
    """One line of a laboratory report; `result` as printed, `flag` H, L, HH, LL, A or empty, `unit` may be empty."""

    code: str
    name: str
    result: str
    unit: str
    range: str
    flag: str = ""


@dataclass(slots=True)
class Report:
    """`kind` lab or imaging; `status` of FHIR: preliminary (not to leave the house), final, corrected, amended."""

    id: str
    kind: str
    patient: str
    code: str
    name: str
    status: str
    collected: datetime
    issued: datetime
    dept: str
    doctor: str
    reviewer: str
    specimen: str
    barcode: str
    items: list[Item] = field(default_factory=list)
    finding: str = ""
    conclusion: str = ""
    image: bytes = b""


PANELS: dict[str, tuple[str, str, list[tuple[str, str, str, str, float, float]]]] = {
    "CBC": (
        "血常规",
        "全血",
        [
            ("WBC", "白细胞计数", "10*9/L", "3.5-9.5", 3.0, 11.5),
            ("RBC", "红细胞计数", "10*12/L", "4.3-5.8", 3.9, 6.0),
            ("HGB", "血红蛋白", "g/L", "130-175", 110.0, 180.0),
            ("PLT", "血小板计数", "10*9/L", "125-350", 100.0, 380.0),
        ],
    ),
    "BIO": (
        "肝肾功能",
        "血清",
        [
            ("ALT", "丙氨酸氨基转移酶", "U/L", "9-50", 5.0, 80.0),
            ("CREA", "肌酐", "umol/L", "57-97", 45.0, 130.0),
            ("K", "钾", "mmol/L", "3.5-5.3", 2.9, 6.0),
        ],
    ),
    "GLU": ("空腹血糖", "血浆", [("GLU", "葡萄糖", "mmol/L", "3.9-6.1", 3.0, 12.0)]),
}


def reports(people: dict[str, Patient], now: datetime, rng: random.Random) -> dict[str, Report]:
    """P0000001 has 25 laboratory reports (LIS0001 to LIS0025: LIS0001 final with one high value, LIS0002 corrected,
    LIS0003 with a panic value, LIS0004 preliminary) and three imaging ones (PACS0001 to PACS0003); 2 to 30 a few
    each."""
    made: dict[str, Report] = {}
    for n, patient in enumerate(list(people.values())[:30]):
        for turn in range(25 if n == 0 else rng.randint(1, 4)):
            report = _lab(f"LIS{len(made) + 1:04d}", patient.id, turn, now, rng)
            made[report.id] = report
    _shape(made)
    images = 0
    for n, patient in enumerate(list(people.values())[:12]):
        for turn in range(3 if n == 0 else 1):
            images += 1
            report = _image(f"PACS{images:04d}", patient.id, turn, now)
            made[report.id] = report
    return made


def _lab(no: str, patient: str, turn: int, now: datetime, rng: random.Random) -> Report:
    code = list(PANELS)[turn % len(PANELS)]
    name, specimen, rows = PANELS[code]
    issued = (now - timedelta(days=turn * 7 + 1)).replace(hour=11, minute=0, second=0, microsecond=0)
    report = Report(
        no,
        "lab",
        patient,
        code,
        name,
        "final",
        issued - timedelta(hours=1),
        issued,
        "检验科",
        "技师甲",
        "技师乙",
        specimen,
        f"B{no}",
    )
    for item, title, unit, span, least, most in rows:
        value = rng.uniform(least, most)
        low, high = (float(part) for part in span.split("-"))
        flag = "H" if value > high else "L" if value < low else ""
        report.items.append(Item(item, title, f"{value:.2f}", unit, span, flag))
    return report


def _shape(made: dict[str, Report]) -> None:
    first = made["LIS0001"].items[0]
    first.result, first.flag = "11.20", "H"
    made["LIS0002"].status = "corrected"
    glucose = made["LIS0003"].items[0]
    glucose.result, glucose.flag = "25.00", "HH"
    made["LIS0004"].status = "preliminary"
    made["LIS0005"].items.append(Item("HBSAG", "乙肝表面抗原", "阴性", "", "阴性"))


def _image(no: str, patient: str, turn: int, now: datetime) -> Report:
    issued = (now - timedelta(days=turn * 30 + 2)).replace(hour=15, minute=30, second=0, microsecond=0)
    code, name = (("DR", "胸部正位片"), ("CT", "胸部平扫"), ("US", "腹部彩超"))[turn % 3]
    return Report(
        no,
        "imaging",
        patient,
        code,
        name,
        "final",
        issued - timedelta(hours=2),
        issued,
        "影像科",
        "医生甲",
        "医生丙",
        "",
        f"A{no}",
        finding="两肺纹理清晰，未见明显实变影。",
        conclusion="未见明显异常。",
        image=b"\xff\xd8\xff\xe0sandbox\xff\xd9",
    )
