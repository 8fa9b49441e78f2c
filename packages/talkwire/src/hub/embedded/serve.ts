/** The embedded hub, served by name on a Unix socket. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Context } from '../../contract/contract.js'
import { TalkwireError } from '../../error.js'
import { reveal } from '../../session/validate.js'
import { serve, type RunningService } from '../../serve.js'
import { warn } from '../../warn.js'
import { hubContract } from '../contract.js'
import { allows, type AclRule } from './acl.js'
import { byHand, subscribeOf } from './by-hand.js'
import { isObject, listOf, visibleInput, wholeOf } from './checks.js'
import { createClients, type Client, type Clients } from './clients.js'
import { hubLimitsOf, type HubLimits } from './limits.js'
import type { KeepRule } from './kept.js'
import type { Log, LogOptions } from './log-types.js'
import { prefixOf, queueName, run, runAll, type Hub, type Turn } from './ops.js'
import { openShell, type Shell } from './shell.js'
import { feed, look, room, work } from './streams.js'

export interface HubServeOptions {
  /** What clients ask for, and the socket's name. Default `hub`. */
  readonly name?: string
  /** Where its files are. Default `$XDG_STATE_HOME/talkwire/NAME`, without it `~/.local/state/talkwire/NAME`. */
  readonly folder?: string
  /** `disk`, the default: what is answered is on disk. `memory`: nothing is written, and everything is gone with the process. */
  readonly durability?: 'disk' | 'memory'
  /** Topics that are kept, beside those that clients ask for with `keep`. */
  readonly keep?: readonly (Partial<KeepRule> & Pick<KeepRule, 'pattern'>)[]
  readonly limits?: Partial<HubLimits>
  /** What other users may. Our own and root may everything. */
  readonly acl?: readonly AclRule[]
  /** Further addresses, such as `tcp://127.0.0.1:7100` with an authkey. Default: `unix:NAME` only. */
  readonly listen?: readonly string[]
  readonly authkey?: import('../../session/auth.js').AuthKey
  /** What was found damaged in the files, the disk's errors, and our own. Default: a process warning. */
  readonly onError?: (error: unknown, what: string) => void
}

export interface RunningHub {
  readonly name: string
  /** Where its files are; undefined: in memory. */
  readonly folder: string | undefined
  readonly addresses: readonly string[]
  /** Resolves when the hub cannot go on: what the disk said. Who runs it ends; a new start reads what is intact. */
  readonly failed: Promise<TalkwireError>
  /** What was asked is answered; everything is on disk. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Serves a hub. Rejects with ADDRESS_IN_USE when one of this name runs, INVALID_MEMORY, NO_SPACE, PERMISSION_DENIED for its files. */
export async function serveHub(options: HubServeOptions = {}): Promise<RunningHub> {
  const { name = 'hub', durability = 'disk', acl = [], keep = [] } = options
  if (durability !== 'disk' && durability !== 'memory') throw new TypeError('durability is "disk" or "memory"')
  const folder = durability === 'disk' ? (options.folder ?? hubFolder(name)) : undefined
  const limits = hubLimitsOf(options.limits)
  const onError = options.onError ?? warn
  let failed: (reason: TalkwireError) => void = () => {}
  const failure = new Promise<TalkwireError>((resolve) => (failed = resolve))
  const shell = await openShell({
    limits,
    ...(folder !== undefined && { openLog: await diskLog(folder) }),
    onDamage: (what) => onError(new TalkwireError('INVALID_MEMORY', what), folder!),
    onFull: (reason) => onError(reason, folder!),
    onFailed(reason) {
      onError(reason, folder!)
      failed(reason)
    },
  })
  try {
    for (const rule of keep) shell.machine.topics.keeper.keep({ messages: Infinity, bytes: Infinity, age: Infinity, ...rule }, shell.now())
    shell.flush()
    const clients = createClients(shell, acl)
    const service = await serve(hubContract, handlers({ shell, limits }, clients, onError), {
      listen: [`unix:${name}`, ...(options.listen ?? [])],
      allow: allows(acl),
      ...(options.authkey !== undefined && { authkey: options.authkey }),
      announce: name,
      onError,
    })
    return running(name, folder, service, shell, failure)
  } catch (reason) {
    await shell.close()
    throw reason
  }
}

/** Where the files of a hub are, if nobody says otherwise. */
export function hubFolder(name: string): string {
  const state = process.env['XDG_STATE_HOME']
  return join(state?.startsWith('/') ? state : join(homedir(), '.local', 'state'), 'talkwire', name)
}

async function diskLog(folder: string): Promise<(options: LogOptions) => Promise<Log>> {
  const { openLog } = await import('./log.js')
  return (options) => openLog(folder, options)
}

function running(
  name: string,
  folder: string | undefined,
  service: RunningService<any>,
  shell: Shell,
  failed: Promise<TalkwireError>,
): RunningHub {
  let closing: Promise<void> | undefined
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      await service.close()
      await shell.close()
    })())
  return { name, folder, addresses: service.addresses, failed, close, [Symbol.asyncDispose]: close }
}

