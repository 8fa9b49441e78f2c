/** Work queues: each job to one consumer, at least once. */
import { setMaxListeners } from 'node:events'
import type { InputOf, OutputOf, StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import { Attempt, bury, LONGEST_REASON, renewal, type Job, type Renewal } from './attempt.js'
import type { Base } from './base.js'
import type { DeadLetter as DriverDeadLetter, Headers, Job as DriverJob, NewJob, Outgoing, QueueCounts, QueueSettings } from './driver.js'
import { onceDone } from './once-done.js'
import { Pace, type Rate } from './pace.js'
import { results, type Results } from './results.js'
import { validateTopic } from './topic-names.js'
import { underway } from './underway.js'
import { valuesOf, type ValueOptions, type Values } from './values.js'

export interface QueueOptions<S extends StandardSchema<any, any> = StandardSchema<any, any>> extends ValueOptions<S> {
  /** Milliseconds that a consumer has for a job until it goes to another, unless it asks for more. Default 30,000. */
  readonly visibility?: number
  /** How often a job is tried before it is a dead letter. Default 5. */
  readonly attempts?: number
  /** Milliseconds before the next try: `first`, then `factor` times more each time, at most `max`. Default 1,000, 2, 60,000. */
  readonly backoff?: Backoff
  /** Milliseconds that the key of a job is remembered. Default 120,000. */
  readonly dedupe?: number
  /** Milliseconds that the result of a job can be had. Without it results are not kept. */
  readonly results?: number
}

export interface Backoff {
  readonly first?: number
  readonly factor?: number
  readonly max?: number
}

export interface PushOptions {
  /** Milliseconds until it may be handed out. */
  readonly delay?: number
  /** 0 is ordinary, up to 9 is sooner. */
  readonly priority?: number
  /** Not pushed again when a job with this key was, within the time of `dedupe`; the first one's id is returned. */
  readonly key?: string
  readonly headers?: Headers
}

export interface ConsumeOptions {
  /** How many jobs are worked on at once. Default 1. */
  readonly concurrency?: number
  /** No more than so many jobs are begun in so many milliseconds. */
  readonly rate?: Rate
}

export interface Worker extends AsyncDisposable {
  /** No job is begun after this; resolves when those that were have ended. */
  close(): Promise<void>
  /** Resolves when it is closed; rejects with what ended it. */
  readonly closed: Promise<void>
}

export interface DeadLetter<T = unknown> {
  readonly id: string
  readonly data: T
  readonly headers: Headers
  readonly reason: string
  readonly attempts: number
}

export interface Queue<In = unknown, Out = In> {
  /** Resolves with the job's id when it is as safe as the broker makes it. */
  push(data: In, options?: PushOptions): Promise<string>
  /** As `push`, for many at once. */
  pushAll(jobs: readonly { readonly data: In; readonly options?: PushOptions }[]): Promise<readonly string[]>
  /** What the handler returns for a job is its result; the job is then done. What it throws has it tried again. */
  consume(handler: (job: Job<Out>) => unknown, options?: ConsumeOptions): Promise<Worker>
  /** What the handler returned. Waits at most `timeout` milliseconds. Rejects with NOT_FOUND, DEADLINE_EXCEEDED, or what the job died of. */
  result(id: string, options?: { readonly timeout?: number; readonly signal?: AbortSignal }): Promise<unknown>
  /** What the handler reports with `progress`, until the job ends. */
  follow(id: string): AsyncIterableIterator<unknown>
  counts(): Promise<QueueCounts>
  /** Removes what waits; resolves with how many. */
  purge(): Promise<number>
  deadLetters(options?: { readonly limit?: number }): Promise<readonly DeadLetter<Out>[]>
  /** Back into the queue, with all tries; resolves with how many. */
  revive(ids: readonly string[]): Promise<number>
}

export type QueueOf<S> = Queue<unknown extends InputOf<S> ? any : InputOf<S>, unknown extends OutputOf<S> ? any : OutputOf<S>>

const DEFAULTS = { visibility: 30_000, attempts: 5, dedupe: 120_000 }

export function queue(base: Base, name: string, options: QueueOptions<any>): Queue<any, any> {
  validateTopic(name)
  const settings: QueueSettings = {
    visibility: positive('visibility', options.visibility ?? DEFAULTS.visibility),
    attempts: positive('attempts', options.attempts ?? DEFAULTS.attempts),
    dedupe: positive('dedupe', options.dedupe ?? DEFAULTS.dedupe),
  }
  const pause = pausesOf(options.backoff ?? {})
  const values = valuesOf(options, `the queue "${name}"`)
  const kept = options.results === undefined ? undefined : results(base, name, positive('results', options.results))
  const ready = onceDone(() => declare(base, name, settings, options))
  return {
    async pushAll(jobs) {
      await ready()
      const written = await Promise.all(jobs.map(async (job) => newJob(base, values, job.data, job.options)))
      return base.driver.queues!.push(name, written)
    },
    // Jobs come by the ten thousand: nothing is waited for that is there already.
    async push(data, wish) {
      const waits = ready()
      if (waits) await waits
      const job = newJob(base, values, data, wish)
      const [id] = await base.driver.queues!.push(name, [job instanceof Promise ? await job : job])
      return id!
    },
    async consume(handler, { concurrency = 1, rate } = {}) {
      positive('concurrency', concurrency)
      const pace = rate && new Pace(rate)
      await ready()
      return work({ base, name, values, settings, pause, kept, handler, concurrency, pace })
    },
    result: (id, wish = {}) => (kept ?? noResults(name)).result(id, wish),
    follow: (id) => (kept ?? noResults(name)).follow(id),
    async counts() {
      await base.need('inspect')
      await ready()
      return base.driver.queues!.counts!(name)
    },
    async purge() {
      await base.need('purge')
      await ready()
      return base.driver.queues!.purge!(name)
    },
    async deadLetters({ limit = 100 } = {}) {
      await base.need('dead')
      await ready()
      return Promise.all((await base.driver.queues!.deadLetters!(name, limit)).map((letter) => readLetter(values, letter)))
    },
    async revive(ids) {
      await base.need('dead')
      await ready()
      return base.driver.queues!.revive!(name, ids)
    },
  }
}

async function declare(base: Base, name: string, settings: QueueSettings, options: QueueOptions): Promise<void> {
  await base.need('queues')
  if (options.visibility !== undefined) await base.need('visibility')
  if (options.attempts !== undefined) await base.need('attempts')
  if (options.results !== undefined) await base.need('state', 'ttl', 'watch')
  await base.driver.queues!.declare(name, settings)
}

function newJob(base: Base, values: Values, data: unknown, options: PushOptions = {}): NewJob | Promise<NewJob> {
  const { delay = 0, priority = 0, key, headers } = options
  if (!(delay >= 0) || !Number.isFinite(delay)) throw new TypeError('delay is a number of milliseconds, such as 5000')
  if (!Number.isInteger(priority) || priority < 0 || priority > 9)
    throw new TypeError('priority is a whole number from 0, ordinary, to 9, sooner')
  const refused =
    (delay > 0 ? base.need('delay') : undefined) ??
    (priority > 0 ? base.need('priority') : undefined) ??
    (key !== undefined ? base.need('dedupe') : undefined) ??
    (headers ? base.need('headers') : undefined)
  if (refused) return refused
  const job = ({ body, type, headers: named }: Outgoing): NewJob => ({ body, type, headers: named, delay, priority, key })
  const written = values.write(data, headers)
  return written instanceof Promise ? written.then(job) : job(written)
}

async function readLetter(values: Values, letter: DriverDeadLetter): Promise<DeadLetter> {
  const { id, headers, reason, attempts } = letter
  let data: unknown
  try {
    data = await values.read(letter)
  } catch {
    // What does not fit is why it is dead: it is shown as it came.
    data = letter.body
  }
  return { id, data, headers, reason, attempts }
}

interface Work {
  readonly base: Base
  readonly name: string
  readonly values: Values
  readonly settings: QueueSettings
  readonly pause: (attempt: number) => number
  readonly kept: Results | undefined
  readonly handler: (job: Job<any>) => unknown
  readonly concurrency: number
  readonly pace: Pace | undefined
}

async function work({ concurrency, ...rest }: Work): Promise<Worker> {
  const { base, name } = rest
  const running = underway()
  const stop = new AbortController()
  // Each job that waits for its turn listens.
  setMaxListeners(0, stop.signal)
  const worker = { renewed: base.has('extend') ? renewal(rest.settings.visibility) : undefined, stop: stop.signal }
  let closing: Promise<void> | undefined
  let settle!: { resolve(): void; reject(reason: unknown): void }
  const closed = new Promise<void>((resolve, reject) => (settle = { resolve, reject }))
  closed.catch(() => {})
  const begin = async (job: DriverJob): Promise<void> => {
    try {
      await attempt(rest, worker, job)
    } catch (reason) {
      base.onError(reason, name)
    }
  }
  const under = await base.driver.queues!.consume(name, {
    job: (job) => void running.keep(begin(job)),
    ended: (error) => void (error ? settle.reject(error) : undefined),
  })
  under.want(concurrency)
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      stop.abort()
      await under.close()
      await running.settled()
      settle.resolve()
    })())
  return { closed, close, [Symbol.asyncDispose]: close }
}

