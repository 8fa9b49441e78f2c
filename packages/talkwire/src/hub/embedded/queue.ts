/** One queue: jobs in order of priority and age, handed out to consumers, acknowledged, given back, dead. Sans I/O. */
import { visibleError } from '../../session/validate.js'
import type { Headers } from '../driver.js'
import type { BodyReader } from './bodies.js'
import type { Deadlines } from './deadlines.js'
import { Kind, type Effects } from './effects.js'
import { within, type HubLimits } from './limits.js'
import type { Place } from './log-types.js'
import { NumberHeap } from './number-heap.js'

export interface Settings {
  readonly visibility: number
  readonly attempts: number
  readonly dedupe: number
}

export const At = { ready: 0, delayed: 1, taken: 2, dead: 3 } as const
type At = (typeof At)[keyof typeof At]

export interface Job {
  readonly queue: Queue
  readonly id: number
  readonly priority: number
  readonly type: number
  /** Milliseconds since 1970. */
  readonly time: number
  readonly size: number
  at: At
  attempts: number
  /** Of the last time it was handed out; 0: it is not out. */
  receipt: number
  due: number
  place: Place
  /** Where the last record stands that changed it; −1: none did. */
  changed: Place
  /** When it may be handed out, as far as the log goes. */
  stamp: number
  /** Stamp of the last change, for replay. */
  version: number
  reason: string
  headers: Headers | undefined
  /** Undefined: it is in the log. */
  body: Uint8Array | undefined
  consumer: Consumer | undefined
}

/** A key that was pushed and is remembered for a time. */
export interface Key {
  readonly queue: Queue
  readonly key: string
  readonly id: number
  due: number
}

export interface NewJob {
  readonly body: Uint8Array
  readonly type: number
  readonly headers: Headers | undefined
  readonly delay: number
  readonly priority: number
  readonly key: string | undefined
}

/** What a record says of a job that was pushed. */
export interface JobChange {
  readonly kind: number
  readonly version: number
  readonly attempts: number
  readonly reason: string
  readonly due: number
}

export interface Given {
  readonly job: Job
  readonly receipt: number
}

/** Who takes jobs: at most `want` are out at it. */
export interface Consumer {
  readonly queue: Queue
  want: number
  readonly out: Set<Job>
  /** Receipts whose time was over, and that it has not settled: it is still busy with them, and gets no others instead. */
  readonly late: Set<number>
  /** Handed to it with these receipts; the shell gives them on when the log is there. */
  readonly given: Given[]
  wake: () => void
}

/** Ids stand below this in the order's numbers; priorities above. */
const ORDER = 2 ** 49
const TOP = 9
/** Ids in one record. */
const IDS = 4096

export class Queue {
  readonly jobs = new Map<number, Job>()
  /** Those that are ready, by priority and age. */
  private readonly order = new NumberHeap()
  private readonly keys = new Map<string, Key>()
  readonly consumers = new Set<Consumer>()
  private readonly counts = [0, 0, 0, 0]
  private readonly dead = new Map<number, Job>()
  private readonly late = new Map<number, Consumer>()
  bytes = 0
  place: Place = -1
  stamp = 0

  constructor(
    readonly name: string,
    public settings: Settings,
    private readonly effects: Effects,
    private readonly limits: HubLimits,
    private readonly deadlines: Deadlines<Job | Key>,
    private readonly memory: { used: number },
  ) {}

  private get waiting(): number {
    return this.counts[At.ready]!
  }

  /** The ids; those of jobs with a known key are the known ones'. All or none. Throws LIMIT_EXCEEDED. */
  push(jobs: readonly NewJob[], now: number, wall: number): { ids: number[]; stamp: number } {
    let bytes = 0
    for (const { body } of jobs) {
      within(body.length, this.limits, 'message', 'bytes of a job')
      bytes += body.length
    }
    within(this.jobs.size + jobs.length, this.limits, 'jobs', `jobs in "${this.name}"`)
    within(this.bytes + bytes, this.limits, 'jobBytes', `bytes of jobs in "${this.name}"`)
    const ids = jobs.map((job) => this.known(job.key, now) ?? this.add(job, now, wall))
    this.dispatch(now)
    return { ids, stamp: this.effects.count }
  }

