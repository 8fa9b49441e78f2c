// npm run soak:locks [-- --kills N]: eight processes (Node, Python, C) add within a mutex while one after the other is killed.
import { parseArgs } from 'node:util'
import { python } from './python.mjs'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '10000' } } })
const wanted = Number(values.kills)
if (!Number.isSafeInteger(wanted) || wanted < 1) {
  console.error(`soak: --kills ${values.kills} is no number; take for example --kills 10000`)
  process.exit(2)
}
process.env.TALKWIRE_PYTHON = python()
const { storm } = await import('../packages/talkwire/dist/test/sync/storm.js')
const start = performance.now()
const { kills, additions } = await storm((/** @type {number} */ count) => count >= wanted)
console.log(`soak: ok; ${kills} kills, ${additions} additions in ${Math.round((performance.now() - start) / 1000)} s, none lost`)
