// npm run soak:hub [-- --kills N] [--seed N] [--engine redis|nats|amqp]: eight processes use a hub that is killed N times, or three hubs a
// broker; what they were told must fit together.
import { parseArgs } from 'node:util'
import { python } from './python.mjs'

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '200' }, seed: { type: 'string' }, engine: { type: 'string', default: 'embedded' } },
})
const wanted = Number(values.kills)
if (!Number.isSafeInteger(wanted) || wanted < 1) {
  console.error(`soak: --kills ${values.kills} is no number; take for example --kills 200`)
  process.exit(2)
}
if (values.seed !== undefined) process.env.TALKWIRE_SEED = values.seed
process.env.TALKWIRE_PYTHON = python()
const { storm } = await import('../packages/talkwire/dist/test/hub/crash-storm.js')
const { engines, stormAt } = await import('../packages/talkwire/dist/test/hub/drivers/soak-broker.js')
const { engine } = values
if (engine !== 'embedded' && !engines.includes(engine)) {
  console.error(`soak: there is no engine ${engine}; take embedded, ${engines.join(', ')}`)
  process.exit(2)
}
const { seedOf } = await import('../packages/talkwire/dist/test/hub/random.js')
const seed = seedOf()
const start = performance.now()
const done = (/** @type {number} */ count) => count >= wanted
const { kills, notes, faults } = await (engine === 'embedded' ? storm(seed, done) : stormAt(engine, seed, done))
const seconds = Math.round((performance.now() - start) / 1000)
if (faults.length > 0) {
  console.error(`soak: hub ${engine}, seed ${seed}: ${faults.length} faults after ${kills} kills\n${faults.slice(0, 20).join('\n')}`)
  process.exit(1)
}
console.log(`soak: hub ${engine} ok; ${kills} kills, ${notes.length} notes in ${seconds} s, nothing lost (seed ${seed})`)
