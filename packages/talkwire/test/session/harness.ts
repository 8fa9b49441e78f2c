/** A service and a client in one process over a wire of choice, for tests of the session. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { StandardSchema } from '../../src/contract/standard-schema.js'
import { TalkwireError, type Code, type Outcome } from '../../src/index.js'

const directory = mkdtempSync(join(tmpdir(), 'tw-'))
process.env['TALKWIRE_RUNTIME_DIR'] = join(directory, 'run')
after(() => rmSync(directory, { recursive: true, force: true }))

let next = 0
/** Fresh addresses: every behaviour is shown over bytes in this process and over a real socket. */
export const wires = ['memory', 'unix'] as const
export const freshAddress = (wire: (typeof wires)[number]): string =>
  wire === 'memory' ? `memory:t${next++}` : `unix:${directory}/${next++}.sock`
export const socketPathOf = (address: string): string => address.slice('unix:'.length)

/** A schema of one predicate. */
export function is<T>(what: string, holds: (value: unknown) => boolean): StandardSchema<T, T> {
  return {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value) => (holds(value) ? { value: value as T } : { issues: [{ message: `expected ${what}` }] }),
    },
  }
}
export const number = is<number>('a number', (value) => typeof value === 'number')
export const text = is<string>('a text', (value) => typeof value === 'string')
export const anything = is<any>('anything', () => true)

/** For assert.rejects: code, and outcome where it matters. */
export const fails =
  (code: Code | string, outcome?: Outcome) =>
  (error: unknown): boolean => {
    if (!(error instanceof TalkwireError)) throw error
    if (error.code !== code || (outcome !== undefined && error.outcome !== outcome))
      throw new Error(`expected ${code}/${outcome ?? 'any'}, got ${error.code}/${error.outcome}: ${error.message}`, { cause: error })
    return true
  }

/** Something that a test waits for, and the code under test brings about. */
export interface Fence<T = void> {
  readonly passed: Promise<T>
  pass(value: T): void
}
export function fence<T = void>(): Fence<T> {
  let pass!: (value: T) => void
  const passed = new Promise<T>((resolve) => {
    pass = resolve
  })
  return { passed, pass }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** A turn of the event loop, so that what is on its way in this process has arrived. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Waits for a condition that something else brings about; the watchdog is the test runner's own. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}
