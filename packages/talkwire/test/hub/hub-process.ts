/** A hub in a process of its own, that can be killed and started again with what it has on disk. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { HubServeOptions } from '../../src/hub/embedded/serve.js'
import { freshName, freshPath } from '../helpers/place.js'

const PROGRAM = fileURLToPath(new URL('fixtures/hub.js', import.meta.url))

export interface HubProcess {
  readonly name: string
  readonly folder: string
  readonly address: string
  readonly pid: number
  kill(): Promise<void>
  /** After `kill`. Resolves when it serves. */
  start(): Promise<void>
  /** Ends it, and removes what it wrote. */
  end(): Promise<void>
}

export async function hubProcess(options: HubServeOptions = {}): Promise<HubProcess> {
  const [name, folder] = [freshName(), freshPath('-hub')]
  mkdirSync(folder)
  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    child = spawn(process.execPath, [PROGRAM, JSON.stringify({ name, folder, ...options })], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TALKWIRE_TEST_PID: String(process.pid) },
    })
    await Promise.race([
      once(child.stdout!, 'data'),
      once(child, 'exit').then(([code]) => Promise.reject(new Error(`the hub ended with ${String(code)} before it served`))),
    ])
  }
  const kill = async (): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  await start()
  return {
    name,
    folder,
    address: `hub:unix:${name}`,
    get pid() {
      return child!.pid!
    },
    kill,
    start,
    async end() {
      await kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
