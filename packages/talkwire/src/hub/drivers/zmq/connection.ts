/**
 * A hub's two sockets, one to each door, and both doors too where nobody else has them. ZeroMQ connects again by itself; who holds the
 * doors is settled anew whenever one is lost.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Socket } from 'zeromq'
import { TalkwireError } from '../../../error.js'
import type { HubChange, OpenOptions, Outgoing } from '../../driver.js'
import { calls, packageOf, pauses, SHORTEST_PAUSE, LONGEST_PAUSE } from '../broker.js'
import { framesOf } from './frames.js'
import { COMMON, hold, LINGER, WAITING, type Holder } from './holder.js'
import { placeOf } from './place.js'

export interface Ear {
  /** Nothing is heard after it resolves. */
  close(): Promise<void>
}

export interface Zmq {
  /** Resolves when ZeroMQ has it. */
  publish(topic: string, message: Outgoing): Promise<void>
  /** What begins with these bytes. Resolves when it comes. */
  listen(beginning: string, heard: (frames: readonly Buffer[]) => void): Promise<Ear>
  /** Called before the sockets close; what it returns is waited for. */
  closing(what: () => unknown): () => void
  close(): Promise<void>
}

/** Milliseconds to find, or to become, who holds the doors. */
const PATIENCE = 5_000
/** What begins so are questions whether what was said before has arrived; a topic of ours has no such character. */
const QUESTION = '\0talkwire.'

