// A SOAP server built on node-soap: node soap_server.mjs WSDL; prints its port, ends with its standard input.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import soap from "soap";

const server = createServer((request, response) => {
  response.statusCode = 404;
  response.end();
});
const refuse = (code, text) => {
  throw { Fault: { faultcode: `soap:${code}`, faultstring: text, detail: { Full: { Code: "1001" } } } };
};
const port = {
  FindSlots({ DeptCode, DoctorNo }) {
    if (DeptCode === "FULL") refuse("Server", "号源已满");
    const slots = DeptCode === "NONE" ? [] : [{ SlotNo: `${DeptCode}-1`, Fee: "25.00", Remark: DoctorNo ?? "张三<&>" }];
    return { ResultCode: "0", Slots: { Slot: DeptCode === "TWO" ? [...slots, { SlotNo: "2" }] : slots } };
  },
  Book({ Slot, CardNo }) {
    if (![].concat(Slot).every((one) => one.SlotNo)) refuse("Client", `${CardNo}: no slot`);
    return {};
  },
};
server.listen(0, "127.0.0.1", () => {
  soap.listen(server, "/his", { HisService: { His11: port, His12: port } }, readFileSync(process.argv[2], "utf8"));
  process.stdout.write(`${server.address().port}\n`);
});
process.stdin.on("end", () => process.exit(0)).resume();
