/** The suite, programs that know nothing of us, and a server that says what none should. PouchDB Server stands in for CouchDB. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { soon } from '../../../compliance/ends.js'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { fresh, hubKit, upTo, Waiting } from '../../../compliance/hub-kit.js'
import type { Code } from '../../../src/error.js'
import type { BodyType, OpenDriver, OpenOptions } from '../../../src/hub/driver.js'
import { couchdb } from '../../../src/hub/drivers/couchdb.js'
import { openHub } from '../../../src/hub/index.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { issue } from '../../transports/fixtures/certificates.js'
import { COUCHDB, cuttable } from './brokers.js'

const broker = await startBroker(COUCHDB)
const place = `${broker.host}:${broker.port}`
const address = `couchdb://ada:s3cret@${place}`
const module = new URL('../../../src/hub/drivers/couchdb.js', import.meta.url).href

testHubDriver({
  test,
  driver: couchdb,
  module,
  address: `${address}/suite`,
  nobody: `couchdb://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

const kit = hubKit({ driver: couchdb, module, address: `${address}/shop` }, (trait) => couchdb.traits.includes(trait))
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const authorization = `Basic ${Buffer.from('ada:s3cret').toString('base64')}`

/** As anybody asks CouchDB. */
async function couch(method: string, path: string, body?: unknown): Promise<any> {
  const response = await fetch(`http://${place}${path}`, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return response.json()
}
const set = (hub: OpenDriver, key: string, value: unknown, wish = {}): Promise<string | undefined> =>
  hub.state!.set(key, Buffer.from(JSON.stringify(value)), 'json', wish)
const get = async (hub: OpenDriver, key: string): Promise<unknown> => {
  const found = await hub.state!.get(key)
  return found && JSON.parse(Buffer.from(found.value).toString())
}
const keysOf = async (hub: OpenDriver, prefix: string): Promise<string[]> => {
  const keys: string[] = []
  for await (const { key } of hub.state!.list!(prefix)) keys.push(key)
  return keys.toSorted()
}
const code = (work: Promise<unknown>): Promise<unknown> =>
  soon(work, 'an end').then(
    () => 'done',
    (reason: { code?: unknown; outcome?: unknown }) => [reason.code, reason.outcome],
  )

/** What Python prints, as JSON. The script has `ask` and the words that it is given. */
async function python(script: string, ...words: string[]): Promise<any> {
  const whole = `import base64, json, sys, urllib.request
place, *words = sys.argv[1:]
def ask(method, path, body=None, type='application/json'):
    request = urllib.request.Request('http://' + place + path, body, {'Content-Type': type}, method=method)
    request.add_header('Authorization', 'Basic ' + base64.b64encode(b'ada:s3cret').decode())
    return urllib.request.urlopen(request)
${script}`
  const { stdout } = await promisify(execFile)(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', whole, place, ...words])
  return JSON.parse(stdout)
}

type Hook = (request: http.IncomingMessage, response: http.ServerResponse) => boolean | undefined
/** The server, but for what `hook` answers itself. */
async function front(hook: Hook, secure?: https.ServerOptions): Promise<string> {
  const pass = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    response.on('error', () => {})
    if (hook(request, response)) return
    const { method, url, headers } = request
    const far = http.request({ host: broker.host, port: broker.port, method, path: url, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers)
      answer.on('error', () => response.destroy()).pipe(response)
    })
    far.on('error', () => response.destroy())
    response.once('close', () => far.destroy())
    request.pipe(far)
  }
  const server = secure ? https.createServer(secure, pass) : http.createServer(pass)
  server.listen(0, ownHost)
  await once(server, 'listening')
  after(() => (server.close(), server.closeAllConnections()))
  return `${ownHost}:${(server.address() as net.AddressInfo).port}`
}
const json = (response: http.ServerResponse, value: unknown, status = 200): true => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  return true
}

