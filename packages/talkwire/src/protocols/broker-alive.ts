/**
 * Who is gone, behind a broker that does not tell: callers ask after their calls, and whoever serves them answers. Answers and questions
 * wait behind whatever else is on its way, so none is missed before the other side is silent. Sans I/O.
 */

/** Milliseconds between two looks. */
export const LOOK = 3_000
/** Questions without an answer, and looks without a word, after which an instance is gone. */
const QUESTIONS = 2
/** Looks after which a call is cancelled of which its caller says nothing. */
const SILENT = 4
/** Questions whose answers still count: what is on its way for longer is lost. */
const MOST_OPEN = 100
/** Instances that are known at once. */
const MOST_INSTANCES = 10_000

/** Calls back every LOOK. Returns what ends it. */
export type Looking = (look: () => void) => () => void
export const looking: Looking = (look) => {
  const timer = setInterval(look, LOOK).unref()
  return () => clearInterval(timer)
}

// ── who calls ────────────────────────────────────────────────────────────────────────────────────

/** A call, as far as its caller asks after it. */
export interface Asked {
  /** The question before it. */
  readonly since: number
  /** The last question at which somebody had it. */
  known: number
  /** The instance that has it, once it has said so. */
  instance: string | undefined
}

interface Instance {
  /** The last question before a word of it. */
  heard: number
  /** The last question that it has answered. */
  answered: number
}

export class Questions {
  /** The last one, and the last one that the broker has taken. */
  private number = 0
  private taken = 0
  private readonly instances = new Map<string, Instance>()
  private open: { readonly number: number; readonly stop: () => void }[] = []

  begin(): Asked {
    return { since: this.number, known: this.number, instance: undefined }
  }

  /** Something came for the call. */
  heard(asked: Asked): void {
    asked.known = this.number
    if (asked.instance !== undefined) this.instance(asked.instance)
  }

  /** `known`: those of the calls asked after that the instance has; without a name it is a stranger's. */
  answered(question: number, instance: string | undefined, known: readonly Asked[]): void {
    for (const asked of known) {
      asked.known = Math.max(asked.known, question)
      asked.instance ??= instance
    }
    if (instance === undefined) return
    const told = this.instance(instance)
    told.answered = Math.max(told.answered, question)
  }

  private instance(name: string): Instance {
    const instance = this.instances.get(name) ?? { heard: 0, answered: 0 }
    instance.heard = this.number
    if (this.instances.size < MOST_INSTANCES) this.instances.set(name, instance)
    return instance
  }

  /** Everybody who may have it has answered without naming it, or is silent. */
  isGone({ known, instance }: Asked): boolean {
    const candidates = instance === undefined ? this.instances.values() : [this.instances.get(instance)]
    let closed = this.taken
    for (const each of candidates) if (each && this.isThere(each)) closed = Math.min(closed, each.answered)
    return closed - known >= QUESTIONS
  }

  private isThere({ heard }: Instance): boolean {
    return heard > this.number - QUESTIONS
  }

  /** The next question has this number. */
  next(): number {
    for (const [name, instance] of this.instances) if (!this.isThere(instance)) this.instances.delete(name)
    return ++this.number
  }

  /** One that began after the last question is not asked after yet. */
  isDue(asked: Asked): boolean {
    if (asked.since < this.number - 1) return true
    asked.known = this.number
    return false
  }

  /** The broker has taken the question, or there was nothing to ask. Answers may come for long. */
  asked(number: number, stop: () => void = () => {}): void {
    this.taken = Math.max(this.taken, number)
    this.open.push({ number, stop })
    const over = this.open.filter((each) => each.number <= this.number - MOST_OPEN)
    this.open = this.open.slice(over.length)
    for (const each of over) each.stop()
  }
}

// ── who is called ────────────────────────────────────────────────────────────────────────────────

/** A call, as far as its caller is heard of. */
export interface Heard {
  readonly caller: string
  readonly cancel: () => void
  /** Says to the caller that this instance is there. */
  readonly greet: () => void
  /** Looks since the caller last spoke of it, where it spoke at all. */
  silent: number
  spoken: boolean
}

interface Caller {
  readonly calls: Set<Heard>
  /** Since the last look. */
  spoken: boolean
  asked: boolean
}

/** What stands before the last dot of an id is the caller's. */
const callerOf = (id: string): string => id.slice(0, id.lastIndexOf('.') + 1) || id

export class Callers {
  private readonly all = new Map<string, Caller>()

  begin(id: string, cancel: () => void, greet: () => void): Heard {
    const caller = callerOf(id)
    const heard: Heard = { caller, cancel, greet, silent: 0, spoken: true }
    const known = this.all.get(caller) ?? { calls: new Set(), spoken: true, asked: false }
    known.calls.add(heard)
    this.all.set(caller, known)
    return heard
  }

  end(heard: Heard): void {
    const known = this.all.get(heard.caller)
    known?.calls.delete(heard)
    if (known?.calls.size === 0) this.all.delete(heard.caller)
  }

  /** Of any call of that caller. */
  spoke(id: string): void {
    const known = this.all.get(callerOf(id))
    if (known) known.spoken = true
  }

  /** A caller has asked after these. */
  asked(ids: readonly string[]): void {
    for (const caller of new Set(ids.map(callerOf))) {
      const known = this.all.get(caller)
      if (known) known.asked = true
    }
  }

  /**
   * Cancels calls of callers that say nothing, and those that their callers do not ask after any more. Whose questions are still on
   * their way, behind other things, is told meanwhile that somebody is there.
   */
  look(): void {
    for (const known of this.all.values()) {
      const [first] = known.calls
      if (known.spoken && !known.asked) first?.greet()
      for (const each of known.calls) {
        if (each.spoken) each.silent = 0
        else if (known.asked || !known.spoken) each.silent++
        each.spoken = false
        if (each.silent >= SILENT) each.cancel()
      }
      known.spoken = known.asked = false
    }
  }
}
