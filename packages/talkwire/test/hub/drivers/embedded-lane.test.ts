/** When what is asked of the embedded hub leaves: sans I/O. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Lane } from '../../../src/hub/drivers/embedded/lane.js'
import type { HubLink } from '../../../src/hub/drivers/embedded/link.js'
import { embeddedTopics } from '../../../src/hub/drivers/embedded/topics.js'

const LARGE = 128 * 1024
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Calls as they leave, and whoever answers them. */
function callee() {
  const calls: { readonly words: readonly (readonly unknown[])[]; readonly answer: (answers?: readonly unknown[]) => void }[] = []
  const lane = new Lane(
    (words) => new Promise((resolve) => calls.push({ words, answer: (answers = words.map(([name]) => name)) => resolve(answers) })),
  )
  return { lane, calls, names: () => calls.map(({ words }) => words.map(([name]) => name)) }
}

test('small requests of a turn leave in one call, and gather while two are under way', async () => {
  const { lane, calls, names } = callee()
  const first = [lane.ask(['a'], 1), lane.ask(['b'], 1)]
  assert.deepEqual(names(), [])
  await turn()
  assert.deepEqual(names(), [['a', 'b']])
  const second = lane.ask(['c'], 1)
  await turn()
  const third = [lane.ask(['d'], 1), lane.ask(['e'], 1)]
  await turn()
  assert.deepEqual(names(), [['a', 'b'], ['c']])
  calls[0]!.answer()
  assert.deepEqual(await Promise.all(first), ['a', 'b'])
  await turn()
  assert.deepEqual(names(), [['a', 'b'], ['c'], ['d', 'e']])
  for (const { answer } of calls) answer()
  assert.deepEqual(await Promise.all([second, ...third]), ['c', 'd', 'e'])
  await lane.settled()
})

test('a large request leaves at once, behind what was asked before it, and a megabyte at most is under way', async () => {
  const { lane, calls, names } = callee()
  const asked = [lane.ask(['small'], 1), lane.ask(['large'], LARGE)]
  assert.deepEqual(names(), [['small', 'large']])
  const more = Array.from({ length: 10 }, (_, number) => lane.ask([number], LARGE))
  assert.deepEqual(names().flat(), ['small', 'large', 0, 1, 2, 3, 4, 5, 6])
  for (let answered = 0; answered < calls.length; answered++) {
    calls[answered]!.answer()
    await turn()
  }
  assert.deepEqual(names().flat(), ['small', 'large', ...Array(10).keys()])
  assert.deepEqual(await Promise.all([...asked, ...more]), ['small', 'large', ...Array(10).keys()])
  for (let last = 0; last < 8; last++) void lane.ask(['again'], LARGE)
  assert.equal(
    names()
      .flat()
      .filter((name) => name === 'again').length,
    8,
  )
})

test('a full piece of a turn leaves while the turn lasts, and its rest at the end', async () => {
  const { lane, calls } = callee()
  const link = { check() {}, publish: (words: readonly unknown[], size: number) => lane.ask(words, size) } as unknown as HubLink
  const { topics } = embeddedTopics(link)
  const body = Buffer.alloc(1000)
  const sent = Array.from({ length: 200 }, () => topics.publish('a', { body, type: 'bytes', headers: {} }, { retain: false }))
  assert.equal(calls.length, 1)
  await turn()
  assert.equal(calls.length, 2)
  assert.notEqual(sent[0], sent[199])
  const lengths = calls.map(({ words }) => (words[0]![1] as Buffer).length)
  assert.equal(lengths[0]! + lengths[1]!, 200 * 1008)
  for (const { answer } of calls) answer([[]])
  await Promise.all(sent)
})
