/** CouchDB, 2.0 and later, and what speaks like it: a document for each key, the feed of changes for who watches. docs/hub/couchdb.md */
import type { HubDriver, HubTrait } from '../driver.js'
import { connectCouch } from './couchdb/connection.js'
import { counters } from './couchdb/counters.js'
import { state } from './couchdb/state.js'
import { store } from './couchdb/store.js'

/** Where every document has several copies two may each win at one of them: nothing that compares is to be relied on. */
const ANYWHERE: readonly HubTrait[] = ['state', 'list', 'watch']

export const couchdb: HubDriver = {
  name: 'couchdb',
  traits: [...ANYWHERE, 'cas', 'counters'],
  async open(address, options) {
    const connection = await connectCouch(address, options)
    const documents = store(connection)
    return {
      state: state(documents),
      ...(connection.copies === 1
        ? { counters: counters(documents) }
        : { only: { name: `couchdb with ${connection.copies} copies of a document`, traits: ANYWHERE } }),
      close: () => connection.close(),
    }
  },
}
