/**
 * MCP, the Model Context Protocol: methods as tools of an AI client. `mcp:` serves on stdin and stdout, `mcp+spawn:` starts
 * such a server, `mcp+http:` is streamable HTTP. docs/protocols/mcp.md.
 */
import { parseAddress } from '../address.js'
import { fromJson, LOOKED_AT, toJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { plainMessage, TalkwireError } from '../error.js'
import { spawnStdio } from '../transports/spawn.js'
import { listenOnce } from '../transports/stdio.js'
import type { ByteConnection, Connection, ConnectionBase, Listener, Sink } from '../transports/transport.js'
import type { Admit, Dialect, DialectClientOptions, DialectDiscoverOptions, DialectServerOptions, DialectTraits } from './dialect.js'
import { listenHttp } from './http-server.js'
import { McpCallee, type McpLink } from './mcp-client.js'
import { connectMcpHttp } from './mcp-http-client.js'
import { mcpOverHttp } from './mcp-http.js'
import { Code, idOf, readMessage, type McpId, type Request, type Response } from './mcp-message.js'
import { createMcpSite, McpPeer, type McpSite, type Out } from './mcp-server.js'

const traits: DialectTraits = {
  inputStream: true,
  outputStream: true,
  duplex: false,
  events: true,
  oneway: true,
  progress: true,
  deadline: true,
  metadata: true,
  cancellation: true,
  untyped: true,
  crossHost: true,
}

const overHttp = (scheme: 'mcp+http' | 'mcp+https'): Dialect => ({
  scheme,
  speaks: 'calls',
  tokens: true,
  traits,
  listen: async (address, service, admit, options) =>
    listenHttp(address, admit, mcpOverHttp(scheme === 'mcp+https' ? 'https' : 'http', await createMcpSite(service, options)), options),
  site: async (service, options) => mcpOverHttp(scheme === 'mcp+https' ? 'https' : 'http', await createMcpSite(service, options)),
  connect: connectMcpHttp,
  discover: (address, options) => discover(connectMcpHttp, address, options),
})
export const mcpHttp = overHttp('mcp+http')
export const mcpHttps = overHttp('mcp+https')

export const mcp: Dialect = {
  scheme: 'mcp',
  speaks: 'calls',
  traits: { ...traits, crossHost: false },
  listen: async (address, service, admit, options) => listenStdio(address, admit, await createMcpSite(service, options), options),
}

export const mcpSpawn: Dialect = {
  scheme: 'mcp+spawn',
  speaks: 'calls',
  traits: { ...traits, crossHost: false },
  connect: connectSpawn,
  discover: (address, options) => discover(connectSpawn, address, options),
}

/** Rejects as `Dialect.discover`. */
async function discover(
  connect: (address: string, options: DialectClientOptions) => Promise<{ connection: ConnectionBase; callee: McpCallee }>,
  address: string,
  options: DialectDiscoverOptions,
): Promise<Contract> {
  let open: McpCallee | undefined
  const onClosed = (cause?: TalkwireError): void =>
    open?.end(cause ?? new TalkwireError('CONNECTION_CLOSED', `${address} ended before it said what it offers`))
  const { connection, callee } = await connect(address, { ...options, contract: undefined, onEvent() {}, onClosed })
  open = callee
  const late = AbortSignal.timeout(options.limits.handshake)
  const stop = options.signal ? AbortSignal.any([options.signal, late]) : late
  stop.addEventListener('abort', () => callee.end(TalkwireError.from(stop.reason, 'CANCELLED')), { once: true })
  try {
    return await callee.contract()
  } catch (reason) {
    options.signal?.throwIfAborted()
    throw reason
  } finally {
    await connection.close()
  }
}

// ── stdin and stdout ─────────────────────────────────────────────────────────────────────────────

function listenStdio(address: string, admit: Admit, site: McpSite, options: DialectServerOptions): Listener {
  options.signal?.throwIfAborted()
  if (parseAddress(address).rest !== '')
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `${JSON.stringify(address.slice(0, 80))}: nothing stands after the colon; for HTTP write mcp+http://127.0.0.1:8080`,
    )
  return listenOnce(address, (connection) => serveStdio(connection as ByteConnection, admit, site), { maxMessage: options.limits.message })
}