  /** Hands out to consumers what they want and is ready, in turns. */
  dispatch(now: number): void {
    while (this.waiting > 0 && !this.effects.full) {
      const before = this.waiting
      for (const consumer of this.consumers) if (roomOf(consumer) > 0) this.give(consumer, now)
      if (this.waiting === before) return
    }
  }

  private take(consumer: Consumer, most: number, now: number): Job[] {
    const taken: Job[] = []
    for (let job = this.first(); job && taken.length < most; job = this.first()) taken.push(this.hand(job, consumer, now))
    this.wrote(taken)
    return taken
  }

  /** The job that is out with this receipt. */
  held(id: number, receipt: number): Job | undefined {
    const job = this.jobs.get(id)
    return job && job.at === At.taken && job.receipt === receipt ? job : undefined
  }

  /** For each: whether it was out. One record for all. */
  ack(receipts: readonly (readonly [number, number])[], now: number): boolean[] {
    const done: number[] = []
    const answers = receipts.map(([id, receipt]) => {
      const job = this.held(id, receipt)
      if (!job) return this.settleLate(receipt)
      this.remove(job)
      done.push(id)
      return true
    })
    this.finish(done)
    this.dispatch(now)
    return answers
  }

  /** Too late, but its consumer has room again. */
  settleLate(receipt: number): false {
    this.late.get(receipt)?.late.delete(receipt)
    this.late.delete(receipt)
    return false
  }

  /** It takes no more. */
  leaveConsumer(consumer: Consumer): void {
    this.consumers.delete(consumer)
    for (const receipt of consumer.late) this.late.delete(receipt)
    consumer.late.clear()
  }

  nack(job: Job, delay: number, now: number): void {
    if (job.attempts >= this.settings.attempts) return this.bury(job, `given back ${job.attempts} times`, now)
    const due = delay > 0 ? now + delay : 0
    this.write(Kind.back, job, (writer) => writer.number(due))
    this.put(job, due, now)
    this.dispatch(now)
  }

  bury(job: Job, reason: string, now: number): void {
    this.write(Kind.dead, job, (writer) => writer.text(reason))
    this.leave(job)
    job.reason = reason
    this.enter(job, At.dead)
    this.dispatch(now)
  }

  extend(job: Job, milliseconds: number, now: number): void {
    job.due = now + milliseconds
    this.deadlines.add(job)
  }

  /** Not by its own fault: the attempt counts, but no reason is given and it is ready at once. */
  giveBack(job: Job, now: number): void {
    if (job.at !== At.taken) return
    if (job.attempts >= this.settings.attempts) return this.bury(job, `its consumer was gone, ${job.attempts} times handed out`, now)
    this.put(job, 0, now)
    this.dispatch(now)
  }

  /** It was never shown to its consumer: the attempt does not count. */
  unhand(job: Job, now: number): void {
    job.attempts--
    this.put(job, 0, now)
    this.dispatch(now)
  }

  /** A deadline of ours was met. */
  isDue(item: Job | Key, now: number): void {
    if ('key' in item) {
      if (this.keys.get(item.key) === item) this.keys.delete(item.key)
      return
    }
    if (item.at === At.taken) {
      this.isLate(item)
      if (item.attempts >= this.settings.attempts)
        return this.bury(item, `not acknowledged in time, ${item.attempts} times handed out`, now)
    } else if (item.at !== At.delayed) return
    this.put(item, 0, now)
    this.dispatch(now)
  }

  tally(): { ready: number; delayed: number; taken: number; dead: number } {
    const [ready = 0, delayed = 0, taken = 0, dead = 0] = this.counts
    return { ready, delayed, taken, dead }
  }

  /** What is ready and delayed goes. */
  purge(): number {
    const gone: number[] = []
    for (const job of this.jobs.values())
      if (job.at === At.ready || job.at === At.delayed) {
        this.remove(job)
        gone.push(job.id)
      }
    this.order.clear()
    this.finish(gone)
    return gone.length
  }

  deadLetters(most: number): Job[] {
    const found: Job[] = []
    for (const job of this.dead.values()) {
      if (found.length >= most) break
      found.push(job)
    }
    return found
  }

