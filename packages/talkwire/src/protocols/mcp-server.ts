/** The serving side of MCP: requests become calls of a session, whatever carried them. */
import { LOOKED_AT, toJson } from '../codecs/plain-json.js'
import { plainMessage, TalkwireError } from '../error.js'
import { nearest } from '../suggest.js'
import type { Service } from '../session/service.js'
import type { Answer, Caller, DialectServerOptions, OpenCall } from './dialect.js'
import { Code, isId, isRecord, OURS, own, VERSIONS, type McpId, type Request } from './mcp-message.js'
import { createCatalog, uriOf, type Catalog, type Resource, type Tool } from './mcp-tools.js'
import { toWireError, type Meta } from './message.js'

/** What a list takes in of a stream: an AI reads all of it. */
const MOST_ITEMS = 1000
const MOST_BYTES = 1024 * 1024

/** Where the answer to one request goes. */
export interface Out {
  /** Throws for what cannot be sent; then `error` follows. */
  result(value: unknown): void
  error(code: number, message: string, data?: unknown): void
  /** Returns the bytes of the message. */
  notify(method: string, params: unknown): number
  /** Nobody waits any more. */
  nothing(): void
  /** What was said has not left yet: what can be left out, is. */
  readonly full: boolean
}

export interface McpSite {
  readonly service: Service
  readonly catalog: Catalog
  readonly options: DialectServerOptions
}

export const createMcpSite = async (service: Service, options: DialectServerOptions): Promise<McpSite> => ({
  service,
  catalog: await createCatalog(service),
  options,
})

/** How events reach a peer. */
export interface Listening {
  readonly caller: Caller
  readonly notify: (method: string, params: unknown) => boolean
}

/** One client, over however many connections. */
export class McpPeer {
  private readonly open = new Map<McpId, OpenCall>()
  private readonly wanted = new Set<string>()
  private readonly latest = new Map<string, unknown>()
  private listening: Listening | undefined
  onIdle: (() => void) | undefined

  constructor(private readonly site: McpSite) {}

  get idle(): boolean {
    return this.open.size === 0
  }

  get busy(): boolean {
    return this.open.size > 0 || this.listening !== undefined
  }

  /** Never throws. */
  handle(request: Request, caller: Caller, out: Out): void {
    try {
      if (request.id === undefined) this.told(request)
      else if (this.open.has(request.id)) out.error(Code.request, 'the id of a request that is not answered yet')
      else this.answer(request, request.id, caller, out)
    } catch (reason) {
      fail(out, TalkwireError.from(reason, 'INVALID_INPUT'))
    }
  }

  private told({ method, params }: Request): void {
    const id = own(params, 'requestId')
    const call = isId(id) ? this.open.get(id) : undefined
    if (method === 'notifications/cancelled') call?.cancel()
    else if (method === OURS.credit) {
      const bytes = own(params, 'bytes')
      if (Number.isSafeInteger(bytes) && (bytes as number) > 0) call?.grant(bytes as number)
    }
  }

  private answer({ method, params }: Request, id: McpId, caller: Caller, out: Out): void {
    const { catalog } = this.site
    switch (method) {
      case 'initialize':
        return out.result(this.welcome(params['protocolVersion']))
      case 'ping':
        return out.result({})
      case 'tools/list':
        return out.result({ tools: [...catalog.tools.values()].map(({ shown }) => shown) })
      case 'resources/list':
        return out.result({ resources: this.shown(false) })
      case 'resources/templates/list':
        return out.result({ resourceTemplates: this.shown(true) })
      case 'tools/call':
        return this.callTool(params, id, caller, out)
      case 'resources/read':
        return this.read(params, id, caller, out)
      case 'resources/subscribe':
        return this.subscribe(params, out)
      case 'resources/unsubscribe':
        return this.unsubscribe(params, out)
      case OURS.discover:
        return this.discover(id, caller, out)
      default:
        return out.error(
          Code.method,
          `there is no method ${JSON.stringify(method.slice(0, 100))}; there are tools/list, tools/call and resources/read`,
        )
    }
  }

