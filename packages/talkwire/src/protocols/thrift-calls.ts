/** Calls, answers and errors of Thrift as messages, both ways. Sans I/O. docs/protocols/thrift.md. */
import { TalkwireError, plainMessage, type Code as ErrorCode, type Outcome } from '../error.js'
import { readField, readStruct, writeField, writeFields } from './thrift-values.js'
import type { ErrorType, Operation, Struct } from './thrift-schema.js'
import { Code, Kind, Reader, Writer, type Format, type Head, type WireLimits } from './thrift-wire.js'

/** How messages of a connection are written. */
export interface Style {
  readonly format: Format
  readonly framed: boolean
}

function message({ format, framed }: Style, limits: WireLimits, head: Head, fields: (writer: Writer) => void): Buffer {
  const writer = new Writer(format, limits, framed ? 4 : 0)
  writer.message(head)
  writer.struct(() => fields(writer))
  const bytes = writer.done()
  if (framed) bytes.writeUInt32BE(bytes.length - 4, 0)
  return bytes
}

/** Throws TypeError, TOO_DEEP, MESSAGE_TOO_LARGE. */
export function writeCall(style: Style, limits: WireLimits, operation: Operation, name: string, sequence: number, input: unknown): Buffer {
  const { single, oneway } = operation
  return message(style, limits, { name, kind: oneway ? Kind.oneway : Kind.call, sequence }, (writer) => {
    if (single) writeField(writer, operation.input.fields[0]!, input)
    else if (operation.input.fields.length > 0) writeFields(writer, operation.input, input)
  })
}

/** The input of a call whose head was read. Throws INVALID_INPUT, INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED. */
export function readInput(reader: Reader, { input, single }: Operation): unknown {
  const value = readStruct(reader, input)
  if (reader.at !== reader.bytes.length) throw new TalkwireError('INVALID_MESSAGE', 'Thrift: a message is longer than its values')
  if (single) return value[input.fields[0]!.name]
  return input.fields.length > 0 ? value : undefined
}

/** Throws TypeError. */
export function writeResult(style: Style, limits: WireLimits, { output }: Operation, head: Head, value: unknown): Buffer {
  return message(style, limits, { ...head, kind: Kind.reply }, (writer) => {
    if (output) writeField(writer, output, value)
  })
}

// ── errors ───────────────────────────────────────────────────────────────────────────────────────

/** TApplicationException, with two fields of ours that others pass over. */
const FIELDS = { message: 1, type: 2, code: 3, outcome: 4 } as const
const TYPES: Readonly<Record<string, number>> = {
  METHOD_NOT_FOUND: 1,
  INVALID_REQUEST: 2,
  INTERNAL: 6,
  INVALID_OUTPUT: 6,
  INVALID_INPUT: 7,
  INVALID_MESSAGE: 7,
}
const MEANINGS: readonly (readonly [ErrorCode, Outcome])[] = [
  ['UNKNOWN', 'ran'],
  ['METHOD_NOT_FOUND', 'not-sent'],
  ['INVALID_REQUEST', 'not-sent'],
  ['METHOD_NOT_FOUND', 'not-sent'],
  ['INVALID_MESSAGE', 'ran'],
  ['INVALID_OUTPUT', 'ran'],
  ['INTERNAL', 'ran'],
  ['INVALID_INPUT', 'not-sent'],
]
const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

/** A declared error is part of the result; any other is a message of its own. */
export function writeError(style: Style, limits: WireLimits, operation: Operation | undefined, head: Head, error: TalkwireError): Buffer {
  const declared = error.declared ? operation?.errors.find(({ name }) => name === error.code) : undefined
  const text = plainMessage(error).replace(/\p{Cs}/gu, '\ufffd')
  if (declared) {
    try {
      return message(style, limits, { ...head, kind: Kind.reply }, (writer) => writeDeclared(writer, declared, text, error.details))
    } catch {
      // Details that do not fit what the contract says of them.
      return writeError(style, limits, undefined, head, new TalkwireError('INTERNAL', 'internal error', { outcome: 'ran' }))
    }
  }
  return message(style, limits, { ...head, kind: Kind.exception }, (writer) => {
    writer.field(Code.string, FIELDS.message)
    writer.text(text)
    writer.field(Code.i32, FIELDS.type)
    writer.i32(error.declared ? 0 : (TYPES[error.code] ?? 0))
    writer.field(Code.string, FIELDS.code)
    writer.text(error.code)
    writer.field(Code.string, FIELDS.outcome)
    writer.text(error.outcome)
  })
}

