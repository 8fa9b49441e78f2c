/**
 * Erlang's programs tell their names and ports to a daemon, and start one that outlives them when there is none. This is one that ends
 * with the test.
 */
import { once } from 'node:events'
import net from 'node:net'
import { after } from 'node:test'

const ALIVE = 120
const WHERE_IS = 122
const NAMES = 110
/** Known from now on, with the number of this life. */
const TAKEN = Buffer.from([118, 0, 0, 0, 0, 1])
const NOT_FOUND = Buffer.from([119, 1])
/** Behind the length and the kind of what is said: the port, four fields of its abilities, the name with its length. */
const WHO = 3
const NAME = 11

/** Resolves with its port on 127.0.0.1, which is where they look. */
export async function startEpmd(): Promise<number> {
  const sockets = new Set<net.Socket>()
  const nodes = new Map<string, Buffer>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    socket.once('data', (said) => {
      if (said[2] === ALIVE) {
        nodes.set(nameIn(said), said.subarray(WHO))
        socket.write(TAKEN)
      } else if (said[2] === WHERE_IS) {
        const node = nodes.get(said.toString('utf8', WHO))
        socket.end(node ? Buffer.concat([Buffer.from([119, 0]), node]) : NOT_FOUND)
      } else if (said[2] === NAMES) socket.end(portOf(server))
      else socket.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as net.AddressInfo).port
}

const nameIn = (said: Buffer): string => said.toString('utf8', NAME + 2, NAME + 2 + said.readUInt16BE(NAME))

/** Before the list of names, which nobody needs. */
function portOf(server: net.Server): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE((server.address() as net.AddressInfo).port)
  return bytes
}
