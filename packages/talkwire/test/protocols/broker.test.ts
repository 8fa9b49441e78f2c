import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { soon } from '../../compliance/ends.js'
import { connect, type TalkwireError } from '../../src/index.js'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { at, brokers, LARGEST, schemes } from './broker-places.js'
import { bank, LONG, openBank, testBroker } from './broker-tests.js'

for (const scheme of schemes) testBroker(scheme, brokers[scheme])

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
