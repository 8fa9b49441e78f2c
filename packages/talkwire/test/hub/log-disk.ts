/**
 * A disk in memory that remembers every operation, and since when it was certain to survive. `after` is what a power cut leaves:
 * what was certain, and of the rest any sectors of 512 bytes, any truncation, and of the changes of names any first ones.
 */
import type { LogFile, LogFiles } from '../../src/hub/embedded/log-files.js'
import type { Random } from './random.js'

const SECTOR = 512

/** A file whatever its name; its bytes as the running system sees them. */
interface Node {
  readonly number: number
  /** The last one. */
  name: string
  bytes: Buffer
}

type Change =
  | { readonly kind: 'write'; readonly node: Node; readonly bytes: Buffer; readonly position: number }
  | { readonly kind: 'truncate'; readonly node: Node; readonly size: number }
  | { readonly kind: 'names'; readonly name: string; readonly node: Node | undefined; readonly former?: string }

interface Step {
  readonly change: Change
  readonly at: number
  /** From when on it survives. */
  safe: number
}

type Call = 'write' | 'sync' | 'truncate' | 'rename' | 'remove' | 'create' | 'syncFolder'

export class Disk implements LogFiles {
  readonly folder = 'disk'
  /** Counts what happens: an operation that begins, or one that ends. */
  time = 0
  readonly calls: { readonly call: Call; readonly name: string; readonly at: number }[] = []
  /** What an operation fails with, instead of being done. */
  fault: (call: Call, name: string) => string | undefined = () => undefined
  released = 0

  private readonly steps: Step[] = []
  private nodes = 0

  constructor(
    private readonly random: Random,
    private readonly named = new Map<string, Node>(),
  ) {
    for (const node of named.values()) this.nodes = Math.max(this.nodes, node.number + 1)
  }

  static of(random: Random, contents: ReadonlyMap<string, Buffer>): Disk {
    return new Disk(random, new Map([...contents].map(([name, bytes], number) => [name, { number, name, bytes: Buffer.from(bytes) }])))
  }

  contents(): Map<string, Buffer> {
    return new Map([...this.named].map(([name, { bytes }]) => [name, Buffer.from(bytes)]))
  }

  /** What is there after the power was cut when `time` was this. Only for a disk that began empty. */
  after(time: number, random: Random): Map<string, Buffer> {
    const names = new Map<string, Node>()
    const bytes = new Map<Node, Buffer>()
    let namesEnd = false
    for (const { change, at, safe } of this.steps) {
      if (at > time) break
      const survives = safe <= time
      if (change.kind === 'write')
        bytes.set(change.node, written(bytes.get(change.node) ?? Buffer.alloc(0), change, survives ? undefined : random))
      else if (change.kind === 'truncate') {
        if (survives || random.below(2)) bytes.set(change.node, resized(bytes.get(change.node) ?? Buffer.alloc(0), change.size))
      } else if (survives || (!namesEnd && random.below(2))) rename(names, change)
      else namesEnd = true
    }
    return new Map([...names].map(([name, node]) => [name, bytes.get(node) ?? Buffer.alloc(0)]))
  }

  names = async (): Promise<string[]> => [...this.named.keys()]

  release = (): void => void this.released++

  open = async (name: string): Promise<LogFile> => {
    const node = this.named.get(name)
    if (!node) throw failure('ENOENT')
    return this.file(node, true)
  }

  create = async (name: string): Promise<LogFile> => {
    await this.begin('create', name)
    const node = { number: this.nodes++, name, bytes: Buffer.alloc(0) }
    this.named.set(name, node)
    this.note({ kind: 'names', name, node })
    return this.file(node, false)
  }

  rename = async (from: string, to: string): Promise<void> => {
    await this.begin('rename', to)
    const node = this.named.get(from)
    if (!node) throw failure('ENOENT')
    this.named.delete(from)
    this.named.set(to, node)
    node.name = to
    this.note({ kind: 'names', name: to, node, former: from })
  }

  remove = async (name: string): Promise<void> => {
    await this.begin('remove', name)
    if (!this.named.delete(name)) throw failure('ENOENT')
    this.note({ kind: 'names', name, node: undefined })
  }

  syncFolder = async (): Promise<void> => {
    const before = this.steps.length
    await this.begin('syncFolder', '')
    await this.pause()
    this.makeSafe(before, ({ kind }) => kind === 'names')
  }

  private file(node: Node, durable: boolean): LogFile {
    return {
      read: async (position, length) => Buffer.from(node.bytes.subarray(position, position + length)),
      size: async () => node.bytes.length,
      close: async () => {},
      write: async (given, position) => {
        const bytes = Buffer.from(given)
        const step = this.note({ kind: 'write', node, bytes, position })
        try {
          await this.begin('write', node.name)
        } catch (reason) {
          // A failed sync leaves what could not be written in the memory of the kernel, where all who read find it.
          if ((reason as NodeJS.ErrnoException).code === 'EIO') node.bytes = written(node.bytes, { bytes, position })
          throw reason
        }
        await this.pause()
        if (position + bytes.length <= node.bytes.length) bytes.copy(node.bytes, position)
        else node.bytes = written(node.bytes, { bytes, position })
        if (durable) step.safe = ++this.time
      },
      truncate: async (size) => {
        await this.begin('truncate', node.name)
        node.bytes = resized(node.bytes, size)
        this.note({ kind: 'truncate', node, size })
      },
      sync: async () => {
        const before = this.steps.length
        await this.begin('sync', node.name)
        await this.pause()
        this.makeSafe(before, (change) => change.kind !== 'names' && change.node === node)
      },
    }
  }

  private async begin(call: Call, name: string): Promise<void> {
    this.calls.push({ call, name, at: this.time })
    const code = this.fault(call, name)
    if (code !== undefined) throw failure(code)
  }

  private note(change: Change): Step {
    const step = { change, at: ++this.time, safe: Infinity }
    this.steps.push(step)
    return step
  }

  private makeSafe(before: number, isMeant: (change: Change) => boolean): void {
    const now = ++this.time
    for (const step of this.steps.slice(0, before)) if (isMeant(step.change)) step.safe = Math.min(step.safe, now)
  }

  /** A disk takes its time: others go on meanwhile. */
  private async pause(): Promise<void> {
    for (let rounds = this.random.below(3); rounds > 0; rounds--) await new Promise(setImmediate)
  }
}

const failure = (code: string): NodeJS.ErrnoException => Object.assign(new Error(code), { code })

function resized(bytes: Buffer, size: number): Buffer {
  const next = Buffer.alloc(size)
  bytes.copy(next)
  return next
}

/** With `random`, some sectors of it. */
function written(before: Buffer, { bytes, position }: { readonly bytes: Buffer; readonly position: number }, random?: Random): Buffer {
  const after = before.length < position + bytes.length ? resized(before, position + bytes.length) : Buffer.from(before)
  const way = random ? random.below(4) : 0
  if (random && way === 1) return before
  for (let from = 0; from < bytes.length;) {
    const to = Math.min(bytes.length, from + SECTOR - ((position + from) % SECTOR))
    if (!random || way === 0 || random.below(2)) bytes.copy(after, position + from, from, to)
    from = to
  }
  return after
}

function rename(names: Map<string, Node>, { name, node, former }: Extract<Change, { kind: 'names' }>): void {
  if (former !== undefined) names.delete(former)
  if (node) names.set(name, node)
  else names.delete(name)
}
