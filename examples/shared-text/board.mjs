// Shares a text and shows what others make of it: node board.mjs [name]
import { SharedArray } from 'talkwire/memory'

// The first byte is the text's length, the others are its UTF-8.
const board = SharedArray.create(process.argv[2] ?? 'board', 'u1', 256)

/** @param {string} text */
function write(text) {
  const { read, written } = new TextEncoder().encodeInto(text, board.values.subarray(1))
  board.values[0] = written
  if (read < text.length) console.log('only a part of it fits')
}
const text = () => Buffer.from(board.values.subarray(1, 1 + board.values[0])).toString()

write('hello from Node')
console.log(`on the board: ${text()}`)
for (let generation = board.publish(); text() !== 'bye';) {
  generation = await board.changed(generation)
  console.log(`on the board: ${text()}`)
}
board.unlink()
board.close()