test('what is set is a document as a person would write it, and the other way', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const values: readonly [text: string, document: object][] = [
      ['{"cart":3,"to":{"_in":1}}', { cart: 3, to: { _in: 1 } }],
      [' { } ', {}],
      ['7', { value: 7 }],
      ['null', { value: null }],
      ['[1]', { value: [1] }],
      ['"{"', { value: '{' }],
      ['{"value":1}', { value: { value: 1 } }],
      ['{"value":1,"more":2}', { value: 1, more: 2 }],
      ['{"_id":"other","_deleted":true}', { value: { _id: 'other', _deleted: true } }],
      ['{"\\u005frev":1}', { value: { _rev: 1 } }],
    ]
    for (const [text, wanted] of values) {
      const key = fresh()
      const revision = await hub.state!.set(key, Buffer.from(text), 'json', {})
      const { _id, _rev, ...fields } = await couch('GET', `/shop/${key}`)
      assert.deepEqual([_id, _rev, fields], [key, revision, wanted])
      const found = await hub.state!.get(key)
      assert.equal(String(found!.value), JSON.stringify(JSON.parse(text)))
      assert.deepEqual([found!.type, found!.revision], ['json', revision])
    }
    await assert.rejects(hub.state!.set('a', Buffer.from('1,"_deleted":true'), 'json', {}), fails('INVALID_INPUT'))
    for (const [type, said] of [
      ['text', 'text/plain; charset=utf-8'],
      ['bytes', 'application/octet-stream'],
    ] as readonly [BodyType, string][]) {
      await hub.state!.set(type, Buffer.from('grüß'), type, {})
      const answer = await fetch(`http://${place}/shop/${type}/value`, { headers: { authorization } })
      assert.deepEqual([answer.headers.get('content-type'), await answer.text()], [said, 'grüß'])
      assert.equal((await hub.state!.get(type))!.type, type)
    }
    // What is set anew has nothing of what was there.
    await set(hub, 'text', { a: 1 })
    assert.equal((await couch('GET', '/shop/text'))._attachments, undefined)
    assert.deepEqual(await get(hub, 'text'), { a: 1 })
  }))

test('Python with nothing but HTTP reads, writes and watches what we do', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    const watched = await kit.watcher(hub, `${root}.`)
    await set(hub, `${root}.ours`, { cart: 3 })
    const seen = python(
      `
for line in ask('GET', '/shop/_changes?feed=continuous&include_docs=true&heartbeat=1000&since=0'):
    if line.strip():
        change = json.loads(line)
        if change['id'] == words[0] and change['doc'].get('cart') == 4:
            print(json.dumps(change['doc']))
            break
`,
      `${root}.ours`,
    )
    const read = await python(
      `
root = '/shop/' + words[0]
ours = json.load(ask('GET', root + '.ours'))
ask('PUT', root + '.theirs', json.dumps({'name': 'Ada'}).encode())
ask('PUT', root + '.number', json.dumps({'value': 7}).encode())
ask('PUT', root + '.text/value', b'hello', 'text/plain')
mine = json.load(ask('PUT', root + '.gone', b'{}'))
ask('DELETE', root + '.gone?rev=' + mine['rev'])
print(json.dumps(ours))
`,
      root,
    )
    assert.equal(read.cart, 3)
    await watched.until(`${root}.theirs`, '{"name":"Ada"}')
    await watched.until(`${root}.number`, '7')
    await watched.until(`${root}.text`, 'hello')
    assert.deepEqual([await get(hub, `${root}.theirs`), await get(hub, `${root}.number`)], [{ name: 'Ada' }, 7])
    assert.equal((await hub.state!.get(`${root}.text`))!.type, 'text')
    assert.deepEqual(
      await keysOf(hub, `${root}.`),
      ['number', 'ours', 'text', 'theirs'].map((name) => `${root}.${name}`),
    )
    await set(hub, `${root}.ours`, { cart: 4 })
    assert.equal((await soon(seen, 'what Python sees')).cart, 4)
  }))

