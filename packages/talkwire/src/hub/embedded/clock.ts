/**
 * Hub time: milliseconds that only grow, over restarts of the hub and of the machine. The kernel's monotonic clock is the same for all
 * processes of one boot, so within one it is that, moved by a constant; after a reboot it goes on by what the wall clock says has passed.
 * A clock that is set therefore ends nothing early.
 */
import { ownIdentity } from '../../discovery/identity.js'

export interface Instant {
  /** Hub time. */
  readonly hub: number
  /** Milliseconds of the monotonic clock. */
  readonly monotonic: number
  /** Milliseconds since 1970. */
  readonly wall: number
  /** Which boot the monotonic clock is of. */
  readonly boot: string
}

export interface Clocks {
  readonly monotonic: () => number
  readonly wall: () => number
  readonly boot: string
}

export const systemClocks = (): Clocks => ({
  monotonic: () => Number(process.hrtime.bigint()) / 1e6,
  wall: () => Date.now(),
  // Without it every start counts as a reboot: the wall clock bridges it.
  boot: ownIdentity().boot ?? `${process.pid} ${process.hrtime.bigint()}`,
})

/** Hub time from now on; `last` is what the log says of the hub's last start. */
export function hubTime({ monotonic, wall, boot }: Clocks, last: Instant | undefined): () => number {
  let shift = -monotonic()
  if (last && last.boot === boot && monotonic() >= last.monotonic) shift = last.hub - last.monotonic
  else if (last) shift = last.hub + Math.max(0, wall() - last.wall) - monotonic()
  return () => monotonic() + shift
}
