/** The command itself, as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import '../helpers/place.js'

export const program = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
/** Served as they are: the tests run from dist, these stay in the source tree. */
export const fixture = (name: string): string => fileURLToPath(new URL(`../../../test/cli/fixtures/${name}`, import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  /** Resolves when stdout or stderr holds the text. Rejects when the process ends without. */
  said(text: string): Promise<void>
  /** A signal, and then its end. */
  stop(signal?: NodeJS.Signals): Promise<Ended>
}

export interface Options {
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

const children = new Set<ChildProcess>()
after(() => {
  for (const child of children) child.kill('SIGKILL')
})

/** `talkwire …`, left running. */
export function start(args: readonly string[], options: Options = {}): Running {
  return startProgram(process.execPath, [program, ...args], options)
}

export function startProgram(command: string, args: readonly string[], { input, env, cwd }: Options = {}): Running {
  const child = spawn(command, args, {
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
  })
  children.add(child)
  let [stdout, stderr] = ['', '']
  let over = false
  const wakes = new Set<() => void>()
  const wake = (): void => wakes.forEach((each) => each())
  child.stdout!.setEncoding('utf8').on('data', (text: string) => ((stdout += text), wake()))
  child.stderr!.setEncoding('utf8').on('data', (text: string) => ((stderr += text), wake()))
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code) => {
      children.delete(child)
      over = true
      wake()
      resolve({ code, stdout, stderr })
    })
  })
  if (input !== undefined) child.stdin!.on('error', () => {}).end(input)
  const said = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (stdout.includes(text) || stderr.includes(text)) resolve()
        else if (over) reject(new Error(`ended without saying ${JSON.stringify(text)}:\n${stdout}${stderr}`))
        else return
        wakes.delete(look)
      }
      wakes.add(look)
      look()
    })
  return {
    child,
    ended,
    said,
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      return ended
    },
  }
}

/** `talkwire …` to its end. */
export const talkwire = (args: readonly string[], options?: Options): Promise<Ended> => start(args, options).ended

/** A service that serves, ended after the body, whatever happens. */
export async function serving<T>(args: readonly string[], body: (service: Running) => Promise<T>, options?: Options): Promise<T> {
  const service = start(['serve', ...args], options)
  await service.said(' serves ')
  try {
    return await body(service)
  } finally {
    await service.stop()
  }
}

/** `talkwire bridge` for callers without a token, and where it serves. */
export async function bridging(from: string, to: string, ...options: string[]): Promise<{ command: Running; at: string }> {
  const command = start(['bridge', from, to, '--no-token', '--json', ...options])
  let said = ''
  command.child.stdout!.on('data', (text: string) => (said += text))
  await command.said('}\n')
  return { command, at: (JSON.parse(said) as { addresses: string[] }).addresses[0]! }
}

export const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')
