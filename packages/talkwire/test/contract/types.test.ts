/** The types, end to end. The compiler does the testing: each `@ts-expect-error` is an error that must be there. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type } from 'arktype'
import * as v from 'valibot'
import * as z from 'zod'
import {
  contract,
  event,
  isError,
  rpc,
  stream,
  type Client,
  type Contract,
  type EventInput,
  type EventNames,
  type ExactHandlers,
  type Functions,
  type Handlers,
  type MethodNames,
  type Unsubscribe,
} from '../../src/contract/contract.js'
import { TalkwireError } from '../../src/error.js'
import { ref } from '../../src/session/references.js'
import { context } from '../../src/session/incoming.js'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <_ extends true>(): void => undefined

// The signatures that `serve` and `connect` have, without what they do.
function serve<const C extends Contract, const H extends Handlers<C, Client<Peer>>, Peer extends Contract | Functions = Contract>(
  _contract: C,
  _handlers: H & ExactHandlers<C, H, Client<Peer>>,
  _options?: { calls?: Peer },
): { emit<K extends EventNames<C>>(name: K, payload: EventInput<C, K>): void } {
  return { emit: () => undefined }
}
declare function connect<T extends Contract>(contract: T): Client<T>
declare function connect<T>(name: string): Client<T>

const Account = z.object({ account: z.string() })
const Balance = z.object({ cents: z.number() })
const bank = contract('bank/1', {
  deposit: rpc({
    input: Account.extend({ amount: z.number() }),
    output: Balance,
    errors: { AccountClosed: z.object({ since: z.string() }), Frozen: z.null() },
  }),
  watch: rpc({ input: Account, output: stream(Balance) }),
  load: rpc({ input: stream(Account), output: Balance }),
  chat: rpc({ input: stream(z.string()), output: stream(z.number()) }),
  reset: rpc(),
  list: rpc({ input: z.object({ after: z.string() }).optional(), output: z.array(Balance) }),
  log: rpc({ input: z.string(), oneway: true }),
  day: rpc({ input: z.string().transform((text) => new Date(text)), output: z.date().default(new Date(0)) }),
  overdrawn: event(Account),
})

const tools = contract('tools/2', {
  shout: rpc({
    input: v.object({ text: v.string(), times: v.optional(v.number(), 1) }),
    output: v.string(),
    errors: { Quiet: v.object({ hours: v.number() }) },
  }),
  count: rpc({
    input: type({ word: 'string', 'limit?': 'number' }),
    output: type('number[]'),
    errors: { Banned: type({ word: 'string' }) },
  }),
  said: event(v.string()),
})

/** What a compile-time test needs a place for; never called. */
const compiled = (_: () => unknown): void => undefined
const ok = { cents: 1 }
const handlers = {
  deposit: () => ok,
  watch: () => [ok],
  load: () => ok,
  chat: () => [1],
  reset: () => undefined,
  list: () => [ok],
  log: () => undefined,
  day: () => new Date(),
}

test('names of methods and events', () => {
  holds<Equal<MethodNames<typeof bank>, 'deposit' | 'watch' | 'load' | 'chat' | 'reset' | 'list' | 'log' | 'day'>>()
  holds<Equal<EventNames<typeof bank>, 'overdrawn'>>()
})

test('a client with zod', () =>
  compiled(async () => {
    const client = connect(bank)
    const balance = await client.deposit({ account: 'a', amount: 1 }, { timeout: 5 })
    holds<Equal<typeof balance, { cents: number }>>()
    // @ts-expect-error amount is a number
    client.deposit({ account: 'a', amount: '1' })
    // @ts-expect-error amount is missing
    client.deposit({ account: 'a' })
    // @ts-expect-error it needs its input
    client.deposit()
    // @ts-expect-error there is no such method
    client.withdraw({ account: 'a' })
    // @ts-expect-error a balance has cents
    balance.euros
    // @ts-expect-error a timeout is a number
    client.deposit({ account: 'a', amount: 1 }, { timeout: '5' })
  }))

