import { TalkwireError } from '../index.js'
import type { ListedLock, ListedParty, LockList } from '../sync/index.js'
import { json, type Command, type Values } from './command.js'
import { clean, exitCode, Failure, note, print, table, toLine } from './output.js'

export const locks: Command = {
  usage: 'locks [name, memory or path]',
  summary: 'list the locks of this machine: who holds them, who waits, and deadlocks',
  help: `Locks with names, of other users too as far as they may be read; locks placed in shared memory that this user made with
Talkwire, as MEMORY:OFFSET; and files that the kernel has locked if they are
called *.lock, *.flock or *.lck, or somebody waits for them. Any other file by its path, with a slash in it.
A deadlock counts all tasks of one thread as one: look whether another of them lets go.`,
  options: { json },
  examples: [
    ['talkwire locks', 'all of them'],
    ['talkwire locks bank', 'those of this name, or in this shared memory'],
    ['talkwire locks ./data.lock', 'a file that is locked, or a lock file'],
    ["talkwire locks --json | jq '.deadlocks'", 'for a program'],
  ],
  words: { least: 0, most: 1 },
  run,
}

async function run([wanted]: readonly string[], values: Values): Promise<number> {
  // Only here: the other commands begin faster without it.
  const { listLocks } = await import('../sync/index.js')
  const list = listLocks(wanted)
  if (wanted !== undefined && list.locks.length === 0)
    throw new Failure(exitCode.notFound, new TalkwireError('NOT_FOUND', `there is no lock "${wanted}"; talkwire locks lists all`))
  if (values['json'] === true) await print(toLine(list))
  else if (list.locks.length === 0) note('no lock is there')
  else await print(toTable(list))
  for (const memory of list.partly) note(`${clean(memory)} is large: only its beginning was looked through`)
  return exitCode.ok
}

const TITLES = ['LOCK', 'STATE', '', 'PID', 'SINCE', 'COMMAND']

function toTable({ locks: found, deadlocks }: LockList): string {
  const rows = found.flatMap((lock) => {
    const parties = [
      ...lock.holders.map((party) => cells(party.alive ? 'holds' : 'died', party)),
      ...lock.waiters.map((party) => cells('waits', party)),
    ]
    return (parties.length > 0 ? parties : [['', '', '', '']]).map((row, index) => [...(index === 0 ? headOf(lock) : ['', '']), ...row])
  })
  return [table([TITLES, ...rows]), ...deadlocks.map(sentence)].join('\n')
}

function headOf({ kind, name, uid, state, available }: ListedLock): [lock: string, state: string] {
  const others = uid === undefined || uid === process.getuid?.() ? '' : ` (user ${uid})`
  return [`${kind} ${clean(name)}${others}`, available === undefined ? state : `${state}, ${available} free`]
}

const cells = (role: string, { pid, since, command, label }: ListedParty): string[] => [
  role,
  String(pid),
  since && !Number.isNaN(since.getTime()) ? since.toISOString().slice(0, 19).replace('T', ' ') : '',
  `${clean(command)}${label ? ` (${clean(label)})` : ''}`,
]

const sentence = (members: LockList['deadlocks'][number]): string =>
  `deadlock: ${members
    .map(({ pid, command, holds, wants }) => `${pid} (${clean(command)}) holds ${clean(holds)} and wants ${clean(wants)}`)
    .join('; ')}`