test('the same program runs on it: state, counters; what it lacks is refused with those who have it', async () => {
  await using hub = await openHub(`${address}/program`)
  const sessions = hub.state('_sessions')
  await sessions.set('ada', { cart: 1 })
  await Promise.all(upTo(5).map(() => sessions.update('ada', (session: any) => ({ cart: session.cart + 1 }))))
  assert.deepEqual((await sessions.get('ada'))!.value, { cart: 6 })
  assert.equal(await hub.counter('visits').add(3), 3)
  assert.equal((await couch('GET', `/program/${encodeURIComponent('~counter:visits')}`)).value, 3)
  const all = []
  for await (const { key } of sessions.entries()) all.push(key)
  assert.deepEqual(all, ['ada'])
  await assert.rejects(hub.topic('a').publish(1), /couchdb has no topics.*nats/)
  await assert.rejects(hub.lease('a').tryAcquire(), /couchdb has no leases.*redis/)
  await assert.rejects(sessions.set('a', 1, { ttl: 1000 }), /couchdb has no ttl.*redis/)
  await assert.rejects(sessions.batch([{ set: 'a', value: 1 }]), /couchdb has no batch.*redis/)
})

test('every key is a document, but for those that none can be', () =>
  kit.within(async () => {
    const [plain, prefixed] = [`${address}/keys`, `${address}/keys?prefix=_shop`]
    const one = await couchdb.open(plain, options)
    const other = await couchdb.open(prefixed, options)
    const keys = [
      '_a',
      '~a',
      '~_a',
      '_design/a',
      '~',
      'a/../b',
      '...',
      'a?b#c&d=1',
      'a%2Fb',
      '"',
      `a${'世'.repeat(511)}`,
      'a\u{1f600}',
      'a',
    ]
    try {
      for (const hub of [one, other]) await Promise.all(keys.map((key, index) => set(hub, key, index)))
      await couch('PUT', '/keys/_design/foreign', { language: 'javascript' })
      await couch('PUT', '/keys/~foreign', { value: 1 })
      const all = keys.toSorted()
      assert.deepEqual(await keysOf(other, ''), all)
      assert.deepEqual(await keysOf(one, ''), [...all, ...all.map((key) => `_shop:${key}`)].toSorted())
      assert.deepEqual(await keysOf(one, '_'), ['_a', '_design/a', ...all.map((key) => `_shop:${key}`)].toSorted())
      assert.deepEqual(await keysOf(other, '~'), ['~', '~_a', '~a'])
      for (const [index, key] of keys.entries()) assert.deepEqual([await get(one, key), await get(other, key)], [index, index])
      const watch = await kit.watcher(one, '_a')
      await watch.until('_a', '0')
      assert.deepEqual([...watch.known.keys()], ['_a'])
      for (const key of ['', '.', '..', '\ud800', 'a'.repeat(8000)]) {
        assert.deepEqual(await code(one.state!.get(key)), ['INVALID_INPUT', 'not-sent'])
        assert.deepEqual(await code(set(one, key, 1)), ['INVALID_INPUT', 'not-sent'])
      }
    } finally {
      await Promise.all([one.close(), other.close()])
    }
  }))

test('of those who write the same, one wins, too; a revision that is none is another', () =>
  kit.within(async () => {
    const hubs = await Promise.all([kit.open(), kit.open(), kit.open()])
    const key = fresh()
    const tries = async (revision: string | null): Promise<string[]> => {
      const all = await Promise.all(hubs.flatMap((hub) => upTo(3).map(() => set(hub, key, 'locked', { revision }))))
      return all.filter((each) => each !== undefined)
    }
    const [first, ...others] = await tries(null)
    assert.equal(others.length, 0)
    assert.equal((await tries(first!)).length, 1)
    assert.equal(await set(hubs[0]!, key, 1, { revision: 'none' }), undefined)
    assert.equal(await hubs[0]!.state!.delete(key, 'none'), false)
    assert.equal(await hubs[0]!.state!.delete(key), true)
    assert.equal((await tries(null)).length, 1)
  }))

test('what replication left beside a value does not come back when it is deleted', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const key = fresh()
    await set(hub, key, 'first')
    await set(hub, key, 'last')
    await couch('POST', '/shop/_bulk_docs', { new_edits: false, docs: [{ _id: key, _rev: '1-abc', value: 'beside' }] })
    assert.deepEqual((await couch('GET', `/shop/${key}?conflicts=true`))._conflicts, ['1-abc'])
    assert.equal(await get(hub, key), 'last')
    assert.equal(await hub.state!.delete(key), true)
    assert.equal(await get(hub, key), undefined)
  }))

