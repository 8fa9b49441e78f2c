// The runner notices what must not pass for a green run.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { followRun } from '../lib/leftovers.mjs'
import { runFile } from '../lib/node-tests.mjs'

const start = "import test, { describe } from 'node:test'\nimport { spawn } from 'node:child_process'\n"
const [skip, todo] = [
  ['sk', 'ip'],
  ['to', 'do'],
].map((pieces) => pieces.join(''))

/** @type {[string, string, { passed: number, failed: number, skipped: number }, RegExp][]} */
const files = [
  ['tests that pass', "describe('a', () => { test('b', () => {}) })\ntest('c', () => {})", { passed: 2, failed: 0, skipped: 0 }, /^$/],
  ['a test that fails', "test('a', () => { throw new Error('no') })", { passed: 0, failed: 1, skipped: 0 }, /exit code 1/],
  ['a skipped test', `test('a', { ${skip}: true }, () => {})`, { passed: 0, failed: 0, skipped: 1 }, /skipped or todo: a/],
  [
    'an unfinished test',
    `test('a', { ${todo}: true }, () => { throw new Error('no') })`,
    { passed: 0, failed: 0, skipped: 1 },
    /skipped or todo: a/,
  ],
  ['no test', 'console.log(1)', { passed: 0, failed: 0, skipped: 0 }, /no test ran/],
  [
    'a test that hangs',
    "test('a', () => new Promise(() => setInterval(() => {}, 1000)))",
    { passed: 0, failed: 0, skipped: 0 },
    /still running: a/,
  ],
  [
    'a process that does not end',
    "test('a', () => { setInterval(() => {}, 1000) })",
    { passed: 1, failed: 0, skipped: 0 },
    /something keeps/,
  ],
  [
    'an exit after the tests',
    "test('a', () => {})\nprocess.on('exit', () => { process.exitCode = 7 })",
    { passed: 1, failed: 0, skipped: 0 },
    /exit code 7/,
  ],
  [
    'a child left behind',
    "test('a', () => { spawn('sleep', ['60'], { stdio: 'inherit' }).unref() })",
    { passed: 1, failed: 0, skipped: 0 },
    /^$/,
  ],
  [
    'a file left behind',
    "test('a', async () => (await import('node:fs')).writeFileSync((await import('node:os')).tmpdir() + '/mine', ''))",
    { passed: 1, failed: 0, skipped: 0 },
    /left in the temporary folder: mine/,
  ],
  [
    'certificates that each process would read',
    "test('a', () => { if ('NODE_EXTRA_CA_CERTS' in process.env) throw new Error('they are read') })",
    { passed: 1, failed: 0, skipped: 0 },
    /^$/,
  ],
]

const run = followRun()
test.after(() => run.end())

for (const [what, code, totals, expected] of files) {
  test(what, async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'talkwire-runner-'))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    const file = path.join(folder, 'a.test.mjs')
    writeFileSync(file, start + code)
    const {
      output: _,
      problems,
      livedOn: _livedOn,
      ...counted
    } = await runFile(file, { ...process.env, NODE_EXTRA_CA_CERTS: '/dev/null' }, run, 2000)
    assert.deepEqual(counted, totals)
    assert.match(problems.join('\n'), expected)
  })
}
