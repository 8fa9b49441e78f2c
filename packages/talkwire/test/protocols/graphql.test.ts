import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { buildClientSchema, buildSchema, getIntrospectionQuery, GraphQLError, NoSchemaIntrospectionCustomRule, printSchema } from 'graphql'
import { serverAudits } from 'graphql-http'
import { createHandler } from 'graphql-http/lib/use/http'
import { createClient, type ClientOptions } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocket, WebSocketServer } from 'ws'
import * as z from 'zod'
import { statusOf } from '../helpers/status.js'
import { testDialect } from '../../compliance/index.js'
import { Random } from '../../compliance/random.js'
import { connect, contract, event, rpc, serve, stream } from '../../src/index.js'
import { discoverGraphql } from '../../src/protocols/graphql-client.js'
import { graphql } from '../../src/protocols/graphql.js'
import { withDefaults } from '../../src/session/limits.js'
import { fails } from '../helpers/expect.js'

const ADDRESS = 'graphql+http://127.0.0.1:0'
const raw = (address: string): net.Socket => net.connect(Number(/:(\d+)$/.exec(address)![1]), '127.0.0.1')

testDialect({ test, dialect: graphql, address: () => ADDRESS, raw })

const key = 'a-token-for-the-tests'
const Account = z.object({ account: z.string() })
const Balance = z.object({ account: z.string(), balance: z.number(), note: z.string().optional(), kind: z.enum(['open', 'closed']) })
const bank = contract('bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: Balance,
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  balance: rpc({ input: Account, output: Balance, idempotent: true }),
  watch: rpc({ input: Account, output: stream(Balance) }),
  note: rpc({ input: z.string(), oneway: true }),
  overdrawn: event(Account),
})
const balanceOf = (account: string, balance: number) => ({ account, balance, kind: 'open' as const })
const openBank = (token: string | false = false) =>
  serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' }, 'no more of this')
        if (account === 'secret') throw new Error('secret')
        return balanceOf(account, amount + 1)
      },
      balance: ({ account }) => balanceOf(account, 1),
      async *watch({ account }) {
        for (let balance = 0; balance < 3; balance++) yield balanceOf(account, balance)
      },
      note() {},
    },
    { listen: ADDRESS, token, onError: () => {} },
  )
const urlOf = (service: { addresses: readonly string[] }): string => `${service.addresses[0]!.replace('graphql+', '')}/graphql`

test('graphql: all audits of graphql-http are passed', async () => {
  await using service = await openBank()
  for (const audit of serverAudits({ url: urlOf(service), fetchFn: fetch })) {
    const result = await audit.fn()
    assert.equal(result.status, 'ok', `${audit.id} ${audit.name}: ${JSON.stringify(result)}`)
  }
})

// ── strangers call ───────────────────────────────────────────────────────────────────────────────

interface Told {
  readonly status: number
  readonly body: any
}

async function ask(url: string, query: string, variables?: object, headers: Record<string, string> = {}, more?: object): Promise<Told> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query, variables, ...more }),
  })
  return { status: response.status, body: await response.json() }
}

test('graphql: the schema says what the contract says', async () => {
  await using service = await openBank()
  const { body } = await ask(urlOf(service), getIntrospectionQuery({ schemaDescription: true }))
  assert.equal(
    printSchema(buildClientSchema(body.data)),
    `"""bank/1"""
schema {
  query: Query
  mutation: Mutation
  subscription: Subscription
}

type Query {
  balance(account: String!): BalanceOutput

  """The contract that is served."""
  _contract: String!
}

type BalanceOutput {
  account: String!
  balance: Float!
  note: String
  kind: BalanceOutputKind!
}

enum BalanceOutputKind {
  open
  closed
}

type Mutation {
  """Errors: AccountClosed (extensions.code)"""
  deposit(account: String!, amount: Float!): DepositOutput
  note(input: String!): Boolean
}

type DepositOutput {
  account: String!
  balance: Float!
  note: String
  kind: DepositOutputKind!
}

enum DepositOutputKind {
  open
  closed
}

type Subscription {
  watch(account: String!): WatchOutput
  overdrawn: OverdrawnEvent
}

type WatchOutput {
  account: String!
  balance: Float!
  note: String
  kind: WatchOutputKind!
}

enum WatchOutputKind {
  open
  closed
}

type OverdrawnEvent {
  account: String!
}`,
  )
})

