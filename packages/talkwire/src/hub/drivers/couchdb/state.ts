/** Revisions are CouchDB's own. Who sets without one takes that of the document, and takes it again when somebody was faster. */
import { TalkwireError } from '../../../error.js'
import type { SetOptions, StateDriver } from '../../driver.js'
import { idOf, isRevision, textOf, type Document } from './documents.js'
import { list } from './list.js'
import { storedOf, type Store } from './store.js'
import { watch } from './watch.js'

/** So many revisions are known, of those that were set last: no question is needed before they are set again. */
const KNOWN = 1000
const DELETED = '"_deleted":true'

export function state(store: Store): StateDriver {
  const { couch, inTurn, read, write } = store
  const known = new Map<string, string>()
  const note = (id: string, revision: string | undefined): string | undefined => {
    known.delete(id)
    if (revision !== undefined) known.set(id, revision)
    if (known.size > KNOWN) known.delete(known.keys().next().value!)
    return revision
  }
  const replace = async (id: string, fields: string): Promise<string> => {
    for (;;) {
      const done = note(id, await write(id, fields, known.get(id)))
      if (done !== undefined) return done
      note(id, (await read(id))?._rev)
    }
  }
  const remove = async (id: string, revision: string | undefined): Promise<boolean> => {
    for (;;) {
      const found = await read(id)
      if (!found || (revision !== undefined && found._rev !== revision)) return false
      // Another branch that replication left would come back as the value.
      for (const each of conflictsOf(found)) await write(id, DELETED, each)
      if ((await write(id, DELETED, found._rev)) !== undefined) return true
    }
  }
  const compares = (revision: string | null | undefined): void => {
    if (revision === undefined || couch.copies === 1) return
    throw new TalkwireError('UNSUPPORTED', `couchdb with ${couch.copies} copies of a document has no cas; embedded, redis and nats have it`)
  }
  return {
    async get(key) {
      return storedOf(store, key, await read(idOf(couch, key)))
    },
    async set(key, value, type, { revision, ttl }: SetOptions) {
      if (ttl !== undefined) throw new TalkwireError('UNSUPPORTED', 'couchdb has no ttl: nothing of it expires; embedded and redis have it')
      compares(revision)
      const id = idOf(couch, key)
      const fields = textOf(value, type)
      if (revision === undefined) return inTurn(id, () => replace(id, fields))
      if (revision !== null && !isRevision(revision)) return undefined
      return inTurn(id, async () => note(id, await write(id, fields, revision ?? undefined)))
    },
    async delete(key, revision) {
      compares(revision)
      const id = idOf(couch, key)
      return inTurn(id, () => remove(id, revision))
    },
    list: (prefix) => list(store, prefix),
    watch: (prefix, sink) => watch(store, prefix, sink),
  }
}

const conflictsOf = ({ _conflicts: conflicts }: Document): readonly string[] => (Array.isArray(conflicts) ? conflicts.map(String) : [])
