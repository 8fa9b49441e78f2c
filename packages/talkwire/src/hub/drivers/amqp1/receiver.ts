/** A link of AMQP 1.0 on which messages come, each for a credit. */
import type { Delivery, EventContext, Session, Source } from 'rhea'
import { TalkwireError } from '../../../error.js'
import type { Receiver, Receiving } from '../activemq/line.js'
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

interface Waiter {
  readonly resolve: () => void
  readonly reject: (reason: TalkwireError) => void
}

/** Confirmed twice: we are done with a message, and the broker knows it. */
const SECOND = 1

export function openReceiver(session: Session, source: Source, { window, arrived, ended, away, errorOf, gone }: LinkPlan): Link {
  const receiver = session.open_receiver({ source, credit_window: 0, autoaccept: false, rcv_settle_mode: SECOND })
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
        receiver.drain_credit()
      }
      draining.push(resolve)
    })
  const look = (): void => {
    if (state !== 'open' || draining) return
    const lacks = most - here - credit
    if (lacks < 0) void drained()
    // A word to the broker for each message would be one too many, as long as some are on their way.
    else if (lacks > 0 && (credit === 0 || lacks >= most / 4)) {
      credit += lacks
      receiver.add_credit(lacks)
    }
  }
  const detach = (): void => {
    if (state === 'closed' || (window === undefined && here > 0)) return
    receiver.close()
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

  receiver.on('receiver_open', () => {
    // One that is refused is opened, too, and closed with the reason.
    if (state !== 'opening' || !receiver.source?.address) return
    state = 'open'
    open.resolve()
    look()
  })
  receiver.on('message', ({ message, delivery }: EventContext) => {
    credit--
    here++
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
    if (draining && credit === 0) isDrained()
    else look()
  })
  receiver.on('settled', ({ delivery }: EventContext) => {
    here--
    settling.get(delivery!)?.resolve()
    settling.delete(delivery!)
    if (state === 'closing') detach()
    else look()
  })
  /** The broker says so only of what it did not use. */
  const isDrained = (): void => {
    credit = 0
    receiver.drain = false
    const done = draining ?? []
    draining = undefined
    for (const resolve of done) resolve()
    look()
  }
  receiver.on('receiver_drained', isDrained)
  const closed = (): void => {
    const was = state
    const cause = errorOf(receiver.error)
    end(cause)
    session.close()
    if (was === 'open') ended(cause)
  }
  receiver.on('receiver_error', () => {})
  receiver.on('receiver_close', closed)

  return {
    opened,
    get address() {
      return receiver.source.address
    },
    want(wanted) {
      most = wanted
      look()
    },
    async drain(wanted) {
      credit = wanted
      receiver.add_credit(wanted)
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