test('graphql: a stranger asks by POST and GET, for several things at once, and is told each error where it happened', async () => {
  await using service = await openBank(key)
  const url = urlOf(service)
  const shown = { authorization: `Bearer ${key}` }
  assert.deepEqual((await ask(url, '{ balance(account: "a") { account balance note kind } }', undefined, shown)).body, {
    data: { balance: { account: 'a', balance: 1, note: null, kind: 'open' } },
  })
  const got = await fetch(
    `${url}?query=${encodeURIComponent('query A($a: String!) { balance(account: $a) { account } }')}&variables={"a":"b"}`,
    {
      headers: shown,
    },
  )
  assert.deepEqual(await got.json(), { data: { balance: { account: 'b' } } })
  const { body } = await ask(
    url,
    'mutation M($n: Float!) { one: deposit(account: "a", amount: $n) { balance } two: deposit(account: "closed", amount: 1) { balance } three: deposit(account: "secret", amount: 1) { balance } note(input: "x") }',
    { n: 5 },
    shown,
  )
  assert.deepEqual(body.data, { one: { balance: 6 }, two: null, three: null, note: true })
  assert.deepEqual(
    body.errors.map(({ message, path, extensions }: any) => [message, path, extensions]),
    [
      ['no more of this', ['two'], { code: 'AccountClosed', outcome: 'ran', declared: true, details: { since: 'Monday' } }],
      ['internal error', ['three'], { code: 'INTERNAL', outcome: 'ran' }],
    ],
  )
  const stranger = await ask(url, '{ _contract }')
  assert.deepEqual([stranger.status, stranger.body.errors[0].extensions.code], [401, 'UNAUTHENTICATED'])
})

test('graphql: deadline, metadata and the end of the request reach the handler, by header and in extensions', async () => {
  let aborted!: () => void
  const stopped = new Promise<void>((resolve) => {
    aborted = resolve
  })
  let begun!: () => void
  const waiting = new Promise<void>((resolve) => {
    begun = resolve
  })
  const told = contract('told/1', { told: rpc({ output: z.string(), idempotent: true }), wait: rpc({}) })
  await using service = await serve(
    told,
    {
      told: (_, { metadata, deadline }) => `${metadata['who']} ${metadata['traceparent']} ${deadline !== undefined}`,
      wait: async (_, { signal }) =>
        new Promise((_resolve, reject) => {
          begun()
          signal.addEventListener('abort', () => {
            aborted()
            reject(signal.reason as Error)
          })
        }),
    },
    { listen: ADDRESS, token: false, onError: () => {} },
  )
  const url = urlOf(service)
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const byHeader = await ask(url, '{ told }', {}, { 'talkwire-meta-who': 'me', traceparent: trace, prefer: 'wait=60' })
  assert.deepEqual(byHeader.body, { data: { told: `me ${trace} true` } })
  const talkwire = { timeout: 60_000, metadata: { who: 'you', traceparent: trace } }
  assert.deepEqual((await ask(url, '{ told }', {}, {}, { extensions: { talkwire } })).body, { data: { told: `you ${trace} true` } })
  const late = await ask(url, 'mutation { wait }', {}, {}, { extensions: { talkwire: { timeout: 1 } } })
  assert.equal(late.body.errors[0].extensions.code, 'DEADLINE_EXCEEDED')
  const wrong = await ask(url, '{ told }', {}, {}, { extensions: { talkwire: { timeout: 'x' } } })
  assert.deepEqual([wrong.status, wrong.body.errors[0].extensions.code], [400, 'INVALID_REQUEST'])
  await stopped
  const second = new Promise<void>((resolve) => {
    aborted = resolve
  })
  const third = new Promise<void>((resolve) => {
    begun = resolve
  })
  await waiting
  const controller = new AbortController()
  const call = fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"query":"mutation { wait }"}',
    signal: controller.signal,
  })
  await third
  controller.abort()
  await assert.rejects(call)
  await second
})

const socketUrl = (service: { addresses: readonly string[] }): string => urlOf(service).replace('http:', 'ws:')
const client = (url: string, more: Partial<ClientOptions> = {}) =>
  createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0, ...more })

async function collect(items: AsyncIterable<any>): Promise<unknown[]> {
  const all: unknown[] = []
  for await (const item of items) all.push(item)
  return all
}

test("graphql: graphql-ws's client subscribes, asks, listens and leaves", async () => {
  let left!: () => void
  const leaving = new Promise<void>((resolve) => {
    left = resolve
  })
  const ticks = contract('ticks/1', {
    count: rpc({ input: z.object({ to: z.number() }), output: stream(z.number()), errors: { Odd: z.object({ at: z.number() }) } }),
    ask: rpc({ input: z.string(), output: z.string(), idempotent: true }),
    news: event(z.string()),
  })
  await using service = await serve(
    ticks,
    {
      async *count({ to }, ctx) {
        try {
          for (let tick = 0; tick < to; tick++) yield tick
          if (to % 2 === 1) throw ctx.error('Odd', { at: to })
        } finally {
          left()
        }
      },
      ask: (text, { metadata }) => `${text} ${metadata['who'] ?? ''}`,
    },
    { listen: ADDRESS, token: key, onError: () => {} },
  )
  const peer = client(socketUrl(service), { connectionParams: { authorization: `Bearer ${key}` } })
  assert.deepEqual(
    await collect(peer.iterate({ query: 'subscription { count(to: 4) }' })),
    [0, 1, 2, 3].map((count) => ({ data: { count } })),
  )
  const odd: any[] = await collect(peer.iterate({ query: 'subscription ($to: Float!) { count(to: $to) }', variables: { to: 1 } }))
  assert.deepEqual(odd[0], { data: { count: 0 } })
  assert.deepEqual(odd[1].errors[0].extensions, { code: 'Odd', outcome: 'ran', declared: true, details: { at: 1 } })
  const extensions = { talkwire: { metadata: { who: 'me' } } }
  assert.deepEqual(await collect(peer.iterate({ query: '{ ask(input: "a") }', extensions })), [{ data: { ask: 'a me' } }])
  await assert.rejects(collect(peer.iterate({ query: '{ nobody }' })), (errors: any) => errors[0].extensions.code === 'INVALID_REQUEST')
  await leaving
  const stopped = new Promise<void>((resolve) => {
    left = resolve
  })
  for await (const item of peer.iterate({ query: 'subscription { count(to: 1e9) }' })) {
    assert.deepEqual(item, { data: { count: 0 } })
    break
  }
  await stopped
  const [one, two] = ['subscription { news }', 'subscription { again: news }'].map((query) => peer.iterate({ query }))
  const heard = Promise.all([one!.next(), two!.next()])
  // The protocol does not tell when a subscription is there; a later answer on the connection does.
  for (let round = 0; round < 3; round++) await collect(peer.iterate({ query: '{ ask(input: "" ) }' }))
  service.emit('news', 'today')
  assert.deepEqual(
    (await heard).map(({ value }) => value),
    [{ data: { news: 'today' } }, { data: { again: 'today' } }],
  )
  const ended = Promise.all([one!.next(), two!.next()]).then(
    () => assert.fail('still open'),
    (reason: any) => reason.code,
  )
  await service.close()
  assert.equal(await ended, 1001)
  await peer.dispose()
})

