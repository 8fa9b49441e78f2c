/** Who watches keys: what changed is noted by key, so that a slow watcher holds at most one note of each, and the last change always comes. */

export interface Noted<E> {
  readonly key: string
  /** Undefined: the key is gone. */
  readonly entry: E | undefined
}

export interface Watcher<E> {
  readonly prefix: string
  /** What changed since the last time, at most so many keys, and the stamp for which it must be held. */
  take(most: number): { readonly changes: readonly Noted<E>[]; readonly stamp: number }
  /** Called when there is something to take and there was nothing before. */
  wake: () => void
  close(): void
}

export class Watchers<E extends { readonly stamp: number }> {
  private readonly byPrefix = new Map<string, Set<Map<string, number>>>()
  /** Of the prefixes, so that a change looks as often as there are lengths, not as there are watchers. */
  private readonly lengths = new Map<number, number>()
  private readonly wakes = new WeakMap<Map<string, number>, () => void>()

  constructor(private readonly find: (key: string) => E | undefined) {}

  watch(prefix: string): Watcher<E> {
    const notes = new Map<string, number>()
    const set = this.byPrefix.get(prefix) ?? new Set()
    if (set.size === 0) {
      this.byPrefix.set(prefix, set)
      this.lengths.set(prefix.length, (this.lengths.get(prefix.length) ?? 0) + 1)
    }
    set.add(notes)
    const watcher: Watcher<E> = {
      prefix,
      take: (most) => this.take(notes, most),
      wake: () => {},
      close: () => this.forget(prefix, notes),
    }
    this.wakes.set(notes, () => watcher.wake())
    return watcher
  }

  changed(key: string, stamp: number): void {
    if (this.byPrefix.size === 0) return
    for (const length of this.lengths.keys()) {
      if (length > key.length) continue
      const watching = this.byPrefix.get(key.slice(0, length))
      if (watching) for (const notes of watching) this.note(notes, key, stamp)
    }
  }

  private note(notes: Map<string, number>, key: string, stamp: number): void {
    const first = notes.size === 0
    notes.set(key, stamp)
    if (first) this.wakes.get(notes)!()
  }

  private take(notes: Map<string, number>, most: number): { changes: Noted<E>[]; stamp: number } {
    const changes: Noted<E>[] = []
    let held = 0
    for (const [key, stamp] of notes) {
      if (changes.length >= most) break
      notes.delete(key)
      held = Math.max(held, stamp)
      changes.push({ key, entry: this.find(key) })
    }
    return { changes, stamp: held }
  }

  private forget(prefix: string, notes: Map<string, number>): void {
    const set = this.byPrefix.get(prefix)
    if (!set?.delete(notes) || set.size > 0) return
    this.byPrefix.delete(prefix)
    const left = this.lengths.get(prefix.length)! - 1
    if (left === 0) this.lengths.delete(prefix.length)
    else this.lengths.set(prefix.length, left)
  }
}
