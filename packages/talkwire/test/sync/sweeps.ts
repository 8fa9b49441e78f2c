/** An operation of a lock in a process of its own, which is killed or stopped in place of one of its changes of shared memory. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { compileC, HAS_CC } from '../helpers/c.js'
import { freshName } from '../helpers/place.js'
import { run, type Running } from '../session/processes.js'
import { processStat } from '../../src/discovery/identity.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { WORD, type Kind } from '../../src/sync/lock-layout.js'
import { openLock } from '../../src/sync/place.js'
import { waiters } from '../../src/sync/queue.js'
import { HEADERS } from './holders.js'
import { NOTE } from './notes.js'

const script = fileURLToPath(new URL('fixtures/kinds-sweep.js', import.meta.url))
let compiled: string | undefined
/** `fixtures/sweep.c`, compiled once. It does the same as the sweeps in Node. */
export const sweepInC = (): string => (compiled ??= compileC(import.meta.url, 'sweep', ...HEADERS))
/** Before the name of an operation that C does. */
const IN_C = 'C: '
/** Longer than anything takes, also on a busy machine: whoever waits so long waits for ever. */
export const FOREVER = 30_000

/** The one that is killed or stopped. */
export interface Actor {
  readonly pid: number
  readonly running: Running
  /** It has done it, or has ended. */
  isOver(): boolean
  isKilled(): boolean
  /** How many changes it took; of one that has done it. */
  changes(): Promise<number>
  begin(): void
  /** Lets it go on. */
  goOn(): void
}

export interface Place {
  readonly name: string
  readonly segment: string
  /** test/sync/notes.ts */
  readonly notes: Int32Array
}

/** What is there before, what others do meanwhile, and how it must be afterwards. */
export interface Scene {
  /** When it is ready to begin. */
  prepared?(): Promise<unknown> | void
  /** While it runs. */
  meanwhile?(actor: Actor): Promise<unknown> | void
  /** While it is stopped. */
  stopped?(actor: Actor): Promise<unknown> | void
  /** `done`: it came to its end. */
  after(done: boolean): Promise<unknown> | void
  /** Takes the names away. */
  end(): void
}

/** `running`: does it too, when it is there; it has done all it was told, and must not have died. In Node; C ends with what it did. */
async function start(operation: string, { name, segment }: Place, at: number, signal: NodeJS.Signals, again?: Running): Promise<Actor> {
  const inC = operation.startsWith(IN_C)
  const running = inC
    ? run(sweepInC(), [operation.slice(IN_C.length), name, segment, String(at), signal])
    : (again ?? run(process.execPath, [script]))
  const { child } = running
  const before = told(running).length
  if (!inC) child.stdin!.write(`${JSON.stringify([operation, name, segment, at, signal])}\n`)
  await running.line('ready', before)
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null
  return {
    pid: running.pid,
    running,
    isOver: () => (inC ? hasEnded() : hasEnded() || told(running).length > before),
    isKilled: () => child.signalCode === 'SIGKILL',
    changes: async () => Number((await running.line('changes ', before)).split(' ')[1]),
    begin: () => void child.stdin!.write('go\n'),
    goOn: () => void child.kill('SIGCONT'),
  }
}

/** What it said of all it did. */
const told = ({ lines }: Running): string[] => lines.filter((line) => line.startsWith('changes '))

/** Somebody prepared that in each of these places, and died. */
export async function dead(operation: string, places: readonly Place[]): Promise<void> {
  const running = run(process.execPath, [script])
  for (const [n, { name, segment }] of places.entries()) {
    running.child.stdin!.write(`${JSON.stringify([operation, name, segment, 0, 'SIGKILL'])}\n`)
    await running.line('ready', n)
    running.child.stdin!.write('stay\n')
  }
  await running.kill()
}

export const isStopped = (pid: number): boolean => processStat(pid)?.state === 'T'

/** Resolves when it is so. What never comes fails by itself. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + FOREVER; !holds(); await delay(1)) assert.ok(performance.now() < end, what)
}

/** The places of several changes are prepared together: most of the time is the start of the process that does it. */
const LOT = 8

