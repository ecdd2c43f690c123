"""The third hospital's systems in small: ``python examples/third_hospital/stand_in.py``. Shares no code with the bus.

HTTP takes 号源查询, 锁号 and 预约查询 as XML in GB18030, MLLP takes QRY^R02, a SQLite file holds the view of
patients. An order whose number begins with ``CUT`` is taken, and the connection is cut instead of an answer.
"""

from __future__ import annotations

import os
import socketserver
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

DOCTORS = {
    "D21": '<医生 工号="D21" 职称="主任医师">示例医生甲</医生>',
    "D22": '<医生 工号="D22" 职称="主治医师">示例医生乙</医生>',
}
SLOTS = {"N1001": ("D21", "8:00-8:30", 3), "N1002": ("D21", "8:30-9:00", 0), "N1003": ("D22", "8:00-9:00", 5)}
SLOT = """<号源 编号="{}" 状态="{}"><排班>P77</排班>{}<科室 编码="0301">心血管内科</科室><日期>2026年1月16日</日期>
<午别>上午</午别><时段>{}</时段><号数 总="10" 余="{}"/><挂号费>25.00元</挂号费></号源>"""
BOOKING = """<应答 结果="0"><预约 单号="{0}" 锁号="L-{0}" 号源="{1}" 状态="已锁"><挂号费>25.00元</挂号费>
<到期>2026年1月16日 7:45</到期></预约></应答>"""
ANSWER = "MSH|^~\\&|LIS||HUB||20260116100000||ORF^R04^ORF_R04|A1|P|2.4||||||UNICODE UTF-8\rMSA|AA|{}\r{}\r"
REPORT = r"""PID|1||0301882^^^HIS^MR~P301^^^HIS^PI||测试患者
ORC|RE|R1|LIS900
OBR|1|R1|LIS900|CBC^血常规||||||||||||||||||20260116093000|||F
OBX|1|NM|WBC^白细胞计数||11.2|10*9/L|3.5-9.5|↑|||F
OBX|2|NM|HGB^血红蛋白||50|g/L|115-150|LL|||F
ORC|RE|R1|LIS900
OBR|2|R1|LIS900|CRP^C反应蛋白||||||||||||||||||20260116093000|||F
OBX|1|ST|CRP^C反应蛋白||<0.5|mg/L|0-10||||F"""
locks: dict[str, str] = {}


def slots(asked: Any) -> str:
    doctor = asked.find("医生")
    found = "".join(
        SLOT.format(slot, "可约" if left else "约满", DOCTORS[no], hours, left)
        for slot, (no, hours, left) in SLOTS.items()
        if doctor is None or doctor.get("工号") == no
    )
    return f'<应答 结果="0" 说明="成功"><页 号="1" 共="{1 if found else 0}"/>{found}</应答>'


def lock(asked: Any) -> str:
    order, slot = asked.find("预约").get("单号"), asked.find("预约").get("号源")
    if slot not in SLOTS:
        return '<应答 结果="1" 错误="H02" 说明="无此号源"/>'
    if not SLOTS[slot][2]:
        return '<应答 结果="1" 错误="H01" 说明="号源已满"/>'
    locks.setdefault(order, slot)
    return "" if order.startswith("CUT") else find(asked)


def find(asked: Any) -> str:
    order = asked.find("预约").get("单号")
    return BOOKING.format(order, locks[order]) if order in locks else '<应答 结果="1" 错误="H21" 说明="无此预约"/>'


class His(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode("gb18030")
        asked = ElementTree.fromstring(text.partition("?>")[2])
        answer = {"号源查询": slots, "锁号": lock, "预约查询": find}[asked.get("功能", "")](asked)
        if answer:
            data = f'<?xml version="1.0" encoding="GB18030"?>{answer}'.encode("gb18030")
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


class Lis(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        frame = b""
        while byte := self.rfile.read(1):
            frame += byte
            if frame.endswith(b"\x1c\r"):
                fields = {line[:3]: line.split("|") for line in frame[1:-2].decode().split("\r")}
                found = REPORT.replace("\n", "\r") if fields["QRD"][8] == "LIS900" else "QAK|1|NF"
                self.wfile.write(b"\x0b" + ANSWER.format(fields["MSH"][9], found).encode() + b"\x1c\r")
                frame = b""


if __name__ == "__main__":
    file = Path("var/third/patients.db")
    file.unlink(missing_ok=True)
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE 病人视图 (病人号, 姓名, 性别, 出生, 电话, 证件号)")
        database.execute("INSERT INTO 病人视图 VALUES ('P301', '测试患者', '1', '19000101', '', '110101190001011236')")
    lis = socketserver.ThreadingTCPServer(("127.0.0.1", int(os.environ.get("THIRD_LIS", 12590))), Lis)
    threading.Thread(target=lis.serve_forever, daemon=True).start()
    his = os.environ.get("THIRD_HIS", "http://127.0.0.1:18090")
    ThreadingHTTPServer(("127.0.0.1", int(his.rpartition(":")[2])), His).serve_forever()