function writeDeclared(writer: Writer, { id, struct, single, whole }: ErrorType, text: string, details: unknown): void {
  const [first, ...others] = struct.fields
  writer.field(Code.struct, id)
  if (whole) return writer.struct(() => writeFields(writer, struct, textOf(struct) ? { message: text, ...(details as object) } : details))
  writer.struct(() => {
    writeField(writer, first!, text)
    if (single) writeField(writer, others[0]!, details)
    else writeFields(writer, { ...struct, fields: others }, details)
  })
}

/** Whether a foreign exception has a place for the text. */
const textOf = ({ fields }: Struct): boolean =>
  fields.some(({ name, type }) => name === 'message' && type.kind === 'scalar' && type.name === 'string')

function readDeclared(reader: Reader, { name, struct, single, whole }: ErrorType): TalkwireError {
  if (whole) {
    const details = readStruct(reader, struct)
    const { message: said } = details
    return new TalkwireError(name, typeof said === 'string' ? said : name, { declared: true, outcome: 'ran', details })
  }
  const [first, ...others] = struct.fields
  const { [first!.name]: text, ...details } = readStruct(reader, struct)
  return new TalkwireError(name, typeof text === 'string' ? text : name, {
    declared: true,
    outcome: 'ran',
    details: single ? details[others[0]!.name] : details,
  })
}

const EXCEPTION: Struct = {
  kind: 'struct',
  name: 'TApplicationException',
  fields: [
    { id: FIELDS.message, name: 'message', type: { kind: 'scalar', name: 'string' }, optional: true, absent: undefined },
    { id: FIELDS.type, name: 'type', type: { kind: 'scalar', name: 'i32' }, optional: true, absent: undefined },
    { id: FIELDS.code, name: 'code', type: { kind: 'scalar', name: 'string' }, optional: true, absent: undefined },
    { id: FIELDS.outcome, name: 'outcome', type: { kind: 'scalar', name: 'string' }, optional: true, absent: undefined },
  ],
}

function readException(reader: Reader): TalkwireError {
  const { message: text, type, code, outcome } = readStruct(reader, EXCEPTION)
  const [meaning, ran] = MEANINGS[typeof type === 'number' ? type : 0] ?? MEANINGS[0]!
  return new TalkwireError(typeof code === 'string' ? code : meaning, typeof text === 'string' ? text : 'an exception without a text', {
    outcome: outcomes.has(outcome) ? (outcome as Outcome) : ran,
  })
}

/** The result in an answer whose head was read. Throws the error that it is, and INVALID_MESSAGE for what is no answer. */
export function readAnswer(reader: Reader, { kind }: Head, { output, errors, name }: Operation): unknown {
  if (kind === Kind.exception) throw readException(reader)
  if (kind !== Kind.reply) throw new TalkwireError('INVALID_MESSAGE', `Thrift: a message of kind ${kind} is no answer`)
  let value: unknown
  let found = false
  let error: TalkwireError | undefined
  reader.struct((head) => {
    const declared = errors.find(({ id }) => id === head.id)
    if (head.id === 0 && output) {
      value = readField(reader, output, head)
      found = true
    } else if (declared && head.code === Code.struct) error = readDeclared(reader, declared)
    else reader.skip(head.code, head.bool)
  })
  if (error) throw error
  if (found || !output || output.absent === null) return found ? value : output ? null : undefined
  // Nobody but the schema knows whether a value may be missing.
  if (output.type.kind !== 'struct' && !found) return undefined
  throw new TalkwireError('INVALID_OUTPUT', `"${name}" was answered without a result`, { outcome: 'ran' })
}
