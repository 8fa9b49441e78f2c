/** One of the hubs at an address holds it: what publishers send to one door goes out through the other. */
import { rmSync } from 'node:fs'
import type * as Library from 'zeromq'
import { tryClaim } from '../../../discovery/names.js'
import { LARGEST } from './frames.js'
import type { Place } from './place.js'

export interface Holder {
  /** What came is sent on. */
  close(): void
}

/** How many messages wait for one who is slow, on each side of a connection; ZeroMQ leaves out those beyond. */
export const WAITING = 10_000
/** Milliseconds that what was sent has for leaving, after the end. */
export const LINGER = 2_000
/** Milliseconds: who says nothing for three times as long is gone. */
const HEARTBEAT = 10_000
/** ZeroMQ's own word for "all of it". */
const EVERYTHING = Buffer.from([1])

export const COMMON = {
  ipv6: true,
  linger: LINGER,
  maxMessageSize: LARGEST,
  heartbeatInterval: HEARTBEAT,
  heartbeatTimeout: 3 * HEARTBEAT,
} as const

/** Undefined: somebody else has it. Rejects with what keeps it from being held by anybody here. */
export async function hold(library: typeof Library, place: Place, onError: (reason: unknown) => void): Promise<Holder | undefined> {
  const held = place.claim === undefined ? undefined : tryClaim(place.claim)
  if (place.claim !== undefined && !held) return undefined
  const way = new library.XSubscriber({ ...COMMON, receiveHighWaterMark: WAITING })
  const out = new library.XPublisher({ ...COMMON, sendHighWaterMark: WAITING })
  const close = (): void => {
    // In this order: who takes over begins with the door of publishers.
    out.close()
    way.close()
    held?.release()
  }
  try {
    await way.bind(place.publishers)
    await out.bind(place.subscribers)
    // Publishers need not know who wants what, so nothing is lost until they do.
    await way.send(EVERYTHING)
  } catch (reason) {
    close()
    if ((reason as { code?: string }).code === 'EADDRINUSE') return undefined
    throw reason
  }
  pass(way, out).catch(onError)
  listen(out).catch(onError)
  return {
    close() {
      // ZeroMQ leaves them; once the claim is released they would be those of who takes over.
      for (const file of place.files) rmSync(file, { force: true })
      close()
    },
  }
}

async function pass(way: Library.XSubscriber, out: Library.XPublisher): Promise<void> {
  for await (const frames of way) if (!out.closed) await out.send(frames)
}

/** The socket takes subscriptions in when it is read. */
async function listen(out: Library.XPublisher): Promise<void> {
  for await (const _subscription of out);
}
