/** A link of AMQP 1.0 on which messages come, each for a credit. */
import type { Delivery, EventContext, Receiver as Incoming, Session, Source } from 'rhea'
import { TalkwireError } from '../../../error.js'
import type { Receiver, Receiving } from '../activemq/line.js'
import type { Waiter } from '../activemq/place.js'
import { arrivedOf } from './messages.js'

export interface Link extends Receiver {
  /** Rejects where the broker refuses it. */
  readonly opened: Promise<void>
  /** As the broker names it. */
  readonly address: string
  /** Resolves when so many came, or all that there are. */
  drain(most: number): Promise<void>
  lost(cause: TalkwireError): void
}

interface LinkPlan extends Omit<Receiving, 'from'> {
  readonly away: () => TalkwireError
  readonly errorOf: (refusal: object | undefined) => TalkwireError
  readonly gone: () => void
}

/** What is one link to whoever uses it may be several, one after the other. */
interface Part {
  readonly receiver: Incoming
  /** The broker has it. */
  ready: boolean
  here: number
}

/** Confirmed twice: we are done with a message, and the broker knows it. */
const SECOND = 1

export function openReceiver(sessionOf: () => Session, source: Source, { window, arrived, ended, away, errorOf, gone }: LinkPlan): Link {
  const settling = new Map<Delivery, Waiter>()
  let state: 'opening' | 'open' | 'closing' | 'closed' = 'opening'
  let most = window ?? 0
  /** Came and are not settled. */
  let here = 0
  /** Given to the broker, and not used. */
  let credit = 0
  let draining: (() => void)[] | undefined
  let over: TalkwireError | undefined
  let shut!: () => void
  const isShut = new Promise<void>((resolve) => (shut = resolve))
  let open!: Waiter
  const opened = new Promise<void>((resolve, reject) => (open = { resolve, reject }))

  const drained = (): Promise<void> =>
    new Promise((resolve) => {
      if (credit === 0 || state === 'closed') return resolve()
      if (!draining) {
        draining = []
        part.receiver.drain_credit()
      }
      draining.push(resolve)
    })
  const look = (): void => {
    if (state !== 'open' || draining || !part.ready) return
    const lacks = most - here - credit
    if (lacks < 0) void drained()
    // A word to the broker for each message would be one too many, as long as some are on their way.
    else if (lacks > 0 && (credit === 0 || lacks >= most / 4)) {
      credit += lacks
      part.receiver.add_credit(lacks)
    }
  }
  const detach = (): void => {
    if (state === 'closed' || (window === undefined && here > 0)) return
    part.receiver.close()
  }
  const end = (cause: TalkwireError): void => {
    if (state === 'closed') return
    state = 'closed'
    over = cause
    gone()
    for (const { reject } of settling.values()) reject(cause)
    settling.clear()
    for (const resolve of draining ?? []) resolve()
    open.reject(cause)
    shut()
  }

  const attach = (): Part => {
    const session = sessionOf()
    const receiver = session.open_receiver({ source, credit_window: 0, autoaccept: false, rcv_settle_mode: SECOND })
    const mine: Part = { receiver, ready: false, here: 0 }
    receiver.on('receiver_open', () => {
      // One that is refused is opened, too, and closed with the reason.
      if (!receiver.source?.address) return
      mine.ready = true
      if (state === 'opening') {
        state = 'open'
        open.resolve()
      }
      look()
    })
    receiver.on('message', ({ message, delivery }: EventContext) => {
      credit--
      here++
      mine.here++
      const settle = (say: () => void): Promise<void> =>
        new Promise((resolve, reject) => {
          if (state === 'closed') return reject(over ?? away())
          settling.set(delivery!, { resolve, reject })
          say()
        })
      arrived(
        arrivedOf(message!, receiver.source.address, {
          accept: () => settle(() => delivery!.accept()),
          release: () => void settle(() => delivery!.modified({ delivery_failed: true })).catch(() => {}),
        }),
      )
      if (!draining || credit > 0) return look()
      isDrained()
      look()
    })
    receiver.on('settled', ({ delivery }: EventContext) => {
      here--
      mine.here--
      settling.get(delivery!)?.resolve()
      settling.delete(delivery!)
      if (mine !== part) leave(mine)
      if (state === 'closing') detach()
      else look()
    })
    receiver.on('receiver_drained', () => {
      isDrained()
      look()
    })
    receiver.on('receiver_error', () => {})
    receiver.on('receiver_close', () => {
      if (mine === part) closed()
      session.close()
    })
    return mine
  }
  /** The broker says so only of what it did not use. */
  const isDrained = (): void => {
    credit = 0
    part.receiver.drain = false
    const done = draining ?? []
    draining = undefined
    for (const resolve of done) resolve()
    if (window === undefined && state === 'open') renew()
  }
  /**
   * A link that was drained while a job was pushed cannot be used any more: ActiveMQ may keep the job for it without handing it out, or
   * owe it the word that there is nothing, and take the next credit for that.
   */
  const renew = (): void => {
    const old = part
    part = attach()
    leave(old)
  }
  const leave = (old: Part): void => {
    if (old.here === 0) old.receiver.close()
  }
  const closed = (): void => {
    const was = state
    const cause = errorOf(part.receiver.error)
    end(cause)
    if (was === 'open') ended(cause)
  }
  let part = attach()

  return {
    opened,
    get address() {
      return part.receiver.source.address
    },
    want(wanted) {
      most = wanted
      look()
    },
    async drain(wanted) {
      credit = wanted
      part.receiver.add_credit(wanted)
      await drained()
    },
    async close() {
      if (state !== 'open') return
      state = 'closing'
      if (window === undefined) {
        await drained()
        detach()
      } else {
        detach()
        await isShut
      }
    },
    lost(cause) {
      const was = state
      end(cause)
      if (was === 'open') ended(cause)
    },
  }
}
