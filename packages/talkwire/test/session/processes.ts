/** Real processes for tests: started, listened to, ended by their id. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'

const children = new Set<ChildProcess>()
/** Waited for: one that is still dying has files open, and this process would leave their names to it. */
after(async () => {
  const ends = Array.from(children, (child) => once(child, 'exit'))
  for (const child of children) child.kill('SIGKILL')
  await Promise.all(ends)
})

export interface Running {
  readonly child: ChildProcess
  readonly pid: number
  /** Resolves with the line that begins with `start` after `before` others that do, also one that has already come. */
  line(start: string, before?: number): Promise<string>
  readonly lines: readonly string[]
  kill(signal?: NodeJS.Signals): Promise<void>
}

/** Starts a fixture beside the test, or any program. */
export function run(program: string, args: readonly string[], options: { env?: Record<string, string> } = {}): Running {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...options.env } })
  children.add(child)
  const lines: string[] = []
  const waiting = new Set<() => void>()
  const wake = (): void => {
    for (const look of waiting) look()
    waiting.clear()
  }
  let silent = false
  createInterface({ input: child.stdout! })
    .on('line', (line) => {
      lines.push(line)
      wake()
    })
    // What it said last may be read after its exit.
    .once('close', () => {
      silent = true
      wake()
    })
  child.once('exit', () => children.delete(child))
  return {
    child,
    pid: child.pid!,
    lines,
    async line(start, before = 0) {
      for (;;) {
        const found = lines.filter((line) => line.startsWith(start))[before]
        if (found !== undefined) return found
        if (silent) throw new Error(`the process ended before it said "${start}"; it said ${JSON.stringify(lines)}`)
        await new Promise<void>((resolve) => waiting.add(resolve))
      }
    },
    async kill(signal = 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill(signal)
      await once(child, 'exit')
    },
  }
}

export const fixture = (base: string, name: string, ...args: string[]): Running =>
  run(process.execPath, [fileURLToPath(new URL(`fixtures/${name}`, base)), ...args])

/** The interpreter that the test command prepared. */
export const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
