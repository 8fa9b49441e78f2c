/** Who is connected, and what they have here: it goes with their connection. */
import type { Context } from '../../contract/contract.js'
import { visibleError } from '../../session/validate.js'
import { mayOf, type AclRule, type May, type Peer } from './acl.js'
import type { HubLimits } from './limits.js'
import type { Consumer } from './queue.js'
import type { Shell } from './shell.js'

export interface Client {
  readonly everything: boolean
  readonly may: May
  /** By the number the client gave it. */
  readonly consumers: Map<number, Consumer>
  /** Takes of jobs by hand, while some are out. */
  readonly hands: Set<Consumer>
  subscriptions: number
}

export interface Clients {
  of(ctx: Context<any>): Client
  readonly size: number
}

export function createClients(shell: Shell, rules: readonly AclRule[]): Clients {
  const known = new WeakMap<Peer, Client>()
  let size = 0
  const gone = (client: Client): void => {
    size--
    const { queues } = shell.machine
    const jobs = [...client.consumers.values(), ...client.hands].flatMap(({ out }) => [...out])
    client.consumers.clear()
    if (shell.failed) return
    queues.back(jobs, shell.now())
    shell.flush()
  }
  return {
    get size() {
      return size
    },
    of({ peer, caller }) {
      const met = known.get(peer)
      if (met) return met
      const { everything, may } = mayOf(peer, rules)
      const client: Client = { everything, may, consumers: new Map(), hands: new Set(), subscriptions: 0 }
      known.set(peer, client)
      size++
      void (caller as { readonly closed: Promise<unknown> }).closed.then(() => gone(client))
      return client
    },
  }
}

/** Counts a subscription as long as it lasts. Throws LIMIT_EXCEEDED. */
export function counted(client: Client, { subscriptions }: HubLimits): () => void {
  if (client.subscriptions >= subscriptions)
    throw visibleError(
      'LIMIT_EXCEEDED',
      `${subscriptions} subscriptions, consumers and watches of one client; close some, or raise limits.subscriptions`,
    )
  client.subscriptions++
  return () => client.subscriptions--
}
