/** Documents by the order of their ids, a page at a time. */
import { TalkwireError } from '../../../error.js'
import type { Stored } from '../../driver.js'
import type { Couch } from './connection.js'
import { idOf, isDocument, keyOf } from './documents.js'
import { parse } from './exchange.js'
import { storedOf, type Store } from './store.js'

const PAGE = 100

interface Row {
  readonly id?: unknown
  readonly doc?: unknown
}

export async function* list(store: Store, prefix: string): AsyncGenerator<Stored, void, undefined> {
  const { couch } = store
  const first = prefix === '' && couch.prefix === '' ? '' : idOf(couch, prefix)
  let limit = PAGE
  for (let from = first; ;) {
    let rows: readonly Row[]
    try {
      rows = await page(couch, from, limit)
    } catch (reason) {
      if (!(reason instanceof TalkwireError) || reason.code !== 'MESSAGE_TOO_LARGE' || limit === 1) throw reason
      limit = Math.ceil(limit / 2)
      continue
    }
    for (const { id, doc } of rows) {
      if (typeof id !== 'string' || !id.startsWith(first)) return
      from = `${id}\0`
      const key = keyOf(couch, id)
      if (key === undefined || !isDocument(doc)) continue
      const stored = await storedOf(store, key, doc)
      if (stored) yield stored
    }
    if (rows.length < limit) return
  }
}

async function page(couch: Couch, from: string, limit: number): Promise<readonly Row[]> {
  const start = encodeURIComponent(JSON.stringify(from))
  const { body } = await couch.ask('GET', `/_all_docs?include_docs=true&limit=${limit}&startkey=${start}`)
  const { rows } = Object(parse(String(body), 'not-sent')) as { readonly rows?: unknown }
  if (Array.isArray(rows)) return rows.map(Object) as Row[]
  throw new TalkwireError('INVALID_MESSAGE', 'CouchDB: a list of documents has no "rows"')
}
