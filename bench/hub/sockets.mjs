// What a program can do by hand: one Unix socket for each subscriber, messages of one length, as many in one write as there are.
import { once } from 'node:events'
import net from 'node:net'

const SIZE = 64

/** @param {string} address a folder @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const path = `${address}/fan.sock`
  /** @type {Set<net.Socket>} */
  const subscribers = new Set()
  /** @type {Uint8Array[]} */
  let waiting = []
  let server = /** @type {net.Server | undefined} */ (undefined)
  const send = () => {
    const all = Buffer.concat(waiting)
    waiting = []
    for (const socket of subscribers) socket.write(all)
  }
  return {
    async listen() {
      server = net.createServer((socket) => subscribers.add(socket)).listen(path)
      await once(server, 'listening')
    },
    publish(body) {
      if (waiting.push(body) === 1) queueMicrotask(send)
    },
    async settled() {
      await Promise.resolve() // what waits is sent
      for (const socket of subscribers) if (socket.writableNeedDrain) await once(socket, 'drain')
    },
    async subscribe(take) {
      const socket = net.connect(path)
      await once(socket, 'connect')
      let rest = Buffer.alloc(0)
      socket.on('data', (data) => {
        const all = rest.length ? Buffer.concat([rest, data]) : data
        let at = 0
        for (; at + SIZE <= all.length; at += SIZE) take(all.subarray(at, at + SIZE))
        rest = all.subarray(at)
      })
    },
    async close() {
      server?.close()
    },
  }
}
