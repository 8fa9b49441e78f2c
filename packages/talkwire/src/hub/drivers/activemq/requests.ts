/**
 * A request goes to a queue, which a group reads together, and to a topic of the same name, which everybody hears; replies to the
 * temporary queue of who asked, with the correlation id. Each but the last has `talkwire_more`.
 */
import type { RequestsDriver } from '../../driver.js'
import { TalkwireError } from '../../../error.js'
import { matchesPattern } from '../../topic-names.js'
import { asking } from '../broker.js'
import { MORE, ownHeaders, type Arrived, type Line } from './line.js'
import type { ActiveMq } from './link.js'

/** What nobody took for so many milliseconds is not answered any more. */
const STALE = 60_000
/** How many are on their way to a responder at once. */
const AHEAD = 64

export function requests(mq: ActiveMq): RequestsDriver {
  const { ask, replied } = asking()
  const hearing = new WeakMap<Line, Promise<void>>()
  const incoming = ({ body, type, headers }: Arrived) => ({ body, type, headers: ownHeaders(headers) })
  const hear = (message: Arrived): void =>
    replied(message.correlationId ?? '', () => ({ ...incoming(message), more: MORE in message.headers }))
  /** Replies come on the line that asked. */
  const askingLine = async (): Promise<Line> => {
    const line = mq.publisher()
    if (!hearing.has(line)) hearing.set(line, line.hear(hear))
    await hearing.get(line)
    return line
  }
  return {
    request: (topic, message, onReply, responders) =>
      ask(topic, onReply, async (correlationId) => {
        const to = [...(responders === 'all' ? [] : [mq.names.asked(topic)]), ...(responders === 'group' ? [] : [mq.names.askedAll(topic)])]
        await (await askingLine()).send({ to, ...message, persistent: false, ttl: STALE, correlationId, asks: true })
        return true
      }),
    async respond(pattern, group, onRequest) {
      let closed = false
      const answer = (message: Arrived): void => {
        message.accept().catch(() => {})
        const topic = mq.names.requestOf(message.name)
        if (closed || !matchesPattern(pattern, topic)) return
        const { replyTo, correlationId } = message
        onRequest({
          ...incoming(message),
          topic,
          position: undefined,
          time: undefined,
          retained: false,
          reply: async (out, more) => {
            if (replyTo === undefined) return
            const headers = more ? { ...out.headers, [MORE]: 'true' } : out.headers
            const reply = { to: [{ kind: 'reply', name: replyTo } as const], ...out, headers, persistent: false }
            await mq.send({ ...reply, ...(correlationId !== undefined && { correlationId }) }).catch(unlessGone)
          },
        })
      }
      const under = await mq.standing({
        what: pattern,
        setUp: (line) =>
          line.receive({
            from: group === undefined ? mq.names.askedAll(pattern) : mq.names.asked(pattern),
            window: AHEAD,
            arrived: answer,
            ended: (reason) => under.failed(line, reason),
          }),
      })
      let ending: Promise<void> | undefined
      const end = (): Promise<void> =>
        (ending ??= (async () => {
          await under.end()
          // What is here already is answered.
          await under.receiver?.close().catch(() => {})
          closed = true
          forget()
        })())
      const forget = mq.closing(end)
      return { resume() {}, close: end }
    },
  }
}

/** Who asked is gone, and its queue with it. */
function unlessGone(reason: unknown): void {
  if (!(reason instanceof TalkwireError) || reason.code !== 'NOT_FOUND') throw reason
}
