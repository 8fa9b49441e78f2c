/** Processes that have shared memory open: Node, unmodified Python, C. Each obeys lines and answers each with one. */
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { run, type Running } from '../session/processes.js'
import { freshName } from '../helpers/place.js'

export const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
/** A compiled program of the fixtures. */
export const program = (name: string): string => fileURLToPath(new URL(`fixtures/${name}.js`, import.meta.url))
/** A file of the fixtures as it is in the sources. */
export const source = (name: string): string => fileURLToPath(new URL(`../../../test/memory/fixtures/${name}`, import.meta.url))
/** Where `import talkwire` finds the Python client. */
process.env['PYTHONPATH'] = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))
process.env['PYTHONDONTWRITEBYTECODE'] = '1'

/** A name of shared memory that nobody uses. */
export const freshSegment = (): string => `tw-test-${freshName()}`

export interface Actor {
  readonly pid: number
  readonly running: Running
  /** What it answers. Answers come in the order of the commands. */
  tell(command: string): Promise<string>
  /** Ends it in good order. */
  end(): Promise<void>
}

export async function startActor(command: string, ...args: string[]): Promise<Actor> {
  const running = run(command, args)
  await running.line('ready')
  let asked = 0
  return {
    running,
    pid: running.pid,
    async tell(line) {
      const number = `#${++asked} `
      running.child.stdin!.write(`${number}${line}\n`)
      return (await running.line(number)).slice(number.length)
    },
    async end() {
      running.child.stdin!.end()
      if (running.child.exitCode === null && running.child.signalCode === null) await once(running.child, 'exit')
    },
  }
}

export const startNode = (...flags: string[]): Promise<Actor> => startActor(process.execPath, ...flags, program('actor'))
/** Python with `multiprocessing.shared_memory` as it comes, or with `talkwire.memory`. */
export const startPython = (how: 'tracked' | 'untracked' | 'talkwire'): Promise<Actor> => startActor(python, source('actor.py'), how)

export const exists = (name: string): boolean => SharedMemory.list().some((segment) => segment.name === name)

/** Takes the name away whatever happened before. */
export function remove(name: string): void {
  if (exists(name)) SharedMemory.unlink(name)
}