  revive(ids: readonly number[], now: number): number {
    const jobs = ids.map((id) => this.dead.get(id)).filter((job) => job !== undefined)
    for (const job of jobs) job.attempts = 0
    for (let from = 0; from < jobs.length; from += IDS) this.wroteAll(Kind.revive, jobs.slice(from, from + IDS))
    for (const job of jobs) this.put(job, 0, now)
    this.dispatch(now)
    return jobs.length
  }

  // ── from the log ─────────────────────────────────────────────────────────────────────────────────

  replayPush(reader: BodyReader, place: Place): Job {
    const id = reader.number()
    const due = reader.number()
    const [priority, type] = [reader.byte(), reader.byte()]
    const time = reader.number()
    const [key, keyDue] = [reader.text(), reader.number()]
    const headers = reader.text()
    const body = reader.bytes()
    const known = this.jobs.get(id)
    if (known) {
      known.place = place
      return known
    }
    const job = this.make(id, { body, type, priority, headers: headers === '' ? undefined : (JSON.parse(headers) as Headers) }, due, time)
    job.place = place
    this.keepBody(job, body)
    if (key !== '') this.remember({ queue: this, key, id, due: keyDue })
    return job
  }

  /** A record says all that changes of a job, so that the last one is enough, however often and where it stands. */
  replayChange(job: Job, { kind, version, attempts, reason, due }: JobChange): void {
    if (version <= job.version) return
    job.version = version
    this.leave(job)
    job.attempts = attempts
    job.due = due
    job.reason = reason
    this.enter(job, kind === Kind.dead ? At.dead : At.ready)
  }

  /** An acknowledgement in the log. */
  forget(id: number): void {
    const job = this.jobs.get(id)
    if (job) this.remove(job)
  }

  /** After replay: everything is put where it belongs by now. */
  ready(now: number): void {
    this.order.clear()
    const { attempts } = this.settings
    for (const job of this.jobs.values()) {
      if (job.at === At.dead) continue
      if (job.attempts >= attempts) this.bury(job, `its consumer was gone, ${job.attempts} times handed out`, now)
      else this.put(job, job.due, now)
    }
  }

  // ── the rest is ours ─────────────────────────────────────────────────────────────────────────────

  private isLate({ consumer, receipt }: Job): void {
    if (!consumer || !this.consumers.has(consumer)) return
    consumer.late.add(receipt)
    this.late.set(receipt, consumer)
  }

  private known(key: string | undefined, now: number): number | undefined {
    if (key === undefined || this.settings.dedupe <= 0) return undefined
    const known = this.keys.get(key)
    return known && known.due > now ? known.id : undefined
  }

  private add(job: NewJob, now: number, wall: number): number {
    const id = this.effects.number()
    const due = job.delay > 0 ? now + job.delay : 0
    const made = this.make(id, job, due, wall)
    const key = this.settings.dedupe > 0 ? (job.key ?? '') : ''
    const keyDue = now + this.settings.dedupe
    made.stamp = this.effects.write(
      Kind.push,
      (writer) =>
        writer
          .text(this.name)
          .number(id)
          .number(due)
          .byte(job.priority)
          .byte(job.type)
          .number(wall)
          .text(key)
          .number(keyDue)
          .text(job.headers ? JSON.stringify(job.headers) : '')
          .bytes(job.body),
      (place) => (made.place = place),
    )
    this.keepBody(made, job.body)
    if (key !== '') this.remember({ queue: this, key, id, due: keyDue })
    this.put(made, due, now)
    return id
  }

  private make(
    id: number,
    { body, type, priority, headers }: Pick<NewJob, 'body' | 'type' | 'priority' | 'headers'>,
    due: number,
    time: number,
  ): Job {
    const job: Job = {
      queue: this,
      id,
      priority,
      type,
      time,
      size: body.length,
      at: At.ready,
      attempts: 0,
      receipt: 0,
      due,
      place: -1,
      changed: -1,
      stamp: 0,
      version: 0,
      reason: '',
      headers,
      body: undefined,
      consumer: undefined,
    }
    this.jobs.set(id, job)
    this.bytes += job.size
    this.counts[At.ready]!++
    return job
  }

