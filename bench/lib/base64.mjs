// How an array travels where only text can: base64 is nowhere slower than a JSON array of numbers.

/** @param {Float64Array} array */
export const toBase64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64')

/** @param {string} text */
export function fromBase64(text) {
  const bytes = Buffer.from(text, 'base64')
  return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
}