test('graphql: server-sent events by hand, for subscriptions and for queries', async () => {
  await using service = await openBank()
  const post = async (query: string, accept = 'text/event-stream') =>
    fetch(urlOf(service), { method: 'POST', headers: { 'content-type': 'application/json', accept }, body: JSON.stringify({ query }) })
  const response = await post('subscription { watch(account: "a") { balance } }')
  assert.equal(response.headers.get('content-type'), 'text/event-stream')
  assert.equal(
    await response.text(),
    `${[0, 1, 2].map((balance) => `event: next\ndata: {"data":{"watch":{"balance":${balance}}}}\n\n`).join('')}event: complete\ndata: \n\n`,
  )
  assert.equal(
    await (await post('{ _contract }')).text(),
    'event: next\ndata: {"data":{"_contract":"bank/1"}}\n\nevent: complete\ndata: \n\n',
  )
  for (const query of ['subscription { nobody }', '{', 'query A { _contract } query B { _contract }']) {
    const refused = await post(query)
    assert.deepEqual([refused.status, (await refused.text()) !== ''], [400, true], query)
  }
  assert.equal(await statusOf(`${urlOf(service)}?query=mutation{note(input:"")}`, { headers: { accept: 'text/event-stream' } }), 405)
  const plain = await post('subscription { watch(account: "a") { balance } }', 'application/json')
  assert.match(await plain.text(), /a subscription wants accept: text\/event-stream, or a WebSocket/)
})

// ── strangers are called ─────────────────────────────────────────────────────────────────────────

const SDL = `
  scalar Cents
  input Where { account: ID!, deep: Where }
  enum Kind { OPEN CLOSED }
  interface Named { name: String! }
  type Owner implements Named { name: String! accounts: [Account!]! }
  type Account { id: ID! owner: Owner balance(currency: String = "EUR"): Cents! history(from: String!): [Int!]! kind: Kind tags: [[String]] }
  type Cash { notes: Int! }
  union Anything = Account | Cash
  type Query { account(where: Where!): Account, kinds(of: [Kind!]! = [OPEN]): [Kind!]!, anything: Anything, named: Named, on: Int }
  type Mutation { deposit(account: ID!, amount: Float!): Account, kinds: Int }
  type Subscription { ticks(to: Int!): Int!, news: String }
`
const ownerOf = { __typename: 'Owner', name: 'Ada' }
const roots = {
  account: ({ where }: any) =>
    where.account === 'none' ? null : { id: where.account, owner: ownerOf, balance: 700, kind: 'OPEN', tags: [['a', null]] },
  kinds: ({ of }: any) => of ?? 1,
  named: () => ownerOf,
  deposit({ account, amount }: any) {
    if (account === 'closed') throw new GraphQLError('closed', { extensions: { code: 'AccountClosed', since: 'Monday' } })
    if (account === 'input') throw new GraphQLError('bad', { extensions: { code: 'BAD_USER_INPUT' } })
    if (account === 'broken') throw new Error('oops')
    return { id: account, balance: amount * 100 }
  },
  async *ticks({ to }: any) {
    for (let tick = 0; tick < to; tick++) {
      // It does not wait for a socket that is gone.
      if (tick % 100 === 99) await setImmediate()
      yield { ticks: tick }
    }
  },
}

