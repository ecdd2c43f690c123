// An MLLP server of other people's making: node-hl7-server. It keeps what it received on a connection and acknowledges all of
// it again, in order, before it acknowledges a new message.
// Prints {"port": n} when it listens and ends when its standard input closes.
import net from 'node:net';
import { Server } from 'node-hl7-server';

// The package passes its bind address under a name that node does not know and would listen everywhere.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
  return listen.call(this, { ...options, host: '127.0.0.1' }, ...rest);
};

const free = net.createServer();
free.listen({ port: 0 }, () => {
  const { port } = free.address();
  free.close(() => {
    const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port }, async (request, response) => {
      const refused = request.getMessage().get('PID.3.1').toString() === 'UNKNOWN';
      await response.sendResponse(refused ? 'AR' : 'AA');
    });
    inbound.on('listen', () => process.stdout.write(`${JSON.stringify({ port })}\n`));
  });
});
process.stdin.on('end', () => process.exit(0)).resume();
