/** A hub of the test's own, in memory, in this process; errors that nobody waited for fail the test. */
import assert from 'node:assert/strict'
import { serveHub, type HubServeOptions } from '../../src/hub/embedded/serve.js'
import { openHub, type Hub } from '../../src/hub/hub.js'
import { freshName } from './place.js'

export interface Place {
  /** What `openHub` takes. */
  readonly address: string
  readonly open: () => Promise<Hub>
  /** What nobody waited for; to be emptied by who expects it. */
  readonly errors: unknown[]
}

export async function withHub(body: (hub: Hub, place: Place) => Promise<void>, options: HubServeOptions = {}): Promise<void> {
  const name = freshName()
  const errors: unknown[] = []
  const onError = (error: unknown): void => void errors.push(error)
  await using served = await serveHub({ name, durability: 'memory', onError, ...options })
  void served
  const address = `hub:unix:${name}`
  const opened: Hub[] = []
  const open = async (): Promise<Hub> => {
    const hub = await openHub(address, { onError })
    opened.push(hub)
    return hub
  }
  try {
    await body(await open(), { address, open, errors })
  } finally {
    await Promise.all(opened.map((hub) => hub.close()))
  }
  assert.deepEqual(errors, [])
}
