import assert from 'node:assert/strict'
import { fork, type ChildProcess, type SerializationType } from 'node:child_process'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, sessionOf, TalkwireError } from '../../src/index.js'
import { ipc } from '../../src/transports/ipc.js'
import { fails } from '../helpers/expect.js'
import '../helpers/place.js'
import { eventually, gone, printed, program, start } from './fixtures/support.js'

const children: ChildProcess[] = []
after(() => children.forEach((child) => child.kill('SIGKILL')))
function forked(name: string, args: string[], serialization: SerializationType, env?: NodeJS.ProcessEnv): ChildProcess {
  const child = fork(program(name), args, {
    serialization,
    stdio: ['ignore', 2, 'inherit', 'ipc'],
    ...(env && { env: { ...process.env, ...env } }),
  })
  children.push(child)
  return child
}

for (const serialization of ['advanced', 'json'] as const) {
  let child: ChildProcess
  testTransport({
    test,
    // A process has one channel, so there are no addresses to try.
    transport: { scheme: serialization === 'json' ? 'ipc with JSON' : 'ipc', traits: ipc.traits, connect: ipc.connect! },
    address: () => 'ipc:',
    remote: async ({ control }) => {
      child = forked('far', [control, 'ipc:'], serialization)
      return 'ipc:'
    },
    connectOptions: {
      get child() {
        return child
      },
    },
  })
}

interface Child {
  add(a: number, b: number): number
  echo(value: any): any
  exit(code: number): void
  hang(): void
  pid(): number
}

for (const serialization of ['advanced', 'json'] as const) {
  test(`ipc, ${serialization}: calls, one connection after another, and the programs' own messages undisturbed`, async () => {
    const child = forked('child', ['ipc:'], serialization)
    const heard: unknown[] = []
    child.on('message', (message) => heard.push(message))
    child.send({ mine: 1 })
    for (let round = 0; round < 3; round++) {
      const client = await connect<Child>('ipc:', { child })
      assert.equal(sessionOf(client)!.peer.pid, child.pid)
      assert.equal(await client.add(2, round), 2 + round)
      await assert.rejects(ipc.connect!('ipc:', new LocalEnd(), { child, handshake: 100 }), fails('PEER_NOT_FOUND', 'ADDRESS_IN_USE'))
      assert.equal((await client.echo('ü'.repeat(300_000))).length, 300_000)
      assert.deepEqual(
        await Promise.all(Array.from({ length: 300 }, (_, index) => client.add(index, 0))),
        Array.from({ length: 300 }, (_, index) => index),
      )
      await client.close()
    }
    child.send({ mine: 2 })
    while (heard.length < 2) await soon(once(child, 'message'), 'messages')
    assert.deepEqual(heard, [{ heard: { mine: 1 } }, { heard: { mine: 2 } }])
    child.disconnect()
    child.kill()
    await gone(child.pid!)
  })
}

test('ipc: bytes with advanced serialization, text only with JSON', async () => {
  const [advanced, json] = [forked('child', ['ipc:'], 'advanced'), forked('child', ['ipc:'], 'json')]
  const numbers = Float64Array.of(1, NaN, -0)
  await using client = await connect<Child>('ipc:', { child: advanced })
  assert.deepEqual(await client.echo(numbers), numbers)
  await using text = await connect<Child>('ipc:', { child: json })
  await assert.rejects(async () => text.echo(numbers), fails('UNSUPPORTED'))
  assert.equal(await text.add(2, 5), 7)
})