test('who may come in, and what there is', async () => {
  for (const wrong of [`couchdb://ada:wrong@${place}/shop`, `couchdb://ada:wrong@${place}/none`])
    assert.deepEqual(await code(couchdb.open(wrong, options)), ['UNAUTHENTICATED', 'not-sent'])
  const known = await couchdb.open(`couchdb://${place}/made$by(us)`, { ...options, credentials: { user: 'ada', password: 's3cret' } })
  assert.equal((await couch('GET', '/made$by(us)')).db_name, 'made$by(us)')
  await known.close()
  const fallback = await couchdb.open(address, options)
  await fallback.close()
  assert.equal((await couch('GET', '/talkwire')).db_name, 'talkwire')
  const names: string[] = []
  const denied = await front(({ method, url }, response) => {
    names.push(url!)
    return method === 'PUT' && json(response, { error: 'unauthorized' }, 401)
  })
  assert.deepEqual(await code(couchdb.open(`couchdb://ada:s3cret@${denied}/nobodys%2Fshop`, options)), ['PERMISSION_DENIED', 'not-sent'])
  assert.deepEqual(names, ['/nobodys%2Fshop', '/nobodys%2Fshop'])
  const raced = await front((request, response) => {
    if (request.method !== 'PUT') return false
    void couch('PUT', request.url!).then(() => json(response, { error: 'file_exists' }, 412))
    return true
  })
  await (await couchdb.open(`couchdb://ada:s3cret@${raced}/raced`, options)).close()
  for (const none of [
    'couchdb:',
    'couchdb://h/_users',
    'couchdb://h/Shop',
    'couchdb://h/a/b',
    'couchdb://h/a?x=1',
    'couchdb://h/a?prefix=a.b',
  ])
    assert.deepEqual(await code(couchdb.open(none, options)), ['INVALID_ADDRESS', 'not-sent'], none)
})

test('over TLS, to whom the certificates say', async () => {
  const authority = issue({ name: 'us', authority: true })
  const { key, cert } = issue({ name: 'couch', hosts: [ownHost], issuer: authority })
  const secure = await front(() => false, { key, cert })
  const hub = await couchdb.open(`couchdbs://ada:s3cret@${secure}/shop`, { ...options, credentials: { tls: { ca: authority.cert } } })
  try {
    const watched = await kit.watcher(hub, 'tls')
    await set(hub, 'tls', 1)
    await watched.until('tls', '1')
  } finally {
    await hub.close()
  }
  assert.deepEqual(await code(couchdb.open(`couchdbs://ada:s3cret@${secure}/shop`, options)), ['UNAVAILABLE', 'not-sent'])
})

test('where documents have several copies nothing that compares is offered', async () => {
  const cluster = await front((request, response) => {
    if (request.method !== 'GET' || request.url !== '/cluster') return false
    void couch('GET', request.url).then((info) => json(response, { ...info, cluster: { q: 2, n: 3, w: 2, r: 2 } }))
    return true
  })
  await couch('PUT', '/cluster')
  await using hub = await openHub(`couchdb://ada:s3cret@${cluster}/cluster`)
  const state = hub.state('a')
  await state.set('b', 1)
  assert.equal((await state.get('b'))!.value, 1)
  assert.deepEqual([...hub.traits].toSorted(), ['list', 'state', 'watch'])
  await assert.rejects(state.set('b', 2, { revision: null }), fails('UNSUPPORTED'))
  await assert.rejects(hub.counter('a').add(), fails('UNSUPPORTED'))
  const bare = await couchdb.open(`couchdb://ada:s3cret@${cluster}/cluster`, options)
  try {
    await assert.rejects(set(bare, 'b', 2, { revision: null }), fails('UNSUPPORTED'))
    await assert.rejects(bare.state!.delete('b', '1-a'), fails('UNSUPPORTED'))
    assert.equal(await bare.state!.delete('a.b'), true)
  } finally {
    await bare.close()
  }
})

