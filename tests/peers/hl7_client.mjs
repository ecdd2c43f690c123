// An HL7 sender of other people's making: node-hl7-client. Arguments: port, how many messages. Prints each acknowledgement as a
// JSON line and ends.
import { Client, Message } from 'node-hl7-client';

const [port, count] = process.argv.slice(2).map(Number);
const client = new Client({ host: '127.0.0.1' });
let next;
const outbound = client.createConnection({ port, waitAck: true }, (response) => {
  const answer = response.getMessage();
  process.stdout.write(`${JSON.stringify({ verdict: answer.get('MSA.1').toString(), id: answer.get('MSA.2').toString() })}\n`);
  next?.();
});
for (let number = 1; number <= count; number += 1) {
  const message = new Message({
    messageHeader: { msh_9_1: 'ADT', msh_9_2: 'A28', msh_10: `NODE${number}`, msh_11_1: 'P' },
  });
  const pid = message.addSegment('PID');
  pid.set('3.1', `P000000${number}`);
  pid.set('5', '测试患者');
  const heard = new Promise((resolve) => { next = resolve; });
  await outbound.sendMessage(message);
  await heard;
}
await outbound.close();
process.exit(0);
