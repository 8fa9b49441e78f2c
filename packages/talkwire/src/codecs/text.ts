/** UTF-8 from a message's bytes, checked: Node's own decoding would replace what is broken and say nothing. */
import { isUtf8 } from 'node:buffer'
import { TalkwireError } from '../error.js'

/** Above this a native check is faster than a loop. */
const LOOP = 128

function isAscii(bytes: Buffer, start: number, end: number): boolean {
  let bits = 0
  for (let at = start; at < end; at++) bits |= bytes[at]!
  return bits < 0x80
}

/** Throws INVALID_MESSAGE when the bytes are not UTF-8. */
export function readText(bytes: Buffer, start: number, end: number): string {
  if (end - start <= LOOP && isAscii(bytes, start, end)) return bytes.toString('latin1', start, end)
  if (!isUtf8(bytes.subarray(start, end))) throw new TalkwireError('INVALID_MESSAGE', 'text that is not UTF-8')
  return bytes.toString('utf8', start, end)
}

const SLOTS = 512
const MAX_CACHED = 32
const cache: string[] = Array.from({ length: SLOTS }, () => '')

/** For names that come again and again: methods, keys. Short ASCII ones are not decoded twice. */
export function readName(bytes: Buffer, start: number, end: number): string {
  const length = end - start
  if (length > MAX_CACHED || length === 0) return readText(bytes, start, end)
  let hash = length
  let bits = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!
    bits |= byte
    hash = (hash * 31 + byte) | 0
  }
  if (bits >= 0x80) return readText(bytes, start, end)
  const slot = hash & (SLOTS - 1)
  const known = cache[slot]!
  if (known.length === length) {
    let at = 0
    while (at < length && known.charCodeAt(at) === bytes[start + at]) at++
    if (at === length) return known
  }
  return (cache[slot] = interned(bytes.toString('latin1', start, end)))
}

/** As the engine keeps names of properties: a Map finds it by its address. */
const interned = (name: string): string => Object.keys({ [name]: 0 })[0]!
