/** What `import 'talkwire'` loads, and what a first call does. A module more is half a millisecond more of every process that uses us. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { builtinModules } from 'node:module'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { serve } from '../src/index.js'
import { freshPath } from './helpers/place.js'

const index = new URL('../src/index.js', import.meta.url).href
const dataUrl = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`

/** Names each file that is loaded, on stderr; it runs beside the program. */
const HOOKS = dataUrl(`
  import { writeSync } from 'node:fs'
  export const load = (url, context, next) => (writeSync(2, url + '\\n'), next(url, context))`)
const REGISTER = dataUrl(`import { register } from 'node:module'; register(${JSON.stringify(HOOKS)})`)

async function run(code: string, ...options: string[]): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [...options, '--input-type=module', '-e', code])
}

/** Our own files that a program loads, as in src/, without endings. */
async function filesOf(code: string): Promise<string[]> {
  const own = fileURLToPath(new URL('../src/', import.meta.url))
  const { stderr } = await run(code, '--import', REGISTER)
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('file:'))
    .map((url) => fileURLToPath(url).slice(own.length).replace(/\.js$/, ''))
}

/** What a program loads of Node's own, beside what every program has, and of packages. */
async function othersOf(code: string): Promise<string[]> {
  const look = `
    const before = new Set(process.moduleLoadList)
    ${code}
    const builtins = process.moduleLoadList.filter((each) => !before.has(each)).map((each) => each.replace(/^\\w+ /, ''))
    const { createRequire } = await import('node:module')
    console.log(JSON.stringify([...builtins, ...Object.keys(createRequire('/').cache)]))`
  const { stdout } = await run(look)
  const known = new Set(builtinModules)
  return (JSON.parse(stdout) as string[]).filter((each) => known.has(each) || each.startsWith('/'))
}

const IMPORT = `await import(${JSON.stringify(index)})`

/** Contracts and errors, and the words of sessions; not what moves a message. */
const NEEDED = new Set([
  'abilities',
  'address',
  'codecs/codec',
  'connect',
  'contract/contract',
  'contract/signalling',
  'contract/verdict',
  'descriptor',
  'dtypes',
  'error',
  'index',
  'on-demand',
  'serve',
  'session/client',
  'session/deadline',
  'session/incoming',
  'session/limits',
  'session/once',
  'session/params',
  'session/references',
  'session/service',
  'timers',
  'transports/webrtc-signals',
])

test('import: only what describes a service; a session comes with the first connect or serve', async () => {
  const files = await filesOf(IMPORT)
  assert.ok(files.includes('index'), files.join())
  assert.deepEqual(
    files.filter((file) => !NEEDED.has(file)),
    [],
  )
})

test('import: nothing of Node’s that costs, and no package', async () => {
  // Not even `node:fs`, whose import brings the streams along.
  const cheap = new Set(['module', 'string_decoder'])
  assert.deepEqual(
    (await othersOf(IMPORT)).filter((each) => !cheap.has(each)),
    [],
  )
})

test('import: a first call over a Unix socket loads no cryptography, no threads, no processes, no koffi', async () => {
  const address = `unix:${freshPath('.sock')}`
  await using _service = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: address })
  const call = `
    const { connect } = ${IMPORT}
    const client = await connect(${JSON.stringify(address)})
    if ((await client.add(2, 5)) !== 7) process.exit(1)
    await client.close()`
  const others = await othersOf(call)
  assert.ok(others.includes('net'), others.join())
  const costly = others.filter((each) => /^(crypto|tls|https?|http2|dgram|worker_threads|child_process)$|koffi/.test(each))
  assert.deepEqual(costly, [])
  const files = await filesOf(call)
  assert.ok(files.includes('session/session'), files.join())
  assert.deepEqual(
    files.filter((file) =>
      /^(listen|serve-|connect-dialect|channel|bridge|cli\/|memory\/|sync\/|discovery\/start|session\/auth)/.test(file),
    ),
    [],
  )
})
