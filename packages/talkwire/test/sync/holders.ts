/** Processes that hold, want and lose locks; each obeys lines. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { compileC, HAS_CC } from '../helpers/c.js'
import { python, run, type Running } from '../session/processes.js'

export interface Holder {
  readonly running: Running
  readonly pid: number
  /** What it answers. Answers come in the order of the commands. */
  tell(command: string): Promise<string>
  kill(signal?: NodeJS.Signals): Promise<void>
  /** Ends it in good order. */
  end(): Promise<void>
  dismiss?(): Promise<void>
}

export const script = fileURLToPath(new URL('fixtures/holder.js', import.meta.url))

export const startHolder = (...args: string[]): Promise<Holder> => start(process.execPath, script, ...args)

export const lockHolder = fileURLToPath(new URL('fixtures/lock-holder.js', import.meta.url))
/** Of any lock: test/sync/locks.ts. */
export const startLockHolder = (lock: string, place: string, ...label: string[]): Promise<Holder> =>
  start(process.execPath, lockHolder, lock, place, ...label)

/** Those that were dismissed: in most scenes nobody dies, and a new process costs more than the scene. */
const idle: Holder[] = []
/** As `startLockHolder`, for scenes that dismiss it when they went well. */
export async function hireLockHolder(lock: string, place: string, ...label: string[]): Promise<Holder> {
  const free = idle.pop()
  if (free) assert.equal(await free.tell(['again', lock, place, ...label].join(' ')), 'opened')
  const holder = free ?? (await startLockHolder(lock, place, ...label))
  const { child } = holder.running
  return {
    ...holder,
    async dismiss() {
      if (child.exitCode !== null || child.signalCode !== null) return
      assert.equal(await holder.tell('leave'), 'left')
      idle.push(holder)
    },
  }
}

const inPython = fileURLToPath(new URL('../../../test/sync/fixtures/lock_holder.py', import.meta.url))
export const startPythonHolder = (lock: string, place: string): Promise<Holder> => start(python, inPython, lock, place)

/** A semaphore, a barrier, …: `startParty('semaphore', name, '2')`. */
const party = fileURLToPath(new URL('fixtures/party.js', import.meta.url))
export const startParty = (...args: string[]): Promise<Holder> => start(process.execPath, party, ...args)

/** Of many locks at a time. */
const keeper = fileURLToPath(new URL('fixtures/keeper.js', import.meta.url))
export const startKeeper = (): Promise<Holder> => start(process.execPath, keeper)

/** Who has the locks of spec/sync.md. */
export type Language = 'Node' | 'Python' | 'C'
export const LANGUAGES: readonly Language[] = HAS_CC ? ['Node', 'Python', 'C'] : ['Node', 'Python']

const partyInPython = party.replace('/dist/test/', '/test/').replace('party.js', 'party.py')
let program: string | undefined
/** Compiled once, with the headers that C programs take. */
const partyInC = (): string => (program ??= compileC(import.meta.url, 'party', ...HEADERS))
/** What a program in C that includes them is compiled with. */
export const HEADERS: readonly string[] = [
  '-std=c11',
  '-Wextra',
  '-Wpedantic',
  '-Wconversion',
  `-I${fileURLToPath(new URL('../../../../../clients/c', import.meta.url))}`,
]

/** The same as `startParty`, in any language. Its locks also answer `acquired FENCE LEFT`: whether the one before died with it. */
export function startPartyIn(language: Language, ...args: string[]): Promise<Holder> {
  if (language === 'Node') return startParty(...args)
  return language === 'Python' ? start(python, partyInPython, ...args) : start(partyInC(), ...args)
}

/** Any program that obeys. */
export async function start(program: string, ...args: string[]): Promise<Holder> {
  const running = run(program, args)
  await running.line('ready')
  let asked = 0
  return {
    running,
    pid: running.pid,
    async tell(command) {
      const number = `#${++asked} `
      running.child.stdin!.write(`${number}${command}\n`)
      return (await running.line(number)).slice(number.length)
    },
    kill: (signal = 'SIGKILL') => running.kill(signal),
    async end() {
      running.child.stdin!.end()
      if (running.child.exitCode === null) await once(running.child, 'exit')
    },
  }
}
