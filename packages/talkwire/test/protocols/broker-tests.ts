/** What every broker that carries calls passes beside the dialect's suite: instances that share, and strangers. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { connect, contract, discover, event, rpc, serve, stream, type TalkwireError } from '../../src/index.js'
import { driverFor } from '../../src/hub/registry.js'
import type { Broker } from '../helpers/broker.js'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'

/** Eight at once on a broker that is a heavy program, beside other tests: it may need longer to say who serves. */
export const PATIENT = { limits: { handshake: 60_000 } }

/** The address of a hub of that prefix. */
export const addressOf = (scheme: string, { host, port }: Broker, prefix: string): string => `${scheme}://${host}:${port}?prefix=${prefix}`

export const bank = contract('org.example.bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ account: z.string(), balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  who: rpc({ output: z.string() }),
  wait: rpc({ output: z.string() }),
  bytes: rpc({ input: z.object({ data: z.instanceof(Uint8Array) }), output: z.instanceof(Uint8Array) }),
  watch: rpc({ input: z.object({ account: z.string() }), output: stream(z.object({ balance: z.number() })) }),
  news: event(z.object({ text: z.string() })),
})
/** Elements of a stream that are more than a stranger is sent ahead. */
export const LONG = 6000
export const openBank = (listen: string, who = 'one', wait: () => Promise<string> = () => Promise.resolve(who)) =>
  serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' }, 'no more of this')
        return { account, balance: amount + 1 }
      },
      who: () => who,
      wait,
      bytes: ({ data }) => data,
      async *watch({ account }) {
        for (let balance = 0; balance < (account === 'long' ? LONG : 3); balance++) yield { balance }
      },
    },
    { listen, onError: () => {} },
  )

/** Where the broker does not tell that nobody is there, that long is waited for somebody. */
const SHORT = { limits: { handshake: 100 } }

export function testBroker(scheme: string, broker: Broker): void {
  const at = (prefix: string): string => addressOf(scheme, broker, prefix)
  testInstances(scheme, at)
  testKilled(scheme, broker, at)
}

function testKilled(scheme: string, broker: Broker, at: (prefix: string) => string): void {
  test(`${scheme}: the broker is killed: calls end as lost, service and client go on when it is back`, async () => {
    const address = at(freshName())
    let begun!: () => void
    const waits = new Promise<void>((resolve) => (begun = resolve))
    await using _service = await openBank(address, 'one', () => {
      begun()
      return new Promise(() => {})
    })
    await using client = await connect(bank, address)
    const waiting = client.wait().then(
      () => assert.fail('it was answered'),
      (reason: TalkwireError) => reason,
    )
    await waits
    await broker.kill()
    const { code, outcome } = await soon(waiting, 'the call to end')
    assert.deepEqual([code, outcome], ['CONNECTION_LOST', 'maybe-ran'])
    await broker.start()
    for (;;) {
      const answer = await client.who(undefined, { timeout: 1_000 }).catch((reason: TalkwireError) => reason.code)
      if (answer === 'one') break
      assert.match(answer, /^(CONNECTION_LOST|UNAVAILABLE|PEER_NOT_FOUND|DEADLINE_EXCEEDED)$/)
    }
  })
}

