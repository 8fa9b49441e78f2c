// Runs test files with node's test runner, one process a file: a file that hangs or leaves children behind is ended alone.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { privateFolder } from './private-folder.mjs'
import { root } from './repository.mjs'

/** A file in which no test starts or ends for this long is killed. */
const SILENCE = 120_000
const CONCURRENCY = 2
const reporter = pathToFileURL(fileURLToPath(new URL('./test-events.mjs', import.meta.url))).href

/**
 * @typedef {{ type: string, name: string, nesting: number, skip: boolean, todo: boolean, suite: boolean, at: number }} TestEvent
 * @typedef {{ passed: number, failed: number, skipped: number }} Totals
 */

/** @param {string} file @returns {TestEvent[]} */
function readEvents(file) {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

/** Names of tests that began and did not end. @param {readonly TestEvent[]} events */
function unfinished(events) {
  const open = new Map()
  for (const { type, name, nesting } of events) {
    const key = `${nesting} ${name}`
    if (type === 'test:dequeue' || type === 'test:start') open.set(key, name)
    else open.delete(key)
  }
  return [...open.values()]
}

/** @param {readonly TestEvent[]} events @returns {Totals} */
function count(events) {
  const ended = events.filter(({ type, suite }) => !suite && (type === 'test:pass' || type === 'test:fail'))
  const skipped = ended.filter(({ skip, todo }) => skip || todo)
  const failed = ended.filter(({ type, skip, todo }) => type === 'test:fail' && !skip && !todo)
  return { passed: ended.length - skipped.length - failed.length, failed: failed.length, skipped: skipped.length }
}

/** What a test did not take away kept the process alive for so long. @param {readonly TestEvent[]} events */
const livedOn = (events) => Math.round((Date.now() - (events.at(-1)?.at ?? Date.now())) / 1000)

/** @param {number | undefined} pid its whole process group */
function killGroup(pid) {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Nobody is left.
  }
}

/** @param {import('node:child_process').ChildProcess} child @param {string} events @param {number} silence @param {(names: string) => void} onSilence */
function watch(child, events, silence, onSilence) {
  let size = -1
  let since = Date.now()
  return setInterval(
    () => {
      const now = existsSync(events) ? statSync(events).size : 0
      if (now !== size) [size, since] = [now, Date.now()]
      else if (Date.now() - since > silence) {
        onSilence(unfinished(readEvents(events)).join(', '))
        killGroup(child.pid)
      }
    },
    Math.min(1000, silence / 2),
  )
}

/**
 * @param {string} file
 * @param {NodeJS.ProcessEnv} env
 * @param {import('./leftovers.mjs').Run} run
 * @param {number} silence
 * @returns {Promise<Totals & { output: string, problems: string[], livedOn: number }>}
 */
export function runFile(file, env, run, silence = SILENCE) {
  const folder = privateFolder()
  const events = path.join(folder.path, 'events')
  const flags = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${reporter}`,
    `--test-reporter-destination=${events}`,
  ]
  /** @type {string[]} */
  const problems = []
  let output = ''
  let lived = 0
  const child = spawn(process.execPath, [...flags, file], {
    cwd: root,
    // Not seen as a child of `node --test`; names and sockets of its own.
    env: { ...env, NODE_TEST_CONTEXT: undefined, ...folder.env },
    detached: process.platform !== 'win32',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const end = run.begin(path.relative(root, file), folder.env.TMPDIR, child.pid)
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const timer = watch(child, events, silence, (names) =>
    problems.push(`no test ended for ${silence / 1000} s; still running: ${names || 'none, but something keeps the process alive'}`),
  )
  return new Promise((resolve) => {
    const finish = () => {
      clearInterval(timer)
      end()
      const all = readEvents(events)
      const left = folder.left()
      if (left.length) problems.push(`left in the temporary folder: ${left.join(', ')}`)
      folder.remove()
      const totals = count(all)
      const skipped = all.filter(({ skip, todo }) => skip || todo).map(({ name }) => name)
      if (skipped.length) problems.push(`skipped or todo: ${skipped.join(', ')}`)
      if (all.length === 0 && problems.length === 0) problems.push('no test ran')
      resolve({ ...totals, output, problems, livedOn: lived })
    }
    child.on('error', (error) => problems.push(error.message))
    child.on('exit', (code, signal) => {
      lived = livedOn(readEvents(events))
      killGroup(child.pid)
      if (code !== 0 && problems.length === 0) problems.push(signal ? `ended by ${signal}` : `exit code ${code}`)
      // Whoever left the group may still hold the pipes.
      setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream.destroy()), 1000).unref()
    })
    child.on('close', finish)
  })
}

/**
 * `others`: what runs beside them; when it has ended, one file more at a time is run in its place.
 * @param {readonly string[]} files relative to the repository
 * @param {NodeJS.ProcessEnv} env
 * @param {import('./leftovers.mjs').Run} run
 * @param {boolean} verbose
 * @param {Promise<unknown>} others
 * @returns {Promise<Totals>}
 */
export async function runFiles(files, env, run, verbose, others) {
  const waiting = [...files]
  const totals = { passed: 0, failed: 0, skipped: 0 }
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const began = performance.now()
      const { output, problems, livedOn, ...counted } = await runFile(path.join(root, file), env, run)
      const bad = problems.length > 0 || counted.failed > 0
      if (bad || verbose) console.log(output)
      for (const problem of problems) console.log(`test: ${file}: ${problem}`)
      console.log(`${bad ? 'FAILED' : 'ok    '} ${file}  ${counted.passed} passed  ${Math.round(performance.now() - began)} ms`)
      if (livedOn > 1) console.log(`test: ${file}: its process lived on for ${livedOn} s after its last test`)
      totals.passed += counted.passed
      totals.failed += counted.failed || (problems.length && !counted.skipped ? 1 : 0)
      totals.skipped += counted.skipped
    }
  }
  await Promise.all([others.then(worker), ...Array.from({ length: CONCURRENCY }, worker)])
  return totals
}
