// Hand-written calls for wires that carry whole binary messages: u32 id | u8 op | payload.
import { Pending } from './pending.mjs'
import * as service from './service.mjs'

const ADD = 1
const ONEWAY = 2
const FINISH = 3
const ECHO = 4
const SUM = 5
const HEAD = 5

/** @param {number} id @param {number} op @param {number} length */
function message(id, op, length) {
  const bytes = Buffer.allocUnsafe(HEAD + length)
  bytes.writeUInt32LE(id, 0)
  bytes[4] = op
  return bytes
}

/** @param {number} id @param {number} op @param {Uint8Array} payload */
function withPayload(id, op, payload) {
  const bytes = message(id, op, payload.length)
  bytes.set(payload, HEAD)
  return bytes
}

/** @param {number} id @param {number} op @param {number[]} values */
function withNumbers(id, op, ...values) {
  const bytes = message(id, op, values.length * 8)
  for (let i = 0; i < values.length; i++) bytes.writeDoubleLE(values[i], HEAD + i * 8)
  return bytes
}

/** The server's answer to one message, if it has one. @param {Buffer} bytes @returns {Buffer | undefined} */
export function answer(bytes) {
  const id = bytes.readUInt32LE(0)
  const op = bytes[4]
  switch (op) {
    case ADD:
      return withNumbers(id, op, service.add(bytes.readDoubleLE(HEAD), bytes.readDoubleLE(HEAD + 8)))
    case ONEWAY:
      return void service.noteBytes(bytes.subarray(HEAD))
    case FINISH:
      return withPayload(id, op, Buffer.from(JSON.stringify(service.finish())))
    case ECHO:
      return withPayload(id, op, service.echo(bytes.subarray(HEAD)))
    case SUM: {
      const copy = bytes.buffer.slice(bytes.byteOffset + HEAD, bytes.byteOffset + bytes.length) // aligned to 8 bytes
      return withNumbers(id, op, service.sum(new Float64Array(/** @type {ArrayBuffer} */ (copy))))
    }
    default:
      throw new Error(`unknown op ${op}`)
  }
}

/**
 * @param {(bytes: Buffer) => void} send
 * @param {() => Promise<unknown> | void} backpressure
 * @param {() => unknown} close
 */
export function caller(send, backpressure, close) {
  const pending = new Pending()
  const call = (/** @type {Buffer} */ bytes, /** @type {Promise<any>} */ promise) => {
    send(bytes)
    return promise
  }
  /** @type {import('../measure.mjs').Client} */
  const client = {
    add(a, b) {
      const promise = pending.open()
      return call(withNumbers(pending.id, ADD, a, b), promise)
    },
    oneway(m) {
      send(withPayload(0, ONEWAY, m))
      return backpressure()
    },
    finish() {
      const promise = pending.open()
      return call(message(pending.id, FINISH, 0), promise)
    },
    echo(payload) {
      const promise = pending.open()
      return call(withPayload(pending.id, ECHO, payload), promise)
    },
    sum(array) {
      const promise = pending.open()
      return call(withPayload(pending.id, SUM, new Uint8Array(array.buffer, array.byteOffset, array.byteLength)), promise)
    },
    close,
  }
  const receive = (/** @type {Buffer} */ bytes) => {
    const op = bytes[4]
    pending.settle(
      bytes.readUInt32LE(0),
      op === FINISH ? JSON.parse(bytes.toString('latin1', HEAD)) : op === ECHO ? bytes.subarray(HEAD) : bytes.readDoubleLE(HEAD),
    )
  }
  return { client, receive }
}