/** A server of the reference libraries, with nothing of ours. */
async function foreignServer({ sockets = true, introspection = true } = {}) {
  const schema = buildSchema(SDL)
  const news: ((text: string) => void)[] = []
  let subscribed!: () => void
  const listening = new Promise<void>((resolve) => {
    subscribed = resolve
  })
  const rootValue = {
    ...roots,
    async *news() {
      const waiting: string[] = []
      let wake = (): void => {}
      news.push((text) => {
        waiting.push(text)
        wake()
      })
      subscribed()
      for (;;) {
        while (waiting.length > 0) yield { news: waiting.shift() }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
  const rules = introspection ? [] : [NoSchemaIntrospectionCustomRule]
  const server = http.createServer(createHandler({ schema, rootValue, validationRules: rules }))
  const upgrades = new WebSocketServer({ server })
  if (sockets) useServer({ schema, roots: { query: rootValue, mutation: rootValue, subscription: rootValue } }, upgrades)
  else upgrades.on('connection', (socket) => socket.close(4406))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `graphql+http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    listening,
    tell: (text: string) => news.forEach((each) => each(text)),
    async [Symbol.asyncDispose]() {
      for (const socket of upgrades.clients) socket.terminate()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

const Shown = z.object({ id: z.string(), balance: z.number(), owner: z.object({ name: z.string() }).nullable() })
const foreign = contract('accounts/1', {
  account: rpc({ input: z.object({ where: z.object({ account: z.string() }) }), output: Shown.nullable(), idempotent: true }),
  kinds: rpc({ input: z.object({ of: z.array(z.enum(['OPEN', 'CLOSED'])).optional() }), output: z.array(z.string()), idempotent: true }),
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ id: z.string(), balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  ticks: rpc({ input: z.object({ to: z.int32() }), output: stream(z.number()) }),
  news: event(z.string()),
})

async function useForeign(peer: any): Promise<void> {
  assert.deepEqual(await peer.account({ where: { account: 'a' } }), { id: 'a', balance: 700, owner: { name: 'Ada' } })
  assert.equal(await peer.account({ where: { account: 'none' } }), null)
  assert.deepEqual(await peer.kinds({}), ['OPEN'])
  assert.deepEqual(await peer.kinds({ of: ['CLOSED', 'OPEN'] }), ['CLOSED', 'OPEN'])
  assert.deepEqual(await peer.deposit({ account: 'b', amount: 2 }), { id: 'b', balance: 200 })
  const errors = await Promise.all(
    ['closed', 'input', 'broken'].map((account) => peer.deposit({ account, amount: 1 }).catch((reason: unknown) => reason)),
  )
  assert.deepEqual(
    errors.map(({ code, declared, outcome, details }) => [code, declared, outcome, details]),
    [
      ['AccountClosed', true, 'ran', { since: 'Monday' }],
      ['INVALID_INPUT', false, 'ran', { code: 'BAD_USER_INPUT' }],
      ['UNKNOWN', false, 'ran', undefined],
    ],
  )
  await assert.rejects(peer.account({ where: {} }), fails('INVALID_INPUT', 'INVALID_REQUEST'))
}

test('graphql: a server of the reference libraries is called by a contract, with its own names of types', async () => {
  await using server = await foreignServer()
  const peer = await connect(foreign, server.address)
  await useForeign(peer)
  assert.deepEqual(
    await collect(peer.ticks({ to: 1000 })),
    Array.from({ length: 1000 }, (_, tick) => tick),
  )
  for await (const tick of peer.ticks({ to: 2 ** 31 - 1 })) if (tick === 5) break
  const heard = new Promise((resolve) => {
    void peer.on('news', resolve)
  })
  await server.listening
  server.tell('today')
  assert.equal(await heard, 'today')
  await peer.close()
  const other = contract('accounts/1', { nobody: rpc({}) })
  await assert.rejects(connect(other, server.address, { reconnect: false }), fails('CONTRACT_MISMATCH'))
  await assert.rejects(connect(server.address, { reconnect: false }), fails('UNSUPPORTED'))
  await using page = await serve('echo', { echo: () => 1 }, { listen: 'http://127.0.0.1:0', token: false })
  await assert.rejects(connect(foreign, `graphql+${page.addresses[0]!}`, { reconnect: false }), fails('METHOD_NOT_FOUND'))
  await using socket = await serve('echo', { echo: () => 1 }, { listen: 'ws://127.0.0.1:0', token: false })
  const { port } = new URL(socket.addresses[0]!)
  for (const scheme of ['graphql+http', 'mcp+http', 'http']) {
    await assert.rejects(connect(foreign, `${scheme}://127.0.0.1:${port}`, { reconnect: false }), (error: Error) => {
      assert.match(error.message, new RegExp(`^\\[UNSUPPORTED\\] .*127.0.0.1:${port}.* answered with status 426 \\(Upgrade Required\\)`))
      return true
    })
  }
})

test('graphql: a server that tells nobody its schema is called with the types of the contract', async () => {
  await using server = await foreignServer({ introspection: false })
  const named = contract('named/1', {
    named: rpc({ output: z.object({ name: z.string() }), idempotent: true }),
    ticks: rpc({ input: z.object({ to: z.int32() }), output: stream(z.number()) }),
  })
  const peer = await connect(named, server.address)
  assert.deepEqual(await peer.named(), { name: 'Ada' })
  assert.deepEqual(await collect(peer.ticks({ to: 2 })), [0, 1])
  await peer.close()
  await assert.rejects(discoverGraphql(server.address, { limits: withDefaults() }), fails('UNSUPPORTED'))
})

