// Binary frames over a socket, as fast as Node's public API allows: the floor.
// A frame: u32 length of what follows it | u32 id | u8 op | payload. Little-endian.
// Small frames are collected in a slab and written once a turn; large payloads are written from where they are.

export const HEAD = 9
const SLAB = 64 * 1024
const LARGE = 8 * 1024
const HIGH_WATER = 1024 * 1024

/** @typedef {{ bytes: Buffer, view: DataView, writes: number, idle: boolean, written: () => void }} Slab */

/** Slabs belong to the process, not to a connection: an idle connection has none. @type {Slab[]} */
const free = []

/** @returns {Slab} */
function createSlab() {
  const bytes = Buffer.allocUnsafeSlow(SLAB)
  /** @type {Slab} */
  const slab = {
    bytes,
    view: new DataView(bytes.buffer),
    writes: 0,
    idle: false, // nobody fills it any more: free when it has been written
    written() {
      if (--slab.writes === 0 && slab.idle) give(slab)
    },
  }
  return slab
}

/** @param {Slab} slab */
function give(slab) {
  slab.idle = false
  free.push(slab)
}

const none = createSlab()

export class Writer {
  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    this.socket = socket
    this.slab = none
    this.bytes = none.bytes
    this.view = none.view
    this.used = 0
    this.scheduled = false
    this.next = () => this.flush()
    /** @type {Promise<void> | null} */
    this.draining = null
  }

  /** Makes room for a frame whose part in the slab has this size. @returns {number} where it starts */
  room(/** @type {number} */ size) {
    if (this.used + size > SLAB) this.flush()
    if (this.used === 0) {
      this.slab = free.pop() ?? createSlab()
      this.bytes = this.slab.bytes
      this.view = this.slab.view
    }
    const at = this.used
    this.used = at + size
    return at
  }

  /** Begins a frame with a small payload; the caller writes it at the offset that is returned. */
  small(/** @type {number} */ id, /** @type {number} */ op, /** @type {number} */ length) {
    const at = this.room(HEAD + length)
    this.view.setUint32(at, 5 + length, true)
    this.view.setUint32(at + 4, id, true)
    this.bytes[at + 8] = op
    return at + HEAD
  }

  /** @param {number} id @param {number} op @param {Uint8Array} payload */
  payload(id, op, payload) {
    if (payload.length < LARGE) {
      const at = this.small(id, op, payload.length)
      this.bytes.set(payload, at)
      return
    }
    const at = this.room(HEAD)
    this.view.setUint32(at, 5 + payload.length, true)
    this.view.setUint32(at + 4, id, true)
    this.bytes[at + 8] = op
    this.socket.cork()
    this.flush()
    this.socket.write(payload)
    this.socket.uncork()
  }

  /** Writes at the end of this turn. */
  later() {
    if (this.scheduled) return
    this.scheduled = true
    process.nextTick(this.next)
  }

  flush() {
    this.scheduled = false
    const { socket, slab, used } = this
    if (used === 0) return
    this.used = 0
    slab.writes++
    socket.write(slab.bytes.subarray(0, used), slab.written)
    // Nothing left in the socket's queue: the kernel has all of it, and the slab can be filled again at once.
    if (socket.writableLength === 0) free.push(slab)
    else slab.idle = true
  }

  /** A promise while the other side is slow. */
  backpressure() {
    if (this.socket.writableLength < HIGH_WATER) return undefined
    return (this.draining ??= new Promise((resolve) => {
      this.socket.once('drain', () => {
        this.draining = null
        resolve()
      })
    }))
  }
}

/**
 * Calls `small(bytes, view, start, end, id, op)` for each frame that lies in one chunk (look, do not keep), and
 * `large(payload, id, op)` with a buffer of its own, 8-byte aligned, for each large one.
 * @param {import('node:net').Socket} socket
 * @param {(bytes: Buffer, view: DataView, start: number, end: number, id: number, op: number) => void} small
 * @param {(payload: Buffer, id: number, op: number) => void} large
 * @param {() => void} turn after each chunk
 */
export function read(socket, small, large, turn) {
  let rest = none.bytes // this connection's own, once it has been needed
  let restView = none.view
  let kept = 0
  /** @type {Buffer | null} */
  let big = null
  let filled = 0
  let bigId = 0
  let bigOp = 0

  socket.on('data', (/** @type {Buffer} */ chunk) => {
    let at = 0
    const { length } = chunk
    const view = new DataView(chunk.buffer, chunk.byteOffset, length)
    while (at < length) {
      if (big) {
        const n = Math.min(big.length - filled, length - at)
        chunk.copy(big, filled, at, at + n)
        filled += n
        at += n
        if (filled === big.length) {
          const payload = big
          big = null
          large(payload, bigId, bigOp)
        }
        continue
      }
      if (kept > 0) {
        // A frame that began in the chunk before: complete its head, then the rest of it.
        if (kept < HEAD) {
          const n = Math.min(HEAD - kept, length - at)
          chunk.copy(rest, kept, at, at + n)
          kept += n
          at += n
          if (kept < HEAD) return
        }
        const size = 4 + restView.getUint32(0, true)
        if (size > HEAD + LARGE) {
          begin(size - HEAD, restView.getUint32(4, true), rest[8])
          kept = 0
          continue
        }
        const n = Math.min(size - kept, length - at)
        chunk.copy(rest, kept, at, at + n)
        kept += n
        at += n
        if (kept < size) break
        kept = 0
        small(rest, restView, HEAD, size, restView.getUint32(4, true), rest[8])
        continue
      }
      if (length - at < HEAD) {
        keep(chunk, at)
        break
      }
      const size = 4 + view.getUint32(at, true)
      if (size > HEAD + LARGE) {
        begin(size - HEAD, view.getUint32(at + 4, true), chunk[at + 8])
        at += HEAD
        continue
      }
      if (length - at < size) {
        keep(chunk, at)
        break
      }
      small(chunk, view, at + HEAD, at + size, view.getUint32(at + 4, true), chunk[at + 8])
      at += size
    }
    turn()
  })

  function keep(/** @type {Buffer} */ chunk, /** @type {number} */ at) {
    if (rest === none.bytes) {
      rest = Buffer.allocUnsafeSlow(HEAD + LARGE)
      restView = new DataView(rest.buffer)
    }
    chunk.copy(rest, 0, at)
    kept = chunk.length - at
  }

  function begin(/** @type {number} */ size, /** @type {number} */ id, /** @type {number} */ op) {
    big = Buffer.allocUnsafeSlow(size)
    filled = 0
    bigId = id
    bigOp = op
  }
}
