/** What goes to one subscriber, consumer or watcher, as long as its stream has credit. */
import { visibleError } from '../../session/validate.js'
import type { Client } from './clients.js'
import { counted } from './clients.js'
import type { KeptMessage } from './kept.js'
import { rawKey, type Hub, type RawKey } from './ops.js'
import type { Consumer, Given, Job, Queue } from './queue.js'
import type { Shell } from './shell.js'
import type { Subscriber } from './subscriber.js'
import type { Subscribe } from './topics.js'
import { after } from '../../timers.js'

/** The first element of every stream: whoever gets it misses nothing from now on. */
export const READY: readonly unknown[] = []

export type FeedItem = readonly [lost: number, bytes: Uint8Array]
export type RawJob = readonly [
  id: number,
  receipt: number,
  attempt: number,
  time: number,
  type: number,
  headers: Readonly<Record<string, string>> | null,
  body: Uint8Array,
]

/** Jobs, keys and bytes of one element. */
const MOST = 256
const MOST_BYTES = 1024 * 1024

interface Gate {
  readonly open: () => void
  /** Resolves when it was opened since the last time. */
  pass(): Promise<void>
}

function createGate(): Gate {
  let opened = false
  let resolve: (() => void) | undefined
  return {
    open() {
      opened = true
      resolve?.()
      resolve = undefined
    },
    async pass() {
      if (!opened) await new Promise<void>((done) => (resolve = done))
      opened = false
    },
  }
}

export async function* feed(hub: Hub, client: Client, wish: Subscribe, signal: AbortSignal): AsyncGenerator<readonly unknown[] | FeedItem> {
  const { shell } = hub
  const uncount = counted(client, hub.limits)
  const gate = createGate()
  const reading = (() => {
    try {
      return shell.machine.topics.subscribe(wish)
    } catch (reason) {
      uncount()
      throw reason
    }
  })()
  reading.wake = gate.open
  signal.addEventListener('abort', gate.open, { once: true })
  try {
    shell.flush()
    // Where it begins, if it can be gone on with from there after a lost connection.
    const kept = wish.group === undefined && shell.machine.topics.keeper.listsFor(wish.pattern).length > 0
    yield [kept ? shell.machine.topics.keeper.newest : -1]
    while (!signal.aborted) {
      if (reading.subscriber.ended) throw reading.subscriber.ended
      const portion = reading.take(shell.synced)
      if (portion && wish.group !== undefined) shell.flush()
      if (portion === undefined) {
        if (reading.subscriber.held) wakeSynced(shell, gate)
        await gate.pass()
      } else if ('bytes' in portion) yield [portion.lost, portion.bytes]
      else yield [0, await bytesOf(shell, portion)]
    }
  } finally {
    reading.close()
    uncount()
    if (!shell.failed) shell.flush()
  }
}

/** What is here may not yet be shown. */
function wakeSynced(shell: Shell, gate: Gate): void {
  shell.after(shell.machine.effects.count)?.then(gate.open, gate.open)
}

async function bytesOf(shell: Shell, messages: readonly KeptMessage[]): Promise<Uint8Array> {
  const pieces = await Promise.all(messages.map(async ({ bytes, place }) => bytes ?? keptBody(await shell.read(place))))
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
}

/** Behind the time and the length: spec/hub-machine.md. */
const keptBody = (record: Uint8Array): Uint8Array => record.subarray(12)

/** A publisher waits until this subscriber has room, or is ended for its slowness. */
export function room(subscriber: Subscriber, patience: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = after(patience, () => {
      subscriber.end(
        visibleError('LIMIT_EXCEEDED', `publishers waited ${patience} ms for this subscriber; read faster, or take another "slow"`),
      )
    })
    const done = (): void => {
      clearTimeout(timer)
      resolve()
    }
    if (!subscriber.waits(done)) done()
  })
}

export async function* work(
  hub: Hub,
  client: Client,
  queue: Queue,
  number: number,
  want: number,
  signal: AbortSignal,
): AsyncGenerator<readonly RawJob[]> {
  const { shell } = hub
  const uncount = counted(client, hub.limits)
  const gate = createGate()
  const consumer: Consumer = { queue, want, out: new Set(), late: new Set(), given: [], wake: gate.open }
  client.consumers.set(number, consumer)
  queue.consumers.add(consumer)
  signal.addEventListener('abort', gate.open, { once: true })
  try {
    yield READY as readonly RawJob[]
    queue.dispatch(shell.now())
    shell.flush()
    while (!signal.aborted) {
      const jobs = await rawJobs(shell, consumer, gate)
      if (jobs.length > 0) yield jobs
      else await gate.pass()
    }
  } finally {
    // Jobs that are out stay the client's: it may acknowledge them after it stopped taking more.
    queue.leaveConsumer(consumer)
    consumer.want = 0
    takeBack(queue, consumer, shell)
    client.consumers.delete(number)
    if (consumer.out.size > 0) client.hands.add(consumer)
    uncount()
  }
}

