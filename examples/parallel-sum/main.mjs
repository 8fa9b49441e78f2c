// Four processes sum an array that is never copied: node main.mjs [numbers]
import { fileURLToPath } from 'node:url'
import { connect } from 'talkwire'
import { SharedArray } from 'talkwire/memory'

const PROCESSES = 4
const here = fileURLToPath(new URL('.', import.meta.url))
const count = Number(process.argv[2] ?? 8_000_000)
const name = `parallel-sum-${process.pid}`

const array = SharedArray.create(name, 'f8', count)
for (let i = 0; i < count; i++) array.values[i] = i
array.seal()

/** @returns {Promise<import('talkwire').FunctionsClient<typeof import('./adder.mjs').functions>>} */
const startAdder = () => connect([process.execPath, 'adder.mjs'], { cwd: here })
const adders = await Promise.all(Array.from({ length: PROCESSES }, startAdder))
const border = (/** @type {number} */ part) => Math.floor((part * count) / PROCESSES)
const sums = await Promise.all(adders.map((adder, part) => adder.sum(name, border(part), border(part + 1))))
array.unlink()
array.close()

for (const [part, sum] of sums.entries()) console.log(`part ${part + 1}: ${sum}`)
console.log(`together ${sums.reduce((a, b) => a + b)}, expected ${(count * (count - 1)) / 2}`)
await Promise.all(adders.map((adder) => adder.close()))
