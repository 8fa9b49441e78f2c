/** State, leases and counters of the embedded hub. */
import { TalkwireError } from '../../../error.js'
import type {
  BodyType,
  Change,
  CountersDriver,
  LeaseHolder,
  LeasesDriver,
  Revision,
  SetOptions,
  StateDriver,
  Stored,
} from '../../driver.js'
import type { RawEntry, RawKey } from '../../embedded/ops.js'
import { typeName, typeNumber, viewOf } from '../../packed.js'
import { openFlow, type HubLink, type Rest } from './link.js'

const PAGE = 256

/** As the hub says it: 0 is none, −1 is nobody's. */
function raw(revision: Revision | null | undefined): number | null {
  if (revision === undefined) return null
  const number = Number(revision ?? 0)
  return Number.isSafeInteger(number) ? number : -1
}

export function embeddedState(link: HubLink): StateDriver {
  return {
    async get(key) {
      const found = await link.ask<RawEntry | null>(['get', key])
      return found ? stored([key, ...found]) : undefined
    },
    async set(key, value, type, options) {
      const revision = await link.ask<number | null>(setWords(key, value, type, options), value.length)
      return revision === null ? undefined : String(revision)
    },
    delete: (key, revision) => link.ask(['delete', key, raw(revision)]),
    async batch(changes) {
      const revisions = await link.ask<number[] | null>(
        ['batch', changes.map(change)],
        changes.reduce((bytes, each) => bytes + (each.op === 'set' ? each.value.length : 0), 0),
      )
      return revisions?.map((revision) => (revision === 0 ? '' : String(revision))) ?? undefined
    },
    async *list(prefix) {
      for (let after: string | null = null; ;) {
        const found: RawKey[] = await link.ask(['list', prefix, after, PAGE])
        for (const entry of found) yield stored(entry)
        if (found.length === 0) return
        after = found.at(-1)![0]
      }
    },
    watch: (prefix, sink) => {
      /** What the sink was told of, so that it hears of keys that went while we were away. */
      const known = new Set<string>()
      let missing = new Set<string>()
      let beginning = 0
      return openFlow(link, {
        begin: (signal) => {
          missing = new Set(known)
          beginning = 0
          return link.client.look({ prefix }, { signal })
        },
        take(changes: readonly (RawKey | readonly [string])[]) {
          // The second empty one stands behind what is there: what we knew and is not among it is gone.
          const all = changes.length === 0 && ++beginning === 2 ? [...missing].map((key) => [key] as const) : changes
          let next = 0
          const hand = (): Rest => {
            while (next < all.length) {
              const entry = all[next++]!
              const [key, revision] = entry
              missing.delete(key)
              if (revision === undefined) known.delete(key)
              else known.add(key)
              if (!sink.changed(revision === undefined ? { key, gone: true } : stored(entry as RawKey))) return hand
            }
            return undefined
          }
          return hand()
        },
        interrupted() {},
        ended: (error) => sink.ended(error),
      })
    },
  }
}

const stored = ([key, revision, type, value]: RawKey): Stored => ({
  key,
  value: viewOf(value),
  type: typeName(type),
  revision: String(revision),
})

const setWords = (key: string, value: Uint8Array, type: BodyType, { revision, ttl }: SetOptions): readonly unknown[] => [
  'set',
  key,
  value,
  typeNumber(type),
  ttl ?? null,
  raw(revision),
]

const change = (wish: Change): readonly unknown[] =>
  wish.op === 'delete' ? [wish.key, null, 0, null, raw(wish.revision)] : setWords(wish.key, wish.value, wish.type, wish.options).slice(1)

export function embeddedLeases(link: HubLink): LeasesDriver {
  return {
    async acquire(name, { holder, label, ttl, wait, permits }, signal) {
      link.check()
      signal?.throwIfAborted()
      const wish = { name, holder, label: label ?? '', ttl, wait, permits }
      const granted = (await link.client.acquire(wish, signal ? { signal } : undefined)) as { token: number } | null
      return granted ? { token: granted.token, holder, label, left: ttl } : undefined
    },
    renew: (name, { token }, ttl) => link.ask(['renew', name, token, ttl]),
    release: (name, { token }) => link.ask(['release', name, token]),
    async inspect(name) {
      const [holders, waiters] = await link.ask<[[number, string, string, number][], number]>(['inspect', name])
      const all = holders.map(([token, holder, label, left]): LeaseHolder => ({
        token,
        holder,
        label: label === '' ? undefined : label,
        left,
      }))
      return { holders: all, waiters }
    },
  }
}

export function embeddedCounters(link: HubLink): CountersDriver {
  return {
    add(name, amount) {
      if (Number.isFinite(amount)) return link.ask(['add', name, amount])
      return Promise.reject(new TalkwireError('INVALID_INPUT', 'a counter counts by a finite number'))
    },
  }
}
