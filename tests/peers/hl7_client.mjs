// An MLLP client of other people's making: node-hl7-client. Sends one ADT after another and prints each answer's MSA-1 and MSA-2
// as a JSON line. Usage: node hl7_client.mjs PORT COUNT
import { Client, Message } from 'node-hl7-client';

const [port, count] = process.argv.slice(2).map(Number);
let answered;
const client = new Client({ host: '127.0.0.1' });
const outbound = client.createConnection({ port }, async (response) => {
  const message = response.getMessage();
  process.stdout.write(`${JSON.stringify([message.get('MSA.1').toString(), message.get('MSA.2').toString()])}\n`);
  answered();
});
for (let number = 1; number <= count; number += 1) {
  const done = new Promise((resolve) => {
    answered = resolve;
  });
  const message = new Message({
    messageHeader: { msh_9_1: 'ADT', msh_9_2: 'A01', msh_10: `N${number}`, msh_11_1: 'P' },
  });
  const patient = message.addSegment('PID');
  patient.set('3', `P${number}`);
  patient.set('5', '张^三');
  await outbound.sendMessage(message);
  await done;
}
await outbound.close();
client.closeAll?.();
process.exit(0);
