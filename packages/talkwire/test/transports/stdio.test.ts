import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { connect } from '../../src/index.js'
import { stdio } from '../../src/transports/stdio.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { program, python, script } from './fixtures/support.js'

interface Program {
  readonly process: ChildProcess
  call(method: string, params?: unknown): Promise<any>
  readonly stderr: () => string
}

/** A service on pipes that a shell might have made, called with lines by hand. */
function byHand(flags: string[] = [], args: string[] = []): Program {
  const child = spawn(process.execPath, [...flags, program('stdio'), ...args], { stdio: 'pipe' })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let id = 0
  return {
    process: child,
    stderr: () => stderr,
    async call(method, params = []) {
      child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: ++id, method, params })}\n`)
      const { value } = await soon(lines.next(), `an answer to ${method}; stderr: ${stderr}`)
      const answer = JSON.parse(String(value)) as { id: number; result?: unknown; error?: unknown }
      assert.equal(answer.id, id)
      return answer.result ?? answer.error
    },
  }
}

async function end({ process: child }: Program): Promise<number | null> {
  const exit = once(child, 'exit')
  child.stdin!.end()
  return (await soon(exit, 'the process ends with its stdin'))[0] as number | null
}

for (const [how, flags] of [
  ['', []],
  [', without koffi', ['--require', script('without-koffi.cjs')]],
] as const) {
  test(`stdio: whatever the program prints goes to stderr, and the wire stays a wire${how}`, async () => {
    const service = byHand([...flags], how ? ['without koffi'] : [])
    assert.equal(await service.call('add', [2, 5]), 7)
    const seen: unknown = how ? await Promise.resolve('nothing to read') : await service.call('print')
    assert.equal(seen, 'nothing to read', 'a child of the service reads its stdin')
    assert.equal(await service.call('add', [2, 6]), 8)
    assert.equal(await service.call('again'), 'ADDRESS_IN_USE')
    assert.equal(await end(service), 0)
    if (!how) for (const printed of ['console.log', 'process.stdout', 'a grandchild']) assert.match(service.stderr(), new RegExp(printed))
  })
}

test('stdio: requests from a file, answers to a file', () => {
  const [input, output] = [freshPath('.in'), freshPath('.out')]
  writeFileSync(input, [1, 2, 3].map((id) => `{"jsonrpc":"2.0","id":${id},"method":"add","params":[${id},1]}\n`).join(''))
  const { status, stderr } = spawnSync(process.execPath, [program('stdio')], {
    stdio: [openSync(input, 'r'), openSync(output, 'w'), 'pipe'],
    encoding: 'utf8',
    timeout: 20_000,
  })
  assert.equal(status, 0, stderr)
  assert.deepEqual(
    readFileSync(output, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    [1, 2, 3].map((id) => ({ jsonrpc: '2.0', id, result: id + 1 })),
  )
})

test('stdio: through a shell pipeline', () => {
  const command = `printf '{"jsonrpc":"2.0","id":1,"method":"add","params":[2,5]}\\n' | "${process.execPath}" "${program('stdio')}" | cat`
  const { stdout } = spawnSync('sh', ['-c', command], { encoding: 'utf8', timeout: 20_000 })
  assert.deepEqual(JSON.parse(stdout), { jsonrpc: '2.0', id: 1, result: 7 })
})

test('stdio: a Content-Length peer and a peer with lengths are answered in kind', async () => {
  const text = '{"jsonrpc":"2.0","id":1,"method":"add","params":[2,5]}'
  const head = Buffer.alloc(4)
  head.writeUInt32BE(text.length)
  for (const [request, answer] of [
    [Buffer.from(`Content-Length: ${text.length}\r\n\r\n${text}`), /^Content-Length: \d+\r\n\r\n\{.*"result":7\}$/],
    [Buffer.concat([head, Buffer.from(text)]), /^\0\0\0.\{.*"result":7\}$/s],
  ] as const) {
    const child = spawn(process.execPath, [program('stdio')], { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.write(request)
    assert.match(String((await soon(once(child.stdout, 'data'), 'an answer'))[0]), answer)
    child.stdin.end()
    await soon(once(child, 'exit'), 'the process ends')
  }
})

test('stdio: a descriptor that is none, or no socket, is not taken for the wire', async () => {
  for (const TALKWIRE_FD of ['999', 'x', '-1', '1', '']) {
    const child = spawn(process.execPath, [program('stdio')], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, TALKWIRE_FD } })
    child.stdin.end('{"jsonrpc":"2.0","id":1,"method":"add","params":[2,5]}\n')
    assert.match(String((await soon(once(child.stdout, 'data'), 'an answer on stdout'))[0]), /"result":7/)
    await soon(once(child, 'exit'), 'the process ends')
  }
})

test('stdio: what the parent said before the child listens is heard, whatever phase the event loop is in', async () => {
  const child = spawn(process.execPath, [program('late-listener')], {
    stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
    env: { ...process.env, TALKWIRE_FD: '3' },
  })
  const wire = child.stdio[3] as Duplex
  await new Promise((resolve) => wire.write('{"said":"early"}\n', resolve))
  // The bytes are in the kernel; only now may it begin.
  child.stdin!.end('\n')
  wire.end()
  assert.deepEqual(await Promise.all([soon(text(child.stdout!), 'what it heard'), soon(once(child, 'exit'), 'the process ends')]), [
    '{"said":"early"}\n',
    [0, null],
  ])
})

test('stdio: a client on the pipes of who started it', async () => {
  // socat-like: our stdin and stdout are the service's.
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `
    import { connect } from ${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}
    const client = await connect('stdio:')
    process.stderr.write(String(await client.add(2, 5)))
    await client.close()
  `,
    ],
    { stdio: 'pipe' },
  )
  const service = spawn(process.execPath, [program('stdio')], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdout.pipe(service.stdin)
  service.stdout.pipe(child.stdin)
  let said = ''
  child.stderr.on('data', (chunk) => (said += String(chunk)))
  await soon(Promise.all([once(child, 'exit'), once(service, 'exit')]), 'both end')
  assert.equal(said, '7')
})

test('stdio: a Python service speaks the same', async () => {
  await using client = await connect<{ add(a: number, b: number): number }>(
    `spawn+stdio:${python} -m talkwire serve ${script('functions.py')} --listen stdio:`,
    { framing: 'length' },
  )
  assert.equal(await client.add(2, 5), 7)
})

test('stdio: takes no name', async () => {
  for (const address of ['stdio:bank', 'stdio://']) {
    await assert.rejects(
      stdio.listen!(address, () => new LocalEnd()),
      fails('INVALID_ADDRESS'),
    )
    await assert.rejects(stdio.connect!(address, new LocalEnd()), fails('INVALID_ADDRESS'))
  }
})
