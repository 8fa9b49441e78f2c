import { TalkwireError } from '../index.js'
import type { SegmentInfo } from '../memory/index.js'
import type { AbandonedQueue } from '../queues/index.js'
import type { IdleLock } from '../sync/index.js'
import { json, type Command, type Values } from './command.js'
import { clean as harmless, exitCode, print, table, toLine } from './output.js'

export const doctor: Command = {
  usage: 'doctor [--clean]',
  summary: 'tell what works on this machine, and what crashed processes left behind',
  options: { clean: { type: 'boolean', help: 'remove what was left behind and nobody has' }, json },
  examples: [
    ['talkwire doctor', 'look only'],
    ['talkwire doctor --clean', 'and remove shared memory and queues of crashed processes'],
  ],
  words: { least: 0, most: 0 },
  run,
}

async function run(_words: readonly string[], values: Values): Promise<number> {
  // Only here: the other commands begin faster without it.
  const { SharedMemory, SystemVMemory } = await import('../memory/index.js')
  const { abandonedQueues, cleanQueues } = await import('../queues/index.js')
  const works = [
    ['shared memory', verdict(() => SharedMemory.anonymous(1).close())],
    ['System V memory', verdict(() => SystemVMemory.list())],
  ] as const
  const usable = works[0][1] === 'works'
  const left = usable ? SharedMemory.list().filter(({ abandoned }) => abandoned) : []
  const removed = usable && values['clean'] === true ? SharedMemory.clean() : []
  const { cleanLocks, idleLocks } = await import('../sync/index.js')
  const locks = usable ? idleLocks() : []
  const removedLocks = usable && values['clean'] === true ? cleanLocks() : []
  const queues = usable ? abandonedQueues() : []
  const removedQueues = usable && values['clean'] === true ? cleanQueues() : []
  if (values['json'] === true) {
    await print(
      toLine({
        node: process.version,
        platform: `${process.platform} ${process.arch}`,
        ...Object.fromEntries(works),
        left,
        removed,
        queues,
        removedQueues,
        locks,
        removedLocks,
      }),
    )
    return exitCode.ok
  }
  await print(table([['Node', `${process.version}, ${process.platform} ${process.arch}`], ...works.map((row) => [...row])]))
  for (const lock of locks) await print(lockLine(lock, removedLocks))
  for (const segment of left) await print(line(segment, removed))
  for (const queue of queues) await print(queueLine(queue, removedQueues))
  if (left.length > removed.length || queues.length > removedQueues.length || locks.length > removedLocks.length)
    await print('talkwire doctor --clean removes what was left behind')
  return exitCode.ok
}

/** `works`, or the code and text of the error that its first use throws. */
function verdict(use: () => unknown): string {
  try {
    use()
    return 'works'
  } catch (reason) {
    return TalkwireError.from(reason).message
  }
}

const queueLine = ({ kind, name, pid }: AbandonedQueue, removed: readonly AbandonedQueue[]): string =>
  `${removed.some((each) => each.kind === kind && each.name === name) ? 'removed' : 'left behind'}: queue ${kind}:${harmless(name)}, of process ${pid}`

const lockLine = ({ kind, name }: IdleLock, removed: readonly IdleLock[]): string =>
  `${removed.some((each) => each.kind === kind && each.name === name) ? 'removed' : 'left behind'}: ${kind} ${harmless(name)}, which nobody uses`

const line = ({ name, size, creator }: SegmentInfo, removed: readonly string[]): string =>
  `${removed.includes(name) ? 'removed' : 'left behind'}: shared memory ${harmless(name)}, ${size} bytes, of process ${creator!.pid}`
