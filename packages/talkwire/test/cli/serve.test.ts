/** `talkwire serve`: which of a module's exports, which language, how it ends. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect } from '../../src/index.js'
import { freshName, freshPath } from '../helpers/place.js'
import { fixture, serving, start, startProgram, talkwire, type Ended } from './program.js'

/** A module of a test's own, outside of any package. */
function module(source: string, ending = '.mjs'): string {
  const folder = freshPath()
  mkdirSync(folder)
  const file = join(folder, `m${freshName()}${ending}`)
  writeFileSync(file, source)
  return file
}
/** The methods that a module serves. */
async function methodsOf(source: string, ...options: string[]): Promise<string[]> {
  const name = freshName()
  return serving([module(source), '--name', name, ...options], async () => {
    const { stdout } = await talkwire(['describe', name, '--json'])
    return (JSON.parse(stdout) as { methods: { name: string }[] }).methods.map((method) => method.name)
  })
}
const refused = async (args: readonly string[], code: number, stderr: RegExp): Promise<Ended> => {
  const ended = await talkwire(['serve', ...args])
  assert.equal(ended.code, code, ended.stderr)
  assert.match(ended.stderr, stderr)
  return ended
}
const call = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await talkwire(['call', ...args])
  assert.equal(code, 0, stderr)
  return stdout
}

test('TypeScript is served as it is, with an import written as .js', async () => {
  await serving([fixture('calc.ts')], async (service) => {
    assert.equal(await call('calc', 'shout', 'hi'), '"HI!"\n')
    const { stdout, stderr, code } = await service.stop()
    assert.deepEqual([code, stdout, stderr], [0, '', 'calc serves unix:calc\n'])
  })
})

test('what of a module is served', async () => {
  assert.deepEqual(
    await methodsOf('export const a = () => 1; export function b() {}; export class C {}; export const d = 4; export default { e() {} }'),
    ['a', 'b'],
  )
  assert.deepEqual(await methodsOf('export default { e() {}, f: () => 1 }; export const d = 4'), ['e', 'f'])
  assert.deepEqual(await methodsOf('class S { #n = 0; up() { return ++this.#n } }; export default new S()'), ['up'])
  assert.deepEqual(await methodsOf('export const calc = { add: (a, b) => a + b }; export const version = "1"'), ['add'])
  assert.deepEqual(await methodsOf('export const x = { a() {} }; export const y = { b() {} }', '--export', 'y'), ['b'])
  assert.deepEqual(await methodsOf('export const a = () => 1; export const b = () => 2', '--export', 'b'), ['b'])
  await refused(
    [module('export const x = { a() {} }; export const y = { b() {} }')],
    2,
    /several objects with functions: x, y; choose with --export/,
  )
  await refused([module('export const x = 1')], 2, /exports no function and no contract/)
  await refused([module('export const x = 1'), '--export', 'y'], 2, /exports no "y"; it exports x/)
})

test('CommonJS', async () => {
  const file = module('module.exports = { add: (a, b) => a + b }', '.cjs')
  await serving([file, '--name', 'common'], async () => assert.equal(await call('common', 'add', '1', '2'), '3\n'))
})

test('a contract with its handlers, of a module that no package is installed for', async () => {
  const contract =
    "import { contract, rpc } from 'talkwire'; const any = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } }; export const c = contract('greeter/1', { greet: rpc({ input: any, output: any }) });"
  for (const handlers of [
    'export const handlers = { greet: (n) => `hi ${n}` }',
    'export default { greet: (n) => `hi ${n}` }',
    'export const handlers = () => ({ greet: (n) => `hi ${n}` })',
  ]) {
    await serving([module(contract + handlers)], async () => assert.equal(await call('greeter', 'greet', 'Ada'), '"hi Ada"\n'))
  }
  await refused([module(contract)], 2, /nothing that answers for it/)
  await refused([module(`${contract}export const handlers = {}`)], 1, /no handler for "greet"/)
  await refused([module(`${contract}export const handlers = { greet: (n) => n }`), '--name', 'other'], 2, /makes the name "greeter"/)
  await refused([module(`${contract}export const d = contract('greeter/2', {})`)], 2, /several contracts: c, d/)
})

test('what is wrong is said in words, with an exit code', async () => {
  await refused([freshPath('.ts')], 2, /there is no file/)
  await refused([fixture('calk.ts')], 2, /there is no file .*calk\.ts in \/.*; did you mean "calc\.ts"\?/)
  await refused([module('', '.txt')], 2, /cannot be served: a module ends with .ts, .*\.py/)
  await refused([module('throw new Error("while loading")')], 1, /cannot load .*while loading/s)
  await refused([module('export const a = () => {', '.mjs')], 1, /SyntaxError/)
  await refused([module('import "./missing.js"')], 1, /missing\.js/)
  await refused([module('export enum E { A }', '.ts')], 1, /enum/i)
  await refused([], 2, /usage: talkwire serve <module>/)
  await refused([fixture('calc.ts'), '--name', '../x'], 2, /INVALID_ADDRESS/)
  await refused([fixture('calc.ts'), '--listen', 'tcp://0.0.0.0:0'], 1, /^\[PERMISSION_DENIED\].*--?insecure|authkey/s)
})

