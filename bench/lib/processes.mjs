// Starting, pinning and ending the processes of a measurement. Everything that is started is ended by its id.
import { fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { peers } from '../peers/index.mjs'

const here = (/** @type {string} */ path) => fileURLToPath(new URL(`../${path}`, import.meta.url))

/** The processors that this process may use. @returns {string[]} */
export function cores() {
  try {
    const list = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''
    return list.split(',').flatMap((range) => {
      const [from, to = from] = range.split('-').map(Number)
      return Array.from({ length: to - from + 1 }, (_, i) => String(from + i))
    })
  } catch {
    return []
  }
}

/** Can processes be pinned here? */
export const canPin = () => cores().length > 0 && spawnSync('taskset', ['-c', cores()[0], 'true']).status === 0

/**
 * glibc gives the top of its heap back to the kernel and takes it again, or not, by chance of layout: large messages then take
 * two to three times as long, in one process and not in the next. This keeps it, for all peers alike. Not where memory is measured.
 */
const allocator = { MALLOC_TOP_PAD_: String(32 * 1024 * 1024) }

/** @param {string | null} core */
const node = (core) => (core === null ? {} : { execPath: 'taskset', execArgv: ['-c', core, process.execPath, '--expose-gc'] })

/** Python with or without NumPy. @returns {{ command: string, problem?: string, numpyProblem?: string }} */
export function findPython() {
  const inRepository = here('../.venv/bin/python')
  const command = process.env.PYTHON ?? (existsSync(inRepository) ? inRepository : 'python3')
  const has = (/** @type {string} */ code) => spawnSync(command, ['-c', code]).status === 0
  if (!has('')) return { command, problem: `${command} does not run` }
  return has('import numpy') ? { command } : { command, numpyProblem: 'numpy not available' }
}

/**
 * Runs one pair of processes.
 * @param {Omit<import('../client.mjs').Job, 'core'>} job @param {{ client: string | null, server: string | null }} placement
 * @returns {Promise<{ results?: Record<string, any>, failed?: string, code?: string }>}
 */
export async function runPair(job, placement, timeout = 120_000) {
  const env = { ...(job.cases.includes('clients') ? {} : allocator), ...process.env, TALKWIRE_RUNTIME_DIR: dirname(job.address) } // names that are served here are nobody else's business
  const child = fork(here('client.mjs'), [], { ...node(placement.client), env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const timer = setTimeout(() => child.disconnect(), timeout)
  child.on('error', () => {})
  child.send({ ...job, core: placement.server })
  try {
    return await new Promise((resolve) => {
      child.once('message', (/** @type {any} */ answer) => resolve(answer))
      child.once('exit', (code, signal) => resolve({ failed: `the client program ended without an answer (${signal ?? code})` }))
      child.once('disconnect', () => resolve({ failed: `no answer within ${timeout / 1000} s` }))
    })
  } finally {
    clearTimeout(timer)
    if (child.exitCode === null && child.signalCode === null) {
      const kill = setTimeout(() => child.kill('SIGKILL'), 2000)
      await once(child, 'exit')
      clearTimeout(kill)
    }
  }
}

/**
 * Starts the server program of a peer and waits until it listens.
 * @param {import('../client.mjs').Job} job @param {any} peer
 */
export async function startServer(job, peer) {
  const { ipc, python } = peers[job.name]
  const child = python
    ? startPython(peer.command(job.address), job)
    : fork(here('server.mjs'), [job.name, job.address], {
        execArgv: ['--expose-gc'],
        ...node(job.core),
        serialization: ipc ?? 'json',
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
  const ended = once(child, 'exit').then(([code, signal]) => Promise.reject(new Error(`the server program ended (${signal ?? code})`)))
  ended.catch(() => {}) // of interest only to those who wait for something else meanwhile
  process.on('exit', () => child.kill('SIGKILL'))
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  try {
    if (python) await Promise.race([says(child, peer.ready), ended])
    else {
      const [state] = await Promise.race([once(child, 'message'), ended])
      if (state.failed) throw Object.assign(new Error(state.failed), { code: state.code })
    }
  } catch (error) {
    await stop()
    throw error
  }
  const ask = async (/** @type {string} */ question) => {
    child.send(question)
    return (await once(child, 'message'))[0]
  }
  return { child, ended, stop, ask }
}

/** Waits until a program has written this. What it writes is passed on, except on stdout. @param {any} child @param {string} text */
function says(child, text) {
  let written = ''
  return new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (/** @type {Buffer} */ data) => {
        if (written.length < 4096) written += data
        if (written.includes(text)) resolve(null)
        else if (stream === child.stderr) process.stderr.write(data)
      })
    }
  })
}

/** @param {string[]} args @param {import('../client.mjs').Job} job @returns {any} */
function startPython(args, { core, python }) {
  const [command, ...rest] = core === null ? [python, ...args] : ['taskset', '-c', core, python, ...args]
  const path = [here('../clients/python'), process.env.PYTHONPATH].filter(Boolean).join(delimiter)
  return spawn(command, rest, { stdio: 'pipe', env: { ...process.env, PYTHONPATH: path, PYTHONUNBUFFERED: '1' } })
}
