// npm run soak:locks [-- --kills N] [--kind mutex]: eight processes use a lock, a map, a ring while one after the other is killed,
// N times for each kind.
import { parseArgs } from 'node:util'
import { python } from './python.mjs'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '10000' }, kind: { type: 'string', multiple: true } } })
const wanted = Number(values.kills)
if (!Number.isSafeInteger(wanted) || wanted < 1) {
  console.error(`soak: --kills ${values.kills} is no number; take for example --kills 10000`)
  process.exit(2)
}
process.env.TALKWIRE_PYTHON = python()
const { KINDS, storm } = await import('../packages/talkwire/dist/test/sync/kill-storm.js')
const { ringStorm } = await import('../packages/talkwire/dist/test/memory/ring-storm.js')
const known = [...KINDS, 'ring']
const kinds = values.kind ?? known
const unknown = kinds.find((kind) => !known.includes(kind))
if (unknown !== undefined) {
  console.error(`soak: there is no kind ${unknown}; take one of ${known.join(', ')}`)
  process.exit(2)
}
for (const kind of kinds) {
  const start = performance.now()
  const { kills, sections } = await (kind === 'ring'
    ? ringStorm(wanted)
    : storm(/** @type {Parameters<typeof storm>[0]} */ (kind), (/** @type {number} */ count) => count >= wanted))
  console.log(`soak: ${kind} ok; ${kills} kills, ${sections} sections in ${Math.round((performance.now() - start) / 1000)} s, none lost`)
}