  private discover(id: McpId, caller: Caller, out: Out): void {
    const track = this.tracked(id)
    const call = caller.call('rpc.discover', [], undefined, {
      result(value) {
        out.result(value)
        track.over()
      },
      error(error) {
        track.over()
        fail(out, error)
      },
      item: () => 0,
    })
    track.opened(call)
  }

  private welcome(asked: unknown): unknown {
    const { name, contract } = this.site.service
    return {
      protocolVersion: VERSIONS.find((version) => version === asked) ?? VERSIONS[0],
      capabilities: {
        tools: {},
        resources: { subscribe: true },
        experimental: { talkwire: { name, contract: contract?.id ?? null } },
      },
      serverInfo: { name, version: String(contract?.version ?? 0) },
    }
  }

  private shown(templates: boolean): unknown[] {
    return [...this.site.catalog.resources.values()].filter(({ template }) => template === templates).map(({ shown }) => shown)
  }

  // ── tools ──────────────────────────────────────────────────────────────────────────────────────

  private callTool(params: Request['params'], id: McpId, caller: Caller, out: Out): void {
    const { name } = params
    const { tools } = this.site.catalog
    const tool = typeof name === 'string' ? tools.get(name) : undefined
    if (!tool) {
      const asked = String(name).slice(0, 100)
      const near = nearest(asked, [...tools.keys()])
      const hint = near === undefined ? 'tools/list names them' : `did you mean ${JSON.stringify(near)}?`
      return out.error(Code.params, `there is no tool ${JSON.stringify(asked)}; ${hint}`)
    }
    new ToolCall(tool, params, this.site.options, out).begin(caller, this.tracked(id))
  }

  /** Keeps a call while it is open. */
  private tracked(id: McpId): Track {
    let over = false
    return {
      opened: (call) => {
        if (!over) this.open.set(id, call)
      },
      over: () => {
        over = true
        this.open.delete(id)
        if (this.open.size === 0) this.onIdle?.()
      },
    }
  }

  // ── resources ──────────────────────────────────────────────────────────────────────────────────

  private resource(params: Request['params']): { uri: string; query: string; resource: Resource | undefined } {
    const uri = String(params['uri'])
    const mark = uri.indexOf('?')
    const base = mark < 0 ? uri : uri.slice(0, mark)
    return { uri, query: mark < 0 ? '' : uri.slice(mark + 1), resource: this.site.catalog.resources.get(base) }
  }

  private read(params: Request['params'], id: McpId, caller: Caller, out: Out): void {
    const { uri, query, resource } = this.resource(params)
    if (!resource)
      return out.error(Code.resource, 'there is no such resource; resources/list and resources/templates/list name them', { uri })
    const answer = (value: unknown): void =>
      out.result({ contents: value === undefined ? [] : [{ uri, mimeType: 'application/json', text: toJson(value, LOOKED_AT) }] })
    if (!resource.fields) return answer(this.latest.get(resource.name))
    const track = this.tracked(id)
    const call = caller.call(resource.name, resource.fields.read(query), metaOf(params), {
      result(value) {
        answer(value)
        track.over()
      },
      error(error) {
        track.over()
        if (error.code === 'CANCELLED') out.nothing()
        else fail(out, error)
      },
      item: () => 0,
    })
    track.opened(call)
  }

  private eventOf(params: Request['params'], out: Out): string | undefined {
    const { uri, resource } = this.resource(params)
    if (resource && !resource.fields) return resource.name
    out.error(Code.resource, 'that is no event; only events can be subscribed to', { uri })
    return undefined
  }

  private subscribe(params: Request['params'], out: Out): void {
    const event = this.eventOf(params, out)
    if (event === undefined) return
    this.wanted.add(event)
    // Without a stream for them nothing could arrive: it begins when there is one.
    const begun = this.listening?.caller.subscribe(event) ?? Promise.resolve()
    begun.then(
      () => out.result({}),
      (reason: unknown) => fail(out, TalkwireError.from(reason)),
    )
  }

  private unsubscribe(params: Request['params'], out: Out): void {
    const event = this.eventOf(params, out)
    if (event === undefined) return
    this.forget(event)
    out.result({})
  }

