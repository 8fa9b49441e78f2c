/** Somebody between a client and its service who changes what the service says: for the client it is a service that answers nonsense. */
import { once } from 'node:events'
import net from 'node:net'

export interface Between {
  /** What `Host` says of it; undefined where there is none. */
  readonly host: string | undefined
  /** Goes on to the service at `address`; returns where a client finds us instead. */
  before(address: string): string
  /** What becomes of the next bytes of the service, after which the connection ends; undefined: all goes through. */
  spoil: ((bytes: Buffer) => Buffer) | undefined
  close(): Promise<void>
}

const PORT = /\/\/([^/:]+):(\d+)/
const PATH = /^([^/]*:)(\/[^?#]*)/

const dial = (address: string): net.Socket => {
  const [, host, port] = PORT.exec(address) ?? []
  return port === undefined ? net.connect(PATH.exec(address)![2]!) : net.connect(Number(port), host)
}

/** `address`: one on which `serve` would listen. */
export async function openBetween(address: string): Promise<Between> {
  let service = ''
  const sockets = new Set<net.Socket>()
  const between: { spoil: Between['spoil'] } = { spoil: undefined }
  const server = net.createServer((socket) => {
    const onward = dial(service)
    for (const each of [socket, onward]) {
      sockets.add(each)
      each.on('error', () => {})
      each.once('close', () => sockets.delete(each))
    }
    socket.pipe(onward)
    onward.on('data', (bytes) => {
      if (!between.spoil) return void socket.write(bytes)
      socket.end(between.spoil(bytes))
      onward.removeAllListeners('data').destroy()
    })
    onward.once('close', () => socket.end())
    socket.once('close', () => onward.destroy())
  })
  const host = PORT.exec(address)?.[1]
  const path = host === undefined ? `${PATH.exec(address)![2]!}-between` : undefined
  if (path === undefined) server.listen(0, host)
  else server.listen(path)
  await once(server, 'listening')
  const port = path === undefined ? (server.address() as net.AddressInfo).port : undefined
  return Object.assign(between, {
    host: port === undefined ? undefined : `${host!}:${port}`,
    before(of: string) {
      service = of
      return port === undefined ? of.replace(PATH, (_, scheme: string) => `${scheme}${path!}`) : of.replace(PORT, `//$1:${port}`)
    },
    async close() {
      for (const each of sockets) each.destroy()
      server.close()
      await once(server, 'close')
    },
  })
}
