// npm run demo: a TypeScript process and a Python process, each started on its own, find each other by name and call
// each other's functions. What each does is in examples/demo. Ends with 0 only if everything happened as said here.
import { transformSync } from 'amaro'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { findPython } from './python.mjs'
import { root } from './lib/repository.mjs'

const PATIENCE = 14_000
const folder = path.join(root, 'examples/demo')

/** What each process says. */
const EXPECTED = {
  TypeScript: [
    /^serves "desk"$/,
    /^brew\(\) was stopped, because its caller does not wait any more$/,
    /^found "lab" by name$/,
    /^mean of 1, 2, 3, 4 in Python: 2\.5$/,
    /^a stream from Python, left after five: 2 3 5 7 11$/,
    /^Python integrated a function that stayed here, and called it back 100 times: 0\.3333$/,
    /^800000 bytes of Float64Array to Python, as they are; their sum there: 4999950000$/,
    /^NumPy \S+ found the eigenvalues of \[2 1; 1 2\]: 1 and 3$|^Python has no NumPy here; everything else works without it$/,
    /^cancelled a call: changed my mind$/,
    /^gave a call 300 ms: DEADLINE_EXCEEDED, outcome maybe-ran$/,
    /^the call that Python died in: CONNECTION_(LOST|CLOSED), outcome maybe-ran$/,
    /^the same client, the new Python: 42$/,
    /^closed$/,
  ],
  Python: [
    /^serves "lab"$/,
    /^found "desk" by name$/,
    /^heard that 4 tea were sold$/,
    /^price of 4 tea in TypeScript: 14$/,
    /^a stream from TypeScript: 3 2 1$/,
    /^price of 4\.5 tea: INVALID_INPUT, outcome not-sent$/,
    /^price of gold: SoldOut, outcome ran, declared, \{'item': 'gold'\}$/,
    /^gave a call 250 ms: DEADLINE_EXCEEDED, outcome maybe-ran$/,
    /^the stream of primes was closed by its reader$/,
    /^thinks about everything, for as long as it takes$/,
    /^stopped thinking about everything$/,
    /^thinks about nothing, and has 0\.\d s$/,
    /^stopped thinking about nothing$/,
    /^thinks about the end, for as long as it takes$/,
    /^serves "lab"$/,
  ],
}

const since = performance.now()
/** Names and sockets of its own, so that nothing that runs here already is in the way. */
const runtime = mkdtempSync(path.join(tmpdir(), 'tw-'))
/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()
/** @type {{ TypeScript: string[], Python: string[] }} */
const said = { TypeScript: [], Python: [] }

/** @param {string} who @param {string} text */
const tell = (who, text) => console.log(`${who.padEnd(12)}${text}`)

/** @param {'TypeScript' | 'Python'} who @param {string} program @param {string[]} args @param {(line: string) => void} [onLine] */
function start(who, program, args, onLine) {
  const env = {
    ...process.env,
    TALKWIRE_RUNTIME_DIR: path.join(runtime, 'run'),
    PYTHONPATH: [path.join(root, 'clients/python'), process.env['PYTHONPATH']].filter(Boolean).join(path.delimiter),
  }
  const child = spawn(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] })
  running.add(child)
  const lines = createInterface({ input: child.stdout }).on('line', (line) => {
    said[who].push(line)
    tell(who, line)
    onLine?.(line)
  })
  const printed = new Promise((resolve) => lines.once('close', resolve))
  /** @type {Promise<number | null>} */
  const end = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', async (code) => {
      running.delete(child)
      await printed
      resolve(code)
    })
  })
  return { child, end }
}

/** TypeScript without its types: Node 20 does not do that by itself. */
function stripTypes() {
  const file = path.join(folder, 'dist/desk.js')
  mkdirSync(path.dirname(file), { recursive: true })
  const { code } = transformSync(readFileSync(path.join(folder, 'desk.ts'), 'utf8'), { mode: 'strip-only' })
  writeFileSync(file, `// @ts-nocheck\n${code}`)
  return file
}

async function demo() {
  const python = findPython()
  const desk = start('TypeScript', process.execPath, [stripTypes()])
  const lab = start('Python', python, ['lab.py'], () => {
    // Its threads may say these two in either order.
    if (!['thinks about the end', 'stopped thinking about nothing'].every((begin) => said.Python.some((line) => line.startsWith(begin))))
      return
    tell('demo', `kills Python in the middle of that call: kill -9 ${lab.child.pid}`)
    lab.child.kill('SIGKILL')
  })
  tell('demo', `started desk.ts (process ${desk.child.pid}) and lab.py (process ${lab.child.pid}); neither knows where the other is`)
  await lab.end
  const again = start('Python', python, ['lab.py', 'again'])
  tell('demo', `started Python anew (process ${again.child.pid})`)
  const code = await desk.end
  again.child.kill('SIGTERM')
  await again.end
  return code
}

/** @param {string} problem */
function fail(problem) {
  console.error(`demo: ${problem}`)
  process.exitCode = 1
}

/** Each line was expected, and each that was expected has come. */
function check() {
  for (const who of /** @type {const} */ (['TypeScript', 'Python'])) {
    const left = [...said[who]]
    for (const pattern of EXPECTED[who]) {
      const index = left.findIndex((line) => pattern.test(line))
      if (index < 0) fail(`${who} never said ${pattern}`)
      else left.splice(index, 1)
    }
    for (const line of left) fail(`${who} was not expected to say "${line}"`)
  }
}

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(runtime, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))
const timer = setTimeout(() => {
  fail(`not done after ${PATIENCE / 1000} s`)
  process.exit()
}, PATIENCE)

const code = await demo()
clearTimeout(timer)
if (code !== 0) fail(`the TypeScript process ended with ${code}`)
check()
if (!process.exitCode) tell('demo', `everything happened as it should, in ${((performance.now() - since) / 1000).toFixed(1)} s`)
