/** Starting a service on demand, once: spec/names.md, last section. */
import { spawn, type ChildProcess } from 'node:child_process'
import { TalkwireError } from '../error.js'
import { claim, find, type Claim, type Entry } from './names.js'

/** Milliseconds between looks into the directory. */
const POLL = 20
const PATIENCE = 30_000
const STDERR_KEPT = 4096

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
    if (performance.now() - start > PATIENCE) throw new TalkwireError('START_FAILED', `"${name}" did not serve within ${PATIENCE / 1000} s: ${found.reason}`)
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

function tryClaim(name: string): Claim | undefined {
  try {
    return claim(name)
  } catch (reason) {
    if (reason instanceof TalkwireError && reason.code === 'ADDRESS_IN_USE') return undefined
    throw reason
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, POLL))

async function launch(name: string, command: readonly string[] | undefined, start: number, signal: AbortSignal | undefined): Promise<Entry> {
  const now = find(name)
  if (!('reason' in now)) return now
  const [program, ...args] = command ?? []
  if (program === undefined) throw new TalkwireError('PEER_NOT_FOUND', `${now.reason}; start it, or pass { start: [command] }`)
  const child = spawn(program, args, { detached: true, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, TALKWIRE_START: name } })
  const ended = watch(child, program)
  try {
    for (;;) {
      signal?.throwIfAborted()
      const found = find(name)
      if (!('reason' in found)) return found
      const failure = ended()
      if (failure) throw new TalkwireError('START_FAILED', `${failure} before it served "${name}"`)
      if (performance.now() - start > PATIENCE) {
        child.kill()
        throw new TalkwireError('START_FAILED', `${program} did not serve "${name}" within ${PATIENCE / 1000} s: ${found.reason}`)
      }
      await pause()
    }
  } finally {
    // The daemon outlives us: from here on it is on its own.
    child.stderr?.destroy()
    child.unref()
  }
}

/** A function that says how the child ended, once it has. */
function watch(child: ChildProcess, program: string): () => string | undefined {
  let failure: string | undefined
  let stderr = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT)
  })
  child.once('error', (reason) => {
    failure = `${program} could not be started (${reason.message})`
  })
  child.once('close', (code, signal) => {
    failure ??= `${program} ended with ${signal ?? `exit code ${String(code)}`}${stderr ? `: ${stderr.trim()}` : ''}`
  })
  return () => failure
}