test('TypeScript without the package that it needs: its name', async () => {
  // A copy of the package beside nothing.
  const folder = freshPath()
  const copy = join(folder, 'talkwire')
  cpSync(fileURLToPath(new URL('../../src', import.meta.url)), join(copy, 'dist/src'), { recursive: true })
  cpSync(fileURLToPath(new URL('../../../package.json', import.meta.url)), join(copy, 'package.json'))
  const file = join(folder, 'calc.ts')
  writeFileSync(file, 'export const add = (a: number, b: number) => a + b')
  const alone = startProgram(process.execPath, [join(copy, 'dist/src/cli/main.js'), 'serve', file])
  if ((process.features as { typescript?: unknown }).typescript) {
    await alone.said(' serves ')
    assert.equal((await alone.stop()).code, 0)
  } else {
    const { code, stderr } = await alone.ended
    assert.equal(code, 1)
    assert.match(stderr, /^\[MISSING_PACKAGE\] .*npm install amaro/)
  }
})

test('a name is taken by one', async () => {
  await serving([fixture('calc.ts'), '--name', 'single'], async (service) => {
    const second = await refused([fixture('calc.ts'), '--name', 'single'], 1, /^\[ADDRESS_IN_USE\]/)
    assert.match(second.stderr, new RegExp(`process ${service.child.pid}`))
  })
})

