/** What callers and services say to each other over a broker: docs/protocols/broker.md. Sans I/O. */
import { tooMany, type CodecContext } from '../codecs/codec.js'
import { ENVELOPE, open, seal, takeAttachments } from '../codecs/envelope.js'
import { hasMoreValues, json } from '../codecs/json.js'
import { Writer } from '../codecs/writer.js'
import { TalkwireError } from '../error.js'
import type { Headers, Incoming, Outgoing } from '../hub/driver.js'
import type { Limits } from '../session/limits.js'
import { fromWireError, toWireError } from './message.js'

/** Who calls and wants more than an answer: to cancel, to be told of a stream, tagged values. */
export const CALL = 'talkwire-call'
/** `tagged`: dates, bytes and the like as spec/wire.md § 5 writes them, and not as plain JSON. */
export const VALUES = 'talkwire-values'
export const TAGGED = 'tagged'
/** Bytes of the output that the caller takes before it grants more. */
export const CREDIT = 'talkwire-credit'
/** The input is a stream: its elements come as controls. */
export const INPUT = 'talkwire-input'
/** Of a reply that is not the last: `item`, `progress`, `credit`, or `begun`, with whose controls go where. */
export const PART = 'talkwire-part'
export const INSTANCE = 'talkwire-instance'
/** What a control is: `cancel`, `grant`, `input`, `end`; of no call: `hello`, `alive`, `listen`. */
export const CONTROL = 'talkwire-control'
/** Of the reply that is an error: the code, a space, the text; the body says the rest. */
export const ERROR = 'talkwire-error'

const writer = new Writer()
const LONGEST_TEXT = 200

export interface Words {
  /** Throws TypeError for what cannot be sent, TOO_DEEP, FORBIDDEN_KEY, MESSAGE_TOO_LARGE. */
  write(value: unknown, headers: Headers): Outgoing
  /** Throws INVALID_MESSAGE, TOO_DEEP, FORBIDDEN_KEY, LIMIT_EXCEEDED, MESSAGE_TOO_LARGE. */
  read(message: Pick<Incoming, 'body'>): unknown
}

/** `tagged`: as two Talkwires speak, with typed arrays behind the text (spec/wire.md § 2); otherwise plain JSON, which anybody reads. */
export function wordsOf({ depth, values, message }: Limits, tagged: boolean): Words {
  const context: CodecContext = { depth, values, extended: tagged, binary: tagged, references: undefined }
  const within = (body: Uint8Array): Buffer => {
    if (body.length <= message) return Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    throw new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${body.length} bytes; ${message} are allowed (limits.message)`)
  }
  return {
    write(value, headers) {
      const { body, beside } = encode(value, context)
      return { body: within(body), type: beside ? 'bytes' : 'json', headers }
    },
    read({ body }) {
      const bytes = within(body)
      if (bytes.length === 0) return undefined
      const { headStart, headEnd, attachments } =
        tagged && bytes[0] === ENVELOPE ? open(bytes, 0, bytes.length, false) : { headStart: 0, headEnd: bytes.length, attachments: [] }
      if (hasMoreValues(bytes, headStart, headEnd, values)) throw tooMany(values)
      return json.decode(bytes, headStart, headEnd, attachments, context)
    },
  }
}

function encode(value: unknown, context: CodecContext): { body: Buffer; beside: boolean } {
  writer.position = 0
  writer.attachments = []
  if (value === undefined) return { body: Buffer.alloc(0), beside: false }
  json.encode(writer, value, context)
  seal(writer, 0)
  const parts = takeAttachments(writer, 0)
  return { body: Buffer.concat([writer.buffer.subarray(0, writer.position), ...parts]), beside: parts.length > 0 }
}

export function writeError(error: TalkwireError, words: Words): Outgoing {
  const wire = toWireError(error)
  const text = wire.message.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, LONGEST_TEXT)
  return words.write(wire, { [ERROR]: `${error.code} ${text}` })
}

/** Undefined: it is none. A stranger's is the header alone. */
export function readError(message: Incoming, words: Words): TalkwireError | undefined {
  const said = message.headers[ERROR]
  if (said === undefined) return undefined
  const body = words.read(message)
  if (typeof body === 'object' && body !== null && 'code' in body) return fromWireError(body)
  const [code = 'UNKNOWN', ...text] = said.split(' ')
  return new TalkwireError(code, text.join(' '), { outcome: 'ran' })
}
