// npm test [-- filter…] [-- --verbose]: the package's tests, the examples', the scripts' and the Python client's.
// A filter is a part of a file's path; without one everything runs. A test that is skipped is a failure; one that lacks a program of the
// system is left out and named, which is a failure under CI.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { followRun } from './lib/leftovers.mjs'
import { runFiles } from './lib/node-tests.mjs'
import { privateFolder } from './lib/private-folder.mjs'
import { filesBelow, root } from './lib/repository.mjs'
import { python } from './python.mjs'
import { advice, install, missingFor } from './system.mjs'

const args = process.argv.slice(2)
const verbose = args.includes('--verbose')
const filters = args.filter((arg) => !arg.startsWith('-'))

/** @param {string} folder @param {RegExp} pattern */
const tests = (folder, pattern) =>
  filesBelow(path.join(root, folder))
    .filter((file) => pattern.test(file) && !/(^|\/)(node_modules|fixtures|__pycache__)\//.test(file))
    .map((file) => `${folder}/${file}`)

/** A test may be named as its source. @param {string} file */
const wanted = (file) => filters.length === 0 || filters.some((filter) => file.includes(filter) || sourceOf(file).includes(filter))
/** @param {string} file */
const sourceOf = (file) => file.replace('/dist/test/', '/test/').replace(/\.js$/, '.ts')

const found = [
  ...tests('packages/talkwire/dist/test', /\.test\.js$/),
  ...tests('examples', /^[^/]+\/test\.mjs$/),
  ...tests('scripts/test', /\.test\.mjs$/),
  ...tests('bench/test', /\.test\.mjs$/),
].filter(wanted)
const pythonTests = tests('clients/python/tests', /(^|\/)test_[^/]*\.py$/).filter(wanted)

/** @param {string} interpreter @param {import('./lib/leftovers.mjs').Run} run @returns {Promise<import('./lib/node-tests.mjs').Totals>} */
async function runPytest(interpreter, run) {
  const folder = privateFolder()
  const report = path.join(folder.path, 'junit.xml')
  const files = filters.length ? pythonTests.map((file) => path.relative('clients/python', file)) : []
  const flags = ['-q', '-rs', `--junitxml=${report}`, `--basetemp=${path.join(folder.path, 'pytest')}`]
  const child = spawn(interpreter, ['-m', 'pytest', ...flags, ...files], {
    cwd: path.join(root, 'clients/python'),
    env: { ...process.env, TALKWIRE_PYTHON: interpreter, ...folder.env },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const end = run.begin('pytest', folder.env.TMPDIR, child.pid)
  const [status] = await once(child, 'exit')
  end()
  const xml = existsSync(report) ? readFileSync(report, 'utf8') : ''
  const left = folder.left()
  if (left.length) console.log(`test: pytest: left in the temporary folder: ${left.join(', ')}`)
  folder.remove()
  const number = (/** @type {string} */ name) => Number(new RegExp(`<testsuite [^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0)
  const [all, failed, skipped] = [number('tests'), number('failures') + number('errors'), number('skipped')]
  if (status !== 0) console.log(`test: pytest ended with code ${status}${status === 5 ? ', because no test ran' : ''}`)
  return { passed: Math.max(0, all - failed - skipped), failed: failed || (status === 0 && left.length === 0 ? 0 : 1), skipped }
}

if (found.length + pythonTests.length === 0) {
  console.log(`test: no test file${filters.length ? ` has ${filters.join(' or ')} in its path` : ' exists; run npm run build'}`)
  process.exit(1)
}
install(found)
const missing = missingFor(found)
const leftOut = new Set([...missing.values()].flat())
const nodeTests = found.filter((file) => !leftOut.has(file))
const interpreter = python()
// Many tests start a Python that imports the client: without bytecode each of them compiles it first.
spawnSync(interpreter, ['-m', 'compileall', '-q', 'clients/python/talkwire'], { cwd: root, stdio: 'inherit' })
const none = { passed: 0, failed: 0, skipped: 0 }
const run = followRun()
/** What tests compile, once for all files: test/helpers/c.ts. */
const compiled = privateFolder()
const pythons = pythonTests.length ? runPytest(interpreter, run) : Promise.resolve(none)
const results = await Promise.all([
  nodeTests.length
    ? runFiles(nodeTests, { ...process.env, TALKWIRE_PYTHON: interpreter, TALKWIRE_COMPILED: compiled.path }, run, verbose, pythons)
    : none,
  pythons,
])
run.end()
compiled.remove()
const left = run.left()
for (const { of, what } of left) console.log(`test: ${of} left ${what}; a test takes away what it makes, also when it fails`)
for (const { of, what } of run.unclear())
  console.log(`test: ${what} is new, and nobody can tell whose it is; meanwhile ran ${of.join(', ') || 'nothing of this run'}`)
const [passed, failed, skipped] = /** @type {const} */ (['passed', 'failed', 'skipped']).map((name) =>
  results.reduce((sum, totals) => sum + totals[name], 0),
)
for (const [program, files] of missing)
  console.log(`test: NOT RUN, because there is no ${program}: ${files.join(', ')}; ${advice(program)}`)
if (skipped) console.log(`test: ${skipped} skipped; a test that cannot run here belongs behind a declared ability, not behind skip`)
console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed || skipped || left.length || !passed || (missing.size && process.env['CI']) ? 1 : 0
