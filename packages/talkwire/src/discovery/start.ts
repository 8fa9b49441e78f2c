/** Starting a service on demand, once: spec/names.md, last section. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TalkwireError } from '../error.js'
import { find, runtimeDirectory, tryClaim, type Entry } from './names.js'

/** Milliseconds between looks into the directory. */
const POLL = 20
const PATIENCE = 30_000
const STDERR_KEPT = 4096
/** Of a name, so that its claim with `.start` is one too. */
const LONGEST = 58

/**
 * Waits until `name` is served, and starts `command` for it if nobody else does. Rejects with START_FAILED
 * when the command ends first or nothing serves within 30 s; PEER_NOT_FOUND when whoever was starting it gave up.
 */
export async function startService(name: string, command: readonly string[] | undefined, signal?: AbortSignal): Promise<Entry> {
  const start = performance.now()
  for (;;) {
    signal?.throwIfAborted()
    const found = find(name)
    if (!('reason' in found)) return found
    if (performance.now() - start > PATIENCE)
      throw new TalkwireError('START_FAILED', `"${name}" did not serve within ${PATIENCE / 1000} s: ${found.reason}`)
    if (name.length > LONGEST)
      throw new TalkwireError(
        'INVALID_ADDRESS',
        `"${name}" has ${name.length} characters; what is started on demand has at most ${LONGEST}`,
      )
    const starter = found.claimed ? undefined : tryClaim(`${name}.start`)
    if (!starter) await pause()
    else {
      try {
        return await launch(name, command, start, signal)
      } finally {
        starter.release()
      }
    }
  }
}

/** Waits until the process that announced this holds the name no more. False: it still does after 30 s. Rejects with the signal's reason. */
export async function isGone({ name, pid, start, since }: Entry, signal?: AbortSignal): Promise<boolean> {
  const began = performance.now()
  for (;;) {
    signal?.throwIfAborted()
    const found = find(name)
    if ('reason' in found || found.pid !== pid || found.start !== start || found.since !== since) return true
    if (performance.now() - began > PATIENCE) return false
    await pause()
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, POLL))

async function launch(
  name: string,
  command: readonly string[] | undefined,
  start: number,
  signal: AbortSignal | undefined,
): Promise<Entry> {
  const now = find(name)
  if (!('reason' in now)) return now
  const [program, ...args] = command ?? []
  if (program === undefined) throw new TalkwireError('PEER_NOT_FOUND', `${now.reason}; start it, or pass { start: [command] }`)
  const log = join(runtimeDirectory(), `${name}.log`)
  const child = startDetached(name, program, args, log)
  const ended = watch(child, program, log)
  try {
    for (;;) {
      signal?.throwIfAborted()
      const found = find(name)
      if (!('reason' in found)) return found
      const failure = ended()
      if (failure) throw new TalkwireError('START_FAILED', `${failure} before it served "${name}"`)
      if (performance.now() - start > PATIENCE)
        throw new TalkwireError('START_FAILED', `${program} did not serve "${name}" within ${PATIENCE / 1000} s: ${found.reason}`)
      await pause()
    }
  } catch (reason) {
    // What nobody waits for and does not serve is not left behind.
    child.kill()
    throw reason
  } finally {
    // The daemon outlives us: from here on it is on its own.
    child.unref()
  }
}

/** Its stderr is a file: a pipe would break when we end, and take the daemon along with its next message. */
function startDetached(name: string, program: string, args: readonly string[], log: string): ChildProcess {
  const stderr = openSync(
    log,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND | constants.O_NOFOLLOW,
    0o600,
  )
  try {
    return spawn(program, args, { detached: true, stdio: ['ignore', 'ignore', stderr], env: daemonEnvironment(name) })
  } finally {
    closeSync(stderr)
  }
}

/** The wire to our own parent, and its death, are not the daemon's. */
const daemonEnvironment = (name: string): NodeJS.ProcessEnv => ({
  ...process.env,
  TALKWIRE_START: name,
  TALKWIRE_FD: undefined,
  TALKWIRE_PARENT: undefined,
})

/** A function that says how the child ended, once it has. */
function watch(child: ChildProcess, program: string, log: string): () => string | undefined {
  let failure: string | undefined
  child.once('error', (reason) => {
    failure = `${program} could not be started (${reason.message})`
  })
  let how: string | undefined
  child.once('exit', (code, signal) => {
    how = signal ?? `exit code ${String(code)}`
  })
  // Read when it is asked for, not at the exit: a daemon may end long after it served, when its log is nobody's business.
  return () => (failure ??= how && `${program} ended with ${how}${lastWords(log)}`)
}

function lastWords(log: string): string {
  const said = readFileSync(log).subarray(-STDERR_KEPT).toString().trim()
  return said ? `: ${said}` : ''
}
