/** Many peers that are killed in the same moment: what that costs is counted, not timed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { processStat } from '../../src/discovery/identity.js'
import { connect, serve, TalkwireError } from '../../src/index.js'
import { freshAddress } from './harness.js'
import { fixture } from './processes.js'

/** Counts the errors of ours that are built while `body` runs. */
async function errorsIn(body: () => Promise<void>): Promise<number> {
  let built = 0
  class Counting extends Error {
    constructor(message?: string, options?: ErrorOptions) {
      super(message, options)
      built++
    }
  }
  Object.setPrototypeOf(TalkwireError, Counting)
  try {
    await body()
  } finally {
    Object.setPrototypeOf(TalkwireError, Error)
  }
  return built
}

const CROWD = 600
/** How many sessions one turn of the event loop may let go of, with some to spare. */
const A_TURN = 80

for (const kind of ['plain', 'talkwire'] as const) {
  test(`${CROWD} ${kind} peers killed at once: at most one error each, and their sessions go a few in each turn`, async () => {
    const service = await serve('burst', { add: (a: number, b: number) => a + b }, { listen: freshAddress('unix') })
    const honest = await connect<{ add(a: number, b: number): number }>(service.addresses[0]!)
    const crowd = fixture(import.meta.url, 'crowd.js', service.addresses[0]!, String(CROWD), kind)
    await crowd.line('ready')
    assert.equal(service.peers.length, CROWD + 1)
    const left: number[] = []
    const built = await errorsIn(async () => {
      process.kill(crowd.pid, 'SIGKILL')
      // Nothing is read before all of their ends are there: they come in one turn.
      while (processStat(crowd.pid)?.state !== 'Z') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
      for (let last = CROWD + 1; last > 1;) {
        await new Promise((resolve) => setImmediate(resolve))
        last = service.peers.length
        left.push(last)
      }
    })
    const steps = left.map((count, turn) => (left[turn - 1] ?? CROWD + 1) - count)
    assert.ok(Math.max(...steps) <= A_TURN, `${Math.max(...steps)} in one turn`)
    assert.ok(built <= (kind === 'plain' ? 0 : CROWD), `${built} errors`)
    assert.equal(await honest.add(2, 5), 7)
    await honest.close()
    await service.close()
  })
}
