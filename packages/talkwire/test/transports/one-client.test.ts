import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { fifo } from '../../src/transports/fifo.js'
import { mmap } from '../../src/transports/mmap.js'
import { freshPath } from '../helpers/place.js'

for (const wire of [fifo, mmap])
  test(`${wire.scheme}: who gives up in the same turn is not connected, and leaves its place to the next one`, async () => {
    const address = `${wire.scheme}:${freshPath('.one')}`
    const listener = await wire.listen!(address, () => new LocalEnd())
    const stop = new AbortController()
    const connecting = wire.connect!(address, new LocalEnd(), { signal: stop.signal })
    stop.abort(new Error('not any more'))
    await assert.rejects(connecting, /not any more/)
    const connection = await soon(wire.connect!(address, new LocalEnd()), 'the next one is connected')
    await soon(connection.close(), 'its end')
    await listener.close()
  })