test('graphql: a server without WebSocket is subscribed to by server-sent events', async () => {
  // Its types would bring those of browsers.
  const { createYoga, createSchema } = (await import('graphql-yoga' as string)) as any
  const Subscription = { ticks: { subscribe: (_: unknown, args: any) => roots.ticks(args) } }
  const typeDefs = 'type Query { kinds: Int } type Subscription { ticks(to: Int!): Int! }'
  const schema = createSchema({ typeDefs, resolvers: { Query: { kinds: () => 7 }, Subscription } })
  const server = http.createServer(createYoga({ schema, logging: false }))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const ticks = contract('ticks/1', {
    ticks: rpc({ input: z.object({ to: z.int32() }), output: stream(z.number()) }),
    kinds: rpc({ output: z.int32(), idempotent: true }),
  })
  const peer = await connect(ticks, `graphql+http://127.0.0.1:${(server.address() as net.AddressInfo).port}`)
  assert.equal(await peer.kinds(), 7)
  for (let round = 0; round < 2; round++) assert.deepEqual(await collect(peer.ticks({ to: 3 })), [0, 1, 2])
  await peer.close()
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
})

test('graphql: a schema becomes a contract, as far as a contract can say it', async () => {
  await using server = await foreignServer()
  const found = await discoverGraphql(server.address, { limits: withDefaults() })
  assert.deepEqual(Object.keys(found.members).toSorted(), ['account', 'deposit', 'kinds', 'named', 'news', 'ticks'])
  assert.deepEqual(Object.keys(found.foreign!.leftOut).toSorted(), ['Mutation.kinds', 'anything', 'on'])
  const peer: any = await connect(found, server.address)
  assert.deepEqual(await peer.account({ where: { account: 'a' } }), {
    id: 'a',
    owner: { name: 'Ada' },
    balance: 700,
    kind: 'OPEN',
    tags: [['a', null]],
  })
  assert.deepEqual(await peer.named(), { name: 'Ada' })
  assert.deepEqual(await collect(peer.ticks({ to: 2 })), [0, 1])
  await assert.rejects(peer.account({ where: { account: {} } }), fails('INVALID_REQUEST'))
  await peer.close()

  await using service = await openBank(key)
  const ours = await discoverGraphql(service.addresses[0]!, { limits: withDefaults(), token: key })
  assert.equal(ours.id, 'bank/1')
  const caller: any = await connect(ours, service.addresses[0]!, { token: key })
  assert.deepEqual(await caller.deposit({ account: 'a', amount: 1 }), { account: 'a', balance: 2, note: null, kind: 'open' })
  assert.equal((await collect(caller.watch({ account: 'a' }))).length, 3)
  await caller.close()
  await assert.rejects(discoverGraphql(service.addresses[0]!, { limits: withDefaults() }), fails('UNAUTHENTICATED'))
})

test('graphql: the end of a server in the middle of a stream is told', async () => {
  const server = await foreignServer()
  const peer = await connect(foreign, server.address, { reconnect: false })
  const ticks = peer.ticks({ to: 2 ** 31 - 1 })
  await ticks.next()
  await server[Symbol.asyncDispose]()
  await assert.rejects(collect(ticks), fails('CONNECTION_LOST'))
  await peer.close()
})

// ── types ────────────────────────────────────────────────────────────────────────────────────────

test('graphql: what GraphQL has no type for is JSON, and everything comes back as it was', async () => {
  interface Tree {
    value: number
    children: Tree[]
  }
  const Tree: z.ZodType<Tree> = z.lazy(() => z.object({ value: z.number(), children: z.array(Tree) }))
  const All = z.object({
    int: z.int32(),
    safe: z.int(),
    big: z.bigint(),
    date: z.date(),
    bytes: z.instanceof(Uint8Array),
    union: z.union([z.string(), z.object({ a: z.number() })]),
    record: z.record(z.string(), z.number()),
    tuple: z.tuple([z.string(), z.number()]),
    any: z.any(),
    tree: Tree,
    hyphened: z.object({ 'a-b': z.string() }),
    nothing: z.object({}),
    choice: z.enum(['a', 'b']),
    words: z.enum(['a b', 'true']),
    literal: z.literal('x'),
    nullable: z.string().nullable(),
    optional: z.string().optional(),
    lists: z.array(z.array(z.number().nullable())),
  })
  const types = contract('types/1', {
    echo: rpc({ input: All, output: All }),
    bare: rpc({ input: z.array(z.bigint()), output: z.array(z.bigint()), idempotent: true }),
    maybe: rpc({ input: z.string().optional(), output: z.string().optional(), idempotent: true }),
    'with.dot': rpc({ input: z.object({}), output: z.object({}) }),
  })
  await using service = await serve(
    types,
    { echo: (input) => input, bare: (input) => input, maybe: (input) => input, 'with.dot': (input) => input },
    { listen: ADDRESS, token: false },
  )
  const peer = await connect(types, service.addresses[0]!)
  const value: z.infer<typeof All> = {
    int: -5,
    safe: 2 ** 53 - 1,
    big: 2n ** 70n,
    date: new Date(0),
    bytes: new Uint8Array([0, 255]),
    union: { a: 1 },
    record: { 'any key': 1 },
    tuple: ['a', 1],
    any: [{ deep: [null] }],
    tree: { value: 1, children: [{ value: 2, children: [] }] },
    hyphened: { 'a-b': 'c' },
    nothing: {},
    choice: 'a',
    words: 'true',
    literal: 'x',
    nullable: null,
    lists: [[1, null], []],
  }
  assert.deepEqual(await peer.echo(value), value)
  assert.deepEqual(await peer.echo({ ...value, union: 'text', optional: 'x' }), { ...value, union: 'text', optional: 'x' })
  assert.deepEqual(await peer.bare([1n, -(2n ** 64n)]), [1n, -(2n ** 64n)])
  assert.deepEqual([await peer.maybe(), await peer.maybe('x')], [undefined, 'x'])
  assert.deepEqual(await (peer as any)['with.dot']({}), {})
  await assert.rejects(peer.echo({ ...value, more: 1 } as never), TypeError)
  await peer.close()
  // Many clients send null for what they leave out.
  const nulled = await ask(urlOf(service), 'query ($a: String) { maybe(input: $a) }', { a: null })
  assert.deepEqual(nulled.body, { data: { maybe: null } })
})

