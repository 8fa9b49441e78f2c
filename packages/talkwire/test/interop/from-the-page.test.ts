/** A client that was written from spec/ alone, without a line of ours, is a full partner: in both codecs, with a key and without, of both languages' services. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { contract, rpc, serve, shapeOf, stream } from '../../src/index.js'
import { freshName } from '../helpers/place.js'
import { anything } from '../session/harness.js'
import { python, run } from '../session/processes.js'

const fixture = (name: string): string => fileURLToPath(new URL(`../../../test/interop/fixtures/${name}`, import.meta.url))
const client = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))
const KEY = 'sixteen bytes and more'

const each = rpc({ input: anything, output: anything, errors: { AccountClosed: anything } })
const page = contract('page/1', {
  add: each,
  greet: each,
  echo: each,
  fail: each,
  twice: each,
  ask: each,
  wait: each,
  deadline: each,
  statistics: each,
  doubled: each,
  count: rpc({ input: anything, output: stream(anything) }),
  total: rpc({ input: stream(anything), output: anything }),
})

const serveHere = async (name: string, key: string | undefined): Promise<() => Promise<void>> => {
  const service = await serve(
    page,
    {
      add: ([a, b]) => a + b,
      greet: ({ name: who }) => `hello ${who}`,
      echo: (value) => value,
      fail(what, ctx) {
        if (what === 'declared') throw ctx.error('AccountClosed', { since: '2020' })
        throw new Error('secret')
      },
      async *count(n) {
        for (let i = 0; i < n; i++) yield i
      },
      async total(pairs) {
        let sum = 0
        for await (const [n] of pairs) sum += n
        return sum
      },
      async twice(f) {
        const sum = (await f(1)) + (await f(2))
        f[Symbol.dispose]()
        return sum
      },
      ask: (question, ctx) => (ctx.caller as any).confirm(question),
      wait: (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve)),
      deadline: (_, ctx) => ctx.deadline! - performance.now(),
      statistics: (array) => ({ shape: shapeOf(array), sum: array.reduce((sum: number, x: number) => sum + x, 0) }),
      doubled: (array) => array.map((x: number) => x * 2),
    },
    { listen: `unix:${name}`, onError: () => {}, ...(key !== undefined && { authkey: key }) },
  )
  return () => service.close()
}

const serveInPython = async (name: string, key: string | undefined): Promise<() => Promise<void>> => {
  const service = run(python, [fixture('page_service.py'), name, ...(key === undefined ? [] : [key])], { env: { PYTHONPATH: client } })
  await service.line('ready')
  return () => service.kill()
}

for (const [language, start, codec, key] of [
  ['Node', serveHere, 'json'],
  ['Node', serveHere, 'msgpack'],
  ['Node', serveHere, 'msgpack', KEY],
  ['Python', serveInPython, 'json'],
  ['Python', serveInPython, 'json', KEY],
] as const) {
  test(`written from the page alone: ${codec}${key === undefined ? '' : ' with a key'}, served by ${language}`, async () => {
    const name = freshName()
    const stop = await start(name, key)
    // An isolated interpreter: no path of ours, no package at all.
    const partner = run(python, ['-I', '-S', fixture('from_the_page.py'), name, codec, ...(key === undefined ? [] : [key])])
    assert.equal(await partner.line(''), 'done')
    await stop()
  })
}
