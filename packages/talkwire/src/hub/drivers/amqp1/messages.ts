/** What a message of ActiveMQ is in AMQP 1.0, as rhea has it. */
import type { Message } from 'rhea'
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { Arrived, Place, Sent } from '../activemq/line.js'
import { bodyTypeOf, CONTENT_TYPES } from '../broker.js'

export type Rhea = typeof import('rhea')

const DELAY = 'x-opt-delivery-delay'
/** Properties of ActiveMQ, and those of STOMP, which are none of the message. */
const TAKEN =
  /^(content-type|scheduledJobId|ActiveMqDataStructureType|original(Destination|Expiration)|dlqDeliveryFailureCause|(AMQ_|JMS|NATIVE_).*)$/
const DATA = 0x75

export const addressOf = ({ kind, name }: Place): string => (kind === 'reply' ? name : `${kind}://${name}`)

/** `replies`: where they come. Throws INVALID_INPUT. */
export function messageOf(rhea: Rhea, sent: Sent, replies: string | undefined): Message {
  const { to, body, type, headers, persistent, priority, delay, ttl, correlationId } = sent
  for (const name of Object.keys(headers))
    if (TAKEN.test(name)) throw new TalkwireError('INVALID_INPUT', `ActiveMQ has a header "${name}" of its own; choose another name`)
  return {
    to: to.map(addressOf).join(','),
    durable: persistent,
    body: rhea.message.data_section(Buffer.from(body.buffer, body.byteOffset, body.byteLength)),
    application_properties: headers,
    ...(type && { content_type: CONTENT_TYPES[type] }),
    ...(priority !== undefined && { priority }),
    ...(delay && { message_annotations: { [DELAY]: rhea.types.wrap_long(delay) } }),
    ...(ttl && { ttl }),
    ...(correlationId !== undefined && { correlation_id: correlationId }),
    ...(replies !== undefined && { reply_to: replies }),
  }
}

/** `from`: of the link that it came on. */
export function arrivedOf(message: Message, from: string, settle: Pick<Arrived, 'accept' | 'release'>): Arrived {
  const properties = (message.application_properties ?? {}) as Record<string, string | number | boolean | object | null>
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(properties))
    if (!TAKEN.test(name) && value !== null && typeof value !== 'object') headers[name] = String(value)
  const { correlation_id: correlation, reply_to: replyTo } = message
  const said = message.content_type ?? properties['content-type']
  return {
    // The broker adds neither, unless its connector is told to think in terms of JMS.
    messageId: String(message.message_id ?? randomUUID()),
    name: nameOf(message.to ?? from),
    body: bodyOf(message.body),
    type: bodyTypeOf(typeof said === 'string' ? said : ''),
    headers,
    priority: message.priority ?? 4,
    before: message.delivery_count ?? 0,
    correlationId: correlation === undefined ? undefined : String(correlation),
    replyTo: replyTo ?? undefined,
    ...settle,
  }
}

/** What went to several, of one name, says all of them. */
const nameOf = (to: string): string => to.replace(/^(topic|queue|temp-queue|temp-topic):\/\//, '').replace(/,.*/s, '')

/** Programs send bytes, a text, or something else of AMQP's own, which is JSON to us. */
function bodyOf(body: unknown): Buffer {
  if (body === undefined || body === null) return Buffer.alloc(0)
  if (Buffer.isBuffer(body)) return body
  if (typeof body === 'string') return Buffer.from(body)
  const { typecode, content, multiple } = body as { typecode?: number; content?: unknown; multiple?: boolean }
  if (typecode === DATA) return multiple ? Buffer.concat(content as Buffer[]) : (content as Buffer)
  return Buffer.from(JSON.stringify(typecode === undefined ? body : content))
}