test('graphql: what it cannot carry is refused at start', async () => {
  const refuse = (members: any, handlers: any) =>
    assert.rejects(serve(contract('a/1', members), handlers, { listen: ADDRESS }), fails('UNSUPPORTED'))
  await refuse({ up: rpc({ input: stream(z.string()) }) }, { up() {} })
  await refuse({ 'a.b': rpc({}), 'a-b': rpc({}) }, { 'a.b'() {}, 'a-b'() {} })
  await assert.rejects(serve('plain', { f: () => 1 }, { listen: ADDRESS }), fails('UNSUPPORTED'))
  await using service = await openBank(key)
  const at = service.addresses[0]!
  await assert.rejects(
    connect(contract('bank/2', { note: rpc({ input: z.string(), oneway: true }) }), at, { token: key, reconnect: false }),
    fails('CONTRACT_MISMATCH'),
  )
  await assert.rejects(connect(bank, at, { token: 'wrong', reconnect: false }), fails('UNAUTHENTICATED'))
})

// ── bad input ────────────────────────────────────────────────────────────────────────────────────

test('graphql: bad requests are told what is wrong with them, and cost no more than a good one', async () => {
  await using service = await serve(
    contract('bad/1', {
      echo: rpc({ input: z.any(), output: z.any() }),
      tree: rpc({ output: z.object({ a: z.object({ b: z.object({ c: z.string() }) }) }), idempotent: true }),
      count: rpc({ input: z.object({ to: z.int32() }), output: stream(z.number()) }),
    }),
    {
      echo: (value: unknown) => value,
      tree: () => ({ a: { b: { c: 'x' } } }),
      async *count() {},
    },
    { listen: ADDRESS, token: false, limits: { message: 1 << 20, depth: 20, batch: 10 }, onError: () => {} },
  )
  const url = urlOf(service)
  const accept = { accept: 'application/graphql-response+json' }
  const spread = (depth: number) =>
    `{ ...F0 } ${Array.from({ length: depth }, (_, at) => `fragment F${at} on Query { ...F${at + 1} ...F${at + 1} }`).join(' ')} fragment F${depth} on Query { tree { a { b { c } } } }`
  for (const [code, query] of [
    ['INVALID_REQUEST', ''],
    ['INVALID_REQUEST', '{'],
    ['INVALID_REQUEST', '{ nobody }'],
    ['INVALID_REQUEST', '{ constructor __proto__ }'],
    ['INVALID_REQUEST', '{ tree }'],
    ['INVALID_REQUEST', 'query A { tree { a { b { c } } } } query B { tree { a { b { c } } } }'],
    ['INVALID_REQUEST', '{ ...A } fragment A on Query { ...A }'],
    ['INVALID_REQUEST', 'subscription { a: count(to: 1) b: count(to: 1) }'],
    ['INVALID_REQUEST', 'subscription { count(to: 2147483648) }'],
    ['INVALID_REQUEST', 'mutation { echo(input: $nobody) }'],
    ['INVALID_REQUEST', 'type Query { a: Int }'],
    ['INVALID_INPUT', 'mutation ($a: JSON!) { echo(input: $a) }'],
    ['TOO_DEEP', '{'.repeat(100_000)],
    ['INVALID_REQUEST', `{ tree(${'a: 1 '.repeat(5000)}) { a { b { c } } } }`],
    ['TOO_DEEP', `mutation { echo(input: ${'['.repeat(3000)}${']'.repeat(3000)}) }`],
    ['LIMIT_EXCEEDED', `{ ${Array.from({ length: 11 }, (_, at) => `a${at}: tree { a { b { c } } }`).join(' ')} }`],
    ['LIMIT_EXCEEDED', `{ ${'tree { a { b { c } } } '.repeat(300)} }`],
    ['LIMIT_EXCEEDED', `{ tree { a { b { ${Array.from({ length: 5 }, (_, at) => `c${at}: c`).join(' ')} } } } }`],
    ['LIMIT_EXCEEDED', `{ ${Array.from({ length: 5 }, (_, at) => `a${at}: __schema { types { name } }`).join(' ')} }`],
    ['LIMIT_EXCEEDED', spread(30)],
    ['TOO_DEEP', `{ ${'a { '.repeat(30)} a ${'}'.repeat(30)} }`],
    ['INVALID_REQUEST', `{ __schema { types { ${'fields { type { '.repeat(4)} name ${'} }'.repeat(4)} } } }`],
  ] as const) {
    const { status, body } = await ask(url, query, undefined, accept)
    assert.deepEqual(
      [status, body.errors?.[0].extensions.code],
      [400, code],
      `${query.slice(0, 80)} → ${JSON.stringify(body).slice(0, 300)}`,
    )
    assert.ok(body.errors.length <= 21)
  }
  // Of a text or a comment brackets are no nesting; one that does not end is left to the parser.
  const brackets = '['.repeat(200)
  for (const [status, query] of [
    [200, `{ _contract } # ${brackets}`],
    [200, `mutation { echo(input: "\\"${brackets}") }`],
    [200, `mutation { echo(input: """ \\""" ${brackets} """) }`],
    [400, `mutation { echo(input: "${brackets}`],
    [400, `mutation { echo(input: """${brackets}`],
  ] as const)
    assert.equal((await ask(url, query, undefined, accept)).status, status, query.slice(0, 60))
  const deep = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown
  const send = async (body: string, headers: Record<string, string> = {}): Promise<[number, string | undefined]> => {
    const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...accept, ...headers }, body })
    const text = await response.text()
    return [response.status, text === '' ? undefined : (JSON.parse(text) as any).errors[0].extensions.code]
  }
  const query = 'mutation ($a: JSON) { echo(input: $a) }'
  assert.deepEqual(await send('{"query":"{ tree { a { b { c } } } }"}', { 'content-type': 'text/plain' }), [415, 'INVALID_REQUEST'])
  assert.deepEqual(await send('query={tree}', { 'content-type': 'application/x-www-form-urlencoded' }), [415, 'INVALID_REQUEST'])
  assert.deepEqual(await send('{"query":"{ tree { a { b { c } } } }"}', { accept: 'image/png' }), [406, 'INVALID_REQUEST'])
  assert.deepEqual(await send('[{"query":"{ _contract }"},{"query":"{ _contract }"}]'), [400, 'INVALID_REQUEST'])
  assert.deepEqual(await send('{"query":'), [400, 'INVALID_MESSAGE'])
  assert.deepEqual(await send('null'), [400, 'INVALID_REQUEST'])
  assert.deepEqual(await send('{"query":1}'), [400, 'INVALID_REQUEST'])
  assert.deepEqual(await send(`{"query":"{ _contract }","variables":[]}`), [400, 'INVALID_REQUEST'])
  assert.deepEqual(await send(`{"query":"${query}","variables":{"__proto__":{"a":1}}}`), [400, 'FORBIDDEN_KEY'])
  assert.deepEqual(await send(JSON.stringify({ query, variables: { a: deep(30) } })), [400, 'TOO_DEEP'])
  assert.deepEqual(await send(JSON.stringify({ query, variables: { a: 'x'.repeat(1 << 20) } })), [413, 'MESSAGE_TOO_LARGE'])
  assert.equal(await statusOf(`${url}?query=mutation{echo(input:1)}`), 405)
  assert.equal(await statusOf(`${url}?query={_contract}`, { headers: { 'sec-fetch-site': 'cross-site' } }), 403)
  assert.equal(await statusOf(`${url}?query={_contract}`, { headers: { origin: 'http://evil.example' } }), 403)
  assert.equal(await statusOf(`${url}/elsewhere?query={_contract}`), 404)
  assert.equal(await statusOf(url, { method: 'PUT' }), 405)
  assert.equal(({} as any).a, undefined)

  const random = new Random(4711)
  const good = 'query A($a: Int = 1) { tree { a { ...B } } } fragment B on TreeOutputA { b @include(if: true) { c } }'
  for (let round = 0; round < 300; round++) {
    const at = random.below(good.length)
    const noise = '{}()[]$@!:."\\# \u0000aä0'[random.below(20)] ?? ''
    const { status, body } = await ask(url, good.slice(0, at) + noise + good.slice(at + random.below(3)), undefined, accept)
    assert.ok(status === 200 ? body.data : status === 400 && body.errors.length > 0, `${status} ${JSON.stringify(body)}`)
  }
  assert.deepEqual((await ask(url, '{ tree { a { b { c } } } }')).body, { data: { tree: { a: { b: { c: 'x' } } } } })
})

