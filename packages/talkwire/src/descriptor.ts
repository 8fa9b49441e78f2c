/** A file descriptor as a value of a call: a file, a socket, memory. docs/descriptors.md. */
import { createRequire } from 'node:module'
import { TalkwireError } from './error.js'

/** What a descriptor does with its number in the end. */
type Ownership = 'lent' | 'given' | 'received'

interface Open {
  readonly fd: number
  /** Told when the number is not this object's any more. */
  readonly left: (() => void) | undefined
}

/** Descriptors that nobody closed before the garbage collector came, by whom they are missed. */
const forgotten = new FinalizationRegistry<Open>((open) => {
  collected++
  end(open)
})
let collected = 0

/** How many descriptors this process forgot to close; the garbage collector did. */
export const collectedDescriptors = (): number => collected

function end({ fd, left }: Open): void {
  left?.()
  files().closeSync(fd)
}

// Importing node:fs would cost every program that imports talkwire 3 ms: an import asks it for all that it has, streams too.
const files = (): typeof import('node:fs') => createRequire(import.meta.url)('node:fs') as typeof import('node:fs')

/**
 * `Descriptor.lend(fd)` and `Descriptor.give(fd)` are sent; what arrives is another descriptor of the same open file. One that
 * arrives with a call is closed when the call is over, one with an event or with progress when its listeners are done; one that
 * arrives with a result or in a stream when whoever gets that closes it. `take()` keeps the number beyond that.
 */
export class Descriptor implements Disposable {
  private open: Open | undefined

  private constructor(
    fd: number,
    readonly ownership: Ownership,
    left?: () => void,
  ) {
    this.open = { fd, left }
    if (ownership !== 'lent') forgotten.register(this, this.open, this)
  }

  /** The number stays the caller's, who closes it. A copy is made when it is sent. Throws TypeError for what is no descriptor. */
  static lend(fd: number | { readonly fd: number }): Descriptor {
    return new Descriptor(numberOf(fd), 'lent')
  }

  /** The number belongs to this object from now on: it is closed once it was sent, or could not be. */
  static give(fd: number): Descriptor {
    return new Descriptor(numberOf(fd), 'given')
  }

  /** For the session. */
  static received(fd: number, left: () => void): Descriptor {
    return new Descriptor(fd, 'received', left)
  }

  /** Its number in this process, for as long as it is open. Throws CLOSED. */
  get fd(): number {
    if (!this.open) throw new TalkwireError('CLOSED', 'this descriptor was closed or taken; take() it before its call is over')
    return this.open.fd
  }

  /** The number becomes the caller's, who closes it. Throws CLOSED. */
  take(): number {
    const { fd } = this
    this.open!.left?.()
    this.forget()
    return fd
  }

  /** Closes it, unless it is lent or was taken. A second time does nothing. */
  close(): void {
    const { open } = this
    this.forget()
    if (open && this.ownership !== 'lent') end(open)
  }

  private forget(): void {
    this.open = undefined
    forgotten.unregister(this)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function numberOf(value: number | { readonly fd: number }): number {
  const fd = typeof value === 'number' ? value : value.fd
  if (!Number.isInteger(fd) || fd < 0) throw new TypeError(`${String(fd)} is no file descriptor; pass its number, or what has it as fd`)
  return fd
}

/** The schema of a descriptor, as the input or output of a method: `rpc({ input: fd, output: Text })`. */
export const fd = {
  '~standard': {
    version: 1,
    vendor: 'talkwire',
    validate: (value: unknown) =>
      value instanceof Descriptor ? { value } : { issues: [{ message: 'expected a file descriptor: Descriptor.lend(fd)' }] },
    // As of every schema of ours: for protocols that have a type for it.
    jsonSchema: { input: () => ({ 'x-talkwire': 'descriptor' }), output: () => ({ 'x-talkwire': 'descriptor' }) },
    types: undefined as { readonly input: Descriptor; readonly output: Descriptor } | undefined,
  },
} as const

/** Closes what was given within a value that is not sent. */
export const closeGiven = (value: unknown): void => closeIn(value, 'given', 0)

/** Closes what came within a value that nobody takes. */
export const closeReceived = (value: unknown): void => closeIn(value, 'received', 0)

function closeIn(value: unknown, ownership: Ownership, depth: number): void {
  if (typeof value !== 'object' || value === null || depth > 64) return
  if (value instanceof Descriptor) {
    if (value.ownership === ownership) value.close()
  } else if (Array.isArray(value)) for (const item of value) closeIn(item, ownership, depth + 1)
  else if (value instanceof Map) for (const item of value.values()) closeIn(item, ownership, depth + 1)
  else if (Object.getPrototypeOf(value) === Object.prototype) for (const item of Object.values(value)) closeIn(item, ownership, depth + 1)
}