test('who watches goes on behind what was told when the connection was lost', () =>
  kit.within(async () => {
    const asked: string[] = []
    const seen = await front(({ url }) => (asked.push(url!), false))
    const way = await cuttable({ host: ownHost, port: Number(seen.split(':')[1]) })
    await couch('PUT', '/cut')
    const changes = Object.assign(new Waiting(), { all: [] as string[] })
    const onConnection: OpenOptions['onConnection'] = ({ state }) => (changes.all.push(state), changes.happened())
    const hub = await couchdb.open(`couchdb://ada:s3cret@${way.place}/cut`, { ...options, onConnection })
    const other = await couchdb.open(`${address}/cut`, options)
    try {
      for (const key of ['a', 'b', 'c']) await set(other, key, 1)
      const watched = await kit.watcher(hub, '')
      await watched.until('c', '1')
      await set(other, 'd', 1)
      await watched.until('d', '1')
      const before = asked.length
      way.cut()
      await set(other, 'b', 2)
      await other.state!.delete('c')
      await watched.until('b', '2')
      await watched.until('c', undefined)
      await changes.until('connected', () => (changes.all.at(-1) === 'connected' ? true : undefined))
      assert.deepEqual(changes.all, ['lost', 'connected'])
      assert.deepEqual(
        watched.told.map((each) => ('gone' in each ? `${each.key} gone` : `${each.key} ${String(each.value)}`)),
        ['a 1', 'b 1', 'c 1', 'd 1', 'b 2', 'c gone'],
      )
      // It was not read anew, but from there on.
      const again = asked.slice(before)
      assert.ok(!again.some((url) => url.includes('_all_docs')))
      assert.match(
        again.find((url) => url.includes('_changes'))!,
        /since=4$/,
      )
    } finally {
      await Promise.all([hub.close(), other.close()])
    }
  }))

test('another database of the same name is read anew', () =>
  kit.within(async () => {
    const way = await cuttable(broker)
    const errors = Object.assign(new Waiting(), { first: undefined as unknown })
    const onError: OpenOptions['onError'] = (reason) => ((errors.first ??= reason), errors.happened())
    const hub = await couchdb.open(`couchdb://ada:s3cret@${way.place}/replaced`, { ...options, onError })
    try {
      await set(hub, 'old', 1)
      const watched = await kit.watcher(hub, '')
      await watched.until('old', '1')
      // By the feed.
      await set(hub, 'both', 1)
      await watched.until('both', '1')
      await couch('DELETE', '/replaced')
      way.cut()
      assert.ok(
        fails('NOT_FOUND')(
          await errors.until(
            () => 'an error',
            () => errors.first,
          ),
        ),
      )
      await assert.rejects(hub.state!.get('old'), fails('NOT_FOUND'))
      await assert.rejects(set(hub, 'old', 1), fails('NOT_FOUND'))
      await couch('PUT', '/replaced')
      await couch('PUT', '/replaced/new', { value: 1 })
      await couch('PUT', '/replaced/both', { value: 1 })
      await watched.until('new', '1')
      await watched.until('old', undefined)
      await watched.until('both', '1')
    } finally {
      await hub.close()
    }
  }))

test('a database that counts anew, or was made at another time, is read anew', () =>
  kit.within(async () => {
    await couch('PUT', '/anew')
    let told: object = {}
    const between = await front(({ url }, response) => {
      // It says nothing.
      if (url!.includes('_changes')) return (response.writeHead(200).write('\n'), true)
      if (url !== '/anew') return false
      void couch('GET', url).then((info) => json(response, { ...info, ...told }))
      return true
    })
    const way = await cuttable({ host: ownHost, port: Number(between.split(':')[1]) })
    const hub = await couchdb.open(`couchdb://ada:s3cret@${way.place}/anew`, options)
    try {
      for (const key of ['a', 'b']) await set(hub, key, 1)
      const watched = await kit.watcher(hub, '')
      await watched.until('b', '1')
      for (const [key, next] of [
        ['c', { instance_start_time: 'later', update_seq: '9-opaque' }],
        ['d', { instance_start_time: 'later', update_seq: '1-opaque' }],
      ] as const) {
        told = next
        await couch('PUT', `/anew/${key}`, { value: 1 })
        way.cut()
        await watched.until(key, '1')
      }
      assert.equal(watched.told.length, 4)
    } finally {
      await hub.close()
    }
  }))

