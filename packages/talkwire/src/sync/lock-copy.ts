/** The words of a lock as bytes that were read: of a file that its owner makes smaller, a mapping would end us. */
import { readSync } from 'node:fs'
import type { Labelled } from './inspect.js'
import { bytesOf, LABEL, MOST_LOCK_BYTES, type Kind } from './lock-layout.js'

/** From byte `offset` on. Undefined when there are too few bytes. */
export function copyWords(kind: Kind, fd: number, offset = 0): Labelled | undefined {
  const copy = new ArrayBuffer(MOST_LOCK_BYTES)
  if (readSync(fd, new Uint8Array(copy), 0, bytesOf(kind), offset) < bytesOf(kind)) return undefined
  const label = new Uint8Array(copy, LABEL.offset, LABEL.size)
  return { word: new Int32Array(copy), long: new BigInt64Array(copy), float: new Float64Array(copy), label }
}
