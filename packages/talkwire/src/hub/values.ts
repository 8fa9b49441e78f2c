/** Values to bodies and back: JSON unless asked otherwise, checked by the schema on both ways. */
import { fromJson, toJson } from '../codecs/plain-json.js'
import { describeIssues, type StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import { NO_HEADERS, type BodyType, type Headers, type Incoming, type Outgoing } from './driver.js'

/** What is said of the values of a topic, queue or state. */
export interface ValueOptions<S extends StandardSchema<any, any> = StandardSchema<any, any>> {
  readonly schema?: S
  /** How values travel. Default `json`; `text` are strings, `bytes` are `Uint8Array`, both as they are. */
  readonly type?: BodyType
}

/** One kind of value: `what` names it in errors, such as `the topic "orders"`. */
export interface Values {
  /** Throws INVALID_INPUT for what does not fit, TypeError for what cannot be written; a promise if the schema's check is one. */
  write(value: unknown, headers?: Headers): Outgoing | Promise<Outgoing>
  /** Throws INVALID_MESSAGE. */
  read(message: Incoming): unknown
}

/** What others have in their headers; ours are among the broker's own properties, not here. */
const HEADER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/

export function valuesOf({ schema, type = 'json' }: ValueOptions, what: string): Values {
  const write = (value: unknown, headers: Headers): Outgoing => ({ body: encode(value, type, what), type, headers })
  return {
    write(value, headers = NO_HEADERS) {
      validateHeaders(headers)
      const checked = schema ? fits(schema, value, what, 'INVALID_INPUT') : value
      return checked instanceof Promise ? checked.then((each) => write(each, headers)) : write(checked, headers)
    },
    read(message) {
      const value = decode(message, type, what)
      return schema ? fits(schema, value, what, 'INVALID_MESSAGE') : value
    },
  }
}

function encode(value: unknown, type: BodyType, what: string): Uint8Array {
  if (type === 'bytes') {
    if (value instanceof Uint8Array) return value
    throw new TypeError(`${what} takes bytes, a Uint8Array; without { type: 'bytes' } it takes JSON`)
  }
  if (type === 'text') {
    if (typeof value === 'string') return Buffer.from(value)
    throw new TypeError(`${what} takes text, a string; without { type: 'text' } it takes JSON`)
  }
  if (value === undefined) throw new TypeError(`undefined is no value for ${what}; null is one`)
  return Buffer.from(toJson(value))
}

function decode({ body, type }: Incoming, wanted: BodyType, what: string): unknown {
  if (wanted === 'bytes') return body
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (wanted === 'text') return bytes.toString()
  try {
    return fromJson(bytes)
  } catch (reason) {
    const said = type && type !== 'json' ? ` (its sender says it is ${type})` : ''
    throw new TalkwireError('INVALID_MESSAGE', `a message of ${what} is no JSON${said}; take it as { type: 'text' } or { type: 'bytes' }`, {
      cause: reason,
    })
  }
}

function fits(schema: StandardSchema, value: unknown, what: string, code: 'INVALID_INPUT' | 'INVALID_MESSAGE'): unknown {
  const check = (result: Awaited<ReturnType<StandardSchema['~standard']['validate']>>): unknown => {
    if (!result.issues) return result.value
    throw new TalkwireError(code, `a value of ${what} does not fit its schema: ${describeIssues(result.issues)}`)
  }
  const result = schema['~standard'].validate(value)
  return result instanceof Promise ? result.then(check) : check(result)
}

function validateHeaders(headers: Headers): void {
  if (headers === NO_HEADERS) return
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER.test(name))
      throw new TalkwireError('INVALID_INPUT', `${JSON.stringify(name)} is no name of a header; letters, digits and "-"`)
    if (typeof value !== 'string' || /[\0\r\n]/.test(value))
      throw new TalkwireError('INVALID_INPUT', `the header ${name} is no text of one line`)
  }
}