/** One try of one job, to its end: done, tried again, or dead. */
async function attempt(
  { base, values, settings, pause, kept, handler, pace }: Omit<Work, 'concurrency'>,
  { renewed, stop }: { readonly renewed: Renewal | undefined; readonly stop: AbortSignal },
  job: DriverJob,
): Promise<void> {
  let data: unknown
  try {
    data = values.read(job)
    if (data instanceof Promise) data = await data
  } catch (reason) {
    await bury(base, job, reasonOf(reason))
    return
  }
  const seen = new Attempt(base, job, data, kept)
  renewed?.add(seen)
  try {
    // It is in our hands from now on, also while it waits for its turn.
    if (pace && !(await pace.turn(stop))) return void (await job.nack(0))
    if (seen.lost) throw seen.lost
    const value = await handler(seen)
    if (seen.buried) return
    if (kept) await kept.done(job.id, value)
    await job.ack()
  } catch (reason) {
    if (seen.buried) throw reason
    if (reason instanceof TalkwireError && reason.code === 'NOT_FOUND' && seen.lost) throw reason
    if (job.attempt >= settings.attempts && base.has('dead')) {
      await bury(base, job, reasonOf(reason))
      await kept?.failed(job.id, reasonOf(reason))
    } else await job.nack(base.has('delay') ? pause(job.attempt) : 0)
    throw reason
  } finally {
    renewed?.remove(seen)
  }
}

const reasonOf = (reason: unknown): string => (reason instanceof Error ? reason.message : String(reason)).slice(0, LONGEST_REASON)

function pausesOf({ first = 1_000, factor = 2, max = 60_000 }: Backoff): (attempt: number) => number {
  return (attempt) => Math.min(max, first * factor ** Math.max(0, attempt - 1))
}

function positive(what: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value
  throw new TypeError(`${what} is a number above 0`)
}

function noResults(name: string): never {
  throw new TypeError(`the queue "${name}" keeps no results; open it with { results: milliseconds }`)
}
