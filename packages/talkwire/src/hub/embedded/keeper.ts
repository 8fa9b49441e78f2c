/** The rules of what is kept, their lists, where groups stand, and who reads them from where. Sans I/O. */
import { matchesPattern } from '../topic-names.js'
import * as packed from '../packed.js'
import type { BodyReader } from './bodies.js'
import { Kind, type Effects } from './effects.js'
import { KeptList, type KeepRule, type KeptMessage } from './kept.js'
import type { Place } from './log-types.js'
import type { Subscriber } from './subscriber.js'
import type { Start } from './topics.js'

interface Kept {
  readonly pattern: string
  readonly list: KeptList
  place: Place
}

interface GroupPlace {
  readonly key: string
  position: number
  /** What the log knows. */
  written: number
  place: Place
}

/** Groups say where they stand once for so many messages, and when somebody asks for a flush: who crashes gets these again. */
const EVERY = 256

export class Keeper {
  private readonly rules = new Map<string, Kept>()
  private readonly groups = new Map<string, GroupPlace>()
  private bytes = 0
  /** By position, while the log is replayed. */
  private readonly moving = new Map<number, KeptMessage>()

  constructor(
    private readonly effects: Effects,
    private readonly changed: () => void,
  ) {}

  get next(): number {
    let next = Infinity
    for (const { list } of this.rules.values()) next = Math.min(next, list.next)
    return next
  }

  get liveBytes(): number {
    return this.bytes
  }

  /** Behind everything that was ever kept. */
  get newest(): number {
    return this.effects.last
  }

  /** A rule of the same pattern takes the place of the old one. Returns its stamp. */
  keep(rule: KeepRule, now: number): number {
    const kept = this.put(rule)
    this.changed()
    this.trim(now)
    return this.effects.write(
      Kind.keep,
      (writer) => writer.text(rule.pattern).number(rule.messages).number(rule.bytes).number(rule.age),
      (place) => (kept.place = place),
    )
  }

  /** The list of the first rule that fits. */
  listOf(topic: string): KeptList | undefined {
    for (const { pattern, list } of this.rules.values()) if (matchesPattern(pattern, topic)) return list
    return undefined
  }

  /** Those in which something of the pattern may stand. */
  listsFor(pattern: string): readonly KeptList[] {
    return [...this.rules.values()].filter((rule) => mayMeet(rule.pattern, pattern)).map(({ list }) => list)
  }

  /** Returns the stamp. */
  add(topic: string, bytes: Buffer, position: number, now: number, time: number): number {
    const list = this.listOf(topic)!
    const message: KeptMessage = {
      position,
      topic,
      time,
      taken: now,
      size: bytes.length,
      place: -1,
      bytes: this.effects.logged ? undefined : bytes,
      stamp: this.effects.count + 1,
    }
    const stamp = this.effects.write(
      Kind.message,
      (writer) => writer.number(now).bytes(bytes),
      (place) => (message.place = place),
    )
    list.add(message)
    this.bytes += message.size
    this.trimList(list, now)
    return stamp
  }

  trim(now: number): void {
    for (const { list } of this.rules.values()) this.trimList(list, now)
  }

  groupStart(key: string, pattern: string, from: Start): Start {
    const known = this.groups.get(key)
    if (known) return { after: known.position }
    if (this.listsFor(pattern).length > 0 && from === 'new') this.groupAt(key, this.effects.last)
    return from
  }

  groupAt(key: string, position: number): void {
    const known = this.groups.get(key)
    const group = known ?? { key, position, written: -1, place: -1 }
    if (!known) this.groups.set(key, group)
    group.position = position
    if (known && position - group.written < EVERY) return
    this.writeGroup(group)
  }

  /** Every group's place, before the hub ends. */
  flush(): void {
    for (const group of this.groups.values()) if (group.position !== group.written) this.writeGroup(group)
  }

  replayRule(reader: BodyReader, place: Place): void {
    this.put({ pattern: reader.text(), messages: reader.number(), bytes: reader.number(), age: reader.number() }).place = place
  }

  replayMessage(reader: BodyReader, place: Place): void {
    const taken = reader.number()
    const bytes = reader.bytes() as Buffer
    const { topic, position, time } = packed.readAt(bytes, 0, bytes.length)
    this.effects.met(position)
    this.moving.set(position, { position, topic, time, taken, size: bytes.length, stamp: 0, place, bytes: undefined })
  }

