// Runs an example's programs for its test: names and sockets of their own, nothing left behind.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const inVenv = path.join(root, '.venv/bin/python')
export const python = process.env['TALKWIRE_PYTHON'] ?? (existsSync(inVenv) ? inVenv : 'python3')

/** A line that does not come within this time never comes. */
const PATIENCE = 9_000

/**
 * @typedef {object} Program
 * @property {import('node:child_process').ChildProcess} child
 * @property {readonly string[]} lines what it has printed so far
 * @property {(pattern: RegExp) => Promise<RegExpExecArray>} line the first line of stdout or stderr that matches, also one that has already come
 * @property {() => Promise<{ code: number | null, out: string, err: string }>} end waits for its exit
 * @property {(text: string) => void} type writes a line to its stdin
 */

/**
 * @param {import('node:test').TestContext} t
 * @param {string} base the test's import.meta.url
 * @returns {{ env: Record<string, string>, folder: string, start: (command: string, ...args: string[]) => Program, run: (command: string, ...args: string[]) => Promise<string> }}
 */
export function programs(t, base) {
  const folder = mkdtempSync(path.join(tmpdir(), 'tw-'))
  /** @type {Set<import('node:child_process').ChildProcess>} */
  const running = new Set()
  const env = {
    TALKWIRE_RUNTIME_DIR: path.join(folder, 'run'),
    XDG_STATE_HOME: path.join(folder, 'state'),
    PYTHON: python,
    PYTHONPATH: path.join(root, 'clients/python'),
    // The same Node for the programs that the programs start.
    PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env['PATH']}`,
  }
  t.after(async () => {
    const ends = [...running].map((child) => once(child, 'close'))
    for (const child of running) child.kill('SIGKILL')
    await Promise.all(ends)
    const left = services(env.TALKWIRE_RUNTIME_DIR)
    for (const { pid } of left) process.kill(pid, 'SIGKILL')
    rmSync(folder, { recursive: true, force: true })
    if (left.length && ends.length === 0) throw new Error(`still serving at the end: ${left.map(({ name }) => name).join(', ')}`)
  })

  /** @param {string} command `node`, `python` or a program @param {string[]} args @returns {Program} */
  function start(command, ...args) {
    const program = command === 'node' ? process.execPath : command === 'python' ? python : command
    const child = spawn(program, args, { cwd: fileURLToPath(new URL('.', base)), env: { ...process.env, ...env }, stdio: 'pipe' })
    running.add(child)
    /** @type {string[]} */
    const lines = []
    let err = ''
    let wake = () => {}
    child.stderr.setEncoding('utf8').on('data', (text) => {
      err += text
      wake()
    })
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(line)
      wake()
    })
    const closed = once(child, 'close').then(([code]) => {
      running.delete(child)
      wake()
      return { code, out: lines.join('\n'), err }
    })
    /** @param {RegExp} pattern */
    async function line(pattern) {
      const since = performance.now()
      for (;;) {
        for (const each of [...lines, ...err.split('\n').slice(0, -1)]) {
          const match = pattern.exec(each)
          if (match) return match
        }
        if (!running.has(child) || performance.now() - since > PATIENCE) {
          throw new Error(`${args.join(' ')} never said ${pattern}; it said:\n${lines.join('\n')}\n${err}`)
        }
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, PATIENCE)
          wake = () => (clearTimeout(timer), resolve(undefined))
        })
      }
    }
    return { child, lines, line, end: () => closed, type: (text) => void child.stdin.write(`${text}\n`) }
  }

  /** Runs a program to its end, which has to be a good one. @param {string} command @param {string[]} args */
  async function run(command, ...args) {
    const program = start(command, ...args)
    program.child.stdin?.end()
    const { code, out, err } = await program.end()
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}\n${out}\n${err}`)
    return out
  }

  return { env, folder, start, run }
}

/** Who still serves in a runtime directory: spec/names.md. @param {string} directory @returns {{ name: string, pid: number }[]} */
function services(directory) {
  if (!existsSync(directory)) return []
  return readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(path.join(directory, file), 'utf8')))
    .filter(({ state, pid }) => state !== 'released' && pid !== process.pid && alive(pid))
}

/** @param {number} pid */
function alive(pid) {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
