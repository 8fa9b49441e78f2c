/** What drivers of brokers have in common: packages that may be missing, types of bodies, who is called back. */
import { TalkwireError } from '../../error.js'
import type { BodyType } from '../driver.js'

/** Loads a package that only this driver needs. Throws MISSING_PACKAGE. */
export async function packageOf<T>(driver: string, name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    throw new TalkwireError('MISSING_PACKAGE', `${driver}: needs the package "${name}"; run npm install ${name}`, { cause })
  }
}

/** Bodies' types as brokers say them to foreign programs. */
export const CONTENT_TYPES: Readonly<Record<BodyType, string>> = {
  json: 'application/json',
  text: 'text/plain; charset=utf-8',
  bytes: 'application/octet-stream',
}
export const bodyTypeOf = (said: string): BodyType | undefined =>
  (Object.keys(CONTENT_TYPES) as BodyType[]).find((type) => said.split(';')[0] === CONTENT_TYPES[type].split(';')[0])

/** There is no connection: who listens is told when there is one again. */
export const isAway = (reason: unknown): boolean =>
  reason instanceof TalkwireError && ['UNAVAILABLE', 'CONNECTION_LOST', 'CLOSED'].includes(reason.code)

/** Those who want to be called when something happens. */
export interface Calls {
  /** Returns what takes it back. */
  add(what: () => unknown): () => void
  /** Resolves when what was returned has. */
  all(): Promise<void>
}

export function calls(): Calls {
  const known = new Set<() => unknown>()
  return {
    add(what) {
      known.add(what)
      return () => void known.delete(what)
    },
    async all() {
      await Promise.all([...known].map((what) => what()))
    },
  }
}
