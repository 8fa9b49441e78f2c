import type { Balance, Directory } from './balance.js'
import type { CallOptions, Client, Contract, Functions, FunctionsClient, Handlers } from './contract/contract.js'
import { isContract } from './contract/contract.js'
import type { AuthKey } from './session/auth.js'
import { createClient, linkOf } from './session/client.js'
import type { Limits } from './session/limits.js'
import type { ClientInterceptor, ConnectionChange, ReconnectOptions } from './session/link.js'
import { contractService, functionsService, type Service } from './session/service.js'
import type { Session } from './session/session.js'
import type { SignallingClient } from './signalling.js'
import type { RtcOptions } from './transports/webrtc-meeting.js'

/** A program and its arguments, as they are: nothing is split, quoted or expanded. */
export type Command = readonly string[]

export interface ConnectOptions {
  /** The address, or a command to spawn; without it the contract's own name. */
  readonly address?: string | Command
  /** A command that serves the name, started when nothing is found: exactly once, however many clients ask. */
  readonly start?: Command
  /** Milliseconds that the service may still be missing: until then connecting is tried again. Default 0. */
  readonly wait?: number
  /** Whoever knows where the service runs: its instances share the calls, and one that fails is left out. Then no address is given. */
  readonly hub?: Directory
  /** Which instance is called, with `hub`. Default `round-robin`. */
  readonly balance?: Balance
  readonly authkey?: AuthKey
  /** What a service on `http:` and the like wants to be shown: its `token`. */
  readonly token?: string
  /** For a contract of an OpenAPI document: its secrets by the names of its security schemes. `token` is for where one is enough. */
  readonly tokens?: Readonly<Record<string, string>>
  /** For `tls:` and `https:`: as for `tls.connect`. */
  readonly tls?: import('node:tls').ConnectionOptions
  /** What this side serves on the connection, made by `implement`: the service reaches it as `ctx.caller`. */
  readonly serve?: Implementation
  /** Values of the kind `Descriptor` may travel, on `unix:` and Linux; the service has to say so, too. */
  readonly descriptors?: boolean
  readonly limits?: Partial<Limits>
  readonly interceptors?: readonly ClientInterceptor[]
  /** Default: on for what has a name or an address, off for child processes, threads and memory. */
  readonly reconnect?: ReconnectOptions | boolean
  /** Told when the connection is there, is lost, is there again, and is closed for good. */
  readonly onConnection?: (change: ConnectionChange) => void
  readonly heartbeat?: number
  /** Codecs to offer, best first. Default `['msgpack', 'json']`. */
  readonly codecs?: readonly string[]
  /** Errors that nobody waits for, such as a listener's. Default: a process warning. */
  readonly onError?: (error: unknown, what: string) => void
  readonly signal?: AbortSignal
  /** For `spawn:` and `fork:`: what is added to the child's environment, and its working directory. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** For `spawn:`, `fork:` and `worker:`: the child may outlive the connection, and a process also us. Otherwise it is ended. */
  readonly detached?: boolean
  /** How messages are delimited on sockets and `spawn+stdio:`: `line` and `header` (`Content-Length`) are what other JSON-RPC servers know. Default there `length`, for `spawn+stdio:` `line`. */
  readonly framing?: 'length' | 'header' | 'line'
  /** For `ipc:`: the child that was forked. */
  readonly child?: import('node:child_process').ChildProcess
  /** For `webrtc:` without an address behind it: a client of the contract `signalling`, by which the service is reached. */
  readonly signalling?: SignallingClient
  /** For `webrtc:`: the STUN and TURN servers, and our own address. */
  readonly rtc?: RtcOptions
  /** For `worker:`: what the thread finds in `workerData`, besides its wire. */
  readonly workerData?: object
}

/** A contract or functions with what answers for them. */
export interface Implementation {
  readonly service: Service
}

/** Handlers for a contract, or plain functions, to be passed as `connect(…, { serve })`. Throws TypeError for missing or excess handlers. */
export function implement<const C extends Contract>(contract: C, handlers: Handlers<C, FunctionsClient<Functions>>): Implementation
export function implement(functions: object): Implementation
export function implement(what: Contract | object, handlers?: object): Implementation {
  return { service: isContract(what) ? contractService(what, handlers ?? {}) : functionsService('client', what) }
}

/**
 * Connects to a service, by name or by address, or to a child that a command starts: `connect(['python3', 'worker.py'])` is
 * `spawn:` without quoting. Resolves when the service has answered.
 * Rejects with PEER_NOT_FOUND, START_FAILED, CONTRACT_MISMATCH, UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ADDRESS, or the signal's reason.
 */
export function connect<C extends Contract>(
  contract: C,
  address?: string | Command | ConnectOptions,
  options?: ConnectOptions,
): Promise<Client<C>>
export function connect<F extends object = Functions>(address: string | Command, options?: ConnectOptions): Promise<FunctionsClient<F>>
export async function connect(
  target: Contract | string | Command,
  second?: string | Command | ConnectOptions,
  third?: ConnectOptions,
): Promise<any> {
  const { connectTo } = await import('./dial.js')
  return connectTo(target, second, third)
}

/** The same client with options for every call: `withOptions(client, { timeout: 1000 }).add(2, 5)`. Closing either closes both. */
export function withOptions<T extends object>(client: T, options: CallOptions): T {
  return createClient(linkOf(client), options) as T
}

/** The session under a client: `stats()`, `peer`. Undefined while it reconnects. */
export const sessionOf = (client: object): Session | undefined => linkOf(client).session
