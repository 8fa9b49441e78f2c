// The functions that every peer's server calls, and the receiver's account of one-way messages.
import { MESSAGE_BYTES, messages } from './data.mjs'

/** @param {number} a @param {number} b */
export const add = (a, b) => a + b

/** @template T @param {T} value @returns {T} */
export const echo = (value) => value

/** @param {Float64Array} array */
export function sum(array) {
  let total = 0
  for (let i = 0; i < array.length; i++) total += array[i]
  return total
}

let count = 0
let hash = 0
let wrong = 0

/**
 * One message arrived: its first and last four bytes go into a hash that depends on the order;
 * of every 64th message all bytes are compared.
 * @param {Uint8Array} bytes
 */
export function noteBytes(bytes) {
  if (bytes.length !== MESSAGE_BYTES) return void wrong++
  const first = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)
  const last = bytes[60] | (bytes[61] << 8) | (bytes[62] << 16) | (bytes[63] << 24)
  hash = (Math.imul(hash, 31) + first) ^ last
  if ((count & 63) === 0) {
    const expected = messages[count & 1023]
    for (let i = 0; i < MESSAGE_BYTES; i++) if (bytes[i] !== expected[i]) return void (wrong++, count++)
  }
  count++
}

/** The same for a message that travels as text. @param {string} text */
export function noteText(text) {
  if (text.length !== MESSAGE_BYTES) return void wrong++
  const first = text.charCodeAt(0) | (text.charCodeAt(1) << 8) | (text.charCodeAt(2) << 16) | (text.charCodeAt(3) << 24)
  const last = text.charCodeAt(60) | (text.charCodeAt(61) << 8) | (text.charCodeAt(62) << 16) | (text.charCodeAt(63) << 24)
  hash = (Math.imul(hash, 31) + first) ^ last
  if ((count & 63) === 0 && text !== messages[count & 1023].toString('latin1')) wrong++
  count++
}

/** The account so far; the next one starts at zero. */
export function finish() {
  const result = { count, hash, wrong }
  count = hash = wrong = 0
  return result
}

/** The account that a receiver must give after `n` messages. @param {number} n */
export function expected(n) {
  let hash = 0
  for (let i = 0; i < n; i++) {
    const m = messages[i & 1023]
    hash = (Math.imul(hash, 31) + m.readInt32LE(0)) ^ m.readInt32LE(60)
  }
  return { count: n, hash, wrong: 0 }
}