test('a server that is killed has what it answered; while it is away nothing is sent', () =>
  kit.within(async () => {
    const changes = Object.assign(new Waiting(), { last: '' })
    const hub = await kit.open({ onConnection: ({ state }) => ((changes.last = state), changes.happened()) })
    const until = (state: string): Promise<true> => changes.until(state, () => (changes.last === state ? true : undefined))
    const key = fresh()
    const [kept, left] = [await kit.watcher(hub, key), await kit.watcher(hub, key)]
    const revision = await set(hub, key, 'before')
    await kept.until(key, '"before"')
    await left.until(key, '"before"')
    await broker.kill()
    await until('lost')
    assert.deepEqual(await code(set(hub, key, 'away')), ['UNAVAILABLE', 'not-sent'])
    await soon(left.subscription.close(), 'the end of a watch')
    await broker.start()
    await until('connected')
    const found = await hub.state!.get(key)
    assert.deepEqual([String(found!.value), found!.revision], ['"before"', revision])
    await set(hub, key, 'after')
    await kept.until(key, '"after"')
    assert.deepEqual(
      kept.told.map((each) => 'gone' in each || String(each.value)),
      ['"before"', '"after"'],
    )
    assert.equal(left.told.length, 1)
  }))

/** What the server says to what is asked of it once: a hub of its own, which is closed. */
async function hostile(answer: Hook, ask: (hub: OpenDriver) => Promise<unknown>): Promise<unknown> {
  let on = false
  const bad = await front((request, response) => on && answer(request, response))
  const hub = await couchdb.open(`couchdb://ada:s3cret@${bad}/shop`, options)
  on = true
  try {
    return await code(ask(hub))
  } finally {
    on = false
    await hub.close()
  }
}
const says =
  (status: number, text: string, headers = {}): Hook =>
  (_, response) => {
    response.writeHead(status, headers).end(text)
    return true
  }
const half: Hook = (_, response) => {
  response.writeHead(200, { 'content-length': '100' }).write('{"_id":')
  setImmediate(() => response.destroy())
  return true
}
const vast: Hook = (_, response) => {
  response.writeHead(200)
  const piece = Buffer.alloc(1 << 22, ' ')
  for (const _ of upTo(17)) response.write(piece)
  return true
}

test('what no CouchDB says is a typed error, and says what became of what was asked', async () => {
  const read = (hub: OpenDriver): Promise<unknown> => hub.state!.get('a')
  const write = (hub: OpenDriver): Promise<unknown> => set(hub, 'a', 1)
  const list = (hub: OpenDriver): Promise<unknown> => keysOf(hub, '')
  const cases: readonly [Hook, (hub: OpenDriver) => Promise<unknown>, Code, string][] = [
    [says(200, '<html>'), read, 'INVALID_MESSAGE', 'not-sent'],
    [says(200, 'null'), read, 'INVALID_MESSAGE', 'not-sent'],
    [says(200, '{"_id":"a"}'), read, 'INVALID_MESSAGE', 'not-sent'],
    [says(302, '', { location: 'http://127.0.0.1:1/' }), read, 'INVALID_MESSAGE', 'not-sent'],
    [says(302, '', { location: 'http://127.0.0.1:1/' }), write, 'INVALID_MESSAGE', 'maybe-ran'],
    [says(200, '', { 'content-length': '1000000000' }), read, 'MESSAGE_TOO_LARGE', 'not-sent'],
    [vast, read, 'MESSAGE_TOO_LARGE', 'not-sent'],
    [half, read, 'CONNECTION_LOST', 'not-sent'],
    [half, write, 'CONNECTION_LOST', 'maybe-ran'],
    [says(404, '{"reason":"no_db_file"}'), read, 'NOT_FOUND', 'not-sent'],
    [says(404, 'no'), read, 'INVALID_MESSAGE', 'not-sent'],
    [says(404, '{"reason":"no_db_file"}'), write, 'NOT_FOUND', 'not-sent'],
    [says(401, '{}'), write, 'UNAUTHENTICATED', 'not-sent'],
    [says(403, '{}'), write, 'PERMISSION_DENIED', 'not-sent'],
    [says(413, '{}'), write, 'MESSAGE_TOO_LARGE', 'not-sent'],
    [says(429, '{}'), write, 'LIMIT_EXCEEDED', 'not-sent'],
    [says(500, '{}'), write, 'UNKNOWN', 'maybe-ran'],
    [says(503, '{}'), write, 'UNAVAILABLE', 'maybe-ran'],
    [says(507, '{}'), write, 'NO_SPACE', 'not-sent'],
    [says(201, '[]'), write, 'INVALID_MESSAGE', 'maybe-ran'],
    [says(201, '{}'), write, 'INVALID_MESSAGE', 'maybe-ran'],
    [says(201, '[null]'), write, 'INVALID_MESSAGE', 'maybe-ran'],
    [says(201, '[{"error":"forbidden"}]'), write, 'PERMISSION_DENIED', 'not-sent'],
    [says(201, '[{"error":"internal"}]'), write, 'UNKNOWN', 'maybe-ran'],
    [says(200, '{"rows":7}'), list, 'INVALID_MESSAGE', 'not-sent'],
    [says(200, '', { 'content-length': '1000000000' }), list, 'MESSAGE_TOO_LARGE', 'not-sent'],
  ]
  for (const [index, [answer, ask, wanted, outcome]] of cases.entries())
    assert.deepEqual(await hostile(answer, ask), [wanted, outcome], String(index))
  await assert.rejects(set(await kit.open(), 'a', 'x'.repeat(1 << 26)), fails('MESSAGE_TOO_LARGE'))
})

