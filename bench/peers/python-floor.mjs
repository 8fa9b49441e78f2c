// A hand-written Node client; the server is python-floor.py. A frame: u32 length | u8 kind | content, little-endian.
import { fileURLToPath } from 'node:url'
import { connect } from '../lib/socket.mjs'

const JSON_CALL = 1
const ARRAY = 2

/** What the server writes when it listens. */
export const ready = 'ready\n'

/** @param {string} address */
export const command = (address) => [fileURLToPath(new URL('python-floor.py', import.meta.url)), address]

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  const socket = await connect(address)
  /** @type {(message: any) => void} */
  let settle
  /** @type {Buffer | null} */
  let rest = null
  socket.on('data', (chunk) => {
    const bytes = rest ? Buffer.concat([rest, chunk]) : chunk
    rest = bytes
    if (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32LE(0)) return
    rest = null
    settle(JSON.parse(bytes.toString('utf8', 5)))
  })
  const frame = (/** @type {number} */ length, /** @type {number} */ kind) => {
    const bytes = Buffer.allocUnsafe(5)
    bytes.writeUInt32LE(1 + length)
    bytes[4] = kind
    return bytes
  }
  const answer = () => /** @type {Promise<any>} */ (new Promise((resolve) => (settle = resolve))).then((m) => m.result)
  return {
    add(a, b) {
      const text = JSON.stringify({ method: 'add', params: [a, b] })
      const bytes = Buffer.allocUnsafe(5 + text.length)
      bytes.writeUInt32LE(1 + text.length)
      bytes[4] = JSON_CALL
      bytes.write(text, 5, 'latin1')
      socket.write(bytes)
      return answer()
    },
    sum(array) {
      socket.cork()
      socket.write(frame(array.byteLength, ARRAY))
      socket.write(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
      socket.uncork()
      return answer()
    },
    close: () => socket.destroy(),
  }
}