test('graphql: a WebSocket that breaks the rules is closed, and nothing else is', async () => {
  await using service = await openBank(key)
  const url = socketUrl(service)
  const params = { authorization: `Bearer ${key}` }
  const good = client(url, { connectionParams: params, lazy: false, onNonLazyError() {} })
  const closedBy = async (messages: readonly (string | Buffer)[], options: object = {}): Promise<number> => {
    const socket = new WebSocket(url, 'graphql-transport-ws', options)
    socket.on('error', () => {})
    const [first, ...rest] = messages
    socket.on('open', () => first !== undefined && socket.send(first))
    socket.once('message', () => rest.forEach((each) => socket.send(each)))
    const [code] = (await once(socket, 'close')) as [number]
    return code
  }
  const init = JSON.stringify({ type: 'connection_init', payload: params })
  const subscribe = JSON.stringify({ type: 'subscribe', id: '1', payload: { query: 'subscription { overdrawn { account } }' } })
  for (const [code, messages] of [
    [4400, ['x']],
    [4400, [Buffer.from([0xff, 0xfe])]],
    [4400, ['null']],
    [4400, ['{"type":"nobody"}']],
    [4400, [init, '{"type":"subscribe","id":"1"}']],
    [4400, [init, '{"type":"subscribe","id":"1","payload":{"query":"{ a }","variables":{"__proto__":1}}}']],
    [4400, [init, '['.repeat(1000)]],
    [4401, [subscribe]],
    [4403, ['{"type":"connection_init"}']],
    [4403, ['{"type":"connection_init","payload":{"authorization":"Bearer wrong"}}']],
    [4409, [init, subscribe, subscribe]],
    [4429, [init, init]],
  ] as const)
    assert.equal(await closedBy(messages), code, String(messages))
  const refused = async (options: object, protocol = 'graphql-transport-ws', at = url): Promise<string> => {
    const socket = new WebSocket(at, protocol, options)
    const [reason] = (await once(socket, 'error')) as [Error]
    return reason.message
  }
  assert.match(await refused({ origin: 'http://evil.example' }), /403/)
  assert.match(await refused({ headers: { host: 'evil.example' } }), /403/)
  assert.match(await refused({}, 'graphql-transport-ws', url.replace('/graphql', '/elsewhere')), /404/)
  const all = await collect(good.iterate({ query: 'subscription { watch(account: "a") { balance } }' }))
  assert.equal(all.length, 3)
  await good.dispose()
})