test('a transform: the caller writes what goes in, the receiver gets what comes out', () =>
  compiled(async () => {
    holds<Equal<Parameters<Client<typeof bank>['day']>[0], string>>()
    holds<Equal<Parameters<Handlers<typeof bank>['day']>[0], Date>>()
    holds<Equal<Awaited<ReturnType<Client<typeof bank>['day']>>, Date>>()
    holds<Equal<ReturnType<Handlers<typeof bank>['day']>, Date | undefined | Promise<Date | undefined>>>()
  }))

test('an event of a client', () =>
  compiled(async () => {
    const client = connect(bank)
    holds<Equal<Awaited<ReturnType<typeof client.once<'overdrawn'>>>, { account: string }>>()
    const { account } = await client.once('overdrawn', { timeout: 1000, signal: new AbortController().signal })
    holds<Equal<typeof account, string>>()
    // @ts-expect-error no event
    client.once('deposit')
    // @ts-expect-error nothing is asked of a handler
    client.once('overdrawn', { metadata: {} })
    const payload = await connect<typeof calc>('calc').once('anything')
    holds<Equal<typeof payload, any>>()
  }))

test('a client with valibot and arktype', () =>
  compiled(async () => {
    const client = connect(tools)
    const text = await client.shout({ text: 'hi' })
    holds<Equal<typeof text, string>>()
    const numbers = await client.count({ word: 'hi', limit: 2 })
    holds<Equal<typeof numbers, number[]>>()
    // @ts-expect-error text is a string
    client.shout({ text: 1 })
    // @ts-expect-error limit is a number
    client.count({ word: 'hi', limit: '2' })
    client.on('said', (said) => holds<Equal<typeof said, string>>())
  }))

test('streams, both directions', () =>
  compiled(async () => {
    const client = connect(bank)
    const watched = client.watch({ account: 'a' })
    holds<Equal<typeof watched, AsyncIterableIterator<{ cents: number }>>>()
    for await (const { cents } of watched) holds<Equal<typeof cents, number>>()
    client.load([{ account: 'a' }])
    client.load(
      (async function* () {
        yield { account: 'a' }
      })(),
    )
    const answers = client.chat(['a', 'b'])
    holds<Equal<typeof answers, AsyncIterableIterator<number>>>()
    // @ts-expect-error a stream of accounts
    client.load([{ account: 1 }])
    // @ts-expect-error one value is no stream
    client.load({ account: 'a' })
  }))

test('no input, optional input', () =>
  compiled(async () => {
    const client = connect(bank)
    const nothing = await client.reset()
    holds<Equal<typeof nothing, void>>()
    await client.reset(undefined, { timeout: 1 })
    await client.list()
    await client.list({ after: 'a' })
    await client.list(undefined, { timeout: 1 })
    // @ts-expect-error it takes nothing
    client.reset({ account: 'a' })
    // @ts-expect-error after is a string
    client.list({ after: 1 })
  }))

test('events', () =>
  compiled(async () => {
    const client = connect(bank)
    const stop = await client.on('overdrawn', (payload, { lost }) => {
      holds<Equal<typeof payload, { account: string }>>()
      holds<Equal<typeof lost, number>>()
    })
    holds<Equal<typeof stop, Unsubscribe>>()
    // @ts-expect-error deposit is no event
    client.on('deposit', () => undefined)
    const service = serve(bank, handlers)
    service.emit('overdrawn', { account: 'a' })
    // @ts-expect-error account is a string
    service.emit('overdrawn', { account: 1 })
    // @ts-expect-error there is no such event
    service.emit('closed', {})
    // @ts-expect-error overdrawn is no method
    client.overdrawn({ account: 'a' })
  }))

test('inline handlers: parameters have types', () =>
  compiled(() => {
    serve(bank, {
      async deposit({ account, amount }, ctx) {
        holds<Equal<typeof account, string>>()
        holds<Equal<typeof amount, number>>()
        holds<Equal<typeof ctx.signal, AbortSignal>>()
        return { cents: amount }
      },
      async *watch({ account }) {
        holds<Equal<typeof account, string>>()
        yield { cents: 1 }
      },
      load: async (entries) => {
        let cents = 0
        for await (const entry of entries) {
          holds<Equal<typeof entry, { account: string }>>()
          cents++
        }
        return { cents }
      },
      async *chat(lines) {
        for await (const line of lines) yield line.length
      },
      reset: (input, ctx) => {
        holds<Equal<typeof input, void>>()
        holds<Equal<typeof ctx.method, string>>()
      },
      list: (input) => (input ? [{ cents: input.after.length }] : []),
      log(line) {
        holds<Equal<typeof line, string>>()
      },
      day: (date) => {
        holds<Equal<typeof date, Date>>()
        return date
      },
    })
    serve(tools, {
      shout: ({ text, times }) => {
        holds<Equal<typeof times, number>>()
        return text.repeat(times)
      },
      count: ({ word, limit }) => {
        holds<Equal<typeof limit, number | undefined>>()
        return [word.length]
      },
    })
  }))

