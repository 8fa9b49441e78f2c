/** What the kernel refuses of queues, where it means something else than for files and memory. */
import { memoryError, REMOVED, type Refusals } from '../memory/errors.js'

const CODES: Refusals = {
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
export const queueError = <T>(subject: string, action: () => T): T => memoryError(subject, action, CODES)

const SYSTEM_V_CODES: Refusals = { ...CODES, ...REMOVED }

/** The same for those of System V. */
export const systemVError = <T>(subject: string, action: () => T): T => memoryError(subject, action, SYSTEM_V_CODES)
