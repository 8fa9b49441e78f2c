/** HTTP services of others, called by their own OpenAPI document. */
import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import {
  connect,
  contract,
  discover,
  event,
  fromOpenApi,
  jsonSchema,
  rpc,
  serve,
  stream,
  TalkwireError,
  type ConnectOptions,
} from '../../src/index.js'
import { bridging, talkwire } from '../cli/program.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'

const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
const run = promisify(execFile)
const program = fileURLToPath(new URL('./fixtures/fastapi_shop.py', import.meta.url)).replace('/dist/test/', '/test/')

interface Running {
  readonly child: ChildProcess
  readonly address: string
  /** Resolves with the next line that it prints. */
  line(): Promise<string>
}

async function start(): Promise<Running> {
  const port = freshPort()
  const child = spawn(python, [program, ownHost, String(port)], { stdio: ['ignore', 'pipe', 'ignore'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => (await soon(lines.next(), 'a line')).value as string
  assert.equal(await line(), 'ready')
  return { child, address: `http://${ownHost}:${port}`, line }
}

let shop: Running
before(async () => {
  shop = await start()
})
after(async () => {
  shop.child.kill('SIGKILL')
  if (shop.child.exitCode === null && shop.child.signalCode === null) await once(shop.child, 'exit')
})

const client = async (address = shop.address, options: ConnectOptions = {}): Promise<any> =>
  connect(await discover(address), address, options)
const failure = async (call: Promise<unknown>): Promise<TalkwireError> =>
  call.then(
    (value) => assert.fail(`no failure: ${JSON.stringify(value)}`),
    (reason: TalkwireError) => reason,
  )

test('http: FastAPI is called by what it tells of itself: paths, queries, headers, cookies, forms, bodies', async () => {
  const made = await discover(shop.address)
  assert.equal(made.id, 'Pet-Shop/3')
  const pets = (await connect(made, shop.address)) as any
  const rex = { name: 'Rex', kind: 'dog', tags: ['a b', 'ü&='], parent: { name: 'Ada', kind: 'cat', tags: [], parent: null } }
  const id: number = await pets.add_pet_pets_post(rex)
  assert.deepEqual(await pets.get_pet_pets__pet_id__get({ pet_id: id }), rex)
  assert.equal((await pets.change_pet_pets__pet_id__put({ pet_id: id, body: { name: 'Bo' } })).name, 'Bo')
  assert.equal(await pets.remove_pet_pets__pet_id__delete({ pet_id: id }), undefined)
  assert.deepEqual(await pets.find_pets_pets_get(), { tags: [], kind: null, limit: 10, trace: null, session: null })
  assert.deepEqual(await pets.find_pets_pets_get({ tags: ['a b', 'c&d'], kind: 'cat', limit: 5, 'x-trace': 't', session: 's=1;' }), {
    tags: ['a b', 'c&d'],
    kind: 'cat',
    limit: 5,
    trace: 't',
    session: 's%3D1%3B',
  })
  assert.equal(await pets.read_text_files__name__text_get({ name: 'b?c#d é' }), 'text of b?c#d é')
  assert.equal(await pets.add_all_sum_post([1.5, 2]), 3.5)
  await pets.close()
})

test('http: FastAPI gets the token where its description wants it, and nowhere else', async () => {
  const told = await discover(shop.address)
  const connected: any = await connect(told, shop.address, { token: 'me:a key' })
  try {
    assert.equal(await connected.safe_header_safe_header_get(), 'me:a key')
    assert.equal(await connected.safe_query_safe_query_get(), 'me:a key')
    assert.equal(await connected.safe_cookie_safe_cookie_get({}), 'me:a%20key None')
    assert.equal(await connected.safe_basic_safe_basic_get(), 'me/a key')
    assert.equal(await connected.safe_bearer_safe_bearer_get(), 'me:a key')
  } finally {
    await connected.close()
  }
  const without = await client()
  try {
    assert.equal((await failure(without.safe_header_safe_header_get())).code, 'UNAUTHENTICATED')
    assert.equal((await failure(without.safe_basic_safe_basic_get())).code, 'UNAUTHENTICATED')
  } finally {
    await without.close()
  }
})

test('http: FastAPI wants two secrets at once, and gets each by its name in the description', async () => {
  const told = await discover(shop.address)
  const names = { Shop_key: 'a key', Shop_bearer: 'a token' }
  const connected: any = await connect(told, shop.address, { tokens: names })
  try {
    assert.equal(await connected.safe_both_safe_both_get(), 'a key a token')
    // Either is enough: the first whose secrets are there.
    assert.equal(await connected.safe_either_safe_either_get(), 'a key None')
    const missing = await failure(connected.safe_basic_safe_basic_get())
    assert.deepEqual([missing.code, missing.outcome], ['UNAUTHENTICATED', 'not-sent'])
    assert.match(missing.message, /GET \/safe\/basic wants to be shown "HTTPBasic"; "HTTPBasic" is missing/)
  } finally {
    await connected.close()
  }
  for (const [options, text] of [
    [{ tokens: { Shop_key: 'a key' } }, /wants to be shown "Shop_key" and "Shop_bearer"; "Shop_bearer" is missing/],
    [{ tokens: { Shop_bearer: 'a token' }, token: 'x' }, /; "Shop_key" is missing/],
    [{ token: 'x' }, /; "Shop_key" and "Shop_bearer" are missing/],
    [{}, /; "Shop_key" and "Shop_bearer" are missing/],
  ] as const) {
    const other: any = await connect(told, shop.address, options)
    const error = await failure(other.safe_both_safe_both_get())
    assert.deepEqual([error.code, error.outcome], ['UNAUTHENTICATED', 'not-sent'])
    assert.match(error.message, text)
    await other.close()
  }
  const only: any = await connect(told, shop.address, { tokens: { Shop_bearer: 'b' } })
  assert.equal(await only.safe_either_safe_either_get(), 'None b')
  await only.close()
  const wrong: any = await connect(told, shop.address, { tokens: { ...names, Shop_key: 'another' } })
  const refused = await failure(wrong.safe_both_safe_both_get())
  assert.deepEqual([refused.code, refused.message.includes('missing')], ['UNAUTHENTICATED', false])
  await wrong.close()
  await assert.rejects(
    connect(told, shop.address, { tokens: { shop_key: 'x' }, reconnect: false }),
    (error) =>
      error instanceof TypeError &&
      /tokens has "shop_key", which no operation of Pet-Shop\/3 asks for; they ask for .*Shop_key/.test(error.message),
  )
})

test('http: FastAPI with two secrets behind `talkwire bridge`, as GraphQL, asked by curl; and what is wrong with them is said', async () => {
  const file = (text: string): string => {
    const path = freshPath('.secret')
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const to = 'graphql+http://127.0.0.1:0'
  const bearer = ['--secret-file', `Shop_bearer=${file('a token\n')}`]
  const secrets = (key: string): string[] => ['--secret-file', `Shop_key=${file(key)}`, ...bearer]
  const ask = async (at: string): Promise<any> => {
    const query = JSON.stringify({ query: '{ safe_both_safe_both_get }' })
    const { stdout } = await run('curl', ['-s', '--json', query, `${at.replace('graphql+', '')}/graphql`])
    return JSON.parse(stdout)
  }
  const [right, wrong, missing, misspelled] = await Promise.all([
    bridging(shop.address, to, ...secrets('a key\n')),
    bridging(shop.address, to, ...secrets('another key')),
    bridging(shop.address, to, ...bearer),
    talkwire(['bridge', shop.address, to, '--secret-file', `Shop_kye=${file('a key')}`]),
  ])
  assert.deepEqual(await ask(right.at), { data: { safe_both_safe_both_get: 'a key a token' } })
  const { errors, data } = await ask(wrong.at)
  assert.deepEqual(data, { safe_both_safe_both_get: null })
  assert.equal(errors[0].message, 'behind this bridge: one of them is wrong')
  assert.deepEqual([errors[0].extensions.code, errors[0].extensions.details], ['UNAUTHENTICATED', { detail: 'one of them is wrong' }])
  const [error] = (await ask(missing.at)).errors
  assert.deepEqual([error.extensions.code, error.extensions.outcome], ['UNAUTHENTICATED', 'not-sent'])
  assert.match(error.message, /^behind this bridge: GET \/safe\/both wants .*; "Shop_key" is missing: .*--secret-file name=file$/)
  assert.ok(misspelled.code !== 0 && misspelled.stdout === '', String(misspelled.code))
  assert.match(misspelled.stderr, /tokens has "Shop_kye", which no operation of Pet-Shop\/3 asks for; they ask for .*Shop_key/)
  for (const { command } of [right, wrong, missing]) assert.equal((await command.stop()).code, 0)
})

test('http: FastAPI takes forms, with files and without', async () => {
  const connected = await client()
  try {
    const body = {
      title: 'two "words"\r\n--',
      picture: new Uint8Array([0, 13, 10, 45, 45, 255]),
      more: [new Uint8Array([1]), new Uint8Array()],
      tags: ['ä', ''],
    }
    assert.deepEqual(await connected.upload_upload__album__post({ album: 'a b', body }), {
      album: 'a b',
      title: body.title,
      name: 'picture',
      type: 'application/octet-stream',
      bytes: [...body.picture],
      more: [[1], []],
      tags: body.tags,
      note: null,
    })
    assert.deepEqual(await connected.sign_up_signup_post({ name: 'ä&=', age: 7, tags: ['a', 'b'] }), {
      name: 'ä&=',
      age: 7,
      tags: ['a', 'b'],
    })
  } finally {
    await connected.close()
  }
})

test('http: what FastAPI declares is a declared error, and what it does not is told as it is', async () => {
  const pets = await client()
  const missing = await failure(pets.get_pet_pets__pet_id__get({ pet_id: 99 }))
  assert.deepEqual(
    [missing.code, missing.declared, missing.outcome, missing.details],
    ['NotFound', true, 'ran', { detail: 'there is no pet 99' }],
  )
  assert.match(missing.message, /there is no pet 99/)
  const crash = await failure(pets.crash_crash_get())
  assert.deepEqual([crash.code, crash.declared], ['UNKNOWN', false])
  await pets.close()
})

test('http: an input that does not fit is refused by the service, and one that has no place in a request here', async () => {
  const pets = await client()
  const refused = await failure(pets.add_pet_pets_post({ name: 'R2' }))
  assert.deepEqual([refused.code, refused.declared], ['UnprocessableContent', true])
  await assert.rejects(pets.get_pet_pets__pet_id__get({}), TypeError)
  await assert.rejects(pets.read_text_files__name__text_get({ name: '..' }), TypeError)
  await pets.close()
})

test('http: a service that is killed in the middle of a call, a deadline, a call that is cancelled', async () => {
  const doomed = await start()
  const pets = await client(doomed.address, { reconnect: false })
  const waiting = failure(pets.wait_wait_get())
  assert.equal(await doomed.line(), 'waits')
  assert.equal((await failure(pets.wait_wait_get({}, { timeout: 100 }))).code, 'DEADLINE_EXCEEDED')
  await assert.rejects(pets.wait_wait_get({}, { signal: AbortSignal.abort(new RangeError('enough')) }), RangeError)
  doomed.child.kill('SIGKILL')
  await once(doomed.child, 'exit')
  const { code, outcome } = await soon(waiting, 'the end')
  assert.deepEqual([code, outcome], ['CONNECTION_LOST', 'maybe-ran'])
  await pets.close()
  await assert.rejects(discover(doomed.address), fails('PEER_NOT_FOUND'))
})

test('http: a service of ours tells all of itself: streams, events, errors, and is called as ever', async () => {
  const bank = contract('bank/7', {
    deposit: rpc({ input: z.object({ amount: z.number() }), output: z.number(), errors: { Closed: z.object({ since: z.string() }) } }),
    balance: rpc({ input: z.object({ account: z.string() }), output: z.number(), idempotent: true }),
    watch: rpc({ output: stream(z.number()) }),
    load: rpc({ input: stream(z.number()), output: z.number() }),
    note: rpc({ input: z.string(), oneway: true }),
    overdrawn: event(z.number()),
  })
  await using service = await serve(
    bank,
    {
      deposit({ amount }, ctx) {
        if (amount < 0) throw ctx.error('Closed', { since: 'today' })
        return amount
      },
      balance: () => 5,
      *watch() {
        yield 1
        yield 2
      },
      async load(values) {
        let sum = 0
        for await (const value of values) sum += value
        return sum
      },
      note() {},
    },
    { listen: `http://${ownHost}:${freshPort()}` },
  )
  const [address] = service.addresses as [string]
  await assert.rejects(discover(address), fails('UNAUTHENTICATED'))
  const made = await discover(address, { token: service.token! })
  const { undescribed: _, ...described } = await jsonSchema(made)
  const { undescribed: __, ...own } = await jsonSchema(bank)
  assert.deepEqual(described, own)
  const teller = (await connect(made, address, { token: service.token! })) as any
  assert.equal(await teller.deposit({ amount: 5 }), 5)
  const closed = await failure(teller.deposit({ amount: -1 }))
  assert.deepEqual([closed.code, closed.declared, closed.details], ['Closed', true, { since: 'today' }])
  const seen: number[] = []
  for await (const value of teller.watch()) seen.push(value)
  assert.deepEqual([seen, await teller.load([1, 2, 3])], [[1, 2], 6])
  await teller.close()
})

// ── documents ────────────────────────────────────────────────────────────────────────────────────

/** A server that answers with what it was asked. */
async function echo(): Promise<{ address: string; close(): void }> {
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method, url, headers } = request
      const { cookie, 'content-type': type, 'x-list': list, 'x-key': key, authorization } = headers
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ method, url, cookie, type, list, key, authorization, body: Buffer.concat(chunks).toString() }))
    })
  })
  const port = freshPort()
  server.listen(port, ownHost)
  await once(server, 'listening')
  return { address: `http://${ownHost}:${port}`, close: () => void server.close().closeAllConnections() }
}

