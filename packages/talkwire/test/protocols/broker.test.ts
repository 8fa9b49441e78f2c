import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { promisify } from 'node:util'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { connect, contract, discover, event, rpc, serve, stream, type TalkwireError } from '../../src/index.js'
import { driverFor } from '../../src/hub/registry.js'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { at, brokers, LARGEST, schemes } from './broker-places.js'

const bank = contract('org.example.bank/1', {
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
const LONG = 6000
const openBank = (listen: string, who = 'one', wait: () => Promise<string> = () => Promise.resolve(who)) =>
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

for (const scheme of schemes) {
  test(`${scheme}: each call goes to one instance, and events of each are heard`, async () => {
    const address = at(scheme, freshName())
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
    const address = at(scheme, freshName())
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
    const closing = one.close()
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
    const address = at(scheme, freshName())
    await using _service = await serve('tools', { add: (a: number, b: number) => a + b, today: () => new Date(0) }, { listen: address })
    for (const where of [address, `${address}&service=tools`]) {
      await using client = await connect<{ add(a: number, b: number): number; today(): Date }>(where)
      assert.equal(await client.add(1, 2), 3)
      assert.deepEqual(await client.today(), new Date(0))
    }
    await assert.rejects(connect(`${address}&service=other`), fails('PEER_NOT_FOUND'))
    await assert.rejects(connect(`${address}&service=a.b`), fails('INVALID_ADDRESS'))
  })

  test(`${scheme}: events without a contract are heard from when they are subscribed to`, async () => {
    const address = at(scheme, freshName())
    await using service = await serve('clock', { now: () => 0 }, { listen: address })
    await using client = await connect<{ now(): number }>(address)
    const heard: unknown[] = []
    await using _ticks = await (client as any).on('tick', (payload: unknown) => void heard.push(payload))
    ;(service as any).emit('tick', { at: 1 })
    while (heard.length === 0) await client.now()
    assert.deepEqual(heard, [{ at: 1 }])
  })

  test(`${scheme}: what a service says of itself, and another contract`, async () => {
    const address = at(scheme, freshName())
    await using _service = await openBank(address)
    const found = await discover(address)
    assert.deepEqual(Object.keys(found.members).toSorted(), ['bytes', 'deposit', 'news', 'wait', 'watch', 'who'])
    await using client = await connect(found, address)
    assert.deepEqual(await (client as any).deposit({ account: 'ann', amount: 1 }), { account: 'ann', balance: 2 })
    const other = contract('org.example.bank/2', { who: rpc({ output: z.string() }) })
    await assert.rejects(connect(other, address), fails('PEER_NOT_FOUND'))
    await assert.rejects(connect(other, `${address}&service=org~example~bank-1`), fails('CONTRACT_MISMATCH'))
  })

  test(`${scheme}: the broker is killed: calls end as lost, service and client go on when it is back`, async () => {
    const address = at(scheme, freshName())
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
    await brokers[scheme].kill()
    const { code, outcome } = await soon(waiting, 'the call to end')
    assert.deepEqual([code, outcome], ['CONNECTION_LOST', 'maybe-ran'])
    await brokers[scheme].start()
    for (;;) {
      const answer = await client.who(undefined, { timeout: 1_000 }).catch((reason: TalkwireError) => reason.code)
      if (answer === 'one') break
      assert.match(answer, /^(CONNECTION_LOST|UNAVAILABLE|PEER_NOT_FOUND|DEADLINE_EXCEEDED)$/)
    }
  })
}

test('nats: more than the server takes is refused, and harms nothing', async () => {
  const address = at('nats', freshName())
  await using _service = await openBank(address)
  await using client = await connect(bank, address)
  const data = new Uint8Array(1024)
  assert.deepEqual(await client.bytes({ data }), data)
  await assert.rejects(client.bytes({ data: new Uint8Array(LARGEST) }), (error: TalkwireError) => {
    assert.deepEqual([error.code, error.outcome], ['MESSAGE_TOO_LARGE', 'not-sent'])
    return true
  })
  assert.equal(await client.who(), 'one')
})

for (const scheme of schemes)
  test(`${scheme}: what a stranger says that is nothing harms nobody`, async () => {
    const prefix = freshName()
    const address = at(scheme, prefix)
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

/** A client of NATS in Python's standard library, written after NATS' own description of its protocol. */
const PYTHON = `
import json, socket, sys
host, port, subject = sys.argv[1:4]
sock = socket.create_connection((host, int(port)))
lines = sock.makefile("rb")
json.loads(lines.readline()[5:])
sock.sendall(b'CONNECT {"verbose":false,"headers":true}\\r\\nSUB mine 1\\r\\n')
def ask(method, params, answers=1):
    body = json.dumps(params).encode()
    sock.sendall(f"PUB {subject}.{method} mine {len(body)}\\r\\n".encode() + body + b"\\r\\n")
    while answers:
        words = lines.readline().split()
        if words[0] == b"PING": sock.sendall(b"PONG\\r\\n")
        if words[0] not in (b"MSG", b"HMSG"): continue
        data = lines.read(int(words[-1]) + 2)[:-2]
        headers, body = (data[:int(words[-2])], data[int(words[-2]):]) if words[0] == b"HMSG" else (b"", data)
        said = [line for line in headers.decode().split("\\r\\n") if line.lower().startswith("talkwire-error")]
        print(json.dumps([json.loads(body) if body else None, said]), flush=True)
        answers -= 1
ask("deposit", {"account": "ann", "amount": 5})
ask("deposit", [{"account": "closed", "amount": 5}])
ask("deposit", {"account": 1})
ask("nothing", [])
ask("watch", {"account": "ann"}, 4)
ask("watch", {"account": "long"}, ${LONG + 1})
`

test('nats: a Python script with nothing but a socket calls, sees errors, and reads a stream', async () => {
  const prefix = freshName()
  await using _service = await openBank(at('nats', prefix))
  const { host, port } = brokers.nats
  const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
  const subject = `${prefix}-requests.rpc.org~example~bank-1`
  const { stdout } = await promisify(execFile)(python, ['-c', PYTHON, host, String(port), subject], { timeout: 60_000 })
  const [good, closed, wrong, unknown, ...items] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as [any, string[]])
  assert.deepEqual(good, [{ account: 'ann', balance: 6 }, []])
  assert.match(closed![1][0]!, /^talkwire-error: AccountClosed no more of this$/i)
  assert.deepEqual(closed![0].data, { code: 'AccountClosed', outcome: 'ran', details: { since: 'Monday' } })
  assert.match(wrong![1][0]!, /INVALID_INPUT/)
  assert.match(unknown![1][0]!, /METHOD_NOT_FOUND/)
  const streamed = (count: number) => [...Array.from({ length: count }, (_, balance) => [{ balance }, []]), [null, []]]
  assert.deepEqual(items, [...streamed(3), ...streamed(LONG)])
})

test('mqtt: mosquitto_rr calls; 3.1.1 has no requests, which is said', async () => {
  const prefix = freshName()
  await using _service = await openBank(at('mqtt', prefix))
  const { host, port } = brokers.mqtt
  const place = ['-V', '5', '-h', host, '-p', String(port)]
  const topic = `${prefix}-requests/rpc/org~example~bank-1/deposit`
  const words = [...place, '-t', topic, '-e', `mine/${prefix}`, '-m', '{"account":"ann","amount":5}', '-W', '30']
  const { stdout } = await promisify(execFile)('mosquitto_rr', words)
  assert.deepEqual(JSON.parse(stdout), { account: 'ann', balance: 6 })
  await assert.rejects(connect(bank, `${at('mqtt', prefix)}&version=3.1.1`), fails('UNSUPPORTED'))
})

test('redis: redis-cli calls, and reads the answer', async () => {
  const prefix = freshName()
  await using _service = await openBank(at('redis', prefix))
  const place = ['-h', brokers.redis.host, '-p', String(brokers.redis.port)]
  const ear = spawn('redis-cli', [...place, 'SUBSCRIBE', 'mine'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const lines = createInterface(ear.stdout)[Symbol.asyncIterator]()
    const read = async (): Promise<string> => (await soon(lines.next(), 'a line of redis-cli')).value as string
    assert.deepEqual([await read(), await read(), await read()], ['subscribe', 'mine', '1'])
    const request = '{"id":"7","reply":"mine"}\n{"account":"ann","amount":5}'
    const { stdout } = await promisify(execFile)('redis-cli', [
      ...place,
      'PUBLISH',
      `${prefix}:request:rpc.org~example~bank-1.deposit`,
      request,
    ])
    assert.equal(stdout.trim(), '1')
    assert.deepEqual([await read(), await read()], ['message', 'mine'])
    assert.equal((JSON.parse(await read()) as { id: string }).id, '7')
    assert.deepEqual(JSON.parse(await read()), { account: 'ann', balance: 6 })
  } finally {
    ear.kill()
  }
})