test('where no CouchDB is nothing is opened', async () => {
  for (const body of ['<html>', '[]', '{"name":"another"}']) {
    const other = await front(says(200, body))
    assert.deepEqual(await code(couchdb.open(`couchdb://${other}/shop`, options)), ['INVALID_MESSAGE', 'not-sent'])
  }
  const server = net.createServer((socket) => socket.on('error', () => {}).end('SSH-2.0-other\r\n'))
  server.listen(0, ownHost)
  await once(server, 'listening')
  after(() => server.close())
  const other = `${ownHost}:${(server.address() as net.AddressInfo).port}`
  assert.deepEqual(await code(couchdb.open(`couchdb://${other}/shop`, options)), ['INVALID_MESSAGE', 'not-sent'])
})

test('a document that one refuses takes no other with it', () =>
  kit.within(async () => {
    const refusing = await front((request, response) => {
      if (!request.url!.includes('_bulk_docs')) return false
      let text = ''
      request.setEncoding('utf8').on('data', (part: string) => (text += part))
      request.once('end', () => {
        if (text.includes('"bad"')) json(response, { error: 'doc_validation' }, 400)
        else void couch('POST', request.url!, JSON.parse(text)).then((answer) => json(response, answer, 201))
      })
      return true
    })
    const hub = await couchdb.open(`couchdb://ada:s3cret@${refusing}/shop`, options)
    try {
      const [good, bad] = [fresh(), fresh()]
      const both = await Promise.all([code(set(hub, good, 'good')), code(set(hub, bad, 'bad'))])
      assert.deepEqual(both, ['done', ['INVALID_INPUT', 'not-sent']])
      assert.equal(await get(hub, good), 'good')
    } finally {
      await hub.close()
    }
  }))

test('a page that is too large is read in smaller ones', async () => {
  const limits: number[] = []
  const narrow = await front(({ url }, response) => {
    const limit = Number(/_all_docs.*limit=(\d+)/.exec(url!)?.[1] ?? 0)
    if (limit > 0) limits.push(limit)
    return limit > 2 && says(200, '', { 'content-length': '1000000000' })(undefined as never, response)
  })
  const hub = await couchdb.open(`couchdb://ada:s3cret@${narrow}/pages`, options)
  try {
    for (const index of upTo(5)) await set(hub, String(index), index)
    assert.deepEqual(await keysOf(hub, ''), ['0', '1', '2', '3', '4'])
    assert.deepEqual(limits, [100, 50, 25, 13, 7, 4, 2, 2, 2])
  } finally {
    await hub.close()
  }
})