  replayGroup(reader: BodyReader, place: Place): void {
    const key = reader.text()
    const position = reader.number()
    const known = this.groups.get(key)
    if (!known || known.position <= position) this.groups.set(key, { key, position, written: position, place })
  }

  /** Moved messages stand behind later ones in the log, and may stand there twice; a rule that was moved stands behind what it keeps. */
  replayed(now: number): void {
    for (const message of this.moving.values()) {
      const list = this.listOf(message.topic)
      if (!list) continue
      list.add(message)
      this.bytes += message.size
    }
    this.moving.clear()
    for (const { list } of this.rules.values()) {
      list.sort()
      this.trimList(list, now)
    }
  }

  liveRule(reader: BodyReader, place: Place): ((to: Place) => void) | undefined {
    const kept = this.rules.get(reader.text())
    return kept?.place === place ? (to) => (kept.place = to) : undefined
  }

  liveMessage(reader: BodyReader, place: Place): ((to: Place) => void) | undefined {
    reader.number()
    const bytes = reader.bytes() as Buffer
    const { topic, position } = packed.readAt(bytes, 0, bytes.length)
    const message = this.listOf(topic)?.after(position - 1)
    return message?.place === place ? (to) => (message.place = to) : undefined
  }

  liveGroup(reader: BodyReader, place: Place): ((to: Place) => void) | undefined {
    const group = this.groups.get(reader.text())
    return group?.place === place ? (to) => (group.place = to) : undefined
  }

  private put(rule: KeepRule): Kept {
    const known = this.rules.get(rule.pattern)
    if (known) known.list.rule = rule
    const kept = known ?? { pattern: rule.pattern, list: new KeptList(rule), place: -1 }
    this.rules.set(rule.pattern, kept)
    return kept
  }

  private trimList(list: KeptList, now: number): void {
    list.trim(now, ({ size }) => (this.bytes -= size))
  }

  private writeGroup(group: GroupPlace): void {
    group.written = group.position
    this.effects.write(
      Kind.group,
      (writer) => writer.text(group.key).number(group.position),
      (place) => (group.place = place),
    )
  }
}

/** Whether a topic could match both. */
function mayMeet(one: string, other: string): boolean {
  const [left, right] = [one.split('.'), other.split('.')]
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const [here, there] = [left[index], right[index]]
    if (here === undefined || there === undefined) return false
    if (here === '>' || there === '>') return true
    if (here !== there && here !== '*' && there !== '*') return false
  }
  return true
}

/** At most so many kept messages are read from the log in one go. */
const PORTION = 256

/** Reads what is kept, from a position on, until it has caught up with what comes. */
export class Cursor {
  position: number
  private readonly time: number | undefined

  constructor(
    private readonly keeper: Keeper,
    private readonly pattern: string,
    from: Start,
    private readonly subscriber: Subscriber,
  ) {
    subscriber.replaying = from !== 'new'
    this.position = typeof from === 'object' && 'after' in from ? from.after : 0
    this.time = typeof from === 'object' && 'time' in from ? from.time : undefined
  }

  /** Undefined: nothing is there, or may not yet be shown. */
  take(synced: number, members = 1): readonly KeptMessage[] | undefined {
    if (!this.subscriber.replaying) return undefined
    const lists = this.keeper.listsFor(this.pattern)
    if (this.time !== undefined && this.position === 0) this.position = this.begin(lists)
    const found: KeptMessage[] = []
    const most = Math.max(1, Math.floor(PORTION / members))
    for (let next = this.oldest(lists); next && found.length < most; next = this.oldest(lists)) {
      if (next.stamp > synced) return found.length > 0 ? found : undefined
      this.position = next.position
      if (matchesPattern(this.pattern, next.topic)) found.push(next)
    }
    if (found.length > 0) return found
    this.subscriber.replaying = false
    return undefined
  }

  private begin(lists: readonly KeptList[]): number {
    const positions = lists.map((list) => list.before(this.time!)).filter((each) => each !== undefined)
    return positions.length > 0 ? Math.min(...positions) : this.keeper.newest
  }

  private oldest(lists: readonly KeptList[]): KeptMessage | undefined {
    let oldest: KeptMessage | undefined
    for (const list of lists) {
      const next = list.after(this.position)
      if (next && (!oldest || next.position < oldest.position)) oldest = next
    }
    return oldest
  }
}
