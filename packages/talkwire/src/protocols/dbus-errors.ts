/** Errors of D-Bus, both ways: a name, and values of which the first is a text. Sans I/O. docs/protocols/dbus.md, Errors. */
import { TalkwireError, plainMessage, type Code, type Outcome } from '../error.js'
import { bodyOf, type Message } from './dbus-message.js'
import type { Arguments } from './dbus-schema.js'
import { splitSignature, typeOf } from './dbus-types.js'
import { readArguments, writeArguments, type ValueLimits, type Writer } from './dbus-values.js'

const STANDARD = 'org.freedesktop.DBus.Error.'
const OURS = 'talkwire.Error.'
/** What the bus itself answers with. */
export const DRIVER = 'org.freedesktop.DBus'

const NAMES: Readonly<Partial<Record<string, string>>> = {
  METHOD_NOT_FOUND: 'UnknownMethod',
  INVALID_INPUT: 'InvalidArgs',
  INVALID_MESSAGE: 'InvalidArgs',
  PERMISSION_DENIED: 'AccessDenied',
  LIMIT_EXCEEDED: 'LimitsExceeded',
  UNSUPPORTED: 'NotSupported',
  DEADLINE_EXCEEDED: 'Timeout',
  INTERNAL: 'Failed',
}

type Meaning = readonly [Code, Outcome]
const MEANINGS: Readonly<Record<string, Meaning>> = {
  UnknownMethod: ['METHOD_NOT_FOUND', 'not-sent'],
  UnknownInterface: ['METHOD_NOT_FOUND', 'not-sent'],
  UnknownObject: ['METHOD_NOT_FOUND', 'not-sent'],
  UnknownProperty: ['METHOD_NOT_FOUND', 'not-sent'],
  InvalidArgs: ['INVALID_INPUT', 'not-sent'],
  InvalidSignature: ['INVALID_INPUT', 'not-sent'],
  AccessDenied: ['PERMISSION_DENIED', 'not-sent'],
  AuthFailed: ['PERMISSION_DENIED', 'not-sent'],
  LimitsExceeded: ['LIMIT_EXCEEDED', 'not-sent'],
  NotSupported: ['UNSUPPORTED', 'not-sent'],
  Timeout: ['DEADLINE_EXCEEDED', 'maybe-ran'],
  TimedOut: ['DEADLINE_EXCEEDED', 'maybe-ran'],
  NoReply: ['DEADLINE_EXCEEDED', 'maybe-ran'],
  Failed: ['INTERNAL', 'ran'],
}
/** Of the bus itself: about whom we called, not by them. */
const OF_DRIVER: Readonly<Record<string, Meaning>> = {
  ServiceUnknown: ['PEER_NOT_FOUND', 'not-sent'],
  NameHasNoOwner: ['PEER_NOT_FOUND', 'not-sent'],
  'Spawn.ServiceNotFound': ['PEER_NOT_FOUND', 'not-sent'],
  NoReply: ['CONNECTION_LOST', 'maybe-ran'],
}
const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

export interface WrittenError {
  readonly errorName: string
  readonly signature: string
  readonly body: (writer: Writer) => void
}

/** `declared`: the values of an error that the method declares. */
export function errorOf(error: TalkwireError, of: string, declared: Arguments | undefined): WrittenError {
  // A text of D-Bus has no NUL.
  const text = plainMessage(error).replaceAll('\0', '\ufffd')
  if (error.declared && declared)
    return {
      errorName: `${of}.Error.${error.code}`,
      signature: `s${declared.signature}`,
      body(writer) {
        writer.text(text)
        writeArguments(writer, declared, error.details)
      },
    }
  const name = error.declared ? undefined : NAMES[error.code]
  if (name !== undefined) return { errorName: STANDARD + name, signature: 's', body: (writer) => writer.text(text) }
  return {
    errorName: OURS + error.code.replace(/\W/g, '_'),
    signature: 'ss',
    body(writer) {
      writer.text(text)
      writer.text(error.outcome)
    },
  }
}

/** What an error message says. Never throws. `declared`: of the method that was called, by their names. */
export function readError(message: Message, limits: ValueLimits, declared?: ReadonlyMap<string, Arguments>): TalkwireError {
  const name = message.errorName!
  const values = valuesOf(message, limits)
  const text = typeof values[0] === 'string' ? values[0] : name
  const last = name.slice(name.lastIndexOf('.') + 1)
  const details = declared?.get(last)
  if (details)
    return new TalkwireError(last, text, { declared: true, outcome: 'ran', details: detailsOf(message, limits, details, values) })
  if (name.startsWith(STANDARD)) {
    const word = name.slice(STANDARD.length)
    const table = message.sender === DRIVER && Object.hasOwn(OF_DRIVER, word) ? OF_DRIVER : MEANINGS
    const meaning = Object.hasOwn(table, word) ? table[word] : undefined
    if (meaning) return new TalkwireError(meaning[0], text, { outcome: meaning[1] })
  }
  if (name.startsWith(OURS))
    return new TalkwireError(name.slice(OURS.length), text, { outcome: outcomes.has(values[1]) ? (values[1] as Outcome) : 'ran' })
  return new TalkwireError('UNKNOWN', `${name}: ${text}`, { outcome: 'ran', details: { name, values } })
}

/** With the types of the contract; where the error has others, as they come. */
function detailsOf(message: Message, limits: ValueLimits, details: Arguments, values: readonly unknown[]): unknown {
  if (message.signature !== `s${details.signature}`) return values[1]
  try {
    const reader = bodyOf(message, limits)
    reader.text()
    return readArguments(reader, details)
  } catch {
    return values[1]
  }
}

function valuesOf(message: Message, limits: ValueLimits): unknown[] {
  try {
    const reader = bodyOf(message, limits)
    return splitSignature(message.signature).map((each) => reader.read(typeOf(each)))
  } catch {
    return []
  }
}