/** What was meant for it and did not leave. */
function takeBack(queue: Queue, { given }: Consumer, shell: Shell): void {
  if (shell.failed) return
  for (const { job, receipt } of given.splice(0)) if (job.receipt === receipt) queue.unhand(job, shell.now())
  shell.flush()
}

async function rawJobs(shell: Shell, consumer: Consumer, gate: Gate): Promise<readonly RawJob[]> {
  let count = 0
  let bytes = 0
  const { given } = consumer
  while (count < given.length && count < MOST && bytes < MOST_BYTES && given[count]!.job.stamp <= shell.synced)
    bytes += given[count++]!.job.size
  if (count === 0) {
    if (given.length > 0) wakeSynced(shell, gate)
    return []
  }
  // Whose time was over while it waited here is another's by now.
  const jobs = given.splice(0, count).filter(({ job, receipt }) => job.receipt === receipt)
  return jobs.some(({ job }) => job.body === undefined)
    ? Promise.all(jobs.map((each) => readJob(shell, each)))
    : jobs.map((each) => rawJob(each, each.job.body!))
}

async function readJob(shell: Shell, given: Given): Promise<RawJob> {
  return rawJob(given, await jobBody(shell, given.job))
}

const rawJob = ({ job, receipt }: Given, body: Uint8Array): RawJob => [
  job.id,
  receipt,
  job.attempts,
  job.time,
  job.type,
  job.headers ?? null,
  body,
]

/** The body stands at the end of its record. */
export async function jobBody(shell: Shell, job: Job): Promise<Uint8Array> {
  if (job.body) return job.body
  const record = await shell.read(job.place)
  return record.subarray(record.length - job.size)
}

/** One taking by hand: up to so many jobs, as soon as there is one, or none after a time. */
export async function takeByHand(
  hub: Hub,
  client: Client,
  queue: Queue,
  most: number,
  wait: number,
  signal: AbortSignal,
): Promise<readonly RawJob[]> {
  const { shell } = hub
  const gate = createGate()
  const consumer: Consumer = { queue, want: most, out: new Set(), late: new Set(), given: [], wake: gate.open }
  for (const hand of client.hands) if (hand.out.size === 0) client.hands.delete(hand)
  const timer = setTimeout(gate.open, wait)
  signal.addEventListener('abort', gate.open, { once: true })
  queue.consumers.add(consumer)
  try {
    queue.dispatch(shell.now())
    shell.flush()
    if (consumer.given.length === 0 && wait > 0) await gate.pass()
  } finally {
    clearTimeout(timer)
    queue.leaveConsumer(consumer)
  }
  if (signal.aborted) {
    takeBack(queue, consumer, shell)
    return []
  }
  client.hands.add(consumer)
  await shell.after(consumer.given.reduce((stamp, { job }) => Math.max(stamp, job.stamp), 0))
  return Promise.all(consumer.given.splice(0).map((each) => readJob(shell, each)))
}

/** First what is there, then what changes. Of keys that changed several times in between, the last change. */
export async function* look(
  hub: Hub,
  client: Client,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<readonly (RawKey | readonly [string])[]> {
  const { shell } = hub
  const { state } = shell.machine
  const uncount = counted(client, hub.limits)
  const gate = createGate()
  const watcher = state.watchers.watch(prefix)
  watcher.wake = gate.open
  signal.addEventListener('abort', gate.open, { once: true })
  try {
    yield READY as []
    for (let after: string | undefined; ;) {
      const entries = state.list(prefix, after, MOST, shell.now())
      shell.flush()
      if (entries.length === 0) break
      after = entries.at(-1)!.key
      const raw = entries.map(rawKey)
      await shell.after(entries.reduce((stamp, entry) => Math.max(stamp, entry.stamp), 0))
      yield raw
    }
    // What was there is told.
    yield READY as []
    while (!signal.aborted) {
      const { changes, stamp } = watcher.take(MOST)
      if (changes.length === 0) await gate.pass()
      else {
        const raw = changes.map(({ key, entry }) => (entry ? rawKey(entry) : ([key] as const)))
        await shell.after(stamp)
        yield raw
      }
    }
  } finally {
    watcher.close()
    uncount()
  }
}
