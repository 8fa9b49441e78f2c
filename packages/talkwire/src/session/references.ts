/** Functions and objects that stay where they are and are called from the other side: spec/wire.md § 5. */
import type { ReferenceDescriptor, References } from '../codecs/codec.js'
import type { Referred } from '../contract/contract.js'
import type { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'

/** An object to be passed by reference. Made by `ref`. A class of its own, so that no codec takes it for data. */
class Reference<T extends object> {
  constructor(readonly target: T) {}
}
export type Ref<T extends object = object> = Reference<T> & Referred<T>

/**
 * Passes an object by reference: its methods can be called from the other side, its data stays here.
 * It is released by the receiver's `using`, by its garbage collection, or with the connection.
 */
export function ref<T extends object>(object: T): Ref<T> {
  if (typeof object !== 'object' || object === null) throw new TypeError('ref(…) takes an object; functions need none')
  return new Reference(object) as Ref<T>
}

/** A function or object of the other side. */
export type Imported = ((...args: unknown[]) => Promise<unknown>) | Record<string, (...args: unknown[]) => Promise<unknown>>

interface Export {
  readonly id: number
  readonly value: object
  /** How often it was sent and not yet given back. */
  count: number
  readonly since: number
}

/** One line of the leak report. */
export interface ReferenceReport {
  readonly id: number
  readonly what: string
  readonly count: number
  /** Milliseconds since it was first sent. */
  readonly age: number
}

interface Import {
  readonly table: ReferenceTable
  readonly id: number
  readonly proxy: WeakRef<object>
  count: number
}

/** What a table needs of its session. */
export interface ReferenceHost {
  readonly referenceLimit: number
  call(method: string, args: unknown[]): Promise<unknown>
  giveBack(refs: [id: number, count: number][]): void
  /** Undefined: it is none. */
  exportDescriptor(value: unknown): number | undefined
  importDescriptor(number: number): Descriptor
}

/** Under every proxy of an object, so that no codec takes one for plain data. */
const remote: object = Object.freeze(Object.create(Object.freeze(Object.create(null)) as object) as object)

// Shared by all sessions: an idle connection must not pay for what few use.
const importOf = new WeakMap<object, Import>()
const finalizer = new FinalizationRegistry<Import>((gone) => gone.table.wasCollected(gone))

export class ReferenceTable implements References {
  /** Proxies that the garbage collector took before anyone disposed them. */
  collected = 0
  private nextId = 1
  private exports: Map<number, Export> | undefined
  private exportOf: Map<object, Export> | undefined
  private imports: Map<number, Import> | undefined

  constructor(private readonly host: ReferenceHost) {}

  export(value: unknown): { ref: ReferenceDescriptor } | { own: number } | { fd: number } | undefined {
    if (typeof value !== 'function' && (typeof value !== 'object' || value === null)) return undefined
    const own = importOf.get(value)
    if (own?.table === this) return { own: own.id }
    const object = typeof value === 'function' ? value : value instanceof Reference ? (value.target as object) : undefined
    if (object === undefined) {
      const fd = this.host.exportDescriptor(value)
      return fd === undefined ? undefined : { fd }
    }
    const entry = this.exportOf?.get(object) ?? this.add(object)
    entry.count++
    return { ref: typeof object === 'function' ? [entry.id] : [entry.id, methodsOf(object)] }
  }

  import(descriptor: ReferenceDescriptor): unknown {
    const [id, methods] = descriptor
    const imports = (this.imports ??= new Map())
    const known = imports.get(id)
    const alive = known?.proxy.deref()
    if (known && alive) {
      known.count++
      return alive
    }
    if (imports.size >= this.host.referenceLimit)
      throw new TalkwireError(
        'LIMIT_EXCEEDED',
        `more than ${this.host.referenceLimit} references held; dispose them or raise limits.references`,
      )
    const proxy = methods ? this.objectProxy(id, methods) : this.functionProxy(id)
    // A dead proxy whose finalizer has not run yet leaves its count to the new one.
    const entry: Import = { table: this, id, proxy: new WeakRef(proxy), count: (known?.count ?? 0) + 1 }
    imports.set(id, entry)
    importOf.set(proxy, entry)
    finalizer.register(proxy, entry, proxy)
    return proxy
  }

  descriptor(number: number): Descriptor {
    return this.host.importDescriptor(number)
  }

  home(id: number): unknown {
    const entry = this.exports?.get(id)
    if (!entry)
      throw new TalkwireError('INVALID_MESSAGE', `the reference ${id} is not ours, or was released; pass it on before it is disposed`)
    return entry.value
  }

  /** The function behind `#id` or `#id.name`; undefined when there is none. Own methods only, and those of its classes. */
  find(method: string): ((...args: unknown[]) => unknown) | undefined {
    const match = /^#(\d{1,15})(?:\.(.+))?$/s.exec(method)
    const value = match ? this.exports?.get(Number(match[1]))?.value : undefined
    if (value === undefined) return undefined
    const name = match![2]
    if (typeof value === 'function') return name === undefined ? (value as (...args: unknown[]) => unknown) : undefined
    if (name === undefined || !methodsOf(value).includes(name)) return undefined
    return (...args) => (value as Record<string, (...args: unknown[]) => unknown>)[name]!(...args)
  }

  /** The peer gave references back. More than it was sent is a lie, and ignored. */
  released(refs: unknown): void {
    if (!Array.isArray(refs)) return
    for (const pair of refs) {
      const [id, count] = Array.isArray(pair) ? pair : []
      const entry = this.exports?.get(id as number)
      if (!entry || !Number.isSafeInteger(count) || count < 1) continue
      entry.count -= count
      if (entry.count <= 0) this.forget(entry)
    }
  }

  /** What is still held on the other side, longest first. */
  report(): ReferenceReport[] {
    const now = performance.now()
    return [...(this.exports?.values() ?? [])].map(({ id, value, count, since }) => ({
      id,
      what: describe(value),
      count,
      age: now - since,
    }))
  }

  get held(): number {
    return this.imports?.size ?? 0
  }

  clear(): void {
    for (const { proxy } of this.imports?.values() ?? []) {
      const alive = proxy.deref()
      if (alive) finalizer.unregister(alive)
    }
    this.imports = this.exports = this.exportOf = undefined
  }

  /** For the registry: a proxy is gone that nobody disposed. */
  wasCollected(gone: Import): void {
    if (this.imports?.get(gone.id) !== gone) return
    this.collected++
    this.giveBack(gone)
  }

  private add(value: object): Export {
    const exports = (this.exports ??= new Map())
    if (exports.size >= this.host.referenceLimit)
      throw new TalkwireError(
        'LIMIT_EXCEEDED',
        `more than ${this.host.referenceLimit} references sent and not given back (${describe(value)}); dispose them at the other end or raise limits.references`,
      )
    const entry: Export = { id: this.nextId++, value, count: 0, since: performance.now() }
    exports.set(entry.id, entry)
    ;(this.exportOf ??= new Map()).set(value, entry)
    return entry
  }

  private forget(entry: Export): void {
    this.exports?.delete(entry.id)
    this.exportOf?.delete(entry.value)
  }

  private giveBack(entry: Import): void {
    if (this.imports?.get(entry.id) !== entry) return
    this.imports.delete(entry.id)
    this.host.giveBack([[entry.id, entry.count]])
  }

  private functionProxy(id: number): object {
    const { host } = this
    const proxy = (...args: unknown[]): Promise<unknown> => host.call(`#${id}`, args)
    return this.disposable(proxy, id)
  }

  private objectProxy(id: number, methods: readonly string[]): object {
    const { host } = this
    const proxy = Object.create(remote) as Record<string, unknown>
    for (const name of methods) {
      if (name !== 'then' && name !== '__proto__') proxy[name] = (...args: unknown[]) => host.call(`#${id}.${name}`, args)
    }
    return this.disposable(proxy, id)
  }

  private disposable(proxy: object, id: number): object {
    const dispose = (): void => {
      const entry = this.imports?.get(id)
      if (!entry || entry.proxy.deref() !== proxy) return
      finalizer.unregister(proxy)
      this.giveBack(entry)
    }
    return Object.defineProperty(proxy, Symbol.dispose, { value: dispose })
  }
}

function methodsOf(object: object): string[] {
  const names = new Set<string>()
  for (let at: object | null = object; at && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (typeof value === 'function' && name !== 'constructor' && name !== 'then' && !name.startsWith('_')) names.add(name)
    }
  }
  return [...names]
}

const describe = (value: object): string =>
  typeof value === 'function' ? `function ${value.name || '(anonymous)'}` : (value.constructor?.name ?? 'object')
