// JSONata on Node.js, timed inside its own process. A line in, a line out:
// {"query": "...", "input": {...}} -> {"result": {...}}; then {"count": 1000} -> {"seconds": 0.1} for so many evaluations.
import { createInterface } from 'node:readline';
import jsonata from 'jsonata';

let expression, input;

async function seconds(count) {
  const began = process.hrtime.bigint();
  for (let at = 0; at < count; at += 1) await expression.evaluate(input);
  return Number(process.hrtime.bigint() - began) / 1e9;
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.query !== undefined) {
    expression = jsonata(asked.query);
    input = asked.input;
    console.log(JSON.stringify({ result: await expression.evaluate(input) }));
  } else {
    console.log(JSON.stringify({ seconds: await seconds(asked.count) }));
  }
}
