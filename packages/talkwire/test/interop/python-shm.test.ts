/** `shm:` between TypeScript and Python, and between two Pythons, in processes of their own. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { turns } from '../../compliance/ends.js'
import { connect, context, contract, event, implement, rpc, serve, stream, type RunningService } from '../../src/index.js'
import { freshName } from '../helpers/place.js'
import { anything, collect, fails, fence, number, text } from '../session/harness.js'
import { python, run, type Running } from '../session/processes.js'

const program = fileURLToPath(new URL('../../../test/interop/fixtures/shm_peer.py', import.meta.url))
const PYTHONPATH = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))
const library = new URL('../../src/index.js', import.meta.url).href
const peer = (what: string, front: string, address: string): Running =>
  run(python, [program, what, front, address], { env: { PYTHONPATH } })
const nodeProgram = (source: string, address: string): Running =>
  run(process.execPath, ['--input-type=module', '-e', `import { connect, serve } from ${JSON.stringify(library)}\n${source}`, address])

const big = Float64Array.from({ length: 1 << 20 }, (_, n) => n)
const ALL = {
  sum: 7,
  big: true,
  counted: 4_498_500,
  total: 4_498_500,
  chat: ['A', 'B'],
  report: ['done', ['half']],
  ask: 'sure!',
  ticked: [7],
}

const shapes = contract('peer/1', {
  add: rpc({ input: anything, output: number }),
  echo: rpc({ input: anything, output: anything }),
  count: rpc({ input: number, output: stream(number) }),
  total: rpc({ input: stream(number), output: number }),
  chat: rpc({ input: stream(text), output: stream(text) }),
  report: rpc({ output: text }),
  ask: rpc({ input: text, output: text }),
  tick: rpc({ input: number }),
  ticked: event(number),
})

/** What `shm_peer.py` serves, here. */
async function serveAll(address: string) {
  const service: RunningService = await serve(
    shapes,
    {
      add: ({ a, b }) => a + b,
      echo: (value) => value,
      async *count(n) {
        for (let i = 0; i < n; i++) yield i
      },
      total: async (numbers) => (await collect(numbers)).reduce((a, b) => a + b, 0),
      async *chat(lines) {
        for await (const line of lines) yield line.toUpperCase()
      },
      report() {
        context().progress('half')
        return 'done'
      },
      ask: (question) => (context().caller as any).confirm(question) as Promise<string>,
      tick: (n): void => service.emit('ticked', n),
    },
    { listen: address },
  )
  return service
}

const last = async (process: Running): Promise<unknown> => JSON.parse(await process.line('{')) as unknown

