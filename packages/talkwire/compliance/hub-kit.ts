/** What the suites of the hub's drivers share: hubs that are closed again, and those who wait for what comes. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import assert from 'node:assert/strict'
import type {
  Consumption,
  HubDriver,
  HubTrait,
  Job,
  OpenDriver,
  OpenOptions,
  Outgoing,
  QueueSettings,
  Stored,
  SubscribeOptions,
  Subscription,
  TopicMessage,
} from '../src/hub/driver.js'
import { soon, turns } from './ends.js'

export type HubChangeSeen = 'lost' | 'connected'

/** A name that nobody uses. */
export const fresh = (): string => `t${randomBytes(8).toString('hex')}`
export const json = (value: unknown): Outgoing => ({ body: Buffer.from(JSON.stringify(value)), type: 'json', headers: {} })
export const valueOf = ({ body }: { readonly body: Uint8Array }): unknown => JSON.parse(Buffer.from(body).toString())
/** Every byte, none, and a megabyte of them. */
export const bodies = (): Buffer[] => {
  const every = Buffer.from(Uint8Array.from({ length: 256 }, (_, index) => index))
  return [every, Buffer.alloc(0), Buffer.alloc(1_000_000, every)]
}
/** Numbers from 0. */
export const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index)

/** Another process takes a job, and is killed. `visibility`: milliseconds. */
export async function takeAndDie({ far, words }: Pick<HubKit, 'far' | 'words'>, queue: string, visibility = 30_000): Promise<void> {
  const child = spawn(process.execPath, [far, ...words, 'take', queue, `${visibility}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  await soon(once(child.stdout, 'data'), 'another process that takes the job')
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** What comes without a word to anybody is asked for, so often at most. */
const MOST_ASKED = 2_000
export async function someOf<T>(ask: () => Promise<readonly T[]>): Promise<readonly T[]> {
  for (let asked = 0; asked < MOST_ASKED; asked++) {
    const found = await ask()
    if (found.length > 0) return found
  }
  throw new Error(`there is nothing, asked for ${MOST_ASKED} times`)
}

/** Waits for something that events bring about. */
export class Waiting {
  private waiters: (() => void)[] = []
  happened(): void {
    for (const look of this.waiters.splice(0)) look()
  }
  until<T>(what: string | (() => string), find: () => T | undefined): Promise<T> {
    const found = new Promise<T>((resolve, reject) => {
      const look = (): void => {
        try {
          const value = find()
          if (value === undefined) this.waiters.push(look)
          else resolve(value)
        } catch (reason) {
          reject(reason as Error)
        }
      }
      look()
    })
    return soon(found, what)
  }
}

export class Listener extends Waiting {
  readonly messages: TopicMessage[] = []
  lostCount = 0
  readonly ends: unknown[] = []
  subscription!: Subscription
  /** Says false to the message that fills it, and to those after it. */
  room = Infinity

  message(message: TopicMessage): boolean {
    this.messages.push(message)
    this.happened()
    return --this.room > 0
  }
  lost(count: number): void {
    this.lostCount += count
    this.happened()
  }
  ended(error?: unknown): void {
    this.ends.push(error)
    this.happened()
  }
  async until_(count: number): Promise<TopicMessage[]> {
    return super.until(
      () => `${count} messages; ${this.messages.length} came`,
      () => (this.messages.length >= count ? this.messages : undefined),
    )
  }
  get values(): unknown[] {
    return this.messages.map(valueOf)
  }
}

export interface Ear {
  readonly listener: Listener
  readonly messages: readonly TopicMessage[]
  values(): unknown[]
  until(count: number): Promise<TopicMessage[]>
  /** Whether one came, some turns of the event loop later. */
  something(): Promise<boolean>
  close(): Promise<void>
}

export class Worker extends Waiting {
  readonly jobs: Job[] = []
  readonly ends: unknown[] = []
  consumption!: Consumption
  settings!: QueueSettings
  job(job: Job): void {
    this.jobs.push(job)
    this.happened()
  }
  ended(error?: unknown): void {
    this.ends.push(error)
    this.happened()
  }
  got(count: number): Promise<Job[]> {
    return super.until(
      () => `${count} jobs; ${this.jobs.length} came`,
      () => (this.jobs.length >= count ? this.jobs : undefined),
    )
  }
}

export interface Hand {
  readonly jobs: readonly Job[]
  readonly consumption: Consumption
  readonly settings: QueueSettings
  until(count: number): Promise<Job[]>
  readonly ends: readonly unknown[]
}

export interface Watched {
  /** What each key is by what was told; undefined: gone. */
  readonly known: ReadonlyMap<string, string | undefined>
  readonly told: readonly (Stored | { readonly key: string; readonly gone: true })[]
  until(key: string, value: string | undefined): Promise<void>
  readonly subscription: Subscription
  /** From now on the sink says false. */
  full(): void
}

export interface HubKit {
  readonly has: (trait: HubTrait) => boolean
  /** A test that runs where all of these are declared. */
  group(name: string, traits: readonly HubTrait[], body: () => Promise<void>): void
  /** Closes what was opened in it, and fails for errors that nobody waited for. */
  within(body: () => Promise<void>): Promise<void>
  open(options?: Partial<OpenOptions>): Promise<OpenDriver>
  listener(hub: OpenDriver, pattern: string, options?: Partial<SubscribeOptions>, room?: number): Promise<Ear>
  /** Declares the queue, and consumes; it wants nothing yet. */
  worker(hub: OpenDriver, queue: string, settings?: Partial<QueueSettings>): Promise<Hand>
  watcher(hub: OpenDriver, prefix: string): Promise<Watched>
  /** The path of the program for other processes, and what they are told. */
  readonly far: string
  readonly words: readonly string[]
}

export function hubKit({ driver, module, address }: { driver: HubDriver; module: string; address: string }, has: HubKit['has']): HubKit {
  let opened: OpenDriver[] = []
  let errors: unknown[] = []
  return {
    has,
    group() {},
    far: fileURLToPath(new URL('hub-far.js', import.meta.url)),
    words: [module, driver.name, address],
    async within(body) {
      opened = []
      errors = []
      try {
        await body()
      } finally {
        await soon(Promise.all(opened.map((hub) => hub.close())), 'close()')
      }
      assert.deepEqual(errors, [], 'errors that nobody waited for')
    },
    async open(options = {}) {
      const hub = await soon(
        driver.open(address, {
          credentials: undefined,
          onConnection() {},
          onError: (error) => void errors.push(error),
          signal: undefined,
          ...options,
        }),
        'open()',
      )
      opened.push(hub)
      return hub
    },
    async listener(hub, pattern, options = {}, room = Infinity) {
      const listener = new Listener()
      listener.room = room
      const wish = { from: 'new', group: undefined, buffer: room === Infinity ? 10_000 : room, ...options } as const
      listener.subscription = await soon(hub.topics!.subscribe(pattern, wish, listener), 'subscribe()')
      return {
        listener,
        messages: listener.messages,
        values: () => listener.values,
        until: (count) => listener.until_(count),
        async something() {
          await turns()
          return listener.messages.length > 0
        },
        close: () => soon(listener.subscription.close(), 'the end of a subscription'),
      }
    },
    async worker(hub, queue, wish = {}) {
      const worker = new Worker()
      worker.settings = { visibility: 30_000, attempts: has('attempts') ? 3 : 0, dedupe: has('dedupe') ? 60_000 : 0, ...wish }
      await soon(hub.queues!.declare(queue, worker.settings), 'declare()')
      worker.consumption = await soon(hub.queues!.consume(queue, worker), 'consume()')
      return {
        jobs: worker.jobs,
        consumption: worker.consumption,
        settings: worker.settings,
        ends: worker.ends,
        until: (count) => worker.got(count),
      }
    },
    async watcher(hub, prefix) {
      const known = new Map<string, string | undefined>()
      const told: (Stored | { readonly key: string; readonly gone: true })[] = []
      const waiting = new Waiting()
      let room = true
      const subscription = await soon(
        hub.state!.watch!(prefix, {
          changed(change) {
            told.push(change)
            known.set(change.key, 'gone' in change ? undefined : Buffer.from(change.value).toString())
            waiting.happened()
            return room
          },
          ended: () => waiting.happened(),
        }),
        'watch()',
      )
      return {
        known,
        told,
        subscription,
        full: () => void (room = false),
        async until(key, value) {
          await waiting.until(
            () => `${key} being ${value}; it is ${known.get(key)}`,
            () => (known.has(key) && known.get(key) === value ? true : undefined),
          )
        },
      }
    },
  }
}
