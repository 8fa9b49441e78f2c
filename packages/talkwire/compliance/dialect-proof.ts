/** The service that every dialect is tried with, cut to what the dialect can carry. */
import { contract, event, rpc, stream, type Contract } from '../src/contract/contract.js'
import type { StandardSchema } from '../src/contract/standard-schema.js'
import type { DialectTraits } from '../src/protocols/dialect.js'

// ── schemas that say what they are, without a library ────────────────────────────────────────────

type Check = (value: unknown) => boolean
interface Described {
  readonly schema: StandardSchema<any, any>
  readonly json: object
  readonly check: Check
}

function described(json: object, check: Check): Described {
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'talkwire',
      validate: (value: unknown) => (check(value) ? { value } : { issues: [{ message: `expected ${JSON.stringify(json).slice(0, 80)}` }] }),
      jsonSchema: { input: () => json, output: () => json },
    },
  } as unknown as StandardSchema<any, any>
  return { schema, json, check }
}
const text = described({ type: 'string' }, (value) => typeof value === 'string')
const number = described({ type: 'number' }, (value) => typeof value === 'number')
const integer = described({ type: 'integer' }, Number.isSafeInteger)
const flag = described({ type: 'boolean' }, (value) => typeof value === 'boolean')
const list = ({ json, check }: Described): Described =>
  described({ type: 'array', items: json }, (value) => Array.isArray(value) && value.every(check))

function object(properties: Record<string, Described>, optional: readonly string[] = []): Described {
  const required = Object.keys(properties).filter((name) => !optional.includes(name))
  return described(
    {
      type: 'object',
      properties: Object.fromEntries(Object.entries(properties).map(([name, { json }]) => [name, json])),
      required,
      additionalProperties: false,
    },
    (value) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
      const given = value as Record<string, unknown>
      if (Object.keys(given).some((name) => !Object.hasOwn(properties, name)) || required.some((name) => given[name] === undefined))
        return false
      return Object.entries(given).every(([name, item]) => item === undefined || properties[name]!.check(item))
    },
  )
}

const value = object({ value: number }).schema
const words = object({ text })
export const entry = object(
  { text, number, integer, flag, numbers: list(number), words: list(text), inner: words, inners: list(words), maybe: text },
  ['maybe'],
)

// ── the contract ─────────────────────────────────────────────────────────────────────────────────

/** `proof/1` with what these traits allow. */
export function proofFor(traits: DialectTraits): Contract {
  return contract('proof/1', {
    double: rpc({ input: value, output: value, idempotent: true }),
    echo: rpc({ input: entry.schema, output: entry.schema }),
    fail: rpc({
      input: words.schema,
      output: value,
      errors: { Broke: object({ why: number, text }).schema, Gone: object({ since: text }).schema },
    }),
    nothing: rpc({}),
    wait: rpc({ input: words.schema, output: words.schema }),
    told: rpc({ input: words.schema, output: object({ text, left: number }).schema }),
    ...(traits.outputStream && { count: rpc({ input: value, output: stream(value) }), endless: rpc({ output: stream(words.schema) }) }),
    ...(traits.inputStream && { sum: rpc({ input: stream(value), output: value }) }),
    ...(traits.duplex && { chat: rpc({ input: stream(words.schema), output: stream(words.schema) }) }),
    ...(traits.oneway && { note: rpc({ input: value, oneway: true }) }),
    ...(traits.events && { news: event(value) }),
  })
}

export interface ProofState {
  readonly notes: number[]
  produced: number
  /** Says what a handler did: `waits`, `aborted`, `stopped`. */
  readonly onHappening: (what: string) => void
  /** Lets `wait` answer. */
  readonly answer: Promise<string>
}

type Value = { value: number }
type Words = { text: string }

export function handlersFor(traits: DialectTraits, state: ProofState): any {
  return {
    double: ({ value: number }: Value) => ({ value: 2 * number }),
    echo: (input: unknown) => input,
    fail({ text: how }: Words, ctx: any) {
      if (how === 'declared') throw ctx.error('Broke', { why: 7, text: 'ä<&' }, 'it broke')
      if (how === 'other') throw ctx.error('Gone', { since: 'Monday' })
      throw new Error('secret')
    },
    nothing() {},
    async wait(_: Words, ctx: any) {
      ctx.signal.addEventListener('abort', () => state.onHappening('aborted'))
      state.onHappening('waits')
      const over = new Promise<never>((_resolve, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)))
      return { text: await Promise.race([state.answer, over]) }
    },
    told: ({ text: key }: Words, { metadata, deadline }: any) => ({
      text: metadata[key] ?? '',
      left: deadline === undefined ? -1 : deadline - performance.now(),
    }),
    ...(traits.outputStream && {
      async *count({ value: to }: Value) {
        for (let index = 0; index < to; index++) yield { value: index }
        if (to < 0) throw new Error('secret')
      },
      async *endless() {
        try {
          for (;;) {
            state.produced++
            yield { text: 'x'.repeat(10_000) }
          }
        } finally {
          state.onHappening('stopped')
        }
      },
    }),
    ...(traits.inputStream && {
      async sum(items: AsyncIterable<Value>) {
        let total = 0
        for await (const item of items) total += item.value
        return { value: total }
      },
    }),
    ...(traits.duplex && {
      async *chat(items: AsyncIterable<Words>) {
        for await (const item of items) yield { text: `heard ${item.text}` }
      },
    }),
    ...(traits.oneway && { note: ({ value: number }: Value) => void state.notes.push(number) }),
  }
}
