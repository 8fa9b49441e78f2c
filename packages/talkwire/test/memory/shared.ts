/** What the processes of the tests of shared values and maps have in common. */
import { mapBytes, type SharedMap } from '../../src/memory/map.js'
import { valueBytes } from '../../src/memory/value.js'

export const SIZE = 100
export const MAP = { entries: 8, key: 16, value: SIZE }
/** Where the map is, where the counter, and where tests put notes of their own. */
export const MAP_AT = valueBytes(SIZE)
export const COUNTER_AT = MAP_AT + mapBytes(MAP)
export const NOTES = COUNTER_AT + 64
/** Behind them there is room where nothing was made. */
export const EMPTY = NOTES + 64
export const BYTES = EMPTY + valueBytes(SIZE)

/** Different lengths; every byte tells which one it is. */
export const patternOf = (n: number): Uint8Array => new Uint8Array(1 + ((n * 31) % SIZE)).fill(n)

/** Throws if it is half of one and half of another. */
export function numberOf(value: Uint8Array): number {
  const n = value[0]!
  const fits = value.every((byte) => byte === n) && value.length <= SIZE
  if (!fits) throw new Error(`torn: ${Buffer.from(value).toString('hex')}`)
  return n
}

/** What a process does to a map, one after the other. */
export const STEPS: readonly ((map: Pick<SharedMap, 'set' | 'delete'>) => void)[] = [
  (map) => void map.set('a', patternOf(1)),
  (map) => void map.set('b', patternOf(2)),
  (map) => void map.set('a', patternOf(3)),
  (map) => void map.delete('a'),
  (map) => void map.set('c', patternOf(4)),
  (map) => void map.set('a', patternOf(5)),
  (map) => void map.delete('c'),
  (map) => void map.delete('b'),
]

/** What is there after so many steps. */
export function after(steps: number): Record<string, number> {
  const model = new Map<string, Uint8Array>()
  for (const step of STEPS.slice(0, steps))
    step({ set: (key, value) => model.set(key, value) !== undefined, delete: (key) => model.delete(key) })
  return Object.fromEntries(Array.from(model, ([key, value]) => [key, numberOf(value)]))
}

export const contentOf = (map: SharedMap): Record<string, number> =>
  Object.fromEntries(Array.from(map.entries(), ([key, value]) => [key, numberOf(value)]))
