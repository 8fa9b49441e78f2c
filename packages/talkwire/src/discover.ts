/** What a service offers that was written by others: a contract of what it tells of itself. */
import { parseAddress } from './address.js'
import { connect, sessionOf, type ConnectOptions } from './connect.js'
import { limitsFor, tryWithin } from './dial.js'
import type { Contract } from './contract/contract.js'
import { TalkwireError } from './error.js'
import { adapterFor, isDialect } from './registry.js'

export type DiscoverOptions = Pick<
  ConnectOptions,
  'authkey' | 'codecs' | 'cwd' | 'env' | 'framing' | 'limits' | 'signal' | 'tls' | 'token' | 'wait'
>

/**
 * The contract of a service, from its own introspection: OpenRPC (`rpc.discover`) over JSON-RPC, and for a foreign protocol its own way.
 * `connect(await discover(address), address)` is a client of it. What a contract has no place for is in `foreign.leftOut`.
 * Rejects as `connect`, and with UNSUPPORTED for a service that tells nothing of itself.
 */
export async function discover(address: string, options: DiscoverOptions = {}): Promise<Contract> {
  const { scheme } = parseAddress(address)
  const adapter = scheme === '' ? undefined : await adapterFor(scheme)
  if (!adapter || !isDialect(adapter)) return askSession(address, options)
  const { wait, codecs: _codecs, framing: _framing, limits, ...rest } = options
  if (!adapter.discover)
    throw new TalkwireError(
      'UNSUPPORTED',
      `${scheme}: has no introspection; write a contract of what stands behind it, and pass that to connect`,
    )
  return tryWithin(wait, address, options.signal, () => adapter.discover!(address, { ...rest, limits: limitsFor(address, limits) }))
}

/** Whether an address carries a protocol of others: then a client has to know what it offers before it connects. */
export async function speaksForeign(address: string): Promise<boolean> {
  const { scheme } = parseAddress(address)
  if (scheme === '') return false
  const adapter = await adapterFor(scheme)
  return isDialect(adapter) && adapter.discover !== undefined
}

async function askSession(address: string, options: DiscoverOptions): Promise<Contract> {
  const client = await connect(address, { ...options, reconnect: false })
  try {
    const session = sessionOf(client)
    if (!session) throw new TalkwireError('CONNECTION_LOST', `${address} went away before it said what it offers`, { outcome: 'maybe-ran' })
    const { fromOpenRpc } = await import('./contract/from-openrpc.js')
    return await fromOpenRpc(await session.call('rpc.discover', [], options.signal ? { signal: options.signal } : {}), nameIn(address))
  } catch (reason) {
    if (reason instanceof TypeError || (reason instanceof TalkwireError && reason.code === 'METHOD_NOT_FOUND'))
      throw new TalkwireError(
        'UNSUPPORTED',
        `${address} tells nothing of itself: it has no rpc.discover with an OpenRPC document; write a contract, and pass that to connect`,
        { cause: reason },
      )
    throw reason
  } finally {
    await client.close()
  }
}

/** Where the service has no name of its own. */
const nameIn = (address: string): string => parseAddress(address).rest.replace(/\?.*$/, '').replace(/^.*\//, '') || 'service'
