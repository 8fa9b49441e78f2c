import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type net from 'node:net'
import { test, type TestContext } from 'node:test'
import { HttpPool } from '../../src/protocols/http-pool.js'
import { freshPort, ownHost } from '../helpers/loopback.js'

interface Stage {
  readonly pool: HttpPool
  readonly server: http.Server
  /** Connections that the server has seen. */
  connections: number
  ask(path: string): ClientRequest
}

async function stage(t: TestContext, most: number, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Stage> {
  const server = http.createServer(answer)
  const at = { host: ownHost, port: freshPort() }
  server.listen(at)
  await once(server, 'listening')
  const pool = new HttpPool(at, most)
  const made: Stage = {
    pool,
    server,
    connections: 0,
    ask: (path) => http.request({ ...at, agent: pool, path }).end(),
  }
  server.on('connection', () => made.connections++)
  t.after(() => {
    pool.destroy()
    server.closeAllConnections()
    server.close()
  })
  return made
}

async function textOf(request: ClientRequest): Promise<string> {
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return (await response.setEncoding('utf8').toArray()).join('')
}

/** Its connection is free: Node says so after the answer's end. */
const done = async (request: ClientRequest): Promise<string> => (await Promise.all([textOf(request), once(request, 'close')]))[0]

test('http pool: many requests share few connections, and each gets its own answer', async (t) => {
  const made = await stage(t, 4, (request, response) => response.end(request.url))
  const paths = Array.from({ length: 200 }, (_, index) => `/${index}`)
  assert.deepEqual(await Promise.all(paths.map((path) => textOf(made.ask(path)))), paths)
  assert.ok(made.connections <= 4)
})

test('http pool: no more connections than it may have, and one that is free is used again', async (t) => {
  const made = await stage(t, 2, (request, response) => response.end(request.url))
  await Promise.all(['/a', '/b', '/c', '/d', '/e'].map((path) => done(made.ask(path))))
  assert.equal(await done(made.ask('/f')), '/f')
  assert.equal(made.connections, 2)
})

test('http pool: whoever gave up while waiting costs the others nothing', async (t) => {
  const held: ServerResponse[] = []
  const made = await stage(t, 1, (request, response) => (request.url === '/held' ? held.push(response) : response.end(request.url)))
  const first = made.ask('/held')
  await once(made.server, 'request')
  const given = made.ask('/given-up').on('error', () => {})
  const last = made.ask('/last')
  given.destroy()
  const closed = new Promise((resolve) => given.once('close', resolve))
  const answers = Promise.all([textOf(first), textOf(last), closed])
  held[0]!.end('held')
  assert.deepEqual((await answers).slice(0, 2), ['held', '/last'])
  assert.equal(made.connections, 1)
})

test('http pool: a connection that the server ended is not used again', async (t) => {
  const made = await stage(t, 1, (request, response) => response.end(request.url))
  const first = made.ask('/first')
  const [[socket]] = (await Promise.all([once(first, 'socket'), done(first)])) as unknown as [[net.Socket], string]
  const ended = once(socket, 'close')
  made.server.closeIdleConnections()
  await ended
  assert.equal(await done(made.ask('/second')), '/second')
  assert.equal(made.connections, 2)
})

test('http pool: a connection that broke makes room for what waits', async (t) => {
  const made = await stage(t, 1, (request, response) => (request.url === '/broken' ? request.socket.destroy() : response.end(request.url)))
  const broken = once(
    made.ask('/broken').on('response', () => assert.fail('an answer')),
    'error',
  )
  const next = textOf(made.ask('/next'))
  await broken
  assert.equal(await next, '/next')
})

test('http pool: where nobody listens each request says so, also those that wait', async (t) => {
  const { pool, server, ask } = await stage(t, 1, () => {})
  const gone = once(server, 'close')
  server.close()
  await gone
  const reasons = await Promise.all([ask('/a'), ask('/b'), ask('/c')].map(async (each) => (await once(each, 'error'))[0].code))
  assert.deepEqual(reasons, ['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED'])
  pool.destroy()
})

test('http pool: its end is the end of what is in flight, of what waits and of what comes', async (t) => {
  const made = await stage(t, 1, () => {})
  const first = made.ask('/first')
  await once(made.server, 'request')
  const all = [first, made.ask('/waiting')].map((request) => once(request, 'error'))
  made.pool.destroy()
  await Promise.all([...all, once(made.ask('/late'), 'error')])
  assert.equal(made.connections, 1)
})