const parameter = (name: string, place: string, more: object = {}): object => ({ name, in: place, schema: {}, ...more })
const answers = { 200: { description: '', content: { 'application/json': {} } } }

test('http: OpenAPI 3.0, with references, servers, styles of parameters and names that are missing or taken', async () => {
  const made = await fromOpenApi({
    openapi: '3.0.3',
    info: { title: 'a/b c', version: 'v2.5' },
    servers: [{ url: 'https://api.example/{stage}/v1/', variables: { stage: { default: 'test' } } }],
    components: {
      parameters: { id: parameter('id', 'path', { required: true, schema: { type: 'integer', nullable: true } }) },
      requestBodies: {
        any: { required: true, content: { 'application/vnd.api+json': { schema: { $ref: '#/components/schemas/Node' } } } },
      },
      securitySchemes: {
        key: { type: 'apiKey', in: 'header', name: 'X-Key' },
        other: { type: 'apiKey', in: 'header', name: 'x-key' },
        small: { type: 'apiKey', in: 'query', name: 'key' },
        Large: { type: 'apiKey', in: 'query', name: 'Key' },
        bearer: { type: 'http', scheme: 'bearer' },
        digest: { type: 'http', scheme: 'digest' },
        basic: { type: 'http', scheme: 'basic' },
      },
      schemas: { Node: { type: 'object', properties: { next: { $ref: '#/components/schemas/Node' } } } },
    },
    paths: {
      '/things/{id}': {
        parameters: [{ $ref: '#/components/parameters/id' }, parameter('id', 'query')],
        get: { responses: answers },
        post: { operationId: 'send', requestBody: { $ref: '#/components/requestBodies/any' }, responses: answers },
      },
      '/styles': {
        get: {
          operationId: 'styles',
          parameters: [
            parameter('many', 'query'),
            parameter('comma', 'query', { explode: false }),
            parameter('pipe', 'query', { style: 'pipeDelimited', explode: false }),
            parameter('deep', 'query', { style: 'deepObject' }),
            parameter('json', 'query', { schema: undefined, content: { 'application/json': { schema: {} } } }),
            parameter('X-List', 'header'),
            parameter('Host', 'header'),
            parameter('body', 'cookie'),
          ],
          responses: answers,
        },
      },
      '/form': {
        post: {
          operationId: 'form',
          requestBody: { content: { 'application/x-www-form-urlencoded': { schema: {} } } },
          responses: answers,
        },
      },
      '/again': { get: { operationId: 'form', responses: answers } },
      '/close': { get: { operationId: 'close', responses: answers } },
      '/upload': { post: { operationId: 'upload', requestBody: { content: { 'multipart/mixed': {} } }, responses: answers } },
      '/parts': {
        post: {
          operationId: 'parts',
          requestBody: {
            content: {
              'multipart/form-data': {
                schema: { type: 'object', properties: { 'a"b\r\n': {}, data: { type: 'string', format: 'binary' } } },
                encoding: { data: { contentType: 'image/png' } },
              },
            },
          },
          responses: answers,
        },
      },
      '/both': { get: { operationId: 'both', security: [{ key: [], bearer: [] }], responses: answers } },
      '/clash': { get: { operationId: 'clash', security: [{ basic: [], bearer: [] }], responses: answers } },
      '/same': { get: { operationId: 'same', security: [{ key: [], other: [] }], responses: answers } },
      '/cases': { get: { operationId: 'cases', security: [{ small: [], Large: [] }], responses: answers } },
      '/choice': { get: { operationId: 'choice', security: [{ key: [], other: [] }, { other: [] }, { key: [] }], responses: answers } },
      '/digest': { get: { operationId: 'digest', security: [{ digest: [] }], responses: answers } },
      '/open': { get: { operationId: 'open', security: [], responses: answers } },
      '/either': { get: { operationId: 'either', security: [{ key: [], bearer: [] }, { key: [] }], responses: answers } },
      '/events': { get: { operationId: 'events', responses: { 200: { content: { 'text/event-stream': {} } } } } },
    },
  })
  assert.deepEqual(
    [made.id, Object.keys(made.members)],
    ['a-b-c/2', ['get_things_id', 'send', 'styles', 'form', 'parts', 'both', 'cases', 'choice', 'open', 'either']],
  )
  assert.deepEqual(Object.keys(made.foreign!.leftOut).sort(), ['clash', 'close', 'digest', 'events', 'form', 'same', 'upload'])
  for (const [name, text] of [
    ['clash', 'it wants basic and bearer in one place, the header authorization; '],
    ['same', 'it wants key and other in one place, the header x-key; '],
  ] as const)
    assert.equal(
      made.foreign!.leftOut[name],
      `${text}in a copy of the document leave the one that the service reads in its "security", and give that copy to fromOpenApi or talkwire import`,
    )
  const server = await echo()
  try {
    const things = (await connect(made, server.address, { token: 'secret' })) as any
    const got = await things.get_things_id({ id_path: 5, id_query: [1, 2] })
    assert.deepEqual([got.method, got.url, got.authorization], ['GET', '/test/v1/things/5?id=1&id=2', 'Bearer secret'])
    const sent = await things.send({ id_path: 'a/b', body: { next: { next: {} } } })
    assert.deepEqual([sent.url, sent.type, sent.body], ['/test/v1/things/a%2Fb', 'application/vnd.api+json', '{"next":{"next":{}}}'])
    const styled = await things.styles({
      many: ['a', 'b&'],
      comma: [1, 2],
      pipe: [1, 2],
      deep: { a: 1 },
      json: { b: [1] },
      'X-List': [1, 2],
      body: 'x y',
    })
    assert.deepEqual(
      [styled.url, styled.list, styled.cookie],
      ['/test/v1/styles?many=a&many=b%26&comma=1,2&pipe=1%7C2&deep%5Ba%5D=1&json=%7B%22b%22%3A%5B1%5D%7D', '1,2', 'body=x%20y'],
    )
    const form = await things.parts({ 'a"b\r\n': { deep: 1 }, data: new Uint8Array([65]) })
    const [, boundary] = /^multipart\/form-data; boundary=([\w-]+)$/.exec(form.type)!
    assert.equal(
      form.body,
      [
        `--${boundary}\r\ncontent-disposition: form-data; name="a%22b%0D%0A"\r\ncontent-type: application/json\r\n\r\n{"deep":1}\r\n`,
        `--${boundary}\r\ncontent-disposition: form-data; name="data"; filename="data"\r\ncontent-type: image/png\r\n\r\nA\r\n`,
        `--${boundary}--\r\n`,
      ].join(''),
    )
    const [open, either] = [await things.open(), await things.either()]
    assert.deepEqual([open.authorization, open.key, either.authorization, either.key], [undefined, undefined, undefined, 'secret'])
    assert.equal((await things.form({ a: 'x y', b: [1, 2] })).body, 'a=x%20y&b=1&b=2')
    await assert.rejects(things.styles({ 'X-List': 'a\r\nevil: 1' }), TypeError)
    await things.close()
    // Schemes that share a header are ways of their own; names of queries differ by their case.
    const keys: any = await connect(made, server.address, { tokens: { other: 'o', small: 's', Large: 'L' } })
    assert.deepEqual([(await keys.choice()).key, (await keys.cases()).url], ['o', '/test/v1/cases?key=s&Key=L'])
    await keys.close()
    const both: any = await connect(made, server.address, { tokens: { other: 'o', key: 'k' } })
    assert.equal((await both.choice()).key, 'o')
    await both.close()
    const below = (await connect(made, `${server.address}/other`)) as any
    assert.equal((await below.get_things_id({ id_path: 5 })).url, '/other/things/5')
    await below.close()
  } finally {
    server.close()
  }
})

