/** Services that are found by name on any machine: registered at the hub, with a heartbeat. */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { parseAddress, validateName } from '../address.js'
import type { Instance as Reachable } from '../balance.js'
import { fromJson, toJson } from '../codecs/plain-json.js'
import { ownIdentity } from '../discovery/identity.js'
import { TalkwireError } from '../error.js'
import type { Base } from './base.js'
import type { Stored } from './driver.js'
import { MAX_TIMER } from '../timers.js'

/** What runs: what `serve` returns, or a name with its addresses. */
export interface Registrable {
  readonly name: string
  readonly addresses: readonly string[]
}

export interface RegisterOptions {
  /** What others see of it: a version, a zone. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Milliseconds after which it is gone when its process says nothing. Default 10,000. */
  readonly ttl?: number
}

export interface Instance extends Registrable {
  readonly id: string
  readonly metadata: Readonly<Record<string, string>>
  readonly pid: number
  readonly host: string
}

export interface Registration extends AsyncDisposable {
  readonly id: string
  close(): Promise<void>
}

const TTL = 10_000
/** What only who runs on the same machine can reach. */
const LOCAL = new Set(['', 'unix', 'shm', 'mmap', 'fifo', 'mq', 'sysv', 'file', 'memory', 'grpc+unix', 'thrift+unix', 'dbus+unix'])

export async function register(
  base: Base,
  { name, addresses }: Registrable,
  { metadata = {}, ttl = TTL }: RegisterOptions,
): Promise<Registration> {
  validateName(name)
  if (addresses.length === 0) throw new TypeError(`"${name}" listens nowhere: there is nothing to register`)
  if (!(ttl >= 100)) throw new TypeError('ttl is a number of milliseconds, 100 at least')
  await base.need('state', 'ttl')
  const id = randomUUID()
  const key = `${prefixOf(name)}${id}`
  const value = Buffer.from(toJson({ id, name, addresses, metadata, pid: process.pid, host: thisHost() }))
  return announce(base, name, key, value, ttl, id)
}

/** Says again and again that a key is alive, until it is closed: then it is gone. */
export async function announce(base: Base, what: string, key: string, value: Uint8Array, ttl: number, id: string): Promise<Registration> {
  const beat = async (): Promise<void> => {
    await base.driver.state!.set(key, value, 'json', { ttl })
  }
  await beat()
  let beating: Promise<void> | undefined
  const timer = setInterval(
    () => {
      beating ??= beat()
        .catch((reason: unknown) => base.onError(reason, what))
        .finally(() => (beating = undefined))
    },
    Math.min(ttl / 3, MAX_TIMER),
  )
  timer.unref()
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    clearInterval(timer)
    // One that is on its way would bring back what is deleted.
    await beating
    await base.driver.state!.delete(key)
  }
  const once = (): Promise<void> => (closing ??= close())
  return { id, close: once, [Symbol.asyncDispose]: once }
}

export async function instances(base: Base, name: string): Promise<Instance[]> {
  await base.need('list')
  const found: Instance[] = []
  for await (const stored of base.driver.state!.list!(prefixOf(validateName(name)))) {
    const instance = parseInstance(stored)
    if (instance) found.push(instance)
  }
  return found
}

/** Tells who can be reached from here, now and at each change. */
export async function follow(
  base: Base,
  name: string,
  changed: (instances: readonly Reachable[]) => void,
): Promise<{ close(): Promise<void> }> {
  await base.need('watch')
  const here = new Map((await instances(base, name)).map((each) => [each.id, each]))
  const prefix = prefixOf(name)
  const tell = (): void => changed([...here.values()].map(reachable).filter(({ addresses }) => addresses.length > 0))
  let told = false
  const watch = await base.driver.state!.watch!(prefix, {
    changed(change) {
      const id = change.key.slice(prefix.length)
      const instance = 'gone' in change ? undefined : parseInstance(change)
      const before = here.get(id)
      if (instance) here.set(id, instance)
      else here.delete(id)
      // A heartbeat says what is known.
      if (told && (before === undefined) !== (instance === undefined)) tell()
      return true
    },
    ended(error) {
      if (error) base.onError(error, name)
    },
  })
  told = true
  tell()
  return watch
}

const prefixOf = (name: string): string => `services.${name}.`

function reachable({ id, addresses, host }: Instance): Reachable {
  const near = host === thisHost()
  return { id, addresses: addresses.filter((address) => near || !LOCAL.has(parseAddress(address).scheme)) }
}

function parseInstance(stored: Stored): Instance | undefined {
  const found = entryOf<Instance>(stored.value, ['id', 'name', 'host'])
  const addresses = Array.isArray(found?.addresses) && found.addresses.every((each) => typeof each === 'string')
  return found && addresses ? ({ metadata: {}, pid: 0, ...found } as Instance) : undefined
}

/** An object with these texts; what somebody else wrote there may be anything. */
export function entryOf<T>(value: Uint8Array, texts: readonly (keyof T & string)[]): Partial<T> | undefined {
  try {
    const found = fromJson(Buffer.from(value)) as Partial<T> | null
    return found !== null && texts.every((name) => typeof found[name] === 'string') ? found : undefined
  } catch (reason) {
    if (reason instanceof TalkwireError) return undefined
    throw reason
  }
}

let host: string | undefined

/** This machine, since it was started: containers share the kernel's identity and not the name, others the name and not the kernel's. */
export function thisHost(): string {
  return (host ??= `${hostname()}/${ownIdentity().boot ?? '-'}`)
}
