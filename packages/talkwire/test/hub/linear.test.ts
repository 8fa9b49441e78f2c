/** The checker of histories: it must accept what can be and refuse what cannot, or what it says of the hub proves nothing. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { keyMisfit, misfit, type Call, type KeyCall, type Model } from './linear.js'
import { randomOf, seedOf, type Random } from './random.js'

const call = <T>(begin: number, end: number, what: T): Call<T> => ({ begin, end, what })

type Read = { readonly op: 'read' | 'write' | 'add' | 'pop'; readonly value: number }

/** A number that is read and written. */
const register: Model<number, Read> = {
  initial: 0,
  key: String,
  step: (state, { op, value }) => (op === 'write' ? value : state === value ? state : undefined),
}

/** Taken in the order in which it was added. */
const fifo: Model<readonly number[], Read> = {
  initial: [],
  key: (state) => state.join(),
  step: (state, { op, value }) => (op === 'add' ? [...state, value] : state[0] === value ? state.slice(1) : undefined),
}

const write = (value: number): Read => ({ op: 'write', value })
const read = (value: number): Read => ({ op: 'read', value })
const add = (value: number): Read => ({ op: 'add', value })
const pop = (value: number): Read => ({ op: 'pop', value })

describe('histories of a number', () => {
  const right: Record<string, Call<Read>[]> = {
    nothing: [],
    'a read that overlaps a write sees either': [call(0, 10, write(1)), call(1, 4, read(0)), call(5, 9, read(1))],
    // Herlihy and Wing, 1990: H1 of a register.
    'two writes that overlap, in the order of the reads': [
      call(0, 10, write(1)),
      call(1, 9, write(2)),
      call(11, 12, read(1)),
      call(13, 14, read(1)),
    ],
    'a call may begin when another ends': [call(0, 5, write(1)), call(5, 6, read(0))],
    'a lost write that happened later': [call(0, Infinity, write(1)), call(1, 2, read(0)), call(3, 4, write(2)), call(5, 6, read(1))],
    'a lost write that never happened': [call(0, Infinity, write(1)), call(1, 2, read(0)), call(3, 4, read(0))],
  }
  const wrong: Record<string, Call<Read>[]> = {
    'a stale read': [call(0, 1, write(1)), call(2, 3, read(0))],
    'new, then old': [call(0, 10, write(1)), call(1, 2, read(1)), call(3, 4, read(0))],
    'two readers see two writes in two orders': [
      call(0, 20, write(1)),
      call(0, 20, write(2)),
      call(1, 2, read(1)),
      call(3, 4, read(2)),
      call(5, 6, read(1)),
    ],
    'a value that nobody wrote': [call(0, 1, write(1)), call(2, 3, read(7))],
    'a lost write seen before it began': [call(1, 2, read(1)), call(3, Infinity, write(1))],
    'a lost write that happened twice': [call(0, Infinity, write(1)), call(1, 2, read(1)), call(3, 4, write(2)), call(5, 6, read(1))],
  }
  for (const [name, history] of Object.entries(right)) test(`${name}: right`, () => assert.equal(misfit(history, register), undefined))
  for (const [name, history] of Object.entries(wrong)) test(`${name}: wrong`, () => assert.ok(misfit(history, register)))
})

/** Herlihy and Wing, "Linearizability", 1990, section 2: H1 and H3 are right, H2 and H4 are not. */
test('the histories of the paper that said what linearizable is', () => {
  const h1 = [call(0, 3, add(1)), call(1, 2, add(2)), call(4, 6, pop(2)), call(5, 8, pop(1)), call(7, 9, add(3))]
  const h2 = [call(0, 1, add(1)), call(2, 3, add(2)), call(4, 5, pop(2))]
  const h3 = [call(0, Infinity, add(1)), call(1, 2, pop(1))]
  const h4 = [call(0, 1, add(1)), call(1.5, 1.7, add(2)), call(2, 5, pop(1)), call(3, 4, pop(1))]
  assert.equal(misfit(h1, fifo), undefined)
  assert.ok(misfit(h2, fifo))
  assert.equal(misfit(h3, fifo), undefined)
  assert.ok(misfit(h4, fifo))
})

const set = (value: string, revision?: number | null, expected?: number): KeyCall => ({
  op: 'set',
  value,
  ...(revision !== undefined && { revision }),
  ...(expected !== undefined && { expected }),
})
const got = (value: string | null, revision?: number): KeyCall => ({ op: 'get', value, ...(revision !== undefined && { revision }) })
const removed = (done?: boolean, expected?: number): KeyCall => ({
  op: 'delete',
  ...(done !== undefined && { done }),
  ...(expected !== undefined && { expected }),
})