  private forget(event: string): void {
    this.wanted.delete(event)
    this.latest.delete(event)
    this.listening?.caller.unsubscribe(event)
  }

  listen(listening: Listening): void {
    this.listening = listening
    for (const event of this.wanted) listening.caller.subscribe(event).catch((reason: unknown) => this.site.options.onError(reason, event))
  }

  /** The stream of events is over. */
  deaf(listening: Listening): void {
    if (this.listening === listening) this.listening = undefined
  }

  onEvent(event: string, payload: unknown): boolean {
    if (!this.listening) return true
    const { name } = this.site.service
    if (event === '$/lost') {
      const { event: of, count } = payload as { event: string; count: number }
      return this.listening.notify('notifications/resources/updated', { uri: uriOf(name, of), _meta: { [OURS.lost]: count } })
    }
    if (!this.wanted.has(event)) return true
    this.latest.set(event, payload)
    return this.listening.notify('notifications/resources/updated', { uri: uriOf(name, event), _meta: { [OURS.payload]: payload } })
  }

  /** Nobody can fetch that answer any more. */
  drop(id: McpId): void {
    this.open.get(id)?.cancel()
    this.open.delete(id)
  }

  /** Nobody is there any more. */
  gone(): void {
    for (const call of this.open.values()) call.cancel()
    this.open.clear()
    for (const event of this.wanted) this.forget(event)
  }
}

interface Track {
  opened(call: OpenCall): void
  over(): void
}

function fail(out: Out, error: TalkwireError): void {
  const { code, data } = toWireError(error)
  out.error(code, plainMessage(error), data)
}

const TRACE = ['traceparent', 'tracestate', 'baggage']

/** Throws INVALID_REQUEST. */
function metaOf(params: Request['params']): Meta | undefined {
  const meta = params['_meta']
  const call = own(meta, OURS.call)
  const timeout = own(call, 'timeout')
  const given = own(call, 'metadata')
  if ((timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) || (given !== undefined && !isRecord(given)))
    throw new TalkwireError('INVALID_REQUEST', `${OURS.call} holds timeout (milliseconds) and metadata (texts)`)
  const metadata: Record<string, string> = {}
  const entries = [...Object.entries(given ?? {}), ...TRACE.map((key) => [key, own(meta, key)] as const)]
  for (const [key, value] of entries) if (typeof value === 'string') metadata[key] = value
  return { ...(timeout !== undefined && { timeout: timeout as number }), ...(Object.keys(metadata).length > 0 && { metadata }) }
}

/** One `tools/call`, until it is answered. */
class ToolCall implements Answer {
  private readonly token: unknown
  /** The caller is ours: values go as they are, elements one by one, as it grants them. */
  private readonly credit: unknown
  private readonly raw: boolean
  private call: OpenCall | undefined
  private track!: Track
  private steps = 0
  private reached = -Infinity
  private readonly items: unknown[] = []
  private size = 0
  private waiting: readonly unknown[] = []
  private next = 0
  private inputCredit: number
  /** Bytes of elements that the caller has not taken. */
  private untaken = 0
  private done = false

  constructor(
    private readonly tool: Tool,
    private readonly params: Request['params'],
    private readonly options: DialectServerOptions,
    private readonly out: Out,
  ) {
    const meta = params['_meta']
    const token = own(meta, 'progressToken')
    this.token = isId(token) ? token : undefined
    const call = own(meta, OURS.call)
    this.raw = own(call, 'raw') === true
    this.credit = this.raw ? own(call, 'credit') : undefined
    this.inputCredit = options.limits.window
  }

