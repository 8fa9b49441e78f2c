/** What the fields of one request do: calls and streams of a session, until whoever asked has gone. */
import { TalkwireError } from '../error.js'
import { paramsOf } from '../session/service.js'
import type { Answer, Caller, OpenCall } from './dialect.js'
import type { Element, FieldContext } from './graphql-schema.js'
import type { Operation } from './operations.js'
import type { Meta } from './message.js'

/** Bytes of a stream's output that may wait here. */
const WINDOW = 64 * 1024

export class RequestContext implements FieldContext {
  private readonly calls = new Set<OpenCall>()
  private over = false
  /** It tells of events, and so has no end. */
  lasting = false

  constructor(
    private readonly caller: Caller,
    private readonly listeners: Listeners,
    private readonly meta: Meta | undefined,
  ) {}

  call({ name, oneway, output }: Operation, input: unknown): unknown {
    let answered = false
    let value: unknown
    let error: TalkwireError | undefined
    let tell = (): void => {}
    let call: OpenCall | undefined
    const settle = (): void => {
      answered = true
      if (call) this.calls.delete(call)
      tell()
    }
    const begun = this.begin(name, input, this.meta, {
      result(given) {
        value = output ? given : true
        settle()
      },
      error(reason) {
        error = reason
        settle()
      },
      item: () => 0,
    })
    if (oneway && !answered) return true
    if (answered) {
      if (error) throw error
      return value
    }
    call = begun
    this.calls.add(call)
    return new Promise((resolve, reject) => {
      tell = () => (error ? reject(error) : resolve(value))
    })
  }

  open({ name, event }: Operation, input: unknown): AsyncIterableIterator<Element> | Promise<AsyncIterableIterator<Element>> {
    if (event) {
      this.lasting = true
      return this.listeners.listen(name)
    }
    const elements = new Elements(() => call.cancel())
    let taken = 0
    // Once a turn: else a producer that never waits would keep everything else waiting.
    const grant = (): void => {
      const bytes = taken
      taken = 0
      call.grant(bytes)
    }
    const call: OpenCall = this.begin(
      name,
      input,
      { ...this.meta, credit: WINDOW },
      {
        item(value) {
          const size = sizeOf(value)
          elements.push({ value }, () => {
            if (taken === 0) setImmediate(grant)
            taken += size
          })
          return size
        },
        result: () => elements.end(),
        error(error) {
          elements.push({ error })
          elements.end()
        },
      },
    )
    return elements
  }

  private begin(name: string, input: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    if (this.over) throw new TalkwireError('CANCELLED', 'whoever asked has gone')
    return this.caller.call(name, paramsOf(input), meta, answer)
  }

  /** Whoever asked has gone. */
  cancel(): void {
    this.over = true
    for (const call of this.calls) call.cancel()
    this.calls.clear()
  }
}

/** What stands around each element when it is sent, roughly. */
const FRAME = 64
/** As much as it will be, roughly, when it is sent. */
const sizeOf = (value: unknown): number => (typeof value === 'string' ? value.length : (JSON.stringify(value, plain)?.length ?? 4)) + FRAME
const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value)

/** A queue that one reader takes from. */
export class Elements implements AsyncIterableIterator<Element> {
  private readonly waiting: { element: Element; taken: (() => void) | undefined }[] = []
  private reader: ((result: IteratorResult<Element>) => void) | undefined
  private over = false
  private bytes = 0

  constructor(private readonly onLeave: () => void) {}

  /** As `push`, unless so many bytes wait already: then it is left out. */
  offer(element: { readonly value: unknown }, most: number): void {
    if (this.reader) return this.push(element)
    const size = sizeOf(element.value)
    if (this.bytes > 0 && this.bytes + size > most) return
    this.bytes += size
    this.push(element, () => (this.bytes -= size))
  }

  /** `taken`: the reader has it. */
  push(element: Element, taken?: () => void): void {
    if (this.over) return
    if (!this.reader) return void this.waiting.push({ element, taken })
    const read = this.reader
    this.reader = undefined
    read({ done: false, value: element })
    // Not before `item` has returned what the element counts.
    if (taken) queueMicrotask(taken)
  }

  /** After what was pushed there is no more. */
  end(): void {
    this.over = true
    this.reader?.({ done: true, value: undefined })
    this.reader = undefined
  }

  next(): Promise<IteratorResult<Element>> {
    const first = this.waiting.shift()
    if (first) {
      first.taken?.()
      return Promise.resolve({ done: false, value: first.element })
    }
    if (this.over) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => {
      this.reader = resolve
    })
  }

  return(): Promise<IteratorResult<Element>> {
    const left = !this.over
    this.waiting.length = 0
    this.end()
    if (left) this.onLeave()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

/** Who listens to the events of one connection. */
export class Listeners {
  private readonly all = new Map<string, Set<Elements>>()
  /** Set once the session is there. */
  caller: Caller | undefined

  /** `most`: bytes of one event's payloads that may wait for a slow reader. */
  constructor(private readonly most: number) {}

  async listen(event: string): Promise<AsyncIterableIterator<Element>> {
    const listening = this.all.get(event) ?? new Set()
    this.all.set(event, listening)
    const elements: Elements = new Elements(() => this.leave(event, listening, elements))
    listening.add(elements)
    try {
      if (listening.size === 1) await this.caller!.subscribe(event)
    } catch (reason) {
      this.leave(event, listening, elements)
      throw reason
    }
    return elements
  }

  private leave(event: string, listening: Set<Elements>, elements: Elements): void {
    if (!listening.delete(elements) || listening.size > 0) return
    this.all.delete(event)
    this.caller!.unsubscribe(event)
  }

  take(event: string, payload: unknown): void {
    for (const elements of this.all.get(event) ?? []) elements.offer({ value: payload }, this.most)
  }
}
