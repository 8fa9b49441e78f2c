/** The names of POSIX queues: mq_overview(7). They are no files of any directory that is always there. */
import { TalkwireError } from '../error.js'

/** NAME_MAX of the kernel's own file system of queues. */
const MAX_NAME = 255

/** The name without the slash that C programs write before it. Throws INVALID_ADDRESS. */
export function validateQueueName(name: string): string {
  if (typeof name !== 'string') throw new TypeError('the name of a message queue is a string')
  const plain = name.startsWith('/') ? name.slice(1) : name
  const reserved = plain === '' || plain === '.' || plain === '..'
  // oxlint-disable-next-line no-control-regex -- half a surrogate pair would become the same bytes as any other half
  if (reserved || /[/\x00-\x1f\x7f-\x9f\p{Surrogate}]/u.test(plain) || Buffer.byteLength(plain) > MAX_NAME)
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `${JSON.stringify(name.slice(0, 80))} cannot name a message queue; take 1 to ${MAX_NAME} bytes without "/" and control characters`,
    )
  return plain
}