  begin(caller: Caller, track: Track): void {
    this.track = track
    const { method } = this.tool
    try {
      const list = this.raw ? own(own(this.params['_meta'], OURS.call), 'arguments') : undefined
      const { params, items } = method.positional && Array.isArray(list) ? { params: list, items: undefined } : this.read()
      const streams = method.outputStream || method.positional
      const credit =
        Number.isSafeInteger(this.credit) && (this.credit as number) > 0
          ? Math.min(this.credit as number, this.options.limits.outgoing)
          : MOST_BYTES
      const call = caller.call(
        method.name,
        params,
        { ...metaOf(this.params), ...(streams && { credit }), ...(items && { input: true as const }) },
        this,
      )
      this.call = call
      track.opened({
        cancel: () => call.cancel(),
        grant: (bytes) => this.grant(bytes),
        input: (value, size) => call.input(value, size),
        endInput: (error) => call.endInput(error),
      })
      if (method.oneway && !this.done) this.result(undefined)
      else if (items) this.feed(items)
    } catch (reason) {
      this.error(TalkwireError.from(reason, 'INVALID_INPUT'))
    }
  }

  private read(): { params: unknown; items?: readonly unknown[] } {
    const given = this.params['arguments']
    if (given !== undefined && !isRecord(given)) throw new TalkwireError('INVALID_INPUT', 'arguments is an object')
    return this.tool.read(given)
  }

  private feed(items: readonly unknown[]): void {
    this.waiting = items
    while (this.next < items.length && this.inputCredit > 0 && !this.done) {
      const item = items[this.next++]
      const size = Buffer.byteLength(toJson(item, LOOKED_AT))
      this.inputCredit -= size
      this.call!.input(item, size)
    }
    if (this.next === items.length) {
      this.next++
      this.call!.endInput()
    }
  }

  grantInput(bytes: number): void {
    this.inputCredit += bytes
    if (this.call && this.next > 0) this.feed(this.waiting)
  }

  result(value: unknown): void {
    if (this.done) return
    const collected = this.size > 0 || this.tool.method.outputStream
    if (this.raw) this.out.result({ content: [], _meta: value === undefined ? {} : { [OURS.result]: value } })
    else this.out.result(this.tool.result(collected ? { items: this.items, complete: true } : value))
    this.over()
  }

  error(error: TalkwireError): void {
    if (this.done) return
    this.over()
    if (error.code === 'CANCELLED') this.out.nothing()
    else this.out.result(this.tool.failure(error))
  }

  item(value: unknown): number {
    if (this.done) return 0
    if (this.raw) {
      const bytes = this.out.notify('notifications/progress', this.step({ [OURS.item]: value }))
      this.untaken += bytes
      return bytes
    }
    const text = toJson(value, this.options.limits)
    const size = Buffer.byteLength(text)
    this.size += size
    if (this.items.length === MOST_ITEMS || this.size > MOST_BYTES) {
      this.out.result(this.tool.result({ items: this.items, complete: false }))
      this.over()
      // Not within its own send.
      queueMicrotask(() => this.call?.cancel())
      return size
    }
    this.items.push(value)
    if (this.token !== undefined) this.out.notify('notifications/progress', { ...this.step(), message: text })
    queueMicrotask(() => this.call?.grant(size))
    return size
  }

  /** Nobody takes more than there is: a caller that grants without end, and does not read, would fill our memory. */
  private grant(bytes: number): void {
    const taken = Math.min(bytes, this.untaken)
    this.untaken -= taken
    this.call?.grant(taken)
  }

  progress(value: unknown): void {
    if (this.done || this.token === undefined || this.out.full) return
    if (this.raw) return void this.out.notify('notifications/progress', this.step({ [OURS.progress]: value }))
    const { progress, total, message } = (isRecord(value) ? value : { progress: value }) as Record<string, unknown>
    if (typeof progress !== 'number')
      return void this.out.notify('notifications/progress', { ...this.step(), message: toJson(value, LOOKED_AT) })
    // MCP: it increases with each notification.
    if (!(progress > this.reached)) return
    this.reached = progress
    this.out.notify('notifications/progress', {
      progressToken: this.token,
      progress,
      ...(typeof total === 'number' && { total }),
      ...(typeof message === 'string' && { message }),
    })
  }

  private step(meta?: Record<string, unknown>): Record<string, unknown> {
    this.steps = Math.max(this.steps + 1, this.reached + 1)
    this.reached = this.steps
    return { progressToken: this.token ?? null, progress: this.steps, ...(meta && { _meta: meta }) }
  }

  private over(): void {
    this.done = true
    this.track.over()
  }
}
