// Other people's client asking QBP^Q22: node-hl7-client. Arguments: port, number, name. Prints MSA-1, QAK-2 and PID-5 as a JSON line.
import { Client, Message } from 'node-hl7-client';

const [port, number, name] = process.argv.slice(2);
const client = new Client({ host: '127.0.0.1' });
let heard;
const answered = new Promise((resolve) => { heard = resolve; });
const outbound = client.createConnection({ port: Number(port), waitAck: true }, (response) => heard(response.getMessage()));
const head = 'MSH|^~\\&|NODE|H1|HUB|WX|20260115093000||QBP^Q22^QBP_Q21|NODEQ1|P|2.7';
const message = new Message({ text: `${head}\rQPD|Q22^Find^HL7|T1|@PID.3.1^${number}~@PID.5.1^${name}\r` });
await outbound.sendMessage(message);
const answer = await answered;
const text = (path) => answer.get(path).toString();
process.stdout.write(`${JSON.stringify({ verdict: text('MSA.1'), status: text('QAK.2'), name: text('PID.5') })}\n`);
await outbound.close();
process.exit(0);
