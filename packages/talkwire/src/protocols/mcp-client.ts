/** The calling side of MCP: tools of any server are functions; a service of ours says more, and gets it. */
import { toJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { fromOpenRpc } from '../contract/from-openrpc.js'
import { TalkwireError, type Outcome } from '../error.js'
import { inputOf } from '../session/service.js'
import type { Answer, Callee, DialectClientOptions, OpenCall } from './dialect.js'
import { contractOfTools } from './mcp-contract.js'
import { Code, isRecord, OURS, own, VERSIONS, type McpId, type Request, type Response } from './mcp-message.js'
import { uriOf } from './mcp-tools.js'
import { fromWireError, type Meta } from './message.js'

/** Pages of a list of tools. */
const MOST_PAGES = 100

/** What carries the messages. */
export interface McpLink {
  /** `id`: an answer is expected, by `receive` or `failed`. */
  send(text: string, id: number | undefined): void
  /** That answer is not wanted any more. */
  forget(id: number): void
  /** From now on the server may say something by itself. */
  listen(): Promise<void>
  /** The version of MCP that both agreed on. */
  agreed?(version: string): void
}

interface Pending {
  readonly answer: Answer
  readonly done: (result: unknown) => void
}

export class McpCallee implements Callee {
  private lastId = 0
  private readonly pending = new Map<McpId, Pending>()
  /** Of a server that is not ours: each tool's arguments, in order. */
  private readonly tools = new Map<string, readonly string[]>()
  /** The same, as they were listed. */
  private readonly listed: unknown[] = []
  private server: unknown
  private ours: { name: string } | undefined
  private readonly events = new Map<string, string>()
  link!: McpLink

  constructor(
    private readonly address: string,
    private readonly options: DialectClientOptions,
  ) {}

  /** Says hello. Rejects with CONTRACT_MISMATCH, and what the link fails with. */
  async begin(): Promise<void> {
    const { contract } = this.options
    const told = await this.ask('initialize', {
      protocolVersion: VERSIONS[0],
      capabilities: {},
      clientInfo: { name: 'talkwire', version: '1' },
    })
    const version = own(told, 'protocolVersion')
    if (!VERSIONS.some((each) => each === version))
      throw new TalkwireError(
        'CONTRACT_MISMATCH',
        `${this.address} speaks MCP ${String(version).slice(0, 40)}; known are ${VERSIONS.join(', ')}`,
      )
    this.server = own(told, 'serverInfo')
    this.link.agreed?.(version as string)
    this.tell('notifications/initialized')
    const served = own(own(own(told, 'capabilities'), 'experimental'), 'talkwire')
    const name = own(served, 'name')
    if (typeof name === 'string') {
      this.ours = { name }
      const id = own(served, 'contract')
      if (contract && !contract.foreign && id !== contract.id)
        throw new TalkwireError(
          'CONTRACT_MISMATCH',
          `this service is ${typeof id === 'string' ? id : `${name} (no contract)`}, the caller wants "${contract.id}"; give both the same contract`,
        )
      return
    }
    if (own(own(told, 'capabilities'), 'tools') !== undefined) await this.listTools()
    const missing = Object.keys(contract?.members ?? {}).find((each) => !this.tools.has(each))
    if (missing !== undefined)
      throw new TalkwireError(
        'CONTRACT_MISMATCH',
        `${this.address} has no tool "${missing}"; its tools are ${[...this.tools.keys()].slice(0, 20).join(', ')}`,
      )
  }

  private async listTools(): Promise<void> {
    let cursor: unknown
    for (let page = 0; page < MOST_PAGES; page++) {
      const told = await this.ask('tools/list', cursor === undefined ? {} : { cursor })
      const tools = own(told, 'tools')
      for (const tool of Array.isArray(tools) ? (tools as unknown[]) : []) {
        const name = own(tool, 'name')
        this.listed.push(tool)
        const properties = own(own(tool, 'inputSchema'), 'properties')
        if (typeof name === 'string') this.tools.set(name, isRecord(properties) ? Object.keys(properties) : [])
      }
      cursor = own(told, 'nextCursor')
      if (typeof cursor !== 'string') return
    }
  }

  /** The tools as a contract; of a service of ours its own. Rejects with MISSING_PACKAGE, and as a call. */
  async contract(): Promise<Contract> {
    if (this.ours) return fromOpenRpc(await this.ask(OURS.discover, {}), this.ours.name)
    const version = /^\d{1,9}/.exec(String(own(this.server, 'version')))?.[0]
    const name = own(this.server, 'name')
    return contractOfTools(typeof name === 'string' ? name : '', Number(version ?? 0), this.listed)
  }

  // ── calls ──────────────────────────────────────────────────────────────────────────────────────

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const id = ++this.lastId
    const items: unknown[] = []
    let size = 0
    let sent = false
    const over = (): boolean => sent && !this.pending.has(id)
    const send = (): void => {
      const text = this.print(id, method, params, meta, meta?.input ? items : undefined)
      sent = true
      this.pending.set(id, { answer, done: (result) => this.settle(result, answer) })
      this.link.send(text, id)
    }
    if (!meta?.input) send()
    return {
      cancel: () => {
        if (!sent) sent = true
        else if (this.pending.delete(id)) {
          this.link.forget(id)
          this.tell('notifications/cancelled', { requestId: id })
        }
      },
      grant: (bytes) => {
        if (this.ours && this.pending.has(id)) this.tell(OURS.credit, { requestId: id, bytes })
      },
      input: (value) => {
        const bytes = Buffer.byteLength(toJson(value, this.options.limits))
        size += bytes
        // The whole list is one message.
        if (over() || size > this.options.limits.message) {
          if (!sent) {
            sent = true
            queueMicrotask(() =>
              answer.error(
                new TalkwireError('MESSAGE_TOO_LARGE', 'the elements are one message in MCP; send fewer, or raise limits.message'),
              ),
            )
          }
          return bytes
        }
        items.push(value)
        queueMicrotask(() => answer.grantInput?.(bytes))
        return bytes
      },
      endInput: (error) => {
        // The server must not take half of a stream for the whole.
        if (sent || error) return
        try {
          send()
        } catch (reason) {
          answer.error(TalkwireError.from(reason))
        }
      },
    }
  }

  private print(id: number, method: string, params: unknown, meta: Meta | undefined, items: readonly unknown[] | undefined): string {
    const { contract, limits } = this.options
    const { traceparent, tracestate, baggage, ...rest } = meta?.metadata ?? {}
    const call = {
      ...(this.ours && { raw: true }),
      ...(this.ours && !contract && { arguments: params ?? [] }),
      ...(meta?.credit !== undefined && { credit: meta.credit }),
      ...(meta?.timeout !== undefined && { timeout: Math.ceil(meta.timeout) }),
      ...(Object.keys(rest).length > 0 && { metadata: rest }),
    }
    const _meta = {
      progressToken: id,
      ...(Object.keys(call).length > 0 && { [OURS.call]: call }),
      ...(traceparent !== undefined && { traceparent }),
      ...(tracestate !== undefined && { tracestate }),
      ...(baggage !== undefined && { baggage }),
    }
    const given = items ? { items } : this.argumentsOf(method, params)
    return toJson(
      { jsonrpc: '2.0', id, method: 'tools/call', params: { name: method, ...(given !== undefined && { arguments: given }), _meta } },
      limits,
    )
  }

  private argumentsOf(method: string, params: unknown): unknown {
    if (this.options.contract) {
      const member = this.options.contract.members[method]
      const input = inputOf(params, member?.kind === 'rpc' ? member.parameters : undefined)
      return input === undefined || isRecord(input) ? input : { [this.nameOf(method)]: input }
    }
    if (this.ours) return {}
    const list = (params ?? []) as unknown[]
    if (!Array.isArray(list)) return list
    if (list.length === 1 && isRecord(list[0])) return list[0]
    const names = this.tools.get(method) ?? []
    if (list.length > names.length)
      throw new TalkwireError(
        'INVALID_INPUT',
        `"${method}" takes ${names.length === 0 ? 'no arguments' : names.join(', ')}; pass them in that order, or one object`,
      )
    return Object.fromEntries(list.map((value, at) => [names[at]!, value]))
  }

  /** The argument that an input which is no object goes to. */
  private nameOf(method: string): string {
    const names = this.tools.get(method)
    return names?.length === 1 ? names[0]! : 'input'
  }

  private settle(result: unknown, answer: Answer): void {
    const meta = own(result, '_meta')
    if (own(result, 'isError') === true) {
      const told = own(meta, OURS.error)
      return answer.error(told !== undefined && this.ours ? fromWireError(told) : failureOf(result))
    }
    answer.result(this.ours ? own(meta, OURS.result) : valueOf(result, this.options.contract !== undefined))
  }

  // ── what arrives ───────────────────────────────────────────────────────────────────────────────

  /** `size` in bytes, as the other side counts them. */
  receive(message: Request | Response, size: number): void {
    if ('method' in message) return this.onRequest(message, size)
    const pending = message.id === null ? undefined : this.pending.get(message.id)
    if (!pending) return
    this.pending.delete(message.id!)
    if (message.error !== undefined) pending.answer.error(errorOf(message.error))
    else pending.done(message.result)
  }

  /** There will be no answer. */
  failed(id: McpId, error: TalkwireError): void {
    const pending = this.pending.get(id)
    this.pending.delete(id)
    pending?.answer.error(error)
  }

  private onRequest({ id, method, params }: Request, size: number): void {
    if (id !== undefined) {
      const answer =
        method === 'ping' ? { result: {} } : { error: { code: Code.method, message: 'this client has tools to call, nothing else' } }
      this.link.send(JSON.stringify({ jsonrpc: '2.0', id, ...answer }), undefined)
    } else if (method === 'notifications/progress') this.onProgress(params, size)
    else if (method === 'notifications/resources/updated') this.onUpdated(params)
  }

  private onProgress(params: Request['params'], size: number): void {
    const { progressToken, _meta, ...progress } = params
    const answer = this.pending.get(progressToken as McpId)?.answer
    if (!answer) return
    if (this.ours && isRecord(_meta) && Object.hasOwn(_meta, OURS.item)) answer.item(_meta[OURS.item], size)
    else if (this.ours) answer.progress?.(own(_meta, OURS.progress))
    else answer.progress?.(progress)
  }

  private onUpdated({ uri, _meta }: Request['params']): void {
    const event = this.events.get(uri as string)
    if (event !== undefined && isRecord(_meta) && Object.hasOwn(_meta, OURS.payload)) this.options.onEvent(event, _meta[OURS.payload])
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────

  async subscribe(event: string): Promise<void> {
    if (!this.ours)
      throw new TalkwireError('UNSUPPORTED', `${this.address} is no service of Talkwire, and MCP has no events with a payload`)
    const uri = uriOf(this.ours.name, event)
    this.events.set(uri, event)
    await this.link.listen()
    await this.ask('resources/subscribe', { uri })
  }

  unsubscribe(event: string): void {
    if (!this.ours) return
    const uri = uriOf(this.ours.name, event)
    this.events.delete(uri)
    this.ask('resources/unsubscribe', { uri }).catch(() => {})
  }

  // ── plain requests ─────────────────────────────────────────────────────────────────────────────

  private ask(method: string, params: object): Promise<unknown> {
    const id = ++this.lastId
    return new Promise((resolve, reject) => {
      this.pending.set(id, { answer: { result: resolve, error: reject, item: () => 0 }, done: resolve })
      this.link.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }), id)
    })
  }

  private tell(method: string, params?: object): void {
    this.link.send(JSON.stringify({ jsonrpc: '2.0', method, ...(params && { params }) }), undefined)
  }

  /** The link is over. */
  end(error: TalkwireError): void {
    for (const id of this.pending.keys()) this.failed(id, error)
  }
}