function serveStdio(connection: ByteConnection, admit: Admit, site: McpSite): Sink {
  const peer = new McpPeer(site)
  const caller = admit(connection, (event, payload) => peer.onEvent(event, payload))
  const write = writerOf(connection)
  const notify = (method: string, params: unknown): boolean => write(toJson({ jsonrpc: '2.0', method, params }, site.options.limits))
  peer.listen({ caller, notify })
  const { limits } = site.options
  const onMessage = (bytes: Buffer): void => {
    // Who asks and does not read is not read either.
    if (connection.buffered > limits.outgoing) connection.pause()
    let value: unknown
    try {
      value = fromJson(bytes, site.options.limits)
      const message = readMessage(value)
      if ('method' in message) peer.handle(message, caller, new LineOut(message.id, write, notify, connection, site))
    } catch (reason) {
      const error = TalkwireError.from(reason, 'INVALID_MESSAGE')
      const code = error.code === 'INVALID_REQUEST' ? Code.request : Code.parse
      write(toJson({ jsonrpc: '2.0', id: idOf(value), error: { code, message: plainMessage(error) } }))
    }
  }
  return {
    message: (bytes, start, end) => onMessage(bytes.subarray(start, end)),
    value() {},
    drained() {
      connection.resume()
      caller.drained()
    },
    // Who sends no more may still read: `echo … | node server.js`.
    ended() {
      peer.onIdle = () => void connection.close()
      if (peer.idle) peer.onIdle()
    },
    closed(cause) {
      peer.gone()
      caller.closed(cause)
    },
  }
}

type Write = (text: string) => boolean

const writerOf =
  (connection: ByteConnection): Write =>
  (text) => {
    connection.begin().text(text)
    return connection.commit()
  }

class LineOut implements Out {
  constructor(
    private readonly id: McpId | undefined,
    private readonly write: Write,
    private readonly tell: (method: string, params: unknown) => boolean,
    private readonly connection: ByteConnection,
    private readonly site: McpSite,
  ) {}

  get full(): boolean {
    return this.connection.buffered > this.site.options.limits.window
  }

  result(value: unknown): void {
    this.write(toJson({ jsonrpc: '2.0', id: this.id ?? null, result: value }, this.site.options.limits))
  }

  error(code: number, message: string, data?: unknown): void {
    this.write(toJson({ jsonrpc: '2.0', id: this.id ?? null, error: { code, message, ...(data !== undefined && { data }) } }, LOOKED_AT))
  }

  notify(method: string, params: unknown): number {
    this.tell(method, params)
    return this.connection.committed
  }

  nothing(): void {}
}

/** Rejects as `Dialect.connect`. */
async function connectSpawn(address: string, options: DialectClientOptions): Promise<{ connection: ConnectionBase; callee: McpCallee }> {
  const { limits, env, cwd, detached, signal } = options
  const callee = new McpCallee(address, options)
  let begun = false
  const connection = (await spawnStdio.connect!(
    address,
    {
      message: (bytes, start, end) => {
        const message = messageOf(bytes.subarray(start, end), options)
        if (message) callee.receive(message, end - start)
      },
      value() {},
      drained() {},
      closed(cause) {
        if (begun) return options.onClosed(cause)
        callee.end(cause ?? new TalkwireError('CONNECTION_CLOSED', `${address} ended before it said anything`))
      },
    },
    {
      maxMessage: limits.message,
      framing: 'line',
      ...(env && { env }),
      ...(cwd !== undefined && { cwd }),
      ...(detached && { detached }),
      ...(signal && { signal }),
    },
  )) as Connection & ByteConnection
  const write = writerOf(connection)
  const link: McpLink = { send: (text) => void write(text), forget() {}, listen: () => Promise.resolve() }
  callee.link = link
  const late = AbortSignal.timeout(limits.handshake)
  const stop = signal ? AbortSignal.any([signal, late]) : late
  const onAbort = (): void => {
    const error = new TalkwireError('PEER_NOT_FOUND', `${address} did not answer within ${limits.handshake} ms; raise limits.handshake`)
    connection.abort(error)
    callee.end(error)
  }
  stop.addEventListener('abort', onAbort)
  try {
    await callee.begin()
    begun = true
  } catch (reason) {
    const error = TalkwireError.from(reason).withOutcome('not-sent')
    connection.abort(error)
    signal?.throwIfAborted()
    throw error
  } finally {
    stop.removeEventListener('abort', onAbort)
  }
  return { connection, callee }
}

/** Undefined for what is no message: some servers print there what was meant for people. */
function messageOf(bytes: Buffer, { limits }: DialectClientOptions): Request | Response | undefined {
  try {
    return readMessage(fromJson(bytes, limits))
  } catch {
    return undefined
  }
}
