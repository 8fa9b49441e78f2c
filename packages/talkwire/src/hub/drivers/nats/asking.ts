/** Requests of NATS whose answers come to one subscription. The library's own make two errors with their stacks for each, beside which all else is cheap. */
import type { Msg, MsgHdrs, NatsConnection } from '@nats-io/transport-node'
import { TalkwireError } from '../../../error.js'

export interface Asking {
  /**
   * Rejects with UNAVAILABLE when nobody listens there, CONNECTION_LOST after `patience`, what the library throws, or what it is failed with.
   * With `again` it is asked again and again meanwhile: while a cluster elects a leader nobody answers, and nobody does so later.
   */
  ask(subject: string, body: Uint8Array | string, headers?: MsgHdrs, again?: () => void): Promise<Msg>
  /** Those that wait for an answer from these subjects get none. */
  fail(reason: Error, which?: (subject: string) => boolean): void
}

interface Waiting {
  readonly subject: string
  readonly timer: NodeJS.Timeout
  readonly repeating: NodeJS.Timeout | undefined
  readonly resolve: (answer: Msg) => void
  readonly reject: (reason: Error) => void
}

/** How long nobody has answered when it is asked again, milliseconds. */
const AGAIN = 1000

/** `patience`: milliseconds. `inbox`: a subject that is nobody else's. */
export function asking(connection: NatsConnection, inbox: string, patience: number): Asking {
  const root = `${inbox}.`
  const waiting = new Map<string, Waiting>()
  let asked = 0
  const taken = (id: string): Waiting | undefined => {
    const one = waiting.get(id)
    waiting.delete(id)
    clearTimeout(one?.timer)
    clearInterval(one?.repeating)
    return one
  }
  connection.subscribe(`${root}*`, {
    callback(error, answer) {
      if (error) return fail(error)
      const one = taken(answer.subject.slice(root.length))
      if (answer.data.length === 0 && answer.headers?.code === 503)
        one?.reject(
          new TalkwireError('UNAVAILABLE', `NATS: nobody listens at "${one.subject}"; of a stream, it is gone or has no leader now`),
        )
      else one?.resolve(answer)
    },
  })
  const fail = (reason: Error, which: (subject: string) => boolean = () => true): void => {
    for (const [id, { subject }] of waiting) if (which(subject)) taken(id)!.reject(reason)
  }
  return {
    fail,
    ask: (subject, body, headers, again) =>
      new Promise((resolve, reject) => {
        const id = String(++asked)
        const send = (): void => connection.publish(subject, body, { reply: root + id, ...(headers && { headers }) })
        send()
        const timer = setTimeout(() => taken(id)?.reject(lateOf(subject, patience)), patience)
        const repeating = again && setInterval(() => connection.isClosed() || (again(), send()), AGAIN)
        waiting.set(id, { subject, resolve, reject, timer, repeating })
      }),
  }
}

const lateOf = (subject: string, patience: number): TalkwireError =>
  new TalkwireError('CONNECTION_LOST', `NATS: no answer came from "${subject}" within ${patience} ms`, { outcome: 'maybe-ran' })
