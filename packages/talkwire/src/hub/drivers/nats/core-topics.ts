/**
 * Topics of NATS without JetStream, `?topics=core`: the subjects `PREFIX.>`, of which nothing is kept. A message leaves without an answer of its
 * own; what was published in one turn is confirmed together, by the server's answer to what was asked behind it.
 */
import { TalkwireError } from '../../../error.js'
import { NO_HEADERS, type Headers, type Outgoing, type TopicsDriver } from '../../driver.js'
import { isPattern } from '../../topic-names.js'
import { token, type Nats } from './connection.js'

interface Said {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (reason: TalkwireError) => void
}

/** Of one turn; those of one subject share what is said of them. */
type Turn = Map<string, Said>

export function coreTopics(nats: Nats): TopicsDriver {
  const { connection } = nats
  const root = `${nats.prefix}.`
  const said = confirming(nats)
  // Without headers it is what everything of NATS is, bytes: each header costs about as much as the message.
  const optionsOf = (message: Outgoing) =>
    message.type === 'bytes' && isEmpty(message.headers) ? undefined : { headers: nats.headersOf(message) }
  return {
    publish(topic, message, { retain }) {
      if (nats.closed) return Promise.reject(new TalkwireError('CLOSED', 'the hub was closed'))
      if (nats.away) return Promise.reject(nats.absent())
      if (retain) return Promise.reject(new TalkwireError('UNSUPPORTED', 'nats has no retained values; keep the value as state'))
      const subject = root + topic
      try {
        connection.publish(subject, message.body, optionsOf(message))
      } catch (reason) {
        return Promise.reject(nats.errorOf(reason))
      }
      return said(subject)
    },
    async subscribe(pattern, { group, from }, sink) {
      if (from !== 'new') throw new TalkwireError('UNSUPPORTED', 'NATS keeps nothing of topics=core; without it they are a stream')
      let refused: unknown
      // A subject is decoded anew for each message.
      const only = isPattern(pattern) ? undefined : pattern
      const subscription = connection.subscribe(root + pattern, {
        ...(group !== undefined && { queue: token(group) }),
        callback(error, message) {
          if (error) {
            refused ??= error
            return nats.onError(nats.errorOf(error), pattern)
          }
          const { body, type, headers } = nats.incoming(message)
          const topic = only ?? message.subject.slice(root.length)
          sink.message({ body, type, headers, topic, position: undefined, time: undefined, retained: false })
        },
      })
      await nats.flush()
      if (refused !== undefined) throw nats.errorOf(refused)
      // How many is not known: one at least may be.
      const forgetBack = nats.back(() => group === undefined && sink.lost(1))
      let closed = false
      const close = async (): Promise<void> => {
        if (closed) return
        closed = true
        forget()
        forgetBack()
        if (!subscription.isClosed()) subscription.unsubscribe()
        if (!nats.away) await nats.flush().catch(() => {})
        sink.ended()
      }
      const forget = nats.closing(close)
      return { resume() {}, close }
    },
  }
}

const isEmpty = (headers: Headers): boolean => headers === NO_HEADERS || Object.keys(headers).length === 0

/** What is said of the messages of a subject that leave in this turn. */
function confirming(nats: Nats): (subject: string) => Promise<void> {
  const open = new Set<Turn>()
  let turn: Turn | undefined
  nats.denied((subject, reason) => {
    for (const each of open) each.get(subject)?.reject(reason)
  })
  const leave = async (mine: Turn): Promise<void> => {
    turn = undefined
    try {
      await nats.flush()
      // What the server refused it has said before; the library tells of it a little later.
      await new Promise((resolve) => setImmediate(resolve))
      for (const { resolve } of mine.values()) resolve()
    } catch (reason) {
      for (const { reject } of mine.values()) reject(nats.errorOf(reason, 'maybe-ran'))
    } finally {
      open.delete(mine)
    }
  }
  const begin = (): Turn => {
    const mine: Turn = new Map()
    open.add(mine)
    process.nextTick(leave, mine)
    return mine
  }
  return (subject) => {
    turn ??= begin()
    const known = turn.get(subject)
    if (known) return known.promise
    let resolve!: () => void
    let reject!: (reason: TalkwireError) => void
    const promise = new Promise<void>((done, failed) => ([resolve, reject] = [done, failed]))
    turn.set(subject, { promise, resolve, reject })
    return promise
  }
}
