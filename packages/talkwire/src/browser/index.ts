/** `talkwire/browser`: the client for pages, over WebSocket. The same words as in Node; docs/browser.md says what is missing. */
import { isContract, type Client, type Contract, type Functions, type FunctionsClient } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { ClientInterceptor, ConnectionChange, ReconnectOptions } from '../session/link.js'
import { createClient } from './client.js'
import { BrowserLink, type OnClosed, type OnEvent } from './link.js'
import type { Implementation } from './service.js'
import { BrowserSession, type Limits } from './session.js'
import { openSocket, type Dial } from './socket.js'

export { contract, event, isError, rpc, stream } from '../contract/contract.js'
export type { CallOptions, Client, Contract, Context } from '../contract/contract.js'
export { TalkwireError } from '../error.js'
export { withOptions } from './client.js'
export { ref } from './references.js'
export { implement, type Implementation } from './service.js'
export type { Dial } from './socket.js'

export interface ConnectOptions {
  /** The service's `token`. It stands in the request, where the page's own scripts can read it, too. */
  readonly token?: string
  /** What the page serves on the connection, made by `implement`: the service reaches it as `ctx.caller`. */
  readonly serve?: Implementation
  /** How the service is reached, instead of by WebSocket: `webrtc()` of `talkwire/browser/webrtc`. */
  readonly dial?: Dial
  readonly limits?: Partial<Limits>
  readonly interceptors?: readonly ClientInterceptor[]
  /** Default: on. */
  readonly reconnect?: ReconnectOptions | boolean
  readonly onConnection?: (change: ConnectionChange) => void
  /** Milliseconds of silence after which the service is asked whether it is there. */
  readonly heartbeat?: number
  /** Errors that nobody waits for. Default: `console.error`. */
  readonly onError?: (error: unknown, what: string) => void
  readonly signal?: AbortSignal
}

/** Rejects with PEER_NOT_FOUND (also for a wrong token or page: browsers do not tell), CONTRACT_MISMATCH, INVALID_ADDRESS, the signal's reason. */
export function connect<C extends Contract>(contract: C, address: string, options?: ConnectOptions): Promise<Client<C>>
export function connect<F extends object = Functions>(address: string, options?: ConnectOptions): Promise<FunctionsClient<F>>
export async function connect(first: Contract | string, second?: string | ConnectOptions, third?: ConnectOptions): Promise<any> {
  const contract = isContract(first) ? first : undefined
  const address = (contract ? second : first) as string
  const options = ((contract ? third : second) ?? {}) as ConnectOptions
  const { reconnect = true, onError = (error, what) => console.error(`in "${what}":`, error) } = options
  const link = new BrowserLink({
    contract,
    interceptors: options.interceptors ?? [],
    reconnect: reconnect === true ? {} : reconnect,
    onError,
    onConnection: options.onConnection,
    open: (onEvent, onClosed) => open(contract, address, { ...options, onError }, onEvent, onClosed),
  })
  return createClient(await link.open())
}

export const defaultLimits: Limits = {
  message: 64 * 1024 * 1024,
  depth: 64,
  calls: 10_000,
  references: 10_000,
  window: 512 * 1024,
  outgoing: 16 * 1024 * 1024,
  handshake: 5_000,
}

async function open(
  contract: Contract | undefined,
  address: string,
  options: ConnectOptions & { onError: (error: unknown, what: string) => void },
  onEvent: OnEvent,
  onClosed: OnClosed,
): Promise<BrowserSession> {
  const limits = { ...defaultLimits, ...options.limits }
  const { serve, onError, token, signal, heartbeat = 0, dial = openSocket } = options
  let caller: BrowserLink | undefined
  const session = new BrowserSession(address, {
    limits,
    service: serve?.service,
    onEvent,
    onError,
    callerOf(own, call) {
      caller ??= new BrowserLink({ contract, interceptors: [], reconnect: false, onError, open: () => Promise.reject(own.cause) })
      caller.adopt(own)
      return createClient(caller, { from: call })
    },
    onClosed(own, cause) {
      caller?.adopt(own)
      onClosed(own, cause)
    },
  })
  session.socket = await dial(address, { token, signal, timeout: limits.handshake }, session, limits.message)
  const { window, message: maxMessage, handshake: timeout } = limits
  const hello = {
    wire: 1,
    codecs: ['json'],
    attachments: true,
    contract: contract?.id ?? null,
    serves: serve?.service.contract?.id ?? null,
  }
  try {
    session.agree(
      (await session.ask('rpc.hello', { ...hello, window, maxMessage, heartbeat }, { timeout, ...(signal && { signal }) })) as object,
    )
  } catch (reason) {
    session.abort(TalkwireError.from(reason))
    throw reason instanceof TalkwireError ? reason.withOutcome('not-sent') : reason
  }
  return session
}
