/** One document: what is there, and what is written in its place. What many write in one turn goes in one request, each for itself. */
import { TalkwireError } from '../../../error.js'
import type { Stored } from '../../driver.js'
import { bodyTypeOf, isAway } from '../broker.js'
import { gather } from '../gather.js'
import type { Couch } from './connection.js'
import { attachmentOf, documentOf, fieldsOf, pathOf, VALUE, type Document } from './documents.js'
import { LARGEST, parse } from './exchange.js'
import { turns, type Turns } from './turns.js'

export interface Store {
  readonly couch: Couch
  /** Its last revision. Undefined: there is none. */
  readonly read: (id: string) => Promise<Document | undefined>
  /** Undefined: somebody else was faster. `fields` are JSON without the braces. */
  readonly write: (id: string, fields: string, revision: string | undefined) => Promise<string | undefined>
  /** Who reads and then writes. */
  readonly inTurn: Turns
}

export function store(couch: Couch): Store {
  const written = gather<string, Result>({
    send: (_, documents) => writeAll(couch, documents),
    bytes: (document) => document.length,
    tookNone: (reason) => reason instanceof TalkwireError && reason.outcome === 'not-sent' && !isAway(reason),
  })
  return {
    couch,
    read: (id) => read(couch, id),
    async write(id, fields, revision) {
      pathOf(id)
      const own = [`"_id":${JSON.stringify(id)}`, ...(revision === undefined ? [] : [`"_rev":${JSON.stringify(revision)}`])]
      const document = `{${[...own, ...(fields === '' ? [] : [fields])].join()}}`
      if (document.length > LARGEST)
        throw new TalkwireError('MESSAGE_TOO_LARGE', `CouchDB: a document may have ${LARGEST} bytes, and one has ${document.length}`)
      const [result] = await written('', [document])
      if (result instanceof TalkwireError) throw result
      return result
    },
    inTurn: turns(),
  }
}

/** What became of one of several documents. */
interface Written {
  readonly rev?: unknown
  readonly error?: unknown
  readonly reason?: unknown
}

/** Its revision; undefined: another was faster; or why not. */
type Result = string | undefined | TalkwireError

async function writeAll(couch: Couch, documents: readonly string[]): Promise<readonly Result[]> {
  const { body } = await couch.ask('POST', '/_bulk_docs', { body: `{"docs":[${documents.join()}]}` })
  const answers: unknown = parse(String(body), 'maybe-ran')
  if (Array.isArray(answers) && answers.length === documents.length) return answers.map((each) => resultOf(Object(each) as Written))
  throw new TalkwireError('INVALID_MESSAGE', 'CouchDB: what was written has no answers', { outcome: 'maybe-ran' })
}

const REFUSALS: Readonly<Record<string, string>> = { forbidden: 'PERMISSION_DENIED', unauthorized: 'PERMISSION_DENIED' }

function resultOf({ rev, error, reason }: Written): Result {
  if (error === 'conflict') return undefined
  if (typeof error === 'string')
    return new TalkwireError(REFUSALS[error] ?? 'UNKNOWN', `CouchDB: ${error}: ${String(reason).slice(0, 200)}`, {
      outcome: Object.hasOwn(REFUSALS, error) ? 'not-sent' : 'maybe-ran',
    })
  if (typeof rev === 'string') return rev
  return new TalkwireError('INVALID_MESSAGE', 'CouchDB: what was written has no revision', { outcome: 'maybe-ran' })
}

async function read(couch: Couch, id: string): Promise<Document | undefined> {
  const { status, body } = await couch.ask('GET', `${pathOf(id)}?conflicts=true`, { expected: [404] })
  return status === 404 ? none(body) : documentOf(body)
}

/** Throws NOT_FOUND where it is the database that is not there. */
function none(body: Buffer): undefined {
  const { reason } = Object(parse(String(body), 'not-sent')) as { readonly reason?: unknown }
  if (reason === 'missing' || reason === 'deleted') return undefined
  throw new TalkwireError('NOT_FOUND', `CouchDB: ${String(reason).slice(0, 200)}`)
}

/** Undefined: it is gone by now. */
export async function storedOf({ couch, read }: Store, key: string, found: Document | undefined): Promise<Stored | undefined> {
  for (let document = found; document;) {
    const attachment = attachmentOf(document)
    if (attachment === undefined) return { key, value: fieldsOf(document), type: 'json', revision: document._rev }
    const { _id: id, _rev: revision } = document
    const { status, body } = await couch.ask('GET', `${pathOf(id)}/${VALUE}?rev=${encodeURIComponent(revision)}`, { expected: [404] })
    if (status !== 404) return { key, value: body, type: bodyTypeOf(attachment), revision }
    document = await read(id)
    if (document?._rev === revision) throw new TalkwireError('INVALID_MESSAGE', `CouchDB: the document of "${key}" names what it has not`)
  }
  return undefined
}
