// What the programs send: the same for every peer, known to both ends, never random.

export const MESSAGE_BYTES = 64
export const PAYLOAD_BYTES = 64 * 1024
export const ARRAY_LENGTH = 1024 * 1024 // × 8 bytes = 8 MiB

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** `count` different buffers of ASCII text: peers that speak JSON send the same content as a string. */
function texts(/** @type {number} */ count, /** @type {number} */ bytes, /** @type {number} */ seed) {
  let state = seed
  return Array.from({ length: count }, () => {
    const buffer = Buffer.allocUnsafeSlow(bytes)
    for (let i = 0; i < bytes; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      buffer[i] = ALPHABET.charCodeAt(state >>> 26)
    }
    return buffer
  })
}

/** 1024 different messages of 64 bytes. */
export const messages = texts(1024, MESSAGE_BYTES, 1)

/** 8 different payloads of 64 KiB. @returns {Buffer[]} */
export const payloads = () => texts(8, PAYLOAD_BYTES, 2)

/** Numbers whose sum is exact in any order. */
export function numbers() {
  const array = new Float64Array(ARRAY_LENGTH)
  let total = 0
  for (let i = 0; i < array.length; i++) total += array[i] = (Math.imul(i, 2654435761) >>> 12) / 4
  return { array, total }
}
