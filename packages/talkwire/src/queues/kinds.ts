/** The kinds of queues that belong to one process, and go with it. */
import { closeSync, fstatSync } from 'node:fs'
import { openQueue, unlinkQueue } from '../kernel/mq.js'
import { findSystemVQueue } from '../kernel/system-v-queue.js'
import { bellDescriptor } from '../memory/bell.js'
import { unless } from '../memory/errors.js'
import { queueError } from './errors.js'
import { SystemVQueue } from './system-v-queue.js'

export interface QueueKind {
  /** The scheme of their addresses. */
  readonly kind: string
  /** What the kernel calls it, and no other since the machine started. Undefined when it is not there, or cannot be looked at. */
  identityOf(name: string): string | undefined
  /** By which others wake its maker, where the kernel does not: a descriptor of spec/sync.md § 4. */
  readonly bell?: () => number
  /** Takes it away. What is gone is no error. Throws PERMISSION_DENIED. */
  remove(name: string): void
}

export const posixKind: QueueKind = {
  kind: 'mq',
  identityOf(name) {
    try {
      const queue = openQueue(name)
      const { ino } = fstatSync(queue)
      closeSync(queue)
      return String(ino)
    } catch {
      return undefined
    }
  },
  remove: (name) => void unless('NOT_FOUND', () => queueError(`queue /${name}`, () => unlinkQueue(name))),
}

/** Their names are keys, in decimal digits. */
export const systemVKind: QueueKind = {
  kind: 'sysv',
  bell: bellDescriptor,
  identityOf(key) {
    try {
      return String(findSystemVQueue(Number(key)))
    } catch {
      return undefined
    }
  },
  remove: (key) => void unless('NOT_FOUND', () => SystemVQueue.remove(Number(key))),
}

export const KINDS: readonly QueueKind[] = [posixKind, systemVKind]