test('a value that is replaced while it is read is read as it is then; one that is named and not there is an error', async () => {
  let asked = 0
  const racing = await front(({ url }, response) => {
    if (!url!.includes('/value?')) return false
    if (asked++ === 0) void couch('PUT', `/race/a?rev=${url!.split('rev=')[1]!}`, { new: 1 }).then(() => json(response, {}, 404))
    else json(response, {}, 404)
    return true
  })
  const hub = await couchdb.open(`couchdb://ada:s3cret@${racing}/race`, options)
  try {
    await hub.state!.set('a', Buffer.from('old'), 'text', {})
    assert.deepEqual(await get(hub, 'a'), { new: 1 })
    await hub.state!.set('b', Buffer.from('old'), 'text', {})
    assert.deepEqual(await code(hub.state!.get('b')), ['INVALID_MESSAGE', 'not-sent'])
  } finally {
    await hub.close()
  }
})

test('a feed that says what none should is told of, and read again', async () => {
  const answers: Hook[] = [
    says(200, 'no JSON\n'),
    says(200, '7\nnull\n{"seq":1}\n{"id":"_design/a"}\n{"id":"~none"}\n'),
    says(500, '{}'),
    (_, response) => (response.writeHead(200), response.write('x'.repeat((1 << 26) + 1)), true),
    half,
  ]
  const [seen, errors] = [[] as string[], [] as unknown[]]
  const bad = await front((request, response) => {
    if (!request.url!.includes('_changes')) return false
    seen.push(request.url!)
    return answers.shift()?.(request, response)
  })
  const onError: OpenOptions['onError'] = (reason) => void errors.push((reason as { code: string }).code)
  const hub = await couchdb.open(`couchdb://ada:s3cret@${bad}/feed`, { ...options, onError })
  try {
    const watched = await kit.watcher(hub, '')
    await couch('PUT', '/feed/a', { value: 1 })
    await watched.until('a', '1')
    while (answers.length > 0) await new Promise((resolve) => setImmediate(resolve))
    await couch('PUT', '/feed/b', { value: 1 })
    await watched.until('b', '1')
    assert.equal(watched.told.length, 2)
    assert.deepEqual(errors, ['INVALID_MESSAGE', 'UNKNOWN', 'MESSAGE_TOO_LARGE'])
  } finally {
    await hub.close()
  }
})

test('whoever says nothing for half a minute is gone', async (t) => {
  // Time passes when the test says so.
  const over = new Set<() => void>()
  const real = globalThis.setTimeout
  const timers = t.mock.method(globalThis, 'setTimeout', ((run: () => void, time: number) => {
    if (time !== 30_000) return real(run, time)
    const timer = real(run, time)
    over.add(run)
    return timer
  }) as typeof setTimeout)
  const requests: http.ClientRequest[] = []
  const ask = http.request
  const asking = t.mock.method(http, 'request', ((...words: Parameters<typeof ask>) => {
    const request = ask(...words)
    requests.push(request)
    return request
  }) as typeof ask)
  let deaf = false
  const quiet = await front((_, response) => deaf && (response.flushHeaders(), true))
  const changes = Object.assign(new Waiting(), { all: [] as string[] })
  const onConnection: OpenOptions['onConnection'] = ({ state }) => (changes.all.push(state), changes.happened())
  const hub = await couchdb.open(`couchdb://ada:s3cret@${quiet}/quiet`, { ...options, onConnection })
  try {
    const watched = await kit.watcher(hub, '')
    // The second by the feed.
    for (const key of ['a', 'b']) {
      await set(hub, key, 1)
      await watched.until(key, '1')
    }
    for (const run of over) run()
    await changes.until('connected', () => changes.all.includes('connected') || undefined)
    await couch('PUT', '/quiet/c', { value: 1 })
    await watched.until('c', '1')
    deaf = true
    const reading = code(hub.state!.get('a'))
    for (const request of requests) request.emit('timeout')
    assert.deepEqual(await reading, ['CONNECTION_LOST', 'not-sent'])
    // Until somebody answers nothing is sent.
    assert.deepEqual(await code(set(hub, 'a', 2)), ['UNAVAILABLE', 'not-sent'])
  } finally {
    timers.mock.restore()
    asking.mock.restore()
    await hub.close()
  }
})