export async function connectZmq(address: string, options: OpenOptions): Promise<Zmq> {
  const place = await placeOf(address)
  const library = await packageOf('zmq', 'zeromq', () => import('zeromq'))
  options.signal?.throwIfAborted()
  const { onError } = options
  const again = { reconnectInterval: SHORTEST_PAUSE, reconnectMaxInterval: LONGEST_PAUSE }
  const out = new library.Publisher({ ...COMMON, ...again, sendHighWaterMark: WAITING, noDrop: true })
  const back = new library.Subscriber({ ...COMMON, ...again, receiveHighWaterMark: WAITING })
  const sockets: readonly Socket[] = [out, back]
  const up = new Set<Socket>()
  const questions = new Map<string, () => void>()
  const ears = new Set<(frames: readonly Buffer[]) => void>()
  const closings = calls()
  const me = randomUUID()
  let asked = 0
  let holder: Holder | undefined
  let state: 'opening' | 'linked' | 'lost' | 'closing' | 'closed' = 'opening'
  let refused = false
  /** What waits for another state of the sockets. */
  const waiting = new Set<() => void>()
  let sending: Promise<unknown> = Promise.resolve()
  let settling: Promise<void> | undefined
  let closed: Promise<void> | undefined

  const fail = (reason: unknown): void => {
    if (state !== 'closed') onError(reason, address)
  }
  const look = (): void => {
    for (const wake of waiting) wake()
  }
  const watch = async (socket: Socket): Promise<void> => {
    for await (const { type } of socket.events) {
      if (type === 'handshake') up.add(socket)
      else if (type === 'disconnect') down(socket)
      else if (type === 'connect:retry') refused = true
      look()
    }
  }
  const down = (socket: Socket): void => {
    up.delete(socket)
    if (state !== 'linked') return
    state = 'lost'
    const cause = new TalkwireError('CONNECTION_LOST', 'ZeroMQ: who holds the hub is gone', { outcome: 'maybe-ran' })
    say({ state: 'lost', cause })
    settling = settle()
  }
  const say = (change: HubChange): void => options.onConnection(change)
  const hear = async (): Promise<void> => {
    for await (const frames of back) {
      const name = frames[0]!.toString('latin1')
      if (name.startsWith(QUESTION)) questions.get(name)?.()
      else for (const heard of ears) heard(frames)
    }
  }
  const send = (frames: (string | Buffer)[]): Promise<void> => {
    const run = sending.then(() => out.send(frames))
    sending = run.catch(() => {})
    return run
  }
  /**
   * Asks itself a question until it comes back: subscriptions that were sent before it are in force then, and messages are sent on.
   * `answered` is called before anything that comes after it. False: not while it should be waited for, or the sockets lost the doors.
   */
  const proves = async (goOn: () => boolean, answered = (): void => {}): Promise<boolean> => {
    const name = `${QUESTION}${me}.${++asked}`
    const pause = pauses()
    let came = false
    questions.set(name, () => {
      questions.delete(name)
      came = true
      answered()
      pause.end()
    })
    back.subscribe(name)
    waiting.add(pause.end)
    try {
      while (!came && up.size === sockets.length && goOn()) {
        await send([name, ''])
        if (!came) await pause.next()
      }
    } finally {
      waiting.delete(pause.end)
      questions.delete(name)
      if (!back.closed) back.unsubscribe(name)
    }
    return came
  }
  /** Until the doors are there, by whomever. False: this is being closed, or the time is over. */
  const reach = async (until: number): Promise<boolean> => {
    const pause = pauses()
    const goOn = (): boolean => state !== 'closing' && performance.now() < until
    waiting.add(pause.end)
    try {
      while (goOn()) {
        if (!holder && place.notHeld === undefined) holder = await hold(library, place, fail)
        if (up.size === sockets.length && (await proves(goOn))) return true
        if (place.notHeld !== undefined && refused && until !== Infinity) return false
        await pause.next()
      }
    } finally {
      waiting.delete(pause.end)
    }
    return false
  }
  const settle = async (): Promise<void> => {
    try {
      if (!(await reach(Infinity)) || state !== 'lost') return
      state = 'linked'
      say({ state: 'connected' })
    } catch (reason) {
      onError(reason, address)
    }
  }
  const shut = (): void => {
    state = 'closed'
    for (const socket of sockets) socket.close()
    holder?.close()
  }
  const ready = (): void => {
    if (state === 'closing' || state === 'closed') throw new TalkwireError('CLOSED', 'the hub was closed')
    if (state === 'lost') throw away()
  }
  const away = (): TalkwireError => new TalkwireError('UNAVAILABLE', 'ZeroMQ: nobody holds the hub for now', { outcome: 'not-sent' })
  for (const socket of sockets) watch(socket).catch(fail)
  hear().catch(fail)
  const abort = (): void => {
    state = 'closing'
    look()
  }
  options.signal?.addEventListener('abort', abort, { once: true })
  try {
    out.connect(place.publishers)
    back.connect(place.subscribers)
    if (!(await reach(performance.now() + PATIENCE))) {
      options.signal?.throwIfAborted()
      throw new TalkwireError(
        'UNAVAILABLE',
        `ZeroMQ: nobody holds ${address}, and it is not held here: ${place.notHeld ?? 'something else has one of its ports'}`,
      )
    }
  } catch (reason) {
    shut()
    throw reason instanceof TalkwireError || options.signal?.aborted
      ? reason
      : new TalkwireError('UNAVAILABLE', `ZeroMQ: ${(reason as Error).message}`, { cause: reason })
  } finally {
    options.signal?.removeEventListener('abort', abort)
  }
  state = 'linked'
  return {
    async publish(topic, message) {
      ready()
      await send(framesOf(topic, message))
    },
    async listen(beginning, heard) {
      ready()
      back.subscribe(beginning)
      let heeds = false
      const close = (): Promise<void> => {
        if (heeds) ears.delete(heard)
        heeds = false
        if (!back.closed) back.unsubscribe(beginning)
        return Promise.resolve()
      }
      const answered = (): void => {
        heeds = true
        ears.add(heard)
      }
      if (await proves(() => state === 'linked', answered)) return { close }
      await close()
      ready()
      throw away()
    },
    closing: (what) => closings.add(what),
    close() {
      return (closed ??= (async () => {
        await closings.all()
        const linked = state === 'linked'
        state = 'closing'
        look()
        // What was published is on its way to subscribers when this has come back.
        const over = new AbortController()
        if (linked) await Promise.race([proves(() => !over.signal.aborted), sleep(LINGER, false, over).catch(() => {})])
        over.abort()
        await settling
        shut()
      })())
    },
  }
}