for (const front of ['threads', 'asyncio']) {
  test(`shm: TypeScript calls Python (${front}): every shape, and 8 MiB`, async () => {
    const address = `shm:${freshName()}`
    const service = peer('serve', front, address)
    await service.line('ready')
    const client = await connect(shapes, address, {
      serve: implement({ confirm: (question: string) => `${question}!` }),
      reconnect: false,
    })
    assert.equal(await client.add({ a: 2, b: 5 }), 7)
    assert.deepEqual(await client.echo(big), big)
    assert.equal(
      (await collect(client.count(3000))).reduce((a, b) => a + b, 0),
      ALL.counted,
    )
    const input = Array.from({ length: 3000 }, (_, n) => n)
    assert.equal(await client.total(input), ALL.total)
    assert.deepEqual(await collect(client.chat(['a', 'b'])), ALL.chat)
    const progress: unknown[] = []
    assert.equal(await client.report(undefined, { onProgress: (value) => progress.push(value) }), 'done')
    assert.deepEqual(progress, ['half'])
    assert.equal(await client.ask('sure'), 'sure!')
    const ticked = client.once('ticked')
    await client.tick(7)
    assert.equal(await ticked, 7)
    await client.close()
    await service.kill()
  })

  test(`shm: Python (${front}) calls TypeScript: every shape, and 8 MiB`, async () => {
    const address = `shm:${freshName()}`
    const service = await serveAll(address)
    assert.deepEqual(await last(peer('call', front, address)), { ...ALL, peer: process.pid })
    await service.close()
  })

  test(`shm: Python (${front}) calls Python`, async () => {
    const address = `shm:${freshName()}`
    const service = peer('serve', front === 'threads' ? 'asyncio' : 'threads', address)
    await service.line('ready')
    assert.deepEqual(await last(peer('call', front, address)), { ...ALL, peer: service.pid })
    await service.kill()
  })

  test(`shm: a Python service (${front}) that is killed leaves no call of TypeScript open`, async () => {
    const address = `shm:${freshName()}`
    const service = peer('serve', front, address)
    await service.line('ready')
    const client = (await connect(address, { reconnect: false })) as any
    const items = client.count(1_000_000) as AsyncIterable<number>
    const iterator = items[Symbol.asyncIterator]()
    await iterator.next()
    const calls = Array.from({ length: 20 }, () => client.wait() as Promise<unknown>)
    const all = (async () => {
      while (!(await iterator.next()).done);
    })()
    const settled = Promise.all([...calls, all].map((call) => assert.rejects(call, fails('CONNECTION_LOST', 'maybe-ran'))))
    await service.line('waiting')
    await service.kill()
    await settled
    await client.close()
  })

  test(`shm: a service of TypeScript that is killed leaves no call of Python (${front}) open`, async () => {
    const address = `shm:${freshName()}`
    const service = nodeProgram(
      `let waiting = 0
       await serve('peer', { wait: () => { if (++waiting === 20) console.log('all wait'); return new Promise(() => {}) } }, { listen: process.argv[1] })
       console.log('ready')`,
      address,
    )
    await service.line('ready')
    const caller = peer('hang', front, address)
    await service.line('all wait')
    await service.kill()
    assert.equal(await caller.line('['), '["CONNECTION_LOST maybe-ran"]')
  })

  test(`shm: a handler of either side hears that its caller was killed (${front})`, async () => {
    const address = `shm:${freshName()}`
    const waiting = fence()
    const stopped = fence()
    let calls = 0
    const service = await serve(
      'peer',
      {
        wait() {
          context().signal.addEventListener('abort', () => --calls === 0 && stopped.pass())
          if (++calls === 20) waiting.pass()
          return new Promise(() => {})
        },
      },
      { listen: address },
    )
    const caller = peer('hang', front, address)
    await waiting.passed
    await caller.kill()
    await stopped.passed
    await service.close()

    const theirs = `shm:${freshName()}`
    const worker = peer('serve', front, theirs)
    await worker.line('ready')
    const client = nodeProgram(`const client = await connect(process.argv[1]); await client.wait()`, theirs)
    await worker.line('waiting')
    await client.kill()
    await worker.line('stopped')
    await worker.kill()
  })

  test(`shm: what fills the rings of a stopped Python (${front}) arrives when it goes on`, async () => {
    const address = `shm:${freshName()}`
    const service = peer('serve', front, address)
    await service.line('ready')
    const client = (await connect(address, { reconnect: false })) as any
    await client.add(1, 1)
    service.child.kill('SIGSTOP')
    const calls = Array.from({ length: 16 }, (_, n) => client.echo(new Uint8Array(400_000).fill(n)) as Promise<Uint8Array>)
    const small = Array.from({ length: 100 }, (_, n) => client.add(n, 1) as Promise<number>)
    await new Promise((resolve) => setImmediate(resolve))
    service.child.kill('SIGCONT')
    for (const [n, bytes] of (await Promise.all(calls)).entries()) assert.ok(bytes.length === 400_000 && bytes.every((byte) => byte === n))
    assert.deepEqual(
      await Promise.all(small),
      small.map((_, n) => n + 1),
    )
    await client.close()
    await service.kill()
  })

  test(`shm: ended connections leave nothing in Python (${front}), and nothing under a name`, async () => {
    const address = `shm:${freshName()}`
    const service = peer('serve', front, address)
    await service.line('ready')
    for (let n = 0; n < 5; n++) {
      const client = (await connect(address, { reconnect: false })) as any
      await client.add(1, 1)
      await client.close()
    }
    const killed = nodeProgram(`const client = await connect(process.argv[1]); await client.wait()`, address)
    await service.line('waiting')
    await killed.kill()
    const client = (await connect(address, { reconnect: false })) as any
    // The service ends what it has to do with the others when it hears of their end.
    while ((await client.mapped()) !== 1) await turns()
    const named = readFileSync(`/proc/${service.pid}/maps`, 'utf8') + readFileSync('/proc/self/maps', 'utf8')
    assert.ok(!named.includes('/dev/shm/'))
    await client.close()
    await service.kill()
  })
}
