/** Who may use what: rules by uid or authenticated identity. Our own uid and root may everything; others nothing that no rule says. */
import type { Context } from '../../contract/contract.js'
import type { TalkwireError } from '../../error.js'
import { visibleError } from '../../session/validate.js'
import { matchesPattern } from '../topic-names.js'

/** Who is at the other end, as the kernel or the handshake says. */
export type Peer = Context['peer']

export interface AclRule {
  /** Whom it is for: one of them, or both. */
  readonly uid?: number
  readonly identity?: string
  /** Patterns of topics. */
  readonly topics?: readonly string[]
  /** Beginnings of names; '' is all. */
  readonly queues?: readonly string[]
  readonly keys?: readonly string[]
  readonly leases?: readonly string[]
  readonly counters?: readonly string[]
}

export type What = 'topics' | 'queues' | 'keys' | 'leases' | 'counters'
/** Throws PERMISSION_DENIED. */
export type May = (what: What, name: string) => void

/** Lets in our own uid, root, and whom a rule names. */
export const allows =
  (rules: readonly AclRule[]) =>
  ({ uid }: Peer): boolean =>
    isOwn(uid) || rules.some((rule) => rule.uid !== undefined && rule.uid === uid)

export function mayOf(peer: Peer, rules: readonly AclRule[]): { readonly everything: boolean; readonly may: May } {
  // A peer without a uid came by a wire whose handshake lets in only whom the hub's owner let in.
  if (isOwn(peer.uid) || (peer.uid === undefined && rules.length === 0)) return { everything: true, may: () => {} }
  const own = rules.filter((rule) => isFor(rule, peer))
  return {
    everything: false,
    may(what, name) {
      if (own.some((rule) => covers(rule, what, name))) return
      throw denied(peer, what, name)
    },
  }
}

const isOwn = (uid: number | undefined): boolean => uid !== undefined && (uid === 0 || uid === process.getuid?.())

const isFor = ({ uid, identity }: AclRule, peer: Peer): boolean =>
  (uid !== undefined || identity !== undefined) &&
  (uid === undefined || uid === peer.uid) &&
  (identity === undefined || identity === peer.identity)

function covers(rule: AclRule, what: What, name: string): boolean {
  const allowed = rule[what] ?? []
  if (what !== 'topics') return allowed.some((prefix) => name.startsWith(prefix))
  // A pattern is covered by one that matches whatever it matches.
  return allowed.some((pattern) => matchesPattern(pattern, name) && (!name.endsWith('>') || pattern.endsWith('>')))
}

const denied = ({ uid, identity }: Peer, what: What, name: string): TalkwireError =>
  visibleError(
    'PERMISSION_DENIED',
    `${identity === undefined ? `uid ${uid}` : JSON.stringify(identity)} may not use ${what === 'topics' ? 'the topic' : 'the name'} ${JSON.stringify(name).slice(0, 80)}: give it a rule in the hub's acl, under ${what}`,
  )