test('http: what is no document, or lies, is told and harms nobody', async () => {
  for (const document of [null, [], 5, {}, { openapi: '2.0' }, { swagger: '2.0' }]) await assert.rejects(fromOpenApi(document), TypeError)
  const cyclic = {
    openapi: '3.1.0',
    info: {},
    paths: { '/a': { $ref: '#/paths/~1a' }, '/b': { get: { parameters: [{ $ref: '#/x' }] } }, __proto__: { get: {} } },
  }
  assert.deepEqual(Object.keys((await fromOpenApi(cyclic)).members), [])
  let text = ''
  const server = http.createServer((_request, response) => response.setHeader('content-type', 'application/json').end(text))
  const port = freshPort()
  server.listen(port, ownHost)
  await once(server, 'listening')
  try {
    for (text of ['no JSON', '{"openapi":"2.0"}', '[]', '{}'])
      await assert.rejects(discover(`http://${ownHost}:${port}`), fails('UNSUPPORTED'), text)
    const made = await fromOpenApi({
      openapi: '3.1.0',
      info: { title: 'a' },
      paths: {
        '/a': { get: { operationId: 'a', responses: { 200: { content: { 'application/json': { schema: { type: 'number' } } } } } } },
      },
    })
    const liar = (await connect(made, `http://${ownHost}:${port}`, { limits: { message: 10_000 } })) as any
    for (const [said, code] of [
      ['{"a":', 'INVALID_MESSAGE'],
      ['"text"', 'INVALID_OUTPUT'],
      ['{"__proto__":{"a":1}}', 'FORBIDDEN_KEY'],
      ['['.repeat(65) + ']'.repeat(65), 'TOO_DEEP'],
      ['1'.repeat(20_000), 'MESSAGE_TOO_LARGE'],
    ] as const) {
      text = said
      const { code: told, outcome } = await failure(liar.a())
      assert.deepEqual([told, outcome], [code, 'ran'])
    }
    text = '5'
    assert.equal(await liar.a(), 5)
    await liar.close()
  } finally {
    server.close().closeAllConnections()
  }
})
