/** Functions and objects of a page that are called from the other side, and of the other side that are called here: spec/wire.md § 5. */
import type { ReferenceDescriptor, References } from '../codecs/codec.js'
import { TalkwireError } from '../error.js'
import type { Ref } from '../session/references.js'

class Reference {
  constructor(readonly target: object) {}
}

/** As in Node: passes an object by reference. */
export function ref<T extends object>(object: T): Ref<T> {
  if (Object(object) !== object) throw new TypeError('ref(…) takes an object; functions need none')
  return new Reference(object) as unknown as Ref<T>
}

interface Import {
  readonly proxy: WeakRef<object>
  readonly id: number
  count: number
}

/** What a table needs of its session. */
export interface ReferenceHost {
  ask(method: string, args: unknown[]): Promise<unknown>
  tell(method: string, params: unknown): void
}

type Handler = (...args: unknown[]) => unknown

export class ReferenceTable implements References {
  private lastId = 0
  private readonly exports = new Map<number, { readonly value: object; count: number }>()
  private readonly ids = new Map<object, number>()
  private readonly imports = new Map<number, Import>()
  private readonly importOf = new WeakMap<object, Import>()
  private readonly finalizer = new FinalizationRegistry<Import>((gone) => this.giveBack(gone))

  constructor(
    private readonly host: ReferenceHost,
    private readonly limit: number,
  ) {}

  export(value: object): { ref: ReferenceDescriptor } | { own: number } | undefined {
    const own = this.importOf.get(value)
    if (own) return { own: own.id }
    const target = value instanceof Reference ? value.target : value
    if (target === value && typeof value !== 'function') return undefined
    let id = this.ids.get(target)
    if (id === undefined) {
      if (this.exports.size >= this.limit) throw tooMany(this.limit)
      this.ids.set(target, (id = ++this.lastId))
      this.exports.set(id, { value: target, count: 0 })
    }
    this.exports.get(id)!.count++
    return { ref: typeof target === 'function' ? [id] : [id, methodsOf(target)] }
  }

  import([id, methods]: ReferenceDescriptor): unknown {
    const known = this.imports.get(id)
    const alive = known?.proxy.deref()
    if (known && alive) {
      known.count++
      return alive
    }
    if (this.imports.size >= this.limit) throw tooMany(this.limit)
    const caller =
      (method: string) =>
      (...args: unknown[]) =>
        this.host.ask(method, args)
    const proxy: object = methods
      ? Object.assign(
          // A class of its own, so that no codec takes it for data.
          Object.create(Object.create(Object.create(null) as object) as object) as object,
          Object.fromEntries(methods.filter((name) => name !== 'then').map((name) => [name, caller(`#${id}.${name}`)])),
        )
      : caller(`#${id}`)
    // A dead proxy whose finalizer has not run yet leaves its count to the new one.
    const entry: Import = { id, proxy: new WeakRef(proxy), count: (known?.count ?? 0) + 1 }
    this.imports.set(id, entry)
    this.importOf.set(proxy, entry)
    this.finalizer.register(proxy, entry)
    return Object.defineProperty(proxy, Symbol.dispose, { value: () => this.giveBack(entry) })
  }

  home(id: number): unknown {
    const entry = this.exports.get(id)
    if (!entry) throw new TalkwireError('INVALID_MESSAGE', `the reference ${id} was released`)
    return entry.value
  }

  /** The function behind `#id` or `#id.name`. Own methods only, and those of its classes. */
  find(method: string): Handler | undefined {
    const [, id, name] = /^#(\d{1,15})(?:\.(.+))?$/s.exec(method) ?? []
    const value = this.exports.get(Number(id))?.value
    if (typeof value === 'function') return name === undefined ? (value as Handler) : undefined
    if (!value || name === undefined || !methodsOf(value).includes(name)) return undefined
    return (...args) => (value as Record<string, Handler>)[name]!(...args)
  }

  released(refs: unknown): void {
    for (const [id, count] of refs as [number, number][]) {
      const entry = this.exports.get(id)
      if (!entry || (entry.count -= count) > 0) continue
      this.exports.delete(id)
      this.ids.delete(entry.value)
    }
  }

  clear(): void {
    this.imports.clear()
    this.exports.clear()
    this.ids.clear()
  }

  private giveBack(entry: Import): void {
    if (this.imports.get(entry.id) !== entry) return
    this.imports.delete(entry.id)
    this.host.tell('$/release', { refs: [[entry.id, entry.count]] })
  }
}

const tooMany = (limit: number): TalkwireError => new TalkwireError('LIMIT_EXCEEDED', `more than ${limit} references (limits.references)`)

function methodsOf(object: object): string[] {
  const names = new Set<string>()
  for (let at: object | null = object; at && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null)
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (typeof value === 'function' && name !== 'constructor' && name !== 'then' && !name.startsWith('_')) names.add(name)
  return [...names]
}
