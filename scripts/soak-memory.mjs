// npm run soak:memory [-- --reads N] [-- --changes N] [--only "ring of many"]: what is in shared memory is read while another process
// changes it at full speed, N times each; and it is used after each of N single changed bytes and words. Wrong values and our errors
// may come of it, nothing else: no other error, no byte outside, no growth, no end of the process.
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    reads: { type: 'string', default: '10000000' },
    changes: { type: 'string', default: '1000000' },
    only: { type: 'string', multiple: true },
  },
})
const [reads, changes] = [Number(values.reads), Number(values.changes)]
if (![reads, changes].every((number) => Number.isSafeInteger(number) && number >= 0)) {
  console.error(
    `soak: --reads ${values.reads} --changes ${values.changes}: take whole numbers, for example --reads 10000000 --changes 1000000`,
  )
  process.exit(2)
}
const { changeOne, readWhileChanged } = await import('../packages/talkwire/dist/test/memory/hostile.js')
const { ALL, READ } = await import('../packages/talkwire/dist/test/memory/hostile-targets.js')
const unknown = values.only?.find((name) => !Object.hasOwn(ALL, name))
if (unknown !== undefined) {
  console.error(`soak: there is no ${unknown}; take one of ${Object.keys(ALL).join(', ')}`)
  process.exit(2)
}

/** @param {string} text @param {number} since @param {{ done: number, refused: number, longest: number }} counts */
function tell(text, since, { done, refused, longest }) {
  const seconds = (performance.now() - since) / 1000
  console.log(
    `soak: ${text}; ${done} values, ${refused} errors of ours, ${Math.round(seconds)} s, the longest step ${Math.round(longest)} ms`,
  )
  return seconds
}

const chosen = (/** @type {typeof ALL} */ all) => Object.entries(all).filter(([name]) => values.only?.includes(name) ?? true)
for (const [name, target] of changes > 0 ? chosen(ALL) : []) {
  const since = performance.now()
  tell(`${name}: ${changes} single changes`, since, await changeOne(target, changes))
}
for (const [name, target] of reads > 0 ? chosen(READ) : []) {
  const since = performance.now()
  const counts = await readWhileChanged(target, reads)
  const seconds = (performance.now() - since) / 1000
  tell(`${name}: ${reads} reads, ${(counts.flips / seconds / 1e6).toFixed(1)} M changes a second meanwhile`, since, counts)
}
// The helpers for tests take away what they made when the tests of a file have run; here nobody runs any.
process.exit()