// ── what strangers answer ────────────────────────────────────────────────────────────────────────

function textsOf(result: unknown): string[] | undefined {
  const content = own(result, 'content')
  if (!Array.isArray(content)) return []
  const texts = content.filter((block) => own(block, 'type') === 'text').map((block) => own(block, 'text'))
  return texts.length === content.length && texts.every((text) => typeof text === 'string') ? texts : undefined
}

/** With a contract a text may be JSON: the tools of many servers have no other way to say a value. */
function valueOf(result: unknown, typed: boolean): unknown {
  const structured = own(result, 'structuredContent')
  if (structured !== undefined) return Object.keys(structured as object).join() === 'result' ? own(structured, 'result') : structured
  const texts = textsOf(result)
  if (!texts || texts.length > 1) return own(result, 'content')
  if (texts.length === 0) return undefined
  if (!typed) return texts[0]
  try {
    return JSON.parse(texts[0]!) as unknown
  } catch {
    return texts[0]
  }
}

function failureOf(result: unknown): TalkwireError {
  const text = textsOf(result)?.join('\n')
  return new TalkwireError('UNKNOWN', text === undefined || text === '' ? 'the tool failed' : text, {
    outcome: 'ran',
    details: own(result, 'structuredContent') ?? own(result, 'content'),
  })
}

const meanings: Readonly<Record<number, [code: string, outcome: Outcome]>> = {
  [Code.params]: ['INVALID_INPUT', 'not-sent'],
  [-32601]: ['METHOD_NOT_FOUND', 'not-sent'],
}

/** A server that is not ours says numbers only. */
function errorOf(error: unknown): TalkwireError {
  const ours = own(own(error, 'data'), 'outcome') !== undefined
  const [code, outcome] = meanings[own(error, 'code') as number] ?? []
  if (ours || code === undefined) return fromWireError(error)
  return new TalkwireError(code, String(own(error, 'message')), { outcome: outcome!, details: own(error, 'data') })
}
