/** The driver of the hub that comes with Talkwire: docs/hub/hub.md. Its addresses: `hub:`, `hub:NAME`, `hub:` and any address it listens on. */
import { fileURLToPath } from 'node:url'
import { isName, parseAddress } from '../../address.js'
import { TalkwireError } from '../../error.js'
import { HUB_TRAITS, type HubDriver, type HubTrait } from '../driver.js'
import { openLink } from './embedded/link.js'
import { embeddedQueues } from './embedded/queues.js'
import { embeddedCounters, embeddedLeases, embeddedState } from './embedded/state.js'
import { embeddedTopics } from './embedded/topics.js'

const NAME = 'hub'
const COMMAND_LINE = fileURLToPath(new URL('../../cli/main.js', import.meta.url))

export const embedded: HubDriver = {
  name: 'embedded',
  traits: Object.keys(HUB_TRAITS) as HubTrait[],
  async open(address, options) {
    const { target, start } = targetOf(address)
    options.signal?.throwIfAborted()
    const link = await openLink(target, start, options)
    const { topics, requests } = embeddedTopics(link)
    return {
      topics,
      requests,
      queues: embeddedQueues(link),
      state: embeddedState(link),
      leases: embeddedLeases(link),
      counters: embeddedCounters(link),
      close: () => link.close(),
    }
  },
}

/** A name is started by whoever needs it first; an address is somebody else's to serve. Throws INVALID_ADDRESS. */
function targetOf(address: string): { readonly target: string; readonly start?: readonly string[] } {
  const { rest } = parseAddress(address)
  const target = rest === '' ? NAME : rest
  if (parseAddress(target).scheme !== '') return { target }
  if (isName(target)) return { target, start: [process.execPath, COMMAND_LINE, 'hub', target] }
  throw new TalkwireError(
    'INVALID_ADDRESS',
    `"${address}" names no hub: hub:, hub:NAME, or hub: and an address it listens on, such as hub:unix:NAME`,
  )
}