test('missing and excess handlers, of literals and of other objects', () =>
  compiled(() => {
    serve(bank, handlers)
    const { watch, ...missing } = handlers
    // @ts-expect-error watch is missing
    serve(bank, missing)
    // @ts-expect-error withdraw is no method
    serve(bank, { ...handlers, withdraw: () => ok })
    const excess = { ...handlers, withdraw: () => ok }
    // @ts-expect-error withdraw is no method
    serve(bank, excess)
    // @ts-expect-error an event has no handler
    serve(bank, { ...handlers, overdrawn: () => undefined })
    class Bank {
      deposit = () => ok
      watch = () => [ok]
      load = () => ok
      chat = () => [1]
      reset(): void {
        /* nothing */
      }
      list = () => [ok]
      log(): void {
        /* nothing */
      }
      day = () => new Date()
      #secret = 1
      peek(): number {
        return this.#secret
      }
    }
    // @ts-expect-error peek is no method
    serve(bank, new Bank())
    holds<Equal<ExactHandlers<typeof bank, typeof excess>['withdraw'], '"withdraw" is no method of the contract'>>()
  }))

test('wrong handlers', () =>
  compiled(() => {
    // @ts-expect-error cents is a number
    serve(bank, { ...handlers, deposit: () => ({ cents: '1' }) })
    // @ts-expect-error nothing is returned
    serve(bank, { ...handlers, deposit: () => undefined })
    serve(bank, {
      ...handlers,
      // @ts-expect-error a stream of balances
      async *watch() {
        yield { cents: '1' }
      },
    })
    // @ts-expect-error one value is no stream
    serve(bank, { ...handlers, watch: () => ok })
    // @ts-expect-error the input has no such property
    serve(bank, { ...handlers, deposit: ({ owner }) => ok })
    // @ts-expect-error an answer that nobody receives
    serve(bank, { ...handlers, log: () => 'done' })
    // @ts-expect-error count answers numbers
    serve(tools, { shout: () => '', count: () => ['1'] })
  }))

test('declared errors: ctx.error knows the errors of its own method', () =>
  compiled(() => {
    serve(bank, {
      ...handlers,
      deposit(_, ctx) {
        // @ts-expect-error since is a string
        ctx.error('AccountClosed', { since: 1 })
        // @ts-expect-error there is no such error
        ctx.error('AccountOpen', {})
        // @ts-expect-error an error of another contract
        ctx.error('Quiet', { hours: 1 })
        ctx.error('Frozen', null)
        throw ctx.error('AccountClosed', { since: 'May' }, 'closed since May')
      },
      reset(_, ctx) {
        // @ts-expect-error reset declares none
        ctx.error('AccountClosed', { since: 'May' })
      },
    })
  }))

test('isError narrows code and details', () =>
  compiled(() => {
    const caught: unknown = undefined
    if (isError(caught, bank, 'deposit', 'AccountClosed')) {
      holds<Equal<typeof caught.details, { since: string }>>()
      holds<Equal<typeof caught.code, 'AccountClosed'>>()
      caught.outcome.length
      // @ts-expect-error there is no such detail
      caught.details.until
    }
    if (isError(caught, tools, 'count', 'Banned')) holds<Equal<typeof caught.details, { word: string }>>()
    if (isError(caught, tools, 'shout', 'Quiet')) holds<Equal<typeof caught.details, { hours: number }>>()
    // @ts-expect-error count declares no Quiet
    isError(caught, tools, 'count', 'Quiet')
    // @ts-expect-error there is no such method
    isError(caught, tools, 'whisper', 'Quiet')
  }))