test('ipc: without a child, without a channel, or with a child that does not listen', async () => {
  await assert.rejects(connect('ipc:'), TypeError)
  await assert.rejects(ipc.connect!('ipc:x', new LocalEnd(), { child: children[0]! }), fails('INVALID_ADDRESS'))
  await assert.rejects(
    ipc.listen!('ipc:', () => new LocalEnd()),
    fails('UNSUPPORTED'),
  )
  const deaf = forked('deaf', [], 'json')
  await assert.rejects(ipc.connect!('ipc:', new LocalEnd(), { child: deaf, handshake: 300 }), fails('PEER_NOT_FOUND'))
  deaf.kill('SIGKILL')
  await once(deaf, 'exit')
  await assert.rejects(ipc.connect!('ipc:', new LocalEnd(), { child: deaf }), fails('PEER_NOT_FOUND'))
  const controller = new AbortController()
  const silent = forked('child', ['stdio:'], 'json')
  const attempt = ipc.connect!('ipc:', new LocalEnd(), { child: silent, signal: controller.signal })
  controller.abort('changed my mind')
  await assert.rejects(attempt, (reason) => reason === 'changed my mind')
})

test('ipc: exit code, signal, and a disconnect are in the error of calls in flight', async () => {
  const cases: [(child: ChildProcess, client: { exit(code: number): Promise<void> }) => void, string, RegExp][] = [
    [(_, client) => void client.exit(6).catch(() => {}), 'PEER_EXITED', /exit code 6/],
    [(child) => child.kill('SIGKILL'), 'PEER_EXITED', /SIGKILL/],
    // It has nothing more to do then.
    [(child) => child.disconnect(), 'PEER_EXITED', /exit code 0/],
  ]
  for (const [end, code, text] of cases) {
    const child = forked('child', ['ipc:'], 'advanced')
    const client = await connect<Child>('ipc:', { child })
    const call = client.hang()
    end(child, client)
    await assert.rejects(soon(call, 'the call settles'), (reason: TalkwireError) => {
      assert.equal(reason.code, code)
      assert.equal(reason.outcome, 'maybe-ran')
      assert.match(reason.message, text)
      return true
    })
    await client.close()
    child.kill('SIGKILL')
  }
})

test('ipc: a child that only listens ends when its parent is killed', async () => {
  const parent = start(process.execPath, program('ipc-family'), program('child'))
  const pid = Number(await soon(printed(parent), 'the parent has called its child'))
  parent.kill('SIGKILL')
  await gone(pid)
})

test('ipc: a process listens once at a time', async () => {
  const child = forked('listens-twice', [], 'json')
  const [said] = (await soon(once(child, 'message'), 'what it says')) as [unknown]
  assert.deepEqual(said, ['ADDRESS_IN_USE', 'ipc:'])
  await gone(child.pid!)
})

test('ipc: abort() drops what the turn has sent, and nothing of ours stays at the channel', async () => {
  const child = forked('child', ['ipc:'], 'advanced')
  const listeners = (): number[] => [child.listenerCount('internalMessage'), child.listenerCount('disconnect')]
  const before = listeners()
  const client = await connect<Child>('ipc:', { child })
  assert.equal(await client.add(2, 5), 7)
  const packets: unknown[] = []
  const { send } = child
  child.send = ((packet: { is?: unknown }, ...rest: []) => {
    packets.push(packet.is)
    return send.call(child, packet as never, ...rest)
  }) as never
  const call = client.echo('dropped')
  sessionOf(client)!.abort(new TalkwireError('CANCELLED', 'the test says so'))
  await assert.rejects(call, fails('CANCELLED'))
  await client.close()
  assert.deepEqual(packets, ['abort'])
  assert.deepEqual(listeners(), before)
})

test('ipc: packets that are none do no harm', async () => {
  const child = forked('child', ['ipc:'], 'advanced')
  await using client = await connect<Child>('ipc:', { child })
  const junk: unknown[] = [
    { cmd: 'NODE_TALKWIRE' },
    { cmd: 'NODE_TALKWIRE', is: 'nonsense' },
    { cmd: 'NODE_TALKWIRE', is: 'acknowledgement', acknowledged: -1e9 },
    { cmd: 'NODE_TALKWIRE', is: 'acknowledgement', acknowledged: 'x' },
    { cmd: 'NODE_TALKWIRE', is: 'hi' },
    null,
    1,
    { cmd: 1 },
  ]
  for (const packet of junk) child.send(packet as never)
  assert.equal(await client.add(2, 5), 7)
  await eventually(() => child.connected, 'it lives')
})