describe('histories of a key', () => {
  const right: Record<string, Call<KeyCall>[]> = {
    'two compare-and-sets, one of which wins': [
      call(0, 1, set('a', 1)),
      call(2, 5, set('b', 2, 1)),
      call(2, 5, set('c', null, 1)),
      call(6, 7, got('b', 2)),
    ],
    'a lost set whose revision a reader knows': [
      call(0, 1, set('a', 1)),
      call(2, Infinity, set('b')),
      call(3, 4, set('c', null, 1)),
      call(5, 6, got('b', 2)),
      call(7, 8, set('d', 3, 2)),
    ],
    'a lost set that nobody saw made another one fail': [
      call(0, 1, set('a', 1)),
      call(2, Infinity, set('b')),
      call(3, 4, set('c', null, 1)),
      call(5, 6, removed(true)),
    ],
    'a lost deletion': [call(0, 1, set('a', 1)), call(2, Infinity, removed()), call(3, 4, got('a', 1)), call(5, 6, set('b', 4, 0))],
  }
  const wrong: Record<string, Call<KeyCall>[]> = {
    'an acknowledged set is gone': [call(0, 1, set('a', 1)), call(2, 3, got(null))],
    'two compare-and-sets of one revision win': [call(0, 1, set('a', 1)), call(2, 5, set('b', 2, 1)), call(2, 5, set('c', 3, 1))],
    'a conflict where nobody else was': [call(0, 1, set('a', 1)), call(2, 3, set('b', null, 1))],
    'a revision that was given before': [call(0, 1, set('a', 5)), call(2, 3, set('b', 4))],
    'what was deleted is back': [call(0, 1, set('a', 1)), call(2, 3, removed(true)), call(4, 5, got('a', 1))],
    'a key that is there is not found for deletion': [call(0, 1, set('a', 1)), call(2, 3, removed(false))],
    'a lost compare-and-set of an old revision': [
      call(0, 1, set('a', 1)),
      call(2, 3, set('b', 2)),
      call(4, Infinity, set('c', undefined, 1)),
      call(5, 6, got('c', 3)),
    ],
  }
  for (const [name, history] of Object.entries(right)) test(`${name}: right`, () => assert.equal(keyMisfit(history), undefined))
  for (const [name, history] of Object.entries(wrong)) test(`${name}: wrong`, () => assert.ok(keyMisfit(history)))
})

/** Calls of several clients, each of which took effect at an instant between its beginning and its end; some answers are lost. */
function made(random: Random, clients: number, each: number): Call<KeyCall>[] {
  const plans = Array.from({ length: clients }, (_, client) => {
    let at = random.below(5)
    return Array.from({ length: each }, (__, number) => {
      const begin = at
      const [instant, end] = [begin + 1 + random.below(20), begin + 21 + random.below(20)]
      at = end + 1 + random.below(10)
      return {
        begin,
        instant: instant + client / 100,
        end,
        value: `${client}-${number}`,
        kind: random.below(5),
        isLost: random.below(50) === 0,
      }
    })
  }).flat()
  let held: { value: string | null; revision: number } = { value: null, revision: 0 }
  let revision = 0
  /** What some client was told. */
  let told = 0
  return plans
    .toSorted((one, other) => one.instant - other.instant)
    .flatMap(({ begin, end, value, kind, isLost }): Call<KeyCall>[] => {
      const expected = kind % 2 === 0 ? told : undefined
      if (kind < 2) {
        if (isLost) return []
        told = held.revision
        return [call(begin, end, got(held.value, held.value === null ? undefined : held.revision))]
      }
      const fits = (expected ?? held.revision) === held.revision
      if (kind === 4) {
        const done = fits && held.revision !== 0
        if (done) held = { value: null, revision: 0 }
        return [isLost ? call(begin, Infinity, removed(undefined, expected)) : call(begin, end, removed(done, expected))]
      }
      if (fits) held = { value, revision: ++revision }
      if (isLost) return [call(begin, Infinity, set(value, undefined, expected))]
      if (fits) told = revision
      return [call(begin, end, set(value, fits ? revision : null, expected))]
    })
}

const seed = seedOf()
test(`histories that were are accepted; with one answer of another moment they are refused (seed ${seed})`, () => {
  const random = randomOf(seed)
  for (let round = 0; round < 20; round++) {
    const history = made(random, 8, 12)
    assert.equal(keyMisfit(history), undefined, `round ${round}`)
    const end = Math.max(...history.map((each) => (each.end === Infinity ? 0 : each.end)))
    const written = history.filter(({ what }) => what.op === 'set' && typeof what.revision === 'number')
    const { value, revision } = written[0]!.what as Extract<KeyCall, { op: 'set' }>
    // The first value of all, at the end, after others were written.
    const stale = [...history, call(end + 1, end + 2, set('last', 10_000)), call(end + 3, end + 4, got(value, revision!))]
    assert.ok(keyMisfit(stale), `round ${round}`)
    const twice = [...history, call(end + 1, end + 2, set('again', revision))]
    assert.ok(keyMisfit(twice), `round ${round}`)
  }
})
