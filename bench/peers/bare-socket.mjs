// What a connection costs Node itself: 16 bytes in, 8 bytes out, one call in flight on each connection.
import * as service from '../lib/service.mjs'
import { connect, listen } from '../lib/socket.mjs'

export const server = (/** @type {string} */ address) =>
  listen(address, (socket) => {
    socket.on('data', (bytes) => {
      const reply = Buffer.allocUnsafe(8)
      reply.writeDoubleLE(service.add(bytes.readDoubleLE(0), bytes.readDoubleLE(8)))
      socket.write(reply)
    })
  })

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  const socket = await connect(address)
  /** @type {(n: number) => void} */
  let settle
  let busy = Promise.resolve(0)
  socket.on('data', (bytes) => settle(bytes.readDoubleLE(0)))
  return {
    add(a, b) {
      const request = Buffer.allocUnsafe(16)
      request.writeDoubleLE(a, 0)
      request.writeDoubleLE(b, 8)
      busy = busy.then(() => {
        socket.write(request)
        return new Promise((resolve) => (settle = resolve))
      })
      return busy
    },
    close: () => socket.destroy(),
  }
}
