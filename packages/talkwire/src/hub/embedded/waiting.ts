/** Waiting for a lease, until it is granted, the time is over, or whoever waits is gone. */
import type { Ask, Holder } from './leases.js'
import type { Hub } from './ops.js'

/** Undefined: not granted. Rejects when the log failed. */
export async function acquire({ shell }: Hub, name: string, ask: Ask, signal: AbortSignal): Promise<Holder | undefined> {
  const { leases } = shell.machine
  if (shell.full) throw shell.full
  let settled: (holder: Holder | undefined) => void = () => {}
  const later = new Promise<Holder | undefined>((resolve) => (settled = resolve))
  const asked = leases.acquire(name, ask, shell.now(), (holder) => settled(holder))
  shell.flush()
  const holder = asked && 'settle' in asked ? await waited(later, () => leases.cancel(asked), signal) : asked
  if (!holder) return undefined
  await shell.after(holder.stamp)
  if (!signal.aborted) return holder
  // Nobody is there to renew or release it.
  leases.release(name, holder.token, shell.now())
  shell.flush()
  return undefined
}

async function waited(later: Promise<Holder | undefined>, cancel: () => boolean, signal: AbortSignal): Promise<Holder | undefined> {
  // If it cannot be cancelled it was granted in the meantime, and `later` says so.
  let aborted: () => unknown = () => {}
  const gone = new Promise<undefined>((resolve) => (aborted = () => cancel() && resolve(undefined)))
  signal.addEventListener('abort', aborted, { once: true })
  if (signal.aborted) aborted()
  try {
    return await Promise.race([later, gone])
  } finally {
    signal.removeEventListener('abort', aborted)
  }
}
