import {
  isContract,
  type Contract,
  type ContractClient,
  type EventInput,
  type EventNames,
  type ExactHandlers,
  type Functions,
  type FunctionsClient,
  type Handlers,
} from './contract/contract.js'
import type { AuthKey } from './session/auth.js'
import type { Limits } from './session/limits.js'
import { contractService, functionsService } from './session/service.js'
import type { ServerInterceptor, SessionStats } from './session/session.js'
import type { Peer } from './transports/transport.js'
import type { RtcOptions } from './transports/webrtc-meeting.js'

export interface ServeOptions {
  /** Where to listen. Default: whoever started us by `connect('spawn:…')`, `fork:` or `worker:`; else the service's own name on a Unix socket, `unix:bank`. */
  readonly listen?: string | readonly string[]
  /**
   * Listeners on `tcp:`, `tls:` and `unix:` answer other protocols beside our own messages, recognised from the first bytes: names such
   * as `http`, `ws`, `xmlrpc`, `soap`, `mcp`; or `all` that can carry the service and are installed.
   */
  readonly protocols?: 'all' | readonly string[]
  /** Announce the service under its name even if it listens neither on `unix:` + name nor on `shm:` + name. A text: under this name instead. */
  readonly announce?: boolean | string
  /** A secret that both sides know; at least 16 bytes. Needed, or TLS, to listen beyond loopback. */
  readonly authkey?: AuthKey
  /** Listen beyond loopback without authentication. Anyone who reaches the port can call. */
  readonly insecure?: boolean
  /** What clients show to `http:` and other protocols that browsers reach. Default: a random one, `service.token`; false: none. */
  readonly token?: string | false
  /** Names of this machine, beside those of the address and of loopback, under which browsers may reach it: `bank.example:8080`. */
  readonly hosts?: readonly string[]
  /** Pages of other origins that may call: `https://bank.example`. Default: none. */
  readonly origins?: readonly string[]
  /** For `tls:` and `https:`: key, certificate, and the authority of the clients, as for `tls.createServer`. */
  readonly tls?: import('node:tls').TlsOptions
  /** For `unix:`: lets a peer in. By default our own uid and root. */
  readonly allow?: (peer: Peer) => boolean
  /** For `webrtc:`: the STUN and TURN servers, and our own address. */
  readonly rtc?: RtcOptions
  /** Values of the kind `Descriptor` may travel, on `unix:` and Linux; clients have to ask for it, too. */
  readonly descriptors?: boolean
  readonly limits?: Partial<Limits>
  readonly interceptors?: readonly ServerInterceptor[]
  /** What callers serve in return: the type and the schemas of `ctx.caller`. */
  readonly caller?: Contract
  /** Milliseconds of silence after which a peer is asked whether it lives. Default: 15,000 on tcp and tls, else none. */
  readonly heartbeat?: number
  /** Errors that handlers did not declare. Default: a process warning. */
  readonly onError?: (error: unknown, method: string) => void
  readonly signal?: AbortSignal
}

export interface RunningService<Events = { emit(event: string, payload?: unknown): void }> extends ServiceBase {
  readonly emit: Events extends { emit: infer E } ? E : never
}

interface ServiceBase {
  readonly name: string
  /** Where peers can really connect. */
  readonly addresses: readonly string[]
  /** What clients must show where `token` of the options says so; undefined: nothing is asked for. */
  readonly token: string | undefined
  /** Everyone who is connected. */
  readonly peers: readonly Peer[]
  stats(): readonly SessionStats[]
  /** How many connections ended otherwise than by closing, by the code of the reason. */
  readonly ends: Readonly<Record<string, number>>
  /** Takes no new calls; calls in flight finish and their answers arrive, streams are told to stop; then the connections end. What is left after `timeout` milliseconds (default 5,000) is aborted. */
  close(options?: { readonly timeout?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Emit<C extends Contract> = { emit<K extends EventNames<C>>(event: K, payload: EventInput<C, K>): void }
type CallerOf<O> = O extends { caller: infer C extends Contract } ? ContractClient<C> : FunctionsClient<Functions>

/**
 * Serves a contract, or plain functions under a name. Resolves when it listens everywhere.
 * Rejects with ADDRESS_IN_USE, PERMISSION_DENIED, INVALID_ADDRESS, UNSUPPORTED; nothing listens then.
 * Throws TypeError for missing or excess handlers.
 */
export function serve(name: string, functions: object, options?: ServeOptions): Promise<RunningService>
export function serve<const C extends Contract, const H extends Handlers<C, CallerOf<O>>, const O extends ServeOptions = {}>(
  contract: C,
  handlers: H & ExactHandlers<C, H, CallerOf<O>>,
  options?: O & ServeOptions,
): Promise<RunningService<Emit<C>>>
export async function serve(what: Contract | string, handlers: object, options: ServeOptions = {}): Promise<RunningService<any>> {
  const service = isContract(what) ? contractService(what, handlers) : functionsService(what, handlers)
  const { listen } = await import('./listen.js')
  return listen(service, options)
}
