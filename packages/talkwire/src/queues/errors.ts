/** What the kernel refuses of queues, where it means something else than for files and memory. */
import { TalkwireError, type Code } from '../error.js'
import { memoryError } from '../memory/errors.js'

const CODES: Readonly<Record<string, readonly [code: Code, advice: string]>> = {
  EMFILE: [
    'LIMIT_EXCEEDED',
    'either the queues of this user would take more than ulimit -q bytes in all (unlink some, or make smaller ones), or this process has too many descriptors (ulimit -n)',
  ],
  ENOSPC: [
    'NO_SPACE',
    'this machine has as many queues as it may have (fs.mqueue.queues_max, kernel.msgmni); remove some: talkwire doctor --clean',
  ],
  EINVAL: ['LIMIT_EXCEEDED', 'it may not be that large; see fs.mqueue.msg_max and fs.mqueue.msgsize_max, or kernel.msgmnb'],
  EMSGSIZE: ['MESSAGE_TOO_LARGE', 'the message is larger than this queue takes; send less at a time'],
}

/** As `memoryError`, in the words of queues. */
export const queueError = <T>(subject: string, action: () => T): T => translated(subject, CODES, action)

/** EINVAL is the kernel's word for an id that nothing has any more. */
const SYSTEM_V_CODES: typeof CODES = { ...CODES, EINVAL: ['NOT_FOUND', 'it was removed'] }

export const systemVError = <T>(subject: string, action: () => T): T => translated(subject, SYSTEM_V_CODES, action)

function translated<T>(subject: string, codes: typeof CODES, action: () => T): T {
  try {
    return memoryError(subject, action)
  } catch (reason) {
    const cause = reason instanceof TalkwireError ? reason.cause : reason
    const [code, advice] = codes[(cause as NodeJS.ErrnoException | undefined)?.code ?? ''] ?? []
    if (!code) throw reason
    throw new TalkwireError(code, `${subject}: ${advice}`, { cause })
  }
}