/** All that needs no broker of its own. */
export function testInstances(scheme: string, at: (prefix: string) => string): void {
  test(`${scheme}: each call goes to one instance, and events of each are heard`, async () => {
    const address = at(freshName())
    let runs = 0
    const run = (): Promise<string> => Promise.resolve(String(runs++))
    await using one = await openBank(address, 'one', run)
    await using two = await openBank(address, 'two', run)
    await using client = await connect(bank, address)
    const heard: string[] = []
    await using _news = await client.on('news', ({ text }) => void heard.push(text))
    for (let number = 0; number < 20; number++) await client.wait()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(runs, 20)
    one.emit('news', { text: 'one' })
    two.emit('news', { text: 'two' })
    while (heard.length < 2) await client.who()
    assert.deepEqual(heard.toSorted(), ['one', 'two'])
  })

  test(`${scheme}: an instance that closes answers what it has, and gets no more`, async () => {
    const address = at(freshName())
    let go!: (text: string) => void
    let begun!: () => void
    const waits = new Promise<void>((resolve) => (begun = resolve))
    const one = await openBank(address, 'one', () => {
      begun()
      return new Promise((resolve) => (go = resolve))
    })
    await using client = await connect(bank, address)
    const waiting = client.wait()
    await waits
    // On a slow machine the calls below take longer than the five seconds that calls in flight have.
    const closing = one.close({ timeout: 60_000 })
    await using two = await openBank(address, 'two')
    // Until it has left, calls may still come to it, and are refused.
    for (let [row, tries] = [0, 0]; row < 20; tries++) {
      const who = await client.who().catch((reason: TalkwireError) => reason.code)
      assert.ok(tries < 1000, `still ${who}`)
      row = who === 'two' ? row + 1 : 0
    }
    go('late')
    assert.equal(await waiting, 'late')
    await closing
    assert.equal(await client.who(), 'two')
    void two
  })

  test(`${scheme}: functions without a contract, found by their name and by nobody's`, async () => {
    const address = at(freshName())
    await using _service = await serve('tools', { add: (a: number, b: number) => a + b, today: () => new Date(0) }, { listen: address })
    for (const where of [address, `${address}&service=tools`]) {
      await using client = await connect<{ add(a: number, b: number): number; today(): Date }>(where)
      assert.equal(await client.add(1, 2), 3)
      assert.deepEqual(await client.today(), new Date(0))
    }
    await assert.rejects(connect(`${address}&service=other`, SHORT), fails('PEER_NOT_FOUND'))
    await assert.rejects(connect(`${address}&service=a.b`), fails('INVALID_ADDRESS'))
  })

  test(`${scheme}: events without a contract are heard from when they are subscribed to`, async () => {
    const address = at(freshName())
    await using service = await serve('clock', { now: () => 0 }, { listen: address })
    await using client = await connect<{ now(): number }>(address)
    const heard: unknown[] = []
    await using _ticks = await (client as any).on('tick', (payload: unknown) => void heard.push(payload))
    ;(service as any).emit('tick', { at: 1 })
    while (heard.length === 0) await client.now()
    assert.deepEqual(heard, [{ at: 1 }])
  })

  test(`${scheme}: what a service says of itself, and another contract`, async () => {
    const address = at(freshName())
    await using _service = await openBank(address)
    const found = await discover(address)
    assert.deepEqual(Object.keys(found.members).toSorted(), ['bytes', 'deposit', 'news', 'wait', 'watch', 'who'])
    await using client = await connect(found, address)
    assert.deepEqual(await (client as any).deposit({ account: 'ann', amount: 1 }), { account: 'ann', balance: 2 })
    const other = contract('org.example.bank/2', { who: rpc({ output: z.string() }) })
    await assert.rejects(connect(other, address, SHORT), fails('PEER_NOT_FOUND'))
    await assert.rejects(connect(other, `${address}&service=org~example~bank-1`), fails('CONTRACT_MISMATCH'))
  })

  test(`${scheme}: what a stranger says that is nothing harms nobody`, async () => {
    const prefix = freshName()
    const address = at(prefix)
    const errors: string[] = []
    await using service = await openBank(address)
    await using client = await connect(bank, address, { onError: (error) => void errors.push((error as TalkwireError).code) })
    const heard: string[] = []
    await using _news = await client.on('news', ({ text }) => void heard.push(text))
    const driver = await (
      await driverFor(scheme)
    ).open(address, {
      credentials: undefined,
      onConnection() {},
      onError() {},
      signal: undefined,
    })
    const say = (text: string, headers: Record<string, string>) => ({ body: Buffer.from(text), type: 'json' as const, headers })
    const name = 'org~example~bank-1'
    const answers: string[] = []
    for (const [text, headers] of [
      ['{', {}],
      ['{"__proto__":1}', {}],
      ['7', {}],
      ['[]', { 'talkwire-credit': 'x' }],
      ['[]', { 'talkwire-timeout': 'x' }],
      ['\xc1', { 'talkwire-call': '1', 'talkwire-values': 'tagged' }],
    ] as const) {
      const reply = await new Promise<string>((resolve, reject) => {
        driver
          .requests!.request(`rpc.${name}.deposit`, say(text, headers), (each) => resolve(each.headers['talkwire-error']!))
          .catch(reject)
      })
      answers.push(reply.split(' ')[0]!)
    }
    assert.deepEqual(answers, [
      'INVALID_MESSAGE',
      'FORBIDDEN_KEY',
      'INVALID_INPUT',
      'INVALID_REQUEST',
      'INVALID_REQUEST',
      'INVALID_MESSAGE',
    ])
    for (const what of ['cancel', 'grant', 'input', 'end', 'alive', 'listen', 'nothing'])
      for (const text of ['{', 'null', '[1]', '"x"'])
        await driver.requests!.request(`rpc-control.${name}`, say(text, { 'talkwire-control': what, 'talkwire-call': 'x' }), () => {})
    for (const text of ['{', 'null', '7']) await driver.topics!.publish(`rpc-events.${name}.news`, say(text, {}), { retain: false })
    service.emit('news', { text: 'good' })
    while (heard.length === 0) await client.who()
    assert.deepEqual([heard, errors], [['good'], ['INVALID_MESSAGE', 'INVALID_MESSAGE', 'INVALID_MESSAGE']])
    await driver.close()
  })
}

