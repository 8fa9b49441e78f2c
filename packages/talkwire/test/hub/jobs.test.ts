/** What a handler has in its hands, on a driver that is played by the test. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../src/error.js'
import type { Job } from '../../src/hub/attempt.js'
import type { Base } from '../../src/hub/base.js'
import type { Job as DriverJob, JobSink } from '../../src/hub/driver.js'
import { queue, type ConsumeOptions } from '../../src/hub/queues.js'

const NOT_OURS = new TalkwireError('NOT_FOUND', 'the job 1 is another’s', { outcome: 'ran' })

/** A queue whose driver hands out what `hand` is given. `extended`: resolves when more time was asked for. */
async function played(handler: (job: Job<any>) => unknown, options?: ConsumeOptions) {
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
  const worker = await queue(base, 'work', { visibility: 2 }).consume(handler, options)
  let ours = true
  const renewed: string[] = []
  const job = (id: string): DriverJob => ({
    id,
    attempt: 1,
    time: undefined,
    type: 'json',
    headers: {},
    body: Buffer.from('7'),
    async ack() {
      if (!ours) throw NOT_OURS
    },
    nack: async () => void seen.push('nack'),
    dead: async (reason) => void seen.push(`dead: ${reason}`),
    async extend() {
      renewed.push(id)
      asked()
      ours = false
      throw NOT_OURS
    },
  })
  return { hand: (id = '1') => sink!.job(job(id)), worker, told, seen, renewed, extended }
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
  const { hand, worker, seen, told, extended } = await played(async ({ data, dead, extend, progress }) => {
    await progress(data)
    await assert.rejects(extend(1000), NOT_OURS)
    await extended
    await dead('of old age')
  })
  hand()
  await worker.close()
  assert.deepEqual([seen, told], [['dead: of old age'], []])
})

test('no more time is asked for what is done', async () => {
  const { hand, worker, renewed, extended } = await played((job) => (job.id === 'long' ? extended : undefined))
  hand('short')
  hand('long')
  await worker.close()
  assert.deepEqual(renewed, ['long'])
})

/** The first is begun at once, the next in a day. */
const DAILY: ConsumeOptions = { concurrency: 2, rate: { jobs: 1, per: 86_400_000 } }

test('a job that waits for its turn is in our hands: more time is asked for it', async () => {
  const { hand, worker, extended } = await played(() => {}, DAILY)
  hand()
  hand()
  await extended
  await worker.close()
})

test('a job that became another’s while it waited for its turn is not begun', async () => {
  let begun = 0
  const { hand, worker, told, seen, extended } = await played(() => void begun++, { rate: { jobs: 1, per: 200 } })
  hand()
  hand()
  await extended
  while (told.length === 0) await new Promise((resolve) => setImmediate(resolve))
  await worker.close()
  assert.deepEqual([begun, told, seen], [1, [NOT_OURS], []])
})

test('a hundred jobs may wait for their turns, for months, and nobody warns of it', async () => {
  let begun = 0
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  try {
    const { hand, worker, extended } = await played(() => void begun++, DAILY)
    for (let jobs = 0; jobs < 100; jobs++) hand()
    await extended
    await worker.close()
    // Node tells of a warning in the next tick, and of a time that it cannot wait by not waiting.
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('warning', warn)
  }
  assert.deepEqual([begun, warnings], [1, []])
})

test('closing begins no job that waits for its turn: it is given back at once', async () => {
  let begun = 0
  const { hand, worker, seen } = await played(() => void begun++, DAILY)
  hand()
  hand()
  await worker.close()
  assert.deepEqual([begun, seen], [1, ['nack']])
})
