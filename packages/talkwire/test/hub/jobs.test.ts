/** What a handler has in its hands, on a driver that is played by the test. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../src/error.js'
import type { Base } from '../../src/hub/base.js'
import type { Job as DriverJob, JobSink } from '../../src/hub/driver.js'
import { queue, type Job } from '../../src/hub/queues.js'

const NOT_OURS = new TalkwireError('NOT_FOUND', 'the job 1 is another’s', { outcome: 'ran' })

/** A queue whose driver hands out what `hand` is given. `extended`: resolves when more time was asked for. */
async function played(handler: (job: Job<any>) => unknown) {
  let sink: JobSink | undefined
  const told: unknown[] = []
  const seen: string[] = []
  let asked = (): void => {}
  const extended = new Promise<void>((resolve) => (asked = resolve))
  const driver = {
    queues: {
      declare: async () => {},
      push: async () => [],
      async consume(_: string, given: JobSink) {
        sink = given
        return { want() {}, close: async () => {} }
      },
    },
  }
  const base: Base = {
    driver: driver as unknown as Base['driver'],
    name: 'played',
    has: () => true,
    need: () => undefined,
    onError: (reason) => told.push(reason),
  }
  const worker = await queue(base, 'work', { visibility: 2 }).consume(handler)
  const job: DriverJob = {
    id: '1',
    attempt: 1,
    time: undefined,
    type: 'json',
    headers: {},
    body: Buffer.from('7'),
    ack: async () => Promise.reject(NOT_OURS),
    nack: async () => void seen.push('nack'),
    dead: async (reason) => void seen.push(`dead: ${reason}`),
    async extend() {
      asked()
      throw NOT_OURS
    },
  }
  return { hand: () => sink!.job(job), worker, told, seen, extended }
}

test('the signal aborts when the job is another’s, and says why', async () => {
  let reason: unknown
  const { hand, worker, told, seen } = await played(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    ;({ reason } = signal)
  })
  hand()
  await worker.close()
  assert.equal(reason, NOT_OURS)
  assert.deepEqual([told, seen], [[NOT_OURS], []], 'told of, and not given back: it is not ours to give')
})

test('who asks for the signal late finds it aborted', async () => {
  const signals: AbortSignal[] = []
  const { hand, worker, extended } = await played(async (job) => {
    await extended
    await new Promise((resolve) => setImmediate(resolve))
    signals.push(job.signal)
  })
  hand()
  await worker.close()
  assert.deepEqual(
    signals.map(({ aborted, reason }) => [aborted, reason]),
    [[true, NOT_OURS]],
  )
})

test('a handler may take its job apart', async () => {
  const { hand, worker, seen, told } = await played(async ({ data, dead, progress }) => {
    await progress(data)
    await dead('of old age')
  })
  hand()
  await worker.close()
  assert.deepEqual([seen, told], [['dead: of old age'], []])
})
