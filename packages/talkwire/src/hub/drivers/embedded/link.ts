/** The connection of an embedded driver: calls that coalesce, streams that begin again when the connection is back. */
import { connect, type ConnectOptions } from '../../../connect.js'
import type { ContractClient } from '../../../contract/contract.js'
import { TalkwireError } from '../../../error.js'
import { hubContract } from '../../contract.js'
import type { OpenOptions } from '../../driver.js'
import { Lane } from './lane.js'

export type HubClient = ContractClient<typeof hubContract>

export interface HubLink {
  readonly client: HubClient
  /** Requests of all kinds but publishing, which may wait for slow subscribers. Rejects with CLOSED. */
  ask<T>(words: readonly unknown[], size?: number): Promise<T>
  /** The same for what was gathered before: it leaves also while the link closes. */
  later<T>(words: readonly unknown[], size?: number): Promise<T>
  /** What was published, gathered; by calls of their own. */
  publish<T>(words: readonly unknown[], size: number): Promise<T>
  readonly closed: boolean
  /** Throws CLOSED. */
  check(): void
  /** Something that ends with the hub's connection for good. */
  add(end: () => Promise<void>): () => void
  readonly onError: OpenOptions['onError']
  close(): Promise<void>
}

export async function openLink(target: string, start: readonly string[] | undefined, options: OpenOptions): Promise<HubLink> {
  const client = await reach(target, start, options)
  let closing: Promise<void> | undefined
  const ends = new Set<() => Promise<void>>()
  const send = (requests: readonly unknown[]): Promise<readonly unknown[]> => client.do(requests)
  const lanes = [new Lane(send), new Lane(send)] as const
  const check = (): void => {
    if (closing) throw new TalkwireError('CLOSED', 'this hub is closed; openHub() opens another')
  }
  const close = async (): Promise<void> => {
    // What was gathered in this turn leaves at its end.
    await new Promise((resolve) => setImmediate(resolve))
    await Promise.all(lanes.map((lane) => lane.settled()))
    await Promise.all([...ends].map((end) => end()))
    await client.close()
  }
  return {
    client,
    async ask<T>(words: readonly unknown[], size?: number) {
      check()
      return lanes[0].ask<T>(words, size)
    },
    later: (words, size) => lanes[0].ask(words, size),
    publish: (words, size) => lanes[1].ask(words, size),
    check,
    get closed() {
      return closing !== undefined
    },
    add(end) {
      ends.add(end)
      return () => ends.delete(end)
    },
    onError: options.onError,
    close: () => (closing ??= close()),
  }
}

async function reach(
  target: string,
  start: readonly string[] | undefined,
  { credentials, onConnection, onError, signal }: OpenOptions,
): Promise<HubClient> {
  let lost = false
  const authkey = credentials?.['authkey'] as ConnectOptions['authkey']
  try {
    return await connect(hubContract, target, {
      ...(start && { start }),
      ...(authkey !== undefined && { authkey }),
      ...(signal && { signal }),
      onError,
      onConnection({ state, cause }) {
        if (state === 'lost')
          onConnection({ state: 'lost', cause: cause ?? new TalkwireError('CONNECTION_LOST', 'the hub closed; it is asked for again') })
        else if (state === 'open' && lost) onConnection({ state: 'connected' })
        lost = state === 'lost'
      },
    })
  } catch (reason) {
    signal?.throwIfAborted()
    const error = TalkwireError.from(reason)
    const say = (text: string): TalkwireError => new TalkwireError('UNAVAILABLE', text, { cause: error })
    if (ABSENT.has(error.code)) throw say(`no hub answers at "${target}"; start one: talkwire hub`)
    if (LEFT.has(error.code))
      throw say(`the hub at "${target}" ended the connection at once: it is ending, or its acl has no rule for this user`)
    throw error
  }
}

const ABSENT = new Set(['PEER_NOT_FOUND', 'START_FAILED', 'PEER_EXITED'])
const LEFT = new Set(['CONNECTION_LOST', 'CONNECTION_CLOSED'])

export interface Flow {
  /** Nothing is handed on after it resolves. */
  readonly close: () => Promise<void>
  readonly resume: () => void
}

/** Nothing is left, or what goes on where it stopped. */
export type Rest = (() => Rest) | undefined

export interface FlowOptions {
  /** One stream, as it is to be begun now. */
  begin(signal: AbortSignal): AsyncIterableIterator<any>
  /** One element; what is left of it, for when there is room again. */
  take(item: any): Rest
  /** The connection was lost; it begins anew. */
  interrupted(): void
  ended(error?: TalkwireError): void
}

/** Codes after which a stream is begun again: the hub is gone, not what was asked wrong. */
const AGAIN = new Set([
  'CONNECTION_LOST',
  'CONNECTION_CLOSED',
  'UNAVAILABLE',
  'CANCELLED',
  'PEER_NOT_FOUND',
  'START_FAILED',
  'DEADLINE_EXCEEDED',
])
export const beginsAgain = (reason: unknown): boolean => AGAIN.has(TalkwireError.from(reason).code)

/** Resolves when the first element is there. Rejects with what the hub refuses. */
export async function openFlow(link: HubLink, options: FlowOptions): Promise<Flow> {
  link.check()
  const stop = new AbortController()
  let open: (() => void) | undefined
  let closing = false
  let ended = false
  /** There was room again before we waited for it. */
  let roomy = false
  let stream: AsyncIterableIterator<unknown> | undefined
  const end = (error?: TalkwireError): void => {
    if (ended) return
    ended = true
    forget()
    options.ended(error)
  }
  const read = async (): Promise<void> => {
    stream = options.begin(stop.signal)
    for await (const item of stream) {
      if (closing) return
      first.resolve()
      roomy = false
      for (let rest = options.take(item); rest && !closing; rest = rest()) {
        if (!roomy) await new Promise<void>((resolve) => (open = resolve))
        roomy = false
        if (closing) return
      }
    }
  }
  const first = deferred()
  const run = async (): Promise<void> => {
    for (let begun = false; !closing; begun = true) {
      if (begun) options.interrupted()
      try {
        await read()
      } catch (reason) {
        if (closing || beginsAgain(reason)) continue
        const error = TalkwireError.from(reason)
        first.reject(error)
        return end(error)
      }
    }
  }
  const close = async (): Promise<void> => {
    closing = true
    open?.()
    stop.abort()
    await stream?.return?.()
    end()
  }
  const forget = link.add(close)
  void run()
  await first.promise
  return {
    close,
    resume() {
      roomy = true
      open?.()
      open = undefined
    },
  }
}

export function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void; readonly reject: (reason: unknown) => void } {
  let resolve!: () => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<void>((done, failed) => {
    resolve = done
    reject = failed
  })
  return { promise, resolve, reject }
}