test('graphql: it has its path, also for WebSocket, on a listener of many protocols', async () => {
  const ticks = contract('ticks/1', { count: rpc({ input: z.object({ to: z.number() }), output: stream(z.number()) }) })
  const handlers = {
    async *count({ to }: { to: number }) {
      for (let tick = 0; tick < to; tick++) yield tick
    },
  }
  await using service = await serve(ticks, handlers, { listen: 'tcp://127.0.0.1:0', protocols: ['http', 'graphql', 'ws'], token: key })
  const at = (scheme: string) => service.addresses.find((address) => address.startsWith(`${scheme}:`))!
  const peer = client(`${at('graphql+http').replace('graphql+http', 'ws')}/graphql`, {
    connectionParams: { authorization: `Bearer ${key}` },
  })
  assert.equal((await collect(peer.iterate({ query: 'subscription { count(to: 3) }' }))).length, 3)
  await peer.dispose()
  for (const scheme of ['graphql+http', 'ws', 'http', 'tcp']) {
    const caller = await connect(ticks, at(scheme), { token: key })
    assert.deepEqual(await collect(caller.count({ to: 2 })), [0, 1], scheme)
    await caller.close()
  }
})

test('graphql: server-sent events that are cut off have not ended', async () => {
  const server = http.createServer((request, response) => {
    if (!/event-stream/.test(request.headers.accept ?? '')) return void response.writeHead(400).end('{"errors":[{"message":"no"}]}')
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('event: next\ndata: {"data":{"ticks":7}}\n\n', () => request.socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const peer = await connect(foreign, `graphql+http://127.0.0.1:${(server.address() as net.AddressInfo).port}`, { reconnect: false })
  await assert.rejects(collect(peer.ticks({ to: 9 })), fails('CONNECTION_LOST'))
  await peer.close()
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
})

test('graphql: an answer that the schema does not allow is an internal error, and the service alone is told why', async () => {
  const told: unknown[] = []
  const shape = contract('shape/1', { get: rpc({ output: z.object({ a: z.string() }), idempotent: true }) })
  await using service = await serve(
    shape,
    { get: () => ({}) as never },
    { listen: ADDRESS, token: false, onError: (reason) => told.push(reason) },
  )
  const { body } = await ask(urlOf(service), '{ get { a } }')
  assert.deepEqual([body.data, body.errors.length, body.errors[0].message], [{ get: null }, 1, 'internal error'])
  assert.deepEqual(body.errors[0].extensions, { code: 'INTERNAL', outcome: 'ran' })
  assert.match(String(told[0]), /non-nullable/)
})

test('graphql: GraphiQL is there for browsers, without another server', async () => {
  await using service = await openBank(key)
  const response = await fetch(urlOf(service), { headers: { accept: 'text/html' } })
  const page = await response.text()
  assert.equal(response.status, 200)
  assert.match(page, /renderYogaGraphiQL/)
  assert.match(page, /"endpoint":"\/graphql".*"authorization":`Bearer \$\{/)
  assert.doesNotMatch(page, /<(script|link)[^>]+(src|href)="https?:/)
  assert.match(response.headers.get('content-security-policy')!, /connect-src 'self'/)
  assert.equal(await statusOf(urlOf(service), { headers: { accept: 'application/json' } }), 401)
})
