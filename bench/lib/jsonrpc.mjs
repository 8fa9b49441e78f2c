// A JSON-RPC 2.0 client written by hand: each message a JSON text after its length (u32, big-endian). No hello.
import { Pending } from './pending.mjs'
import { connect } from './socket.mjs'

const SLAB = 64 * 1024
/** @type {Buffer[]} */
const free = []

/** Collects the messages of a turn and writes them at once. @param {import('node:net').Socket} socket */
export function writer(socket) {
  /** @type {Buffer | undefined} */
  let slab
  let used = 0
  const flush = () => {
    if (!slab) return
    socket.write(Buffer.from(slab.subarray(0, used)))
    free.push(slab)
    slab = undefined
  }
  return (/** @type {string} */ text) => {
    if (slab && used + 4 + text.length > SLAB) flush()
    if (!slab) {
      slab = free.pop() ?? Buffer.allocUnsafeSlow(SLAB)
      used = 0
      process.nextTick(flush)
    }
    slab.writeUInt32BE(text.length, used)
    slab.write(text, used + 4, 'latin1')
    used += 4 + text.length
  }
}

/** @param {import('node:net').Socket} socket @param {(message: any) => void} message */
export function reader(socket, message) {
  /** @type {Buffer | null} */
  let rest = null
  socket.on('data', (chunk) => {
    let bytes = rest ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readUInt32BE(at)
      if (end > bytes.length) break
      message(JSON.parse(bytes.toString('utf8', at + 4, end)))
      at = end
    }
    rest = at < bytes.length ? bytes.subarray(at) : null
  })
}

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  const socket = await connect(address)
  const pending = new Pending()
  const write = writer(socket)
  reader(socket, (message) => {
    if (message.error) throw new Error(message.error.message)
    pending.settle(message.id, message.result)
  })
  return {
    add(a, b) {
      const promise = pending.open()
      write(`{"jsonrpc":"2.0","id":${pending.id},"method":"add","params":[${a},${b}]}`)
      return promise
    },
    close: () => socket.destroy(),
  }
}