/** Programs in Python that know their broker and nothing of us. They find `json`, `sys`, their words and `say`. */
export interface Strangers {
  /** Their library. */
  readonly name: string
  /** The interpreter that has it, if it is not the tests' own. */
  readonly python?: string
  readonly words: (prefix: string) => readonly string[]
  readonly both: string
  /** Defines `ask(method, params, count=1)`, which says of each answer its value and its `talkwire-error`. */
  readonly calls: string
  readonly ends: string
  /** Says `ready`, then the name and params of each call; answers `who`, `watch` with three elements, and all else with an error. */
  readonly serves: string
}

const ASKS = `
ask('deposit', {'account': 'ann', 'amount': 5})
ask('deposit', [{'account': 'closed', 'amount': 5}])
ask('deposit', {'account': 1})
ask('nothing', [])
ask('watch', {'account': 'long'}, ${LONG + 1})
`

export function testStrangers(
  scheme: string,
  { name, python, words, both, calls, ends, serves }: Strangers,
  at: (prefix: string) => string,
): void {
  const run = (script: string, prefix: string): (() => Promise<any>) => {
    const whole = `
import json, sys
def say(*values): print(json.dumps(values), flush=True)
${both}
${script}
`
    const child = spawn(python ?? process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', whole, ...words(prefix)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    after(() => child.kill('SIGKILL'))
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
    return async () => JSON.parse((await soon(lines.next(), `a line of ${name}`)).value as string)
  }

  test(`${scheme}: a script with ${name} calls, sees errors, and reads a stream`, async () => {
    const prefix = freshName()
    await using _service = await openBank(at(prefix))
    const read = run(calls + ASKS + ends, prefix)
    assert.deepEqual(await read(), [{ account: 'ann', balance: 6 }, null])
    const [closed, said] = await read()
    assert.deepEqual(closed.data, { code: 'AccountClosed', outcome: 'ran', details: { since: 'Monday' } })
    assert.equal(said, 'AccountClosed no more of this')
    assert.match((await read())[1], /^INVALID_INPUT /)
    assert.match((await read())[1], /^METHOD_NOT_FOUND /)
    for (let balance = 0; balance < LONG; balance++) assert.deepEqual(await read(), [{ balance }, null])
    assert.deepEqual(await read(), [null, null])
  })

  test(`${scheme}: a script with ${name} serves`, async () => {
    const prefix = freshName()
    const read = run(serves, prefix)
    assert.deepEqual(await read(), ['ready'])
    await using client = await connect(bank, at(prefix))
    assert.equal(await client.who(), 'python')
    const balances: number[] = []
    for await (const { balance } of client.watch({ account: 'ann' })) balances.push(balance)
    assert.deepEqual(balances, [0, 1, 2])
    await assert.rejects(client.deposit({ account: 'ann', amount: 1 }), /AccountClosed/)
    assert.deepEqual([await read(), await read(), (await read())[0]], [['who', null], ['watch', { account: 'ann' }], 'deposit'])
  })
}