test('ctx.caller is a client of what the other side serves', () =>
  compiled(() => {
    serve(
      bank,
      {
        ...handlers,
        async deposit(_, ctx) {
          const text = await ctx.caller.shout({ text: 'hi' })
          holds<Equal<typeof text, string>>()
          // @ts-expect-error the caller serves tools
          ctx.caller.deposit({ account: 'a', amount: 1 })
          return ok
        },
      },
      { calls: tools },
    )
  }))

test('context() is typed by what the caller serves: a contract, or plain functions', () =>
  compiled(async () => {
    const { caller } = context<Client<typeof tools>>()
    const text = await caller.shout({ text: 'hi' })
    holds<Equal<typeof text, string>>()
    // @ts-expect-error the caller serves tools
    caller.deposit({ account: 'a', amount: 1 })
    const functions = context<Client<typeof calc>>().caller
    const sum = await functions.add(1, 2)
    holds<Equal<typeof sum, number>>()
    // @ts-expect-error a number is no text
    functions.later(1)
    // @ts-expect-error it was not said what the caller serves
    context().caller.add(1, 2)
    holds<Equal<typeof caller.closed, Promise<TalkwireError | undefined>>>()
  }))

const calc = {
  add: (a: number, b: number) => a + b,
  later: async (text: string) => text.length,
  *upTo(n: number) {
    for (let i = 0; i < n; i++) yield i
  },
  async *ticks() {
    yield 'tick'
  },
  each: (items: string[], visit: (item: string) => void) => items.forEach(visit),
  first: (a: string, b?: number) => [a, b],
  parse: (text: string) => JSON.parse(text),
  refuse: (): never => {
    throw new Error('no')
  },
  open: () => ref({ up: (by: number) => by, name: 'x' }),
  maker: async () => (start: number) => String(start),
  version: 3,
}

test('without a contract: types come from the functions', () =>
  compiled(async () => {
    const client = connect<typeof calc>('calc')
    const sum = await client.add(2, 5)
    holds<Equal<typeof sum, number>>()
    holds<Equal<ReturnType<typeof client.later>, Promise<number>>>()
    holds<Equal<ReturnType<typeof client.upTo>, AsyncIterableIterator<number>>>()
    holds<Equal<ReturnType<typeof client.ticks>, AsyncIterableIterator<string>>>()
    holds<Equal<ReturnType<typeof client.parse>, Promise<any>>>()
    holds<Equal<ReturnType<typeof client.refuse>, Promise<never>>>()
    const object = await client.open()
    holds<Equal<ReturnType<typeof object.up>, Promise<number>>>()
    // @ts-expect-error its data stays where it is
    object.name
    object[Symbol.dispose]()
    const make = await client.maker()
    holds<Equal<ReturnType<typeof make>, Promise<string>>>()
    make[Symbol.dispose]()
    await client.each(['a'], (item) => holds<Equal<typeof item, string>>())
    await client.first('a')
    // @ts-expect-error numbers
    client.add('2', 5)
    // @ts-expect-error two of them
    client.add(2)
    // @ts-expect-error no function
    client.version()
    await client.close()
  }))

test('contracts that cannot be', () =>
  compiled(() => {
    // @ts-expect-error a schema, not a type name
    rpc({ input: 'string' })
    // @ts-expect-error a stream of a schema
    stream(Number)
    // @ts-expect-error a member is a method or an event
    contract('bank/1', { deposit: z.string() })
  }))

test('isError at run time', () => {
  const closed = new TalkwireError('AccountClosed', 'closed', { declared: true, details: { since: 'May' }, outcome: 'ran' })
  assert.equal(isError(closed, bank, 'deposit', 'AccountClosed'), true)
  assert.equal(isError(closed, bank, 'deposit', 'Frozen'), false)
  assert.equal(isError(new TalkwireError('AccountClosed', 'not declared'), bank, 'deposit', 'AccountClosed'), false)
  assert.equal(isError(new Error('AccountClosed'), bank, 'deposit', 'AccountClosed'), false)
  assert.throws(() => isError(closed, bank, 'deposit', 'toString' as 'Frozen'), TypeError)
})
