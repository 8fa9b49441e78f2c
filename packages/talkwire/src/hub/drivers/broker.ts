/** What drivers of brokers have in common: packages that may be missing, types of bodies, who is called back, pauses, replies by an id. */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../error.js'
import type { BodyType, Headers, Reply } from '../driver.js'

/** Loads a package that only this driver needs. Throws MISSING_PACKAGE. */
export async function packageOf<T>(driver: string, name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    throw new TalkwireError('MISSING_PACKAGE', `${driver}: needs the package "${name}"; run npm install ${name}`, { cause })
  }
}

/** Bodies' types as brokers say them to foreign programs. */
export const CONTENT_TYPES: Readonly<Record<BodyType, string>> = {
  json: 'application/json',
  text: 'text/plain; charset=utf-8',
  bytes: 'application/octet-stream',
}
const essence = (said: string): string => said.split(';', 1)[0]!
const BODY_TYPES = new Map(Object.entries(CONTENT_TYPES).map(([type, said]) => [essence(said), type as BodyType]))
export const bodyTypeOf = (said: string): BodyType | undefined => BODY_TYPES.get(said) ?? BODY_TYPES.get(essence(said))

/** Of a text that anybody may have written. */
export function headersOf(field: string): Headers {
  if (field === '') return {}
  try {
    const value: unknown = JSON.parse(field)
    if (typeof value !== 'object' || value === null) return {}
    return Object.fromEntries(Object.entries(value).filter(([name, each]) => name !== '__proto__' && typeof each === 'string'))
  } catch {
    return {}
  }
}

/** A job of a consumer that may not settle it any more. */
export const notOurs = (id: unknown, queue: string, why = 'its time was over; ask for more with extend'): TalkwireError =>
  new TalkwireError('NOT_FOUND', `the job ${String(id)} of "${queue}" is not this consumer's any more: ${why}`)

/** What ended the hands that it was in, where no time does. */
export const LET_GO = 'it was settled, or the connection was lost'

/** There is no connection: who listens is told when there is one again. */
export const isAway = (reason: unknown): boolean =>
  reason instanceof TalkwireError && ['UNAVAILABLE', 'CONNECTION_LOST', 'CLOSED'].includes(reason.code)

/** Those who want to be called when something happens. */
export interface Calls {
  /** Returns what takes it back. */
  add(what: () => unknown): () => void
  /** Resolves when what was returned has. */
  all(): Promise<void>
}

export function calls(): Calls {
  const known = new Set<() => unknown>()
  return {
    add(what) {
      known.add(what)
      return () => void known.delete(what)
    },
    async all() {
      await Promise.all([...known].map((what) => what()))
    },
  }
}

export const SHORTEST_PAUSE = 20
export const LONGEST_PAUSE = 1000

/** Between attempts to connect: each longer than the last one. */
export interface Pauses {
  /** Resolves when it is over, or ended. */
  next(): Promise<void>
  readonly end: () => void
}

export function pauses(): Pauses {
  let length = SHORTEST_PAUSE
  let end = (): void => {}
  return {
    next: () =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, length)
        length = Math.min(LONGEST_PAUSE, 2 * length)
        end = () => {
          clearTimeout(timer)
          resolve()
        }
      }),
    end: () => end(),
  }
}

/** Asks with pauses until `there` has an answer. Resolves with false when `over` came first. */
export async function untilAnswered(there: () => Promise<void>, pause: Pauses, over: () => boolean): Promise<boolean> {
  for (let answers = false; !answers;) {
    await pause.next()
    if (over()) return false
    answers = await there().then(
      () => true,
      () => false,
    )
  }
  return !over()
}

/** For libraries whose opening no signal ends. Rejects with the signal's reason; whoever calls closes what opens after that. */
export async function orAborted<T>(opening: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await opening
  let abort: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error)
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
  })
  try {
    return await Promise.race([opening, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** Requests whose replies come all to one place, each with the id of its request. */
export interface Asking {
  /** Rejects with PEER_NOT_FOUND where `send` resolves with false: nobody gets it. */
  readonly ask: (
    topic: string,
    onReply: (reply: Reply) => void,
    send: (id: string) => Promise<boolean>,
  ) => Promise<{ readonly stop: () => void }>
  /** What nobody waits for any more is not read. */
  readonly replied: (id: string, read: () => Reply) => void
}

export function asking(): Asking {
  const waiting = new Map<string, (reply: Reply) => void>()
  return {
    async ask(topic, onReply, send) {
      const id = randomUUID()
      const stop = (): void => void waiting.delete(id)
      waiting.set(id, onReply)
      try {
        if (await send(id)) return { stop }
      } catch (reason) {
        stop()
        throw reason
      }
      stop()
      throw new TalkwireError('PEER_NOT_FOUND', `nobody answers requests to "${topic}"`)
    },
    replied: (id, read) => waiting.get(id)?.(read()),
  }
}
