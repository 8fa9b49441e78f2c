/** Where a service is that was named, and not addressed. */
import { chooseAddress } from './choose.js'
import type { ConnectOptions } from './connect.js'
import { find, list, type Entry } from './discovery/names.js'
import { TalkwireError } from './error.js'

/** The entry of whoever serves the name, started if need be. Rejects with PEER_NOT_FOUND, START_FAILED. */
export async function resolveName(name: string, options: ConnectOptions): Promise<Entry> {
  let found = find(name)
  if ('reason' in found && (options.start || (found.claimed && options.wait === undefined)))
    found = await (await import('./discovery/start.js')).startService(name, options.start, options.signal)
  if ('reason' in found)
    throw new TalkwireError(
      'PEER_NOT_FOUND',
      `${found.reason}${await meant(name)} start it, or pass { start: [command] } or ${options.wait === undefined ? '{ wait: milliseconds }' : 'a longer wait'}`,
    )
  return found
}

async function meant(name: string): Promise<string> {
  const { nearest } = await import('./suggest.js')
  const near = nearest(
    name,
    list().map((entry) => entry.name),
  )
  return near === undefined ? ';' : `; did you mean "${near}"? Otherwise`
}

/** Where to go to for it. Throws PEER_NOT_FOUND. */
export function addressOf({ name, addresses }: Entry): string {
  const address = chooseAddress(addresses)
  if (!address)
    throw new TalkwireError(
      'PEER_NOT_FOUND',
      `"${name}" listens only on ${addresses.join(', ') || 'nothing'}, and this side has no way there by name; let it listen on unix:${name} too, or pass an address that both sides know`,
    )
  return address
}
