// The best of Node's public API: hand-written binary frames over a Unix socket, one write a turn.
import { Writer, read } from '../lib/frames.mjs'
import { Pending } from '../lib/pending.mjs'
import * as service from '../lib/service.mjs'
import { connect, listen } from '../lib/socket.mjs'

export const ADD = 1
export const ONEWAY = 2
export const FINISH = 3
export const ECHO = 4
export const SUM = 5

export const server = (/** @type {string} */ address) =>
  listen(address, (socket) => {
    const writer = new Writer(socket)
    read(
      socket,
      (bytes, view, start, end, id, op) => {
        if (op === ADD) {
          const result = service.add(view.getFloat64(start, true), view.getFloat64(start + 8, true))
          const at = writer.small(id, ADD, 8) // first: it may change the slab
          writer.view.setFloat64(at, result, true)
        } else if (op === ONEWAY) service.noteBytes(bytes.subarray(start, end)) // a function gets bytes, not offsets: half the speed of this line is the view
        else if (op === FINISH) writer.payload(id, FINISH, Buffer.from(JSON.stringify(service.finish())))
        else socket.destroy(new Error(`unknown op ${op}`))
      },
      (payload, id, op) => {
        if (op === ECHO) writer.payload(id, ECHO, service.echo(payload))
        else if (op === SUM) {
          const array = new Float64Array(payload.buffer, payload.byteOffset, payload.length / 8)
          const result = service.sum(array)
          const at = writer.small(id, SUM, 8)
          writer.view.setFloat64(at, result, true)
        } else socket.destroy(new Error(`unknown op ${op}`))
      },
      writer.next,
    )
  })

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  const socket = await connect(address)
  const writer = new Writer(socket)
  const pending = new Pending()
  read(
    socket,
    (bytes, view, start, end, id, op) => {
      if (op === FINISH) pending.settle(id, JSON.parse(bytes.toString('latin1', start, end)))
      else pending.settle(id, view.getFloat64(start, true))
    },
    (payload, id) => pending.settle(id, payload),
    () => {},
  )
  return {
    add(a, b) {
      const promise = pending.open()
      const at = writer.small(pending.id, ADD, 16)
      writer.view.setFloat64(at, a, true)
      writer.view.setFloat64(at + 8, b, true)
      writer.later()
      return promise
    },
    oneway(message) {
      writer.payload(0, ONEWAY, message)
      writer.later()
      return writer.backpressure()
    },
    finish() {
      const promise = pending.open()
      writer.small(pending.id, FINISH, 0)
      writer.later()
      return promise
    },
    echo(payload) {
      const promise = pending.open()
      writer.payload(pending.id, ECHO, payload)
      return promise
    },
    sum(array) {
      const promise = pending.open()
      writer.payload(pending.id, SUM, new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
      return promise
    },
    close: () => socket.destroy(),
  }
}