function handlers(hub: Hub, clients: Clients, onError: (error: unknown, what: string) => void) {
  const { shell, limits } = hub
  const clientOf = (ctx: Context<any>): Client => clients.of(ctx)
  /** After a command: what it left is written; then whoever asked waits for what it saw. */
  const settle = <T>(turn: Turn, value: T): T | Promise<T> => {
    shell.flush()
    const held = shell.after(turn.stamp)
    if (turn.slow.size === 0) return held ? held.then(() => value) : value
    const rooms = [...turn.slow].map((each) => room(each, limits.patience))
    return Promise.all([held, ...rooms]).then(() => value)
  }
  const ask = (client: Client, name: string, ...args: unknown[]): unknown => {
    const turn: Turn = { stamp: 0, slow: new Set() }
    try {
      return settle(turn, run(hub, client, name, args, turn))
    } catch (reason) {
      // What it did before it was refused: a receipt that came too late frees its consumer.
      if (!shell.failed) shell.flush()
      throw reason
    }
  }
  const methods = byHand(hub, clientOf, ask)
  const started = performance.now()
  return {
    ...methods,
    status: (_input: unknown, ctx: Context<any>) => ({
      ...shell.stats(),
      uptime: Math.round(performance.now() - started),
      durability: shell.machine.effects.logged ? 'disk' : 'memory',
      clients: clients.size,
      keys: shell.machine.state.size,
      leases: shell.machine.leases.size,
      // Their names say something, too.
      queues: clientOf(ctx).everything
        ? Object.fromEntries(shell.machine.queues.names.map((each) => [each, shell.machine.queues.find(each)!.tally()]))
        : {},
    }),
    async backup(input: Record<string, unknown>, ctx: Context<any>) {
      if (!clientOf(ctx).everything) throw visibleInput("only the hub's own user may copy it")
      if (typeof input['folder'] !== 'string' || !input['folder'].startsWith('/')) throw visibleInput('folder is an absolute path')
      // Whoever asked owns the folder: what the disk says is no secret.
      await shell.backup(input['folder']).catch((reason: unknown) => {
        throw reveal(TalkwireError.from(reason))
      })
      return null
    },
    do(requests: unknown, ctx: Context<any>) {
      const turn: Turn = { stamp: 0, slow: new Set() }
      const answers = runAll(hub, clientOf(ctx), listOf(requests, 'requests'), turn, onError)
      return settle(turn, answers)
    },
    feed: (input: Record<string, unknown>, ctx: Context<any>) => {
      const client = clientOf(ctx)
      return feed(hub, client, subscribeOf(client, input), ctx.signal)
    },
    work: (input: Record<string, unknown>, ctx: Context<any>) => {
      const client = clientOf(ctx)
      const queue = shell.machine.queues.open(queueName(client, input['queue']))
      const number = wholeOf(input['consumer'], 'consumer', 0, Number.MAX_SAFE_INTEGER)
      return work(hub, client, queue, number, wholeOf(input['want'], 'want', 0, limits.taken), ctx.signal)
    },
    look: (input: Record<string, unknown>, ctx: Context<any>) => {
      const client = clientOf(ctx)
      return look(hub, client, prefixOf(client, isObject(input) ? input['prefix'] : ''), ctx.signal)
    },
  }
}