interface Prepared extends Place {
  readonly memory: SharedMemory
}

function createPlace(): Prepared {
  const name = freshName()
  const segment = `tw-test-${name}`
  const memory = SharedMemory.create(segment, 64)
  return { name, segment, memory, notes: memory.array(Int32Array) }
}

function removePlace({ memory }: Prepared): void {
  memory.unlink()
  memory.close()
}

type Begin = (place: Place) => Promise<Scene> | Scene
/** What was done in these places before. */
type Before = (places: readonly Place[]) => Promise<void>

/** Once for each change, and once more without being disturbed. */
async function atEach(t: TestContext, operation: string, signal: NodeJS.Signals, begin: Begin, before?: Before): Promise<void> {
  let points = 0
  const places: Prepared[] = []
  /** Who was stopped and went on does the next one, too: a new process for each costs more than all the rest. */
  let again: Running | undefined
  try {
    for (let at = 1; ; at++) {
      if (places.length === 0) {
        places.push(...Array.from({ length: before ? LOT : 1 }, createPlace))
        await before?.(places)
      }
      const place = places.shift()!
      const scene = await begin(place)
      const actor = await start(operation, place, at, signal, again)
      await scene.prepared?.()
      actor.begin()
      const meanwhile = scene.meanwhile?.(actor)
      let reached = false
      again = undefined
      try {
        if (signal === 'SIGSTOP') {
          await until(() => (reached = isStopped(actor.pid)) || actor.isOver(), 'it neither came to that change nor to its end')
          if (reached) await scene.stopped?.(actor)
          actor.goOn()
        }
        await meanwhile
        await until(actor.isOver, 'it hangs')
        reached ||= actor.isKilled()
        const { exitCode, signalCode } = actor.running.child
        if (!actor.isKilled()) assert.deepEqual([exitCode ?? 0, signalCode], [0, null])
        await scene.after(!actor.isKilled())
        assert.equal(place.notes[NOTE.wrong], 0, 'two were within')
        if (reached && signal === 'SIGSTOP') again = actor.running
        if (!reached) points = await actor.changes()
      } catch (reason) {
        throw new Error(`change ${at} of ${operation}: ${String(reason)}`, { cause: reason })
      } finally {
        if (!again) await actor.running.kill()
        removePlace(place)
        scene.end()
      }
      if (reached) continue
      assert.ok(at > points, 'it was not disturbed before its end')
      break
    }
  } finally {
    for (const place of places) {
      removePlace(place)
      ;(await begin(place)).end()
    }
  }
  t.diagnostic(`${points} changes`)
  assert.ok(points > 0, 'the changes were counted')
}

/** Killed at each change: whoever comes then finds all in order. */
export const killedAtEach = (t: TestContext, operation: string, begin: Begin, before?: Before): Promise<void> =>
  atEach(t, operation, 'SIGKILL', begin, before)

/** The same in C. */
export const killedInC = (t: TestContext, operation: string, begin: Begin, before?: Before): Promise<void> =>
  atEach(t, IN_C + operation, 'SIGKILL', begin, before)

/** Stopped at each change, while another one does something; then it goes on to its end. */
export const stoppedAtEach = (t: TestContext, operation: string, begin: Begin): Promise<void> => atEach(t, operation, 'SIGSTOP', begin)

/** Who waits in the queue of that lock. */
export const queueOf = (kind: Kind, name: string): number => waiters(openLock(kind, name)).length

/** Whoever waits is going to be woken: the queue is marked as not empty. */
export const isMarked = (kind: Kind, name: string): boolean => Atomics.load(openLock(kind, name).word, WORD.waiting) !== 0

/** Who is killed, in which language. */
export const KILLS: readonly (readonly [signal: string, each: typeof killedAtEach])[] = [
  ['killed', killedAtEach],
  ...(HAS_CC ? ([['killed in C', killedInC]] as const) : []),
]
/** Killed, or stopped. */
export const SIGNALS: typeof KILLS = [...KILLS, ['stopped', stoppedAtEach]]