test('several addresses, a line for each; found by name if it was given one', async () => {
  const path = freshPath('.sock')
  await serving([fixture('calc.ts'), '--name', 'wide', '--listen', 'tcp://127.0.0.1:0', '--listen', `unix:${path}`], async (service) => {
    assert.equal(await call('wide', 'add', '2', '5'), '7\n')
    assert.equal(await call(`unix:${path}`, 'add', '2', '5'), '7\n')
    const { stdout } = await talkwire(['ls', '--json'])
    const entry = (JSON.parse(stdout) as { name: string; pid: number; addresses: string[] }[]).find(({ name }) => name === 'wide')
    assert.deepEqual([entry?.pid, entry?.addresses.length], [service.child.pid, 2])
    const { stderr } = await service.stop()
    assert.match(stderr, /^wide serves tcp:\/\/127\.0\.0\.1:\d+\nwide serves unix:.*\n$/)
  })
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} lets a call in flight finish and its answer arrive, then the name is free`, async () => {
    const service = start(['serve', fixture('work.mjs'), '--name', `drain${signal}`])
    await service.said(' serves ')
    const held = start(['call', `drain${signal}`, 'hold', signal])
    const stream = start(['call', `drain${signal}`, 'endless'])
    await Promise.all([service.said('holding'), stream.said('100\n')])
    const { code } = await service.stop(signal)
    assert.equal(code, 0)
    assert.deepEqual(await held.ended, { code: 0, stdout: '"held"\n', stderr: '' })
    const ended = await stream.ended
    assert.equal(ended.code, 1, 'a stream that was cut is no success')
    assert.match(ended.stderr, /^\[UNAVAILABLE\] the service is closing/)
    await serving([fixture('calc.ts'), '--name', `drain${signal}`], async () => {})
  })
}

test('a second signal ends at once', async () => {
  const service = start(['serve', fixture('work.mjs'), '--name', 'hasty'])
  await service.said(' serves ')
  const held = start(['call', 'hasty', 'hold', 'never'])
  await service.said('holding')
  service.child.kill('SIGTERM')
  const entry = async (): Promise<boolean> => (await talkwire(['ls', '--json'])).stdout.includes('hasty')
  assert.equal(await entry(), true, 'a service that drains has its name still')
  assert.equal((await service.stop('SIGTERM')).code, 143)
  assert.equal((await held.ended).code, 1)
})

test('errors of functions are told to whoever serves, with their stack', async () => {
  await serving([fixture('work.mjs'), '--name', 'failing'], async (service) => {
    await talkwire(['call', 'failing', 'fail'])
    await service.said('talkwire: in "fail": Error: the secret\n    at ')
  })
})

test('started on demand it takes the name that is wanted', async () => {
  const client = (await connect('wanted', {
    start: [process.execPath, fileURLToPath(new URL('../../src/cli/main.js', import.meta.url)), 'serve', fixture('calc.ts')],
  })) as unknown as { add(a: number, b: number): Promise<number>; close(): Promise<void> }
  assert.equal(await client.add(2, 5), 7)
  await client.close()
  const entry = (JSON.parse((await talkwire(['ls', '--json'])).stdout) as { name: string; pid: number }[]).find(
    ({ name }) => name === 'wanted',
  )!
  process.kill(entry.pid)
})

test("a file's name that is no service's name", async () => {
  for (const [file, name] of [
    ['my worker.mjs', 'my-worker'],
    ['_ö.mjs', 'service'],
    ['.My Worker (2).py', 'My-Worker-2-'],
  ] as const) {
    const folder = freshPath()
    mkdirSync(folder)
    const path = join(folder, file)
    writeFileSync(path, file.endsWith('.py') ? 'def one():\n    return 1\n' : 'export const one = () => 1')
    await serving([path], async () => assert.equal(await call(name, 'one'), '1\n'))
  }
})

// ── Python ─────────────────────────────────────────────────────────────────────────────────────────

test('a Python file is served by Python and called by name, and the other way round', async () => {
  await serving([fixture('worker.py')], async () => {
    assert.equal(await call('worker', 'add', '2', '5'), '7\n')
    assert.equal(await call('worker', 'add', 'a=2', 'b=5'), '7\n')
    assert.equal(await call('worker', 'count', '3'), '0\n1\n2\n')
    assert.equal(await call('worker', 'total', '--stream', '1', '2', '3'), '6\n')
    const { stdout } = await talkwire(['describe', 'worker'])
    assert.match(stdout, /add\(a, b\)\n +Adds two of anything\.\n/)
    assert.match(stdout, /count\(n: integer\) → stream/)
    const typo = await talkwire(['call', 'worker', 'ad', '1'])
    assert.equal(typo.code, 1)
    assert.match(typo.stderr, /did you mean "add"\?/)
  })
  await serving([fixture('calc.ts')], async () => {
    const python = (...args: string[]): Promise<Ended> =>
      startProgram(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-m', 'talkwire', ...args], {
        env: { PYTHONPATH: fileURLToPath(new URL('../../../../../clients/python', import.meta.url)) },
      }).ended
    assert.deepEqual(await python('call', 'calc', 'add', '2', '5'), { code: 0, stdout: '7\n', stderr: '' })
    assert.deepEqual(await python('call', 'calc', 'count', '2'), { code: 0, stdout: '0\n1\n', stderr: '' })
  })
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`Python: ${signal} drains as well`, async () => {
    const name = `py${signal}`
    const service = start(['serve', fixture('worker.py'), '--name', name])
    await service.said(' serves ')
    const slow = start(['call', name, 'slow'])
    await service.said('working')
    assert.equal((await service.stop(signal)).code, 0)
    assert.deepEqual(await slow.ended, { code: 0, stdout: '"done"\n', stderr: '' })
  })
}

test('Python takes the same options', async () => {
  const key = freshPath()
  writeFileSync(key, 'a secret that both know\n', { mode: 0o600 })
  const path = freshPath('.sock')
  const options = ['--name', 'pyopt', '--listen', 'tcp://0.0.0.0:0', '--listen', `unix:${path}`, '--authkey-file', key]
  const service = start(['serve', fixture('worker.py'), ...options, '--export', 'add', '--json'])
  await service.said('}\n')
  assert.equal(await call(`unix:${path}`, 'add', '2', '5', '--authkey-file', key), '7\n')
  assert.equal((await talkwire(['call', 'pyopt', 'add', '2', '5'])).code, 3)
  assert.match((await talkwire(['call', 'pyopt', 'count', '2', '--authkey-file', key])).stderr, /METHOD_NOT_FOUND/)
  const { code, stdout, stderr } = await service.stop()
  const told = JSON.parse(stdout) as { name: string; addresses: string[]; pid: number }
  assert.deepEqual([code, stderr, told.name, told.addresses.length, typeof told.pid], [0, '', 'pyopt', 2, 'number'])
  await refused([fixture('worker.py'), '--listen', 'tcp://0.0.0.0:0'], 1, /^\[PERMISSION_DENIED\].*--insecure/)
  await serving([fixture('worker.py'), '--listen', 'tcp://0.0.0.0:0', '--insecure'], async () => {})
})

test('Python ends with the command that started it, also after kill -9', async () => {
  const service = start(['serve', fixture('worker.py'), '--name', 'orphan'])
  await service.said(' serves ')
  // Its stderr is Python's too: the pipe ends when both are gone.
  await service.stop('SIGKILL')
  const { code, stderr } = await talkwire(['call', 'orphan', 'add', '1', '2'])
  assert.equal(code, 3, stderr)
})

test('Python as a child with a wire of its own', async () => {
  const { code, stdout, stderr } = await talkwire([
    'call',
    `spawn:'${process.execPath}' '${fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))}' serve '${fixture('worker.py')}'`,
    'add',
    '2',
    '5',
  ])
  assert.deepEqual([code, stdout, stderr], [0, '7\n', ''])
})

test('no Python: what to do', async () => {
  const { code, stderr } = await talkwire(['serve', fixture('worker.py')], { env: { TALKWIRE_PYTHON: '/no/such/python' } })
  assert.equal(code, 1)
  assert.match(stderr, /^\[START_FAILED\] .*TALKWIRE_PYTHON/)
})
