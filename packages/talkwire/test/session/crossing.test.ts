/** Calls that cross with the other side's close(): each is answered or refused as `not-sent`, over every wire. */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { test } from 'node:test'
import { soon } from '../../compliance/ends.js'
import { connect, serve, sessionOf, TalkwireError, type ConnectOptions, type ServeOptions } from '../../src/index.js'
import { freshName, freshPath } from '../helpers/place.js'
import { issue } from '../transports/fixtures/certificates.js'
import { gone, program } from '../transports/fixtures/support.js'
import { fence, turn, until } from './harness.js'

const authority = issue({ name: 'Test Authority', authority: true })
const certificate = (name: string): { key: string; cert: string; ca: string } => {
  const { key, cert } = issue({ name, hosts: ['localhost', '127.0.0.1'], issuer: authority })
  return { key, cert, ca: authority.cert }
}

interface Wire {
  readonly address: () => string
  readonly serve?: ServeOptions
  readonly connect?: ConnectOptions
}
const wires: Record<string, Wire> = {
  memory: { address: () => `memory:${freshName()}` },
  unix: { address: () => `unix:${freshPath('.sock')}` },
  'unix, JSON': { address: () => `unix:${freshPath('.sock')}`, connect: { codecs: ['json'] } },
  tcp: { address: () => 'tcp://127.0.0.1:0' },
  tls: { address: () => 'tls://localhost:0', serve: { tls: certificate('bank') }, connect: { tls: certificate('teller') } },
  fifo: { address: () => `fifo:${freshPath()}` },
  mq: { address: () => `mq:${freshName()}` },
}

const outcomeOf = (call: Promise<unknown>): Promise<string> =>
  soon(call, 'an answer').then(
    () => 'ran',
    (reason: unknown) => (reason instanceof TalkwireError ? `${reason.code}/${reason.outcome}` : String(reason)),
  )
const REFUSED = 'UNAVAILABLE/not-sent'

for (const [name, wire] of Object.entries(wires)) {
  test(`${name}: what was called before the service's $/close was read is refused, and has not run`, async () => {
    const ran: number[] = []
    const service = await serve(
      'crossing',
      { call: (n: number) => void ran.push(n), idle: () => 0 },
      { ...wire.serve, listen: wire.address() },
    )
    const client = await connect<{ call(n: number): void; idle(): number }>(service.addresses[0]!, { reconnect: false, ...wire.connect })
    await client.idle()
    const session = sessionOf(client)!
    session.connection.pause()
    const closing = service.close()
    // The refusals show that the service had said so: else these calls would have run.
    const calls = []
    for (let n = 0; n < 50; n++) {
      calls.push(outcomeOf(client.call(n)))
      await turn()
    }
    assert.equal(session.isOpen, true, 'the client has read nothing yet')
    session.connection.resume()
    const outcomes = await Promise.all(calls)
    assert.deepEqual(
      outcomes,
      outcomes.map((_, n) => (ran.includes(n) ? 'ran' : REFUSED)),
    )
    assert.equal(outcomes.at(-1), REFUSED)
    await soon(closing, 'service.close()')
    await client.close()
  })

  test(`${name}: so are the calls of a service when its client closes`, async () => {
    const begun = fence()
    const calls: Promise<string>[] = []
    const service = await serve(
      'crossing',
      {
        async begin(each: () => Promise<void>) {
          const session = sessionOf(client)!
          await each()
          void begun.passed.then(async () => {
            while (session.state !== 'closed') {
              calls.push(outcomeOf(each()))
              await turn()
            }
          })
        },
      },
      { ...wire.serve, listen: wire.address() },
    )
    const client = await connect<{ begin(each: () => void): void }>(service.addresses[0]!, { reconnect: false, ...wire.connect })
    let ran = 0
    await client.begin(() => void ran++)
    begun.pass()
    await until(() => calls.length > 0)
    await client.close()
    const outcomes = await Promise.all(calls)
    // What was called after the end was known has not been sent at all.
    for (const outcome of outcomes) assert.match(outcome, /^(ran|UNAVAILABLE\/not-sent|CONNECTION_CLOSED\/not-sent)$/)
    assert.equal(outcomes.filter((each) => each === 'ran').length, ran - 1)
    await service.close()
  })
}

interface Child {
  add(a: number, b: number): number
  finish(text: string): string
}
const children: Record<string, () => { address: string; options?: ConnectOptions }> = {
  spawn: () => ({ address: `spawn:${process.execPath} ${program('child')}` }),
  'spawn+stdio': () => ({ address: `spawn+stdio:${process.execPath} ${program('child')}` }),
  fork: () => ({ address: `fork:${program('child')}` }),
  ipc: () => ({ address: 'ipc:', options: { child: fork(program('child'), ['ipc:']) } }),
  worker: () => ({ address: `worker:${program('thread')}` }),
}

for (const [name, start] of Object.entries(children)) {
  test(`${name}: no call that crosses with the other side's close() is left in doubt`, async () => {
    const { address, options } = start()
    const client = await connect<Child>(address, options)
    const session = sessionOf(client)!
    const { pid } = session.peer
    const outcomes = [outcomeOf(client.finish('the end'))]
    while (session.isOpen) {
      outcomes.push(outcomeOf(client.add(1, 2)))
      await turn()
    }
    for (const outcome of await Promise.all(outcomes)) assert.match(outcome, /^(ran|UNAVAILABLE\/not-sent)$/)
    await client.close()
    // Its channel is not ours to end.
    options?.child?.kill()
    if (pid !== process.pid) await gone(pid!)
  })
}

test('a client that connects again makes refused calls once more, on the next service', async () => {
  const address = `unix:${freshPath('.sock')}`
  const ran: string[] = []
  const open = (which: string) => serve('crossing', { call: (n: number) => void ran.push(`${which} ${n}`) }, { listen: address })
  const first = await open('first')
  const client = await connect<{ call(n: number): void }>(address, { reconnect: { initial: 1, max: 5 } })
  await client.call(0)
  const session = sessionOf(client)!
  session.connection.pause()
  const closing = first.close()
  const calls: Promise<string>[] = []
  for (let n = 1; n <= 50; n++) {
    calls.push(outcomeOf(client.call(n)))
    await turn()
  }
  session.connection.resume()
  await closing
  const second = await open('second')
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(['ran']))
  assert.equal(ran.length, 51, 'each ran once')
  assert.ok(ran.includes('second 50'))
  await client.close()
  await second.close()
})

test('one-way calls that cross with close() run: nobody could be told that they were refused', async () => {
  const heard: number[] = []
  const service = await serve('crossing', { note: (n: number) => void heard.push(n) }, { listen: `unix:${freshPath('.sock')}` })
  const client = await connect(service.addresses[0]!, { reconnect: false })
  const session = sessionOf(client)!
  session.connection.pause()
  const closing = service.close()
  for (let n = 0; n < 50; n++) {
    void session.notify('note', [n])
    await turn()
  }
  session.connection.resume()
  await closing
  assert.deepEqual(
    heard,
    Array.from({ length: 50 }, (_, n) => n),
  )
  await client.close()
})
