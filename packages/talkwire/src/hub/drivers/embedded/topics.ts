/** Topics and requests of the embedded hub. */
import { randomBytes } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { BodyType, Headers, Outgoing, Reply, Request, RequestsDriver, Subscription, TopicMessage, TopicsDriver } from '../../driver.js'
import * as packed from '../../packed.js'
import { deferred, openFlow, type HubLink, type Rest } from './link.js'

type From = 'new' | 'all' | { readonly after: number } | { readonly time: number }

/** Where a reply goes, and that others follow: never seen by users. */
const REPLY_TO = 'talkwire-reply'
const MORE = 'talkwire-more'

interface Turn {
  readonly messages: packed.Packing
  /** Resolves when the hub has them. */
  readonly sent: Promise<void>
  /** Of requests: which of them nobody hears, once they are sent. */
  unheard: ReadonlySet<number>
  readonly leave: () => void
}

/** Adds a message to those of this turn, which leave in one request and share its promise. Throws where there is no connection. */
type Outbox = (flags: number, topic: string, message: Outgoing, headers?: Headers) => Turn

/** Bytes. A piece leaves when it is full, while its turn still lasts: the hub and its subscribers work on it while the next is made. */
const PIECE = 128 * 1024

function createOutbox(link: HubLink): Outbox {
  let turn: Turn | undefined
  let before = 0
  const begin = (): Turn => {
    // About as many as last time.
    const messages = new packed.Packing(before + (before >> 3))
    const { promise: sent, resolve, reject } = deferred()
    const begun: Turn = {
      messages,
      sent,
      unheard: new Set(),
      leave: () => {
        if (turn !== begun) return
        turn = undefined
        const bytes = messages.all
        before = bytes.length
        link.publish<readonly number[]>(['publish', bytes], bytes.length).then((unheard) => {
          begun.unheard = new Set(unheard)
          resolve()
        }, reject)
      },
    }
    process.nextTick(begun.leave)
    return begun
  }
  return (flags, topic, { body, type, headers }, more = headers) => {
    link.check()
    const now = (turn ??= begin())
    now.messages.add(flags | packed.typeNumber(type), topic, more, body)
    if (now.messages.bytesLength >= PIECE) now.leave()
    return now
  }
}

export function embeddedTopics(link: HubLink): { topics: TopicsDriver; requests: RequestsDriver } {
  const outbox = createOutbox(link)
  return {
    topics: {
      publish(topic, message, { retain }) {
        try {
          return outbox(retain ? packed.RETAIN : 0, topic, message).sent
        } catch (reason) {
          return Promise.reject(reason)
        }
      },
      subscribe: (pattern, { from, group, wait }, sink) =>
        subscribe(
          link,
          {
            pattern,
            group,
            from: typeof from === 'object' && 'after' in from ? { after: Number(from.after) } : from,
            slow: wait === false ? 'drop-oldest' : 'wait',
            requests: false,
          },
          sink,
        ),
    },
    requests: requestsOf(link, outbox),
  }
}

interface Wish {
  /** By what the hub goes when we read too slowly. */
  readonly slow?: 'wait' | 'drop-oldest'
  readonly pattern: string
  readonly group: string | undefined
  readonly from: From
  readonly requests: boolean
}

interface Sink {
  message(message: TopicMessage): boolean
  lost(count: number): void
  ended(error?: TalkwireError): void
}

