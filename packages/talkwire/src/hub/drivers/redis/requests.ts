/**
 * A request is a message on the channel `PREFIX:request:TOPIC`: one line of JSON, `{ id, reply, type, headers }`, and behind it the body.
 * Replies are published on the channel that `reply` names: `{ id, more, type, headers }`, and behind it the body.
 */
import { randomUUID } from 'node:crypto'
import { isPattern, matchesPattern } from '../../topic-names.js'
import type { Headers, Outgoing, RequestsDriver } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { asking, headersOf } from '../broker.js'
import { typeOf, view, type Redis } from './connection.js'
import { globOf } from './topics.js'

/** Who takes a request is remembered for so long, milliseconds. */
const CLAIM = '600000'
const LINE = 0x0a

interface Head {
  readonly id: string
  readonly type?: unknown
  readonly headers?: unknown
  readonly reply?: unknown
  readonly more?: unknown
}

function wrap(head: object, { body, type, headers }: Outgoing): Buffer {
  return Buffer.concat([Buffer.from(`${JSON.stringify({ ...head, type, headers })}\n`), view(body)])
}

/** Undefined: it is none of ours. */
function unwrap(message: Buffer): { head: Head; body: Buffer; headers: Headers } | undefined {
  const end = message.indexOf(LINE)
  try {
    const head = JSON.parse(message.toString('utf8', 0, end < 0 ? message.length : end)) as Head | null
    if (typeof head?.id !== 'string') return undefined
    return {
      head,
      body: end < 0 ? message.subarray(message.length) : message.subarray(end + 1),
      headers: headersOf(JSON.stringify(head.headers ?? {})),
    }
  } catch {
    return undefined
  }
}

export function requests(redis: Redis): RequestsDriver {
  const root = `${redis.prefix}:request:`
  const mine = `${redis.prefix}:reply:${randomUUID()}`
  const { ask, replied } = asking()
  const hear = (message: Buffer): void => {
    const it = unwrap(message)
    if (!it) return
    const { head, body, headers } = it
    replied(head.id, () => ({ body, type: typeOf(String(head.type)), headers, more: head.more === true }))
  }
  const listening = onceDone(async () => void (await redis.listen('channels', [mine], hear)))
  return {
    async request(topic, message, onReply) {
      await listening()
      return ask(topic, onReply, async (id) => (await redis.command('PUBLISH', root + topic, wrap({ id, reply: mine }, message))) !== 0)
    },
    async respond(pattern, group, onRequest) {
      const answer = async (message: Buffer, topic: string): Promise<void> => {
        const it = unwrap(message)
        if (!it || !matchesPattern(pattern, topic)) return
        const { id, reply, type } = it.head
        if (group !== undefined && !(await redis.command('SET', `${redis.prefix}:claim:${group}:${id}`, '1', 'NX', 'PX', CLAIM))) return
        onRequest({
          topic,
          body: it.body,
          type: typeOf(String(type)),
          headers: it.headers,
          position: undefined,
          time: undefined,
          retained: false,
          reply: async (out, more) => {
            if (typeof reply === 'string') await redis.command('PUBLISH', reply, wrap({ id, more }, out))
          },
        })
      }
      const kind = isPattern(pattern) ? 'patterns' : 'channels'
      const name = kind === 'patterns' ? globOf(root, pattern) : root + pattern
      const running = new Set<Promise<void>>()
      const ear = await redis.listen(kind, [name], (message, channel) => {
        const run: Promise<void> = answer(message, channel.slice(root.length))
          .catch((reason: unknown) => redis.onError(reason, channel))
          .finally(() => running.delete(run))
        running.add(run)
      })
      return {
        resume() {},
        async close() {
          await ear.close()
          await Promise.all(running)
        },
      }
    },
  }
}
