/**
 * Two connections to an ActiveMQ: one that publishes, one that listens. Who publishes more than the broker has room for is stopped by not
 * being read any more, and acknowledgements on the same connection with it. Both are made again together, and listeners are told.
 */
import { TalkwireError } from '../../../error.js'
import type { OpenOptions } from '../../driver.js'
import { underway } from '../../underway.js'
import { calls, LONGEST_PAUSE, pauses } from '../broker.js'
import type { Dial, Line, Receiver, Sent } from './line.js'
import { namesOf, type Names } from './names.js'

export interface Standing {
  /** Undefined while there is none. */
  readonly receiver: Receiver | undefined
  /** Tells apart what came before the connection was lost from what came after. */
  readonly line: Line | undefined
  /** It is not set up again. Resolves when nothing is under way. */
  end(): Promise<void>
  /** The broker ended what was received on this line; it is set up again. */
  failed(line: Line, reason: TalkwireError): void
}

export interface StandingPlan {
  readonly what: string
  readonly setUp: (line: Line) => Promise<Receiver>
  /** The line is gone, and all that came on it. */
  readonly down?: () => void
}

export interface ActiveMq {
  /** Of the driver. */
  readonly name: string
  readonly names: Names
  send(sent: Sent): Promise<void>
  /** For what asks, and hears replies. Throws UNAVAILABLE. */
  publisher(): Line
  listener(): Line
  /** A receiver that is made again whenever its line is lost. */
  standing(plan: StandingPlan): Promise<Standing>
  /** Called before the connections close; what it returns is waited for. */
  closing(what: () => unknown): () => void
  onError: OpenOptions['onError']
  close(): Promise<void>
}

interface Pair {
  readonly publishes: Line
  readonly listens: Line
}

export interface LinkPlan {
  readonly name: string
  readonly prefix: string
  readonly dial: Dial
}

export async function openLink({ name, prefix, dial }: LinkPlan, { onConnection, onError, signal }: OpenOptions): Promise<ActiveMq> {
  const backs = calls()
  const downs = calls()
  const closings = calls()
  const sending = underway()
  let link: Pair | undefined
  let state: 'open' | 'closing' | 'closed' = 'open'
  let wake: (() => void) | undefined

  const openPair = async (from?: AbortSignal): Promise<Pair> => {
    let pair: Pair | undefined
    let early: TalkwireError | undefined
    const gone = (cause: TalkwireError): void => {
      early ??= cause
      if (pair) lost(pair, cause)
    }
    const publishes = await dial(from, gone)
    const listens = await dial(from, gone).catch((reason: unknown) => {
      publishes.abort()
      throw reason
    })
    pair = { publishes, listens }
    if (!early) return pair
    shut(pair)
    throw early
  }
  const shut = ({ publishes, listens }: Pair): void => {
    publishes.abort()
    listens.abort()
  }
  const lost = (which: Pair, cause: TalkwireError): void => {
    if (link !== which) return
    link = undefined
    shut(which)
    void downs.all()
    if (state !== 'open') return
    onConnection({ state: 'lost', cause })
    void again()
  }
  const again = async (): Promise<void> => {
    const pause = pauses()
    wake = pause.end
    while (state === 'open') {
      const made = await openPair().catch(() => undefined)
      if (made && state === 'open') {
        link = made
        onConnection({ state: 'connected' })
        await backs.all()
        return
      }
      if (made) shut(made)
      else await pause.next()
    }
  }
  const linked = (): Pair => {
    if (state === 'closed') throw new TalkwireError('CLOSED', 'the hub was closed')
    if (link) return link
    throw new TalkwireError('UNAVAILABLE', 'ActiveMQ: there is no connection now; it is made again by itself', { outcome: 'not-sent' })
  }

  const standing = async ({ what, setUp, down }: StandingPlan): Promise<Standing> => {
    let receiver: Receiver | undefined
    let line: Line | undefined
    let ended = false
    let making: Promise<void> | undefined
    let timer: NodeJS.Timeout | undefined
    const make = async (): Promise<void> => {
      const mine = linked().listens
      line = mine
      const made = await setUp(mine)
      if (line === mine) receiver = made
    }
    const drop = (): void => {
      if (!line) return
      line = undefined
      receiver = undefined
      down?.()
    }
    const remake = (): void => {
      clearTimeout(timer)
      timer = undefined
      if (ended || making || !link) return
      making = make()
        .catch((reason: unknown) => {
          const was = line
          drop()
          if (ended || !link || link.listens !== was) return
          onError(reason, what)
          timer = setTimeout(remake, LONGEST_PAUSE).unref()
        })
        .finally(() => {
          making = undefined
          // Lost while it was made.
          if (!line && !timer) remake()
        })
    }
    making = make()
    try {
      await making
    } catch (reason) {
      ended = true
      throw reason
    } finally {
      making = undefined
    }
    const forgets = [backs.add(remake), downs.add(drop)]
    // Lost before anybody listened.
    if (line !== link?.listens) {
      drop()
      remake()
    }
    return {
      get receiver() {
        return receiver
      },
      get line() {
        return line === link?.listens ? line : undefined
      },
      failed(of, reason) {
        if (ended || line !== of || of !== link?.listens) return
        drop()
        onError(reason, what)
        timer ??= setTimeout(remake, LONGEST_PAUSE).unref()
      },
      async end() {
        ended = true
        clearTimeout(timer)
        await making
        for (const forget of forgets) forget()
      },
    }
  }

  link = await openPair(signal).catch((reason: unknown) => {
    signal?.throwIfAborted()
    throw reason
  })
  return {
    name,
    names: namesOf(prefix),
    publisher: () => linked().publishes,
    listener: () => linked().listens,
    standing,
    onError,
    closing: (what) => closings.add(what),
    send(sent) {
      if (state !== 'open') return Promise.reject(new TalkwireError('CLOSED', 'the hub was closed'))
      return sending.keep((async () => linked().publishes.send(sent))())
    },
    async close() {
      if (state !== 'open') return
      await closings.all()
      state = 'closing'
      await sending.settled()
      state = 'closed'
      wake?.()
      if (!link) return
      const { publishes, listens } = link
      link = undefined
      // One that is lost meanwhile has nothing left to say.
      await Promise.allSettled([publishes.close(), listens.close()])
    },
  }
}
