/** Tells when a POSIX queue has messages, in the event loop: its descriptor is one that epoll(7) takes, mq_overview(7). */
import type net from 'node:net'
import { TalkwireError } from '../error.js'
import { duplicate } from '../kernel/descriptors.js'
import { rewindQueue } from '../kernel/mq.js'
import { readerOf } from '../kernel/waiting.js'

/**
 * Calls `look` in every turn in which there are messages, until they are gone: what is left is told again. Any number of processes
 * may wait so (mq_notify(3) tells only one). libuv reads what is readable: that gives a line about the queue, and takes nothing out.
 */
export function whenReadable(queue: number, look: () => void): net.Socket {
  const copy = duplicate(queue)
  if (copy === undefined)
    throw new TalkwireError('LIMIT_EXCEEDED', 'this process has too many descriptors open; close some, or raise ulimit -n')
  return readerOf(copy, () => {
    rewindQueue(queue)
    look()
  })
}
