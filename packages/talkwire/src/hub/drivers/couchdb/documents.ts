/**
 * A key is a document's id, a value what a person would write there: an object is the document's fields, other JSON is its field `value`,
 * text and bytes are its attachment `value`.
 */
import { TalkwireError } from '../../../error.js'
import type { BodyType } from '../../driver.js'
import { CONTENT_TYPES } from '../broker.js'
import type { Couch } from './connection.js'
import { parse } from './exchange.js'

/** As CouchDB says it; what begins with "_" is CouchDB's own. */
export interface Document extends Readonly<Record<string, unknown>> {
  readonly _id: string
  readonly _rev: string
}

export const VALUE = 'value'
/** CouchDB's own ids begin with "_": of ours "~" stands before it. */
const ESCAPED = /^[_~]/
const LONGEST_PATH = 7000
const REVISION = /^[1-9]\d*-[0-9a-z]+$/i

/** Also of the beginning of keys, then of ids; but not of none. */
export function idOf(couch: Couch, key: string): string {
  const id = couch.prefix + key
  return ESCAPED.test(id) ? `~${id}` : id
}

/** Undefined: it is no key of ours. */
export function keyOf(couch: Couch, id: string): string | undefined {
  if (id.startsWith('_') || /^~[^_~]/.test(id) || id === '~') return undefined
  const full = id.startsWith('~') ? id.slice(1) : id
  return full.startsWith(couch.prefix) ? full.slice(couch.prefix.length) : undefined
}

/** Throws INVALID_INPUT for what no document can be called. */
export function pathOf(id: string): string {
  const path = id !== '' && !/^\.\.?$|[\ud800-\udfff]/u.test(id) ? `/${encodeURIComponent(id)}` : ''
  if (path !== '' && path.length <= LONGEST_PATH) return path
  throw new TalkwireError(
    'INVALID_INPUT',
    `${JSON.stringify(id).slice(0, 80)} is no id of a document: it has 1 to ${LONGEST_PATH} characters in a path, and is not "." or ".."`,
  )
}

export const isRevision = (revision: string): boolean => REVISION.test(revision)

/** A value as fields of a document, without braces. Throws INVALID_INPUT for JSON that is none. */
export function textOf(value: Uint8Array, type: BodyType): string {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (type !== 'json') return `"_attachments":{"${VALUE}":{"content_type":"${CONTENT_TYPES[type]}","data":"${bytes.toString('base64')}"}}`
  const text = bytes.toString().trim()
  return isObject(jsonOf(text)) ? text.slice(1, -1).trim() : `"${VALUE}":${text}`
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TalkwireError('INVALID_INPUT', 'a value is no JSON', { cause })
  }
}

/** Whether it can be the document itself. */
function isObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const names = Object.keys(value)
  return !names.some((name) => name.startsWith('_')) && !(names.length === 1 && names[0] === VALUE)
}

export function documentOf(text: string | Buffer): Document {
  const found = Object(parse(String(text), 'not-sent')) as Document
  if (isDocument(found)) return found
  throw new TalkwireError('INVALID_MESSAGE', 'CouchDB: what should be a document has no "_id" and "_rev"')
}

export const isDocument = (found: any): found is Document => typeof found?._id === 'string' && typeof found._rev === 'string'

/** Its type. */
export function attachmentOf(document: Document): string | undefined {
  const attachments = document['_attachments'] as Readonly<Record<string, { readonly content_type?: unknown }>> | undefined
  if (typeof attachments !== 'object' || attachments === null || !Object.hasOwn(attachments, VALUE)) return undefined
  return String(attachments[VALUE]?.content_type)
}

export function fieldsOf(document: Document): Buffer {
  const fields = Object.entries(document).filter(([name]) => !name.startsWith('_'))
  const isValue = fields.length === 1 && fields[0]![0] === VALUE
  return Buffer.from(JSON.stringify(isValue ? fields[0]![1] : Object.fromEntries(fields)))
}
