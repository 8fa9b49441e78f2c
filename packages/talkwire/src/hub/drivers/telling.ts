/** What a watcher of keys is told, by drivers that read what is there: no revision twice, nobody gone who was not there, nothing while it has no room. */
import type { Revision, StateSink, Stored } from '../driver.js'

export interface Telling {
  readonly knows: (key: string, revision: Revision) => boolean
  /** These resolve when the sink has room again. */
  readonly stored: (stored: Stored) => Promise<void>
  readonly gone: (key: string) => Promise<void>
  /** Whatever it knows besides these is gone. */
  readonly only: (there: ReadonlySet<string>) => Promise<void>
  /** There is room, or nobody listens any more. */
  readonly free: () => void
}

export function telling(sink: StateSink, closed: () => boolean): Telling {
  const known = new Map<string, Revision>()
  let free: (() => void) | undefined
  const tell = async (change: Parameters<StateSink['changed']>[0]): Promise<void> => {
    if (closed() || sink.changed(change)) return
    await new Promise<void>((resolve) => (free = resolve))
    free = undefined
  }
  const knows = (key: string, revision: Revision): boolean => known.get(key) === revision
  const gone = async (key: string): Promise<void> => {
    if (known.delete(key)) await tell({ key, gone: true })
  }
  return {
    knows,
    gone,
    async stored(stored) {
      if (knows(stored.key, stored.revision)) return
      known.set(stored.key, stored.revision)
      await tell(stored)
    },
    async only(there) {
      for (const key of known.keys()) if (!there.has(key)) await gone(key)
    },
    free: () => free?.(),
  }
}