  /** In memory, or to be read back from the log. */
  private keepBody(job: Job, body: Uint8Array): void {
    if (this.effects.logged && this.memory.used + body.length > this.limits.memory) return
    this.memory.used += body.length
    job.body = Buffer.from(body)
  }

  private remember(key: Key): void {
    this.keys.set(key.key, key)
    this.deadlines.add(key)
  }

  private first(): Job | undefined {
    while (this.order.size > 0) {
      const job = this.jobs.get(this.order.first % ORDER)
      if (job && job.at === At.ready) return job
      this.order.pop()
    }
    return undefined
  }

  private give(consumer: Consumer, now: number): void {
    const room = roomOf(consumer)
    const share = Math.max(1, Math.ceil(this.waiting / this.consumers.size))
    const jobs = this.take(consumer, Math.min(room, share), now)
    if (jobs.length === 0) return
    for (const job of jobs) consumer.given.push({ job, receipt: job.receipt })
    consumer.wake()
  }

  private hand(job: Job, consumer: Consumer, now: number): Job {
    this.order.pop()
    this.leave(job)
    job.attempts++
    job.receipt = this.effects.number()
    job.due = now + this.settings.visibility
    job.consumer = consumer
    consumer.out.add(job)
    this.enter(job, At.taken)
    this.deadlines.add(job)
    return job
  }

  /** Attempts are counted also across a restart. Nobody waits for this record. */
  private wrote(jobs: readonly Job[]): void {
    for (let from = 0; from < jobs.length; from += IDS) this.wroteAll(Kind.take, jobs.slice(from, from + IDS))
  }

  private wroteAll(kind: number, jobs: readonly Job[]): void {
    const ids = jobs.map(({ id }) => id)
    const attempts = jobs.map((job) => job.attempts)
    const version = this.effects.number()
    for (const job of jobs) job.version = version
    this.effects.write(
      kind,
      (writer) => writer.text(this.name).number(version).numbers(ids).numbers(attempts),
      (place) => {
        for (const job of jobs) job.changed = place
      },
    )
  }

  private write(kind: number, job: Job, more: (writer: import('./bodies.js').BodyWriter) => unknown): void {
    const version = this.effects.number()
    job.version = version
    this.effects.write(
      kind,
      (writer) => more(writer.text(this.name).number(version).number(job.id).number(job.attempts)),
      (place) => (job.changed = place),
    )
  }

  private finish(ids: readonly number[]): void {
    for (let from = 0; from < ids.length; from += IDS) {
      const part = from === 0 && ids.length <= IDS ? ids : ids.slice(from, from + IDS)
      this.effects.write(Kind.done, (writer) => writer.text(this.name).number(0).numbers(part))
    }
  }

  /** Ready, or delayed until `due`. */
  private put(job: Job, due: number, now: number): void {
    this.leave(job)
    job.due = due
    if (due > now) {
      this.enter(job, At.delayed)
      this.deadlines.add(job)
      return
    }
    job.due = 0
    this.enter(job, At.ready)
    this.order.push((TOP - job.priority) * ORDER + job.id)
  }

  private leave(job: Job): void {
    this.counts[job.at]!--
    if (job.at === At.dead) this.dead.delete(job.id)
    job.consumer?.out.delete(job)
    job.consumer = undefined
    job.receipt = 0
  }

  private enter(job: Job, at: At): void {
    job.at = at
    this.counts[at]!++
    if (at !== At.dead) {
      job.reason = ''
      return
    }
    job.due = 0
    this.dead.set(job.id, job)
  }

  private remove(job: Job): void {
    this.leave(job)
    job.due = NaN
    this.jobs.delete(job.id)
    this.bytes -= job.size
    if (!job.body) return
    this.memory.used -= job.body.length
    job.body = undefined
  }
}

const roomOf = ({ want, out, late }: Consumer): number => want - out.size - late.size

/** Throws NOT_FOUND, which the client sees. */
export function mustHold(job: Job | undefined): Job {
  if (job) return job
  throw visibleError('NOT_FOUND', 'the job is not out with this receipt: its time was over, or it is done; do not acknowledge it')
}
