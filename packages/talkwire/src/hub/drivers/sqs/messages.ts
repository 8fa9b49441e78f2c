/** Messages of SQS are text with up to ten attributes. A body that is none stands in an attribute of its own; so do its type, headers, and why it is dead. */
import type { Message, MessageAttributeValue } from '@aws-sdk/client-sqs'
import { TalkwireError } from '../../../error.js'
import type { Headers, Incoming, Outgoing } from '../../driver.js'
import { bodyTypeOf, CONTENT_TYPES } from '../broker.js'

type Attributes = Record<string, MessageAttributeValue>

export interface Written {
  readonly MessageBody: string
  readonly MessageAttributes: Attributes
}

const TYPE = 'content-type'
const BODY = 'talkwire-body'
const DEAD = 'talkwire-dead'
/** SQS takes no message without text. */
const ELSEWHERE = '-'
const MOST_ATTRIBUTES = 10
/** One of them is kept for the type, one for a body, one for why it is dead. */
const MOST_HEADERS = 7
/** Of a message with all its attributes, and of all that are sent together. */
export const LARGEST = 1024 * 1024
/** Kept free for why it is dead. */
const REASON = 4096
const LONGEST_REASON = 500
const TEXT = /^[\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]+$/u
const NO_TEXT = /[\uFFFE\uFFFF]/g
const NAME = /^(?!aws\.|amazon\.)(?=.{1,256}$)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/i

const text = (value: string): MessageAttributeValue => ({ DataType: 'String', StringValue: value })

export function written({ body, type, headers }: Outgoing): Written {
  const plain = type === 'bytes' ? undefined : textOf(body)
  const message = {
    MessageBody: plain ?? ELSEWHERE,
    MessageAttributes: {
      ...attributesOf(headers),
      [TYPE]: text(CONTENT_TYPES[type]),
      ...(plain === undefined && body.length > 0 && { [BODY]: { DataType: 'Binary', BinaryValue: body } }),
      ...(plain === undefined && body.length === 0 && { [BODY]: { DataType: 'String.empty', StringValue: ELSEWHERE } }),
    },
  }
  if (sizeOf(message) > LARGEST - REASON)
    throw new TalkwireError('MESSAGE_TOO_LARGE', `SQS takes ${LARGEST - REASON} bytes with headers`, { outcome: 'not-sent' })
  return message
}

/** Undefined: SQS has no such text. */
function textOf(body: Uint8Array): string | undefined {
  try {
    const read = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    return TEXT.test(read) ? read : undefined
  } catch {
    return undefined
  }
}

function attributesOf(headers: Headers): Attributes {
  const pairs = Object.entries(headers)
  const no = (what: string): TalkwireError => new TalkwireError('INVALID_INPUT', `SQS keeps no ${what}`, { outcome: 'not-sent' })
  if (pairs.length > MOST_HEADERS) throw no(`more than ${MOST_HEADERS} headers`)
  for (const [name, value] of pairs) {
    if (!NAME.test(name) || name === TYPE || name === BODY || name === DEAD) throw no(`header of the name "${name}"`)
    if (!TEXT.test(value)) throw no(`header "${name}" that is empty or has characters that XML has not`)
  }
  return Object.fromEntries(pairs.map(([name, value]) => [name, text(value)]))
}

/** As SQS counts. */
export function sizeOf({ MessageBody, MessageAttributes }: Written): number {
  let size = Buffer.byteLength(MessageBody)
  for (const [name, { DataType = '', StringValue = '', BinaryValue }] of Object.entries(MessageAttributes))
    size += Buffer.byteLength(name) + DataType.length + Buffer.byteLength(StringValue) + (BinaryValue?.length ?? 0)
  return size
}

export function readMessage({ Body = '', MessageAttributes = {} }: Message): Incoming {
  const { [TYPE]: type, [BODY]: body, [DEAD]: _, ...rest } = MessageAttributes
  return {
    type: type?.StringValue === undefined ? undefined : bodyTypeOf(type.StringValue),
    body: !body ? Buffer.from(Body) : (body.BinaryValue ?? Buffer.alloc(0)),
    headers: Object.fromEntries(
      Object.entries(rest).map(([name, { StringValue, BinaryValue }]) => [
        name,
        StringValue ?? Buffer.from(BinaryValue ?? []).toString('base64'),
      ]),
    ),
  }
}

/** As it is, to be sent elsewhere; without why it was dead. */
export function alive({ Body = ELSEWHERE, MessageAttributes = {} }: Message): Written {
  const { [DEAD]: _, ...rest } = MessageAttributes
  return { MessageBody: Body, MessageAttributes: rest }
}

/** Of somebody else's message, which may have no room for it, the reason is left out. */
export function dead(message: Message, reason: string, attempts: number): Written {
  const { MessageBody, MessageAttributes } = alive(message)
  const room = LARGEST - sizeOf({ MessageBody, MessageAttributes })
  if (Object.keys(MessageAttributes).length >= MOST_ATTRIBUTES || room < REASON) return { MessageBody, MessageAttributes }
  const said = JSON.stringify({ reason: reason.slice(0, LONGEST_REASON), attempts }).replaceAll(NO_TEXT, '?')
  return { MessageBody, MessageAttributes: { ...MessageAttributes, [DEAD]: text(said) } }
}

/** Undefined: SQS itself put it there, or there was no room to say it. */
export function whyDead({ MessageAttributes = {} }: Message): { readonly reason: string; readonly attempts: number } | undefined {
  const said = MessageAttributes[DEAD]?.StringValue
  if (said === undefined) return undefined
  try {
    const { reason, attempts } = JSON.parse(said) as { reason: unknown; attempts: unknown }
    return { reason: String(reason), attempts: Number(attempts) }
  } catch {
    return undefined
  }
}