async function subscribe(link: HubLink, { pattern, group, from, slow = 'wait', requests }: Wish, sink: Sink): Promise<Subscription> {
  let start: From = from
  /** Behind what we have; −1: nothing is kept of it. */
  let position = -1
  const flow = await openFlow(link, {
    begin: (signal) =>
      link.client.feed(
        { pattern, from: start, slow, ...(group !== undefined && { group }), ...(requests && { requests: true }) },
        { signal },
      ),
    take(item: readonly [number] | readonly [lost: number, bytes: Uint8Array]) {
      const [lost, bytes] = item
      if (bytes === undefined) {
        position = Math.max(position, lost)
        return undefined
      }
      if (lost > 0) sink.lost(lost)
      const messages = new packed.Unpacking(bytes)
      const hand = (): Rest => {
        while (messages.next()) {
          const { at, end, topic } = messages
          if (position >= 0) position = Math.max(position, packed.positionAt(messages.bytes, at, end))
          if (!sink.message(new Came(messages.bytes, at, end, topic))) return hand
        }
        return undefined
      }
      return hand()
    },
    interrupted() {
      if (position >= 0) start = { after: position }
      // How many is not known: one at least may be.
      else if (group === undefined && !requests) sink.lost(1)
    },
    ended: (error) => sink.ended(error),
  })
  return { resume: flow.resume, close: flow.close }
}

/** Many wait to be read: each part is read from the piece when it is asked for, and is no object that has to live as long. */
class Came implements TopicMessage {
  constructor(
    private readonly bytes: Buffer,
    private readonly at: number,
    private readonly end: number,
    readonly topic: string,
  ) {}
  get body(): Uint8Array {
    return packed.bodyAt(this.bytes, this.at, this.end)
  }
  get type(): BodyType | undefined {
    return packed.typeName(packed.flagsAt(this.bytes, this.at))
  }
  get headers(): Headers {
    return packed.headersAt(this.bytes, this.at, this.end)
  }
  get position(): string | undefined {
    const position = packed.positionAt(this.bytes, this.at, this.end)
    return position > 0 ? String(position) : undefined
  }
  get time(): number | undefined {
    const kept = packed.positionAt(this.bytes, this.at, this.end) > 0
    return kept ? packed.timeAt(this.bytes, this.at, this.end) : undefined
  }
  get retained(): boolean {
    return (packed.flagsAt(this.bytes, this.at) & packed.RETAIN) > 0
  }
}

function requestsOf(link: HubLink, outbox: Outbox): RequestsDriver {
  const inbox = `reply.${randomBytes(12).toString('hex')}`
  const asked = new Map<string, (reply: Reply) => void>()
  let listening: Promise<Subscription> | undefined
  let number = 0
  const listen = (): Promise<Subscription> =>
    (listening ??= subscribe(
      link,
      { pattern: `${inbox}.*`, group: undefined, from: 'new', requests: true },
      {
        message(message) {
          const { body, type } = message
          const { [MORE]: more, ...headers } = message.headers
          asked.get(message.topic)?.({ body, type, headers, more: more !== undefined })
          return true
        },
        lost() {},
        ended() {},
      },
    ))
  return {
    async request(topic, message, onReply) {
      await listen()
      const to = `${inbox}.${++number}`
      asked.set(to, onReply)
      try {
        const turn = outbox(packed.REQUEST, topic, message, { ...message.headers, [REPLY_TO]: to })
        const index = turn.messages.count - 1
        await turn.sent
        if (!turn.unheard.has(index)) return { stop: () => void asked.delete(to) }
      } catch (reason) {
        asked.delete(to)
        throw reason
      }
      asked.delete(to)
      throw new TalkwireError('PEER_NOT_FOUND', `nobody responds to "${topic}"`)
    },
    respond: (pattern, group, onRequest) =>
      subscribe(
        link,
        { pattern, group, from: 'new', requests: true },
        {
          message(message) {
            const { [REPLY_TO]: to, ...headers } = message.headers
            const { topic, body, type, position, time, retained } = message
            const request: Request = {
              topic,
              body,
              type,
              headers,
              position,
              time,
              retained,
              async reply(answer, more) {
                if (to !== undefined)
                  await outbox(packed.REQUEST, to, answer, more ? { ...answer.headers, [MORE]: '1' } : answer.headers).sent
              },
            }
            onRequest(request)
            return true
          },
          lost() {},
          ended() {},
        },
      ),
  }
}
