/** All queues of a hub: names, the log's records, deadlines. Each queue is in queue.ts. Sans I/O. */
import { visibleError } from '../../session/validate.js'
import { visibleInput } from './checks.js'
import type { BodyReader } from './bodies.js'
import { Deadlines } from './deadlines.js'
import { Kind, type Effects } from './effects.js'
import { within, type HubLimits } from './limits.js'
import type { Place } from './log-types.js'
import { Queue, type Key, type Job, type JobChange, type Settings } from './queue.js'

export const defaultSettings: Settings = { visibility: 30_000, attempts: 5, dedupe: 0 }

export class Queues {
  private readonly queues = new Map<string, Queue>()
  private readonly deadlines = new Deadlines<Job | Key>()
  /** What records said of jobs whose own record was moved behind them. */
  private readonly early = new Map<number, JobChange>()
  private readonly memory = { used: 0 }

  constructor(
    private readonly effects: Effects,
    private readonly limits: HubLimits,
  ) {}

  get next(): number {
    return this.deadlines.next
  }

  get names(): readonly string[] {
    return [...this.queues.keys()]
  }

  get liveBytes(): number {
    let bytes = 0
    for (const queue of this.queues.values()) bytes += queue.bytes
    return bytes
  }

  find(name: string): Queue | undefined {
    return this.queues.get(name)
  }

  /** Opens or creates it with the default settings. */
  open(name: string): Queue {
    return this.queues.get(name) ?? this.create(name, defaultSettings)
  }

  /** Returns the stamp. */
  declare(name: string, settings: Settings): number {
    const queue = this.queues.get(name) ?? this.create(name, settings)
    const { visibility, attempts, dedupe } = queue.settings
    if (queue.stamp > 0 && visibility === settings.visibility && attempts === settings.attempts && dedupe === settings.dedupe)
      return queue.stamp
    queue.settings = settings
    queue.stamp = this.effects.write(
      Kind.queue,
      (writer) => writer.text(name).number(settings.visibility).number(settings.attempts).number(settings.dedupe),
      (place) => (queue.place = place),
    )
    return queue.stamp
  }

  expire(now: number): void {
    for (let item = this.deadlines.take(now); item; item = this.deadlines.take(now)) item.queue.isDue(item, now)
  }

  /** There is room on the disk again. */
  dispatch(now: number): void {
    for (const queue of this.queues.values()) queue.dispatch(now)
  }

  /** The connection of a consumer ended: what it has comes back at once. */
  back(jobs: Iterable<Job>, now: number): void {
    for (const job of jobs) job.queue.giveBack(job, now)
  }

  replay(kind: number, reader: BodyReader, place: Place): void {
    if (kind === Kind.queue) return this.replayQueue(reader, place)
    if (kind === Kind.push) return this.replayPush(reader, place)
    const queue = this.queues.get(reader.text())
    const version = reader.number()
    this.effects.met(version)
    if (kind === Kind.done) for (const id of reader.numbers()) queue?.forget(id)
    else if (kind === Kind.take || kind === Kind.revive) {
      const ids = reader.numbers()
      const attempts = reader.numbers()
      for (const [index, id] of ids.entries())
        this.replayed(queue, id, { kind, version, attempts: attempts[index]!, reason: '', due: 0 }, place)
    } else {
      const [id, attempts] = [reader.number(), reader.number()]
      const [due, reason] = kind === Kind.back ? [reader.number(), ''] : [0, reader.text()]
      this.replayed(queue, id, { kind, version, attempts, reason, due }, place)
    }
  }

  /** Everything is read: jobs that were out come back, what is due counts. */
  ready(now: number): void {
    this.early.clear()
    for (const queue of this.queues.values()) queue.ready(now)
  }

  live(kind: number, reader: BodyReader, place: Place): ((to: Place) => void) | undefined {
    if (kind === Kind.push) {
      const job = this.queues.get(reader.text())?.jobs.get(reader.number())
      return job?.place === place ? (to) => (job.place = to) : undefined
    }
    const queue = this.queues.get(reader.text())
    if (!queue) return undefined
    if (kind === Kind.queue) return queue.place === place ? (to) => (queue.place = to) : undefined
    reader.number()
    if (kind === Kind.done) return undefined
    const ids = kind === Kind.take || kind === Kind.revive ? reader.numbers() : [reader.number()]
    const jobs = ids.map((id) => queue.jobs.get(id)).filter((job) => job?.changed === place)
    return jobs.length > 0
      ? (to) => {
          for (const job of jobs) job!.changed = to
        }
      : undefined
  }

  private create(name: string, settings: Settings): Queue {
    within(this.queues.size + 1, this.limits, 'queues', 'queues')
    const queue = new Queue(name, settings, this.effects, this.limits, this.deadlines, this.memory)
    this.queues.set(name, queue)
    return queue
  }

  private replayQueue(reader: BodyReader, place: Place): void {
    const name = reader.text()
    const settings = { visibility: reader.number(), attempts: reader.number(), dedupe: reader.number() }
    const queue = this.queues.get(name) ?? this.create(name, settings)
    queue.settings = settings
    queue.place = place
    queue.stamp = 1
  }

  private replayPush(reader: BodyReader, place: Place): void {
    const name = reader.text()
    const queue = this.queues.get(name) ?? this.create(name, defaultSettings)
    const job = queue.replayPush(reader, place)
    this.effects.met(job.id)
    const early = this.early.get(job.id)
    if (early) queue.replayChange(job, early)
  }

  private replayed(queue: Queue | undefined, id: number, change: JobChange, place: Place): void {
    const job = queue?.jobs.get(id)
    if (!job) {
      const known = this.early.get(id)
      if (!known || known.version < change.version) this.early.set(id, change)
      return
    }
    job.changed = place
    queue!.replayChange(job, change)
  }
}

/** Throws NOT_FOUND, which the client sees. */
export function mustBe<T>(value: T | undefined, what: string): T {
  if (value !== undefined) return value
  throw visibleError('NOT_FOUND', what)
}

export const settingsOf = (visibility: number, attempts: number, dedupe: number): Settings => {
  if (!Number.isInteger(attempts)) throw visibleInput('attempts is a whole number')
  return { visibility, attempts, dedupe }
}
