// node-hl7-client on Node.js, timed inside its own process. A line in, a line out:
// {"text": "MSH|...", "paths": ["PID.3.1", "OBX[10].5"]} -> {"values": [...]}
// {"rows": [["PID", {"3.1": "P1"}]]} -> {"text": "MSH|..."}; then {"count": 1000} -> {"seconds": 0.1} for so many of them.
import { createInterface } from 'node:readline';
import { Message } from 'node-hl7-client';

function reader(path) {
  const [, segment, occurrence, rest] = /^(\w{3})(?:\[(\d+)\])?\.(.*)$/.exec(path);
  if (occurrence === undefined) return message => message.get(path).toString();
  return message => message.get(segment).get(Number(occurrence)).get(rest).toString();
}

function read(text, readers) {
  const message = new Message({ text });
  return readers.map(one => one(message));
}

const HEADER = { msh_7: '20260115093000', msh_9_1: 'ORU', msh_9_2: 'R01', msh_10: 'M00001', msh_11_1: 'P', msh_12: '2.5' };

function write(rows) {
  const message = new Message({ messageHeader: HEADER });
  for (const [name, fields] of rows) {
    const segment = message.addSegment(name);
    for (const path in fields) segment.set(path, fields[path]);
  }
  return message.toString();
}

let run;

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.text !== undefined) {
    const readers = asked.paths.map(reader);
    run = () => read(asked.text, readers);
    console.log(JSON.stringify({ values: run() }));
  } else if (asked.rows !== undefined) {
    run = () => write(asked.rows);
    console.log(JSON.stringify({ text: run() }));
  } else {
    const began = process.hrtime.bigint();
    for (let at = 0; at < asked.count; at += 1) run();
    console.log(JSON.stringify({ seconds: Number(process.hrtime.bigint() - began) / 1e9 }));
  }
}
