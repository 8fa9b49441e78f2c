/** A real broker, started by a test in a folder of its own on a port that nobody else has, and ended by its id. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import net from 'node:net'
import { freshPort, ownHost } from './loopback.js'
import { endsBefore, freshPath } from './place.js'

export interface BrokerPlan {
  /** The program and its words; it stays in the foreground, and keeps what it has in the folder. */
  readonly command: (host: string, port: number, folder: string) => readonly [program: string, ...words: string[]]
  /** What it is told beside its words. */
  readonly env?: (host: string, port: number, folder: string) => Promise<Readonly<Record<string, string>>>
  /** Rejects until it can be used. */
  readonly answers: (host: string, port: number) => Promise<unknown>
}

export interface Broker {
  readonly host: string
  readonly port: number
  readonly folder: string
  /** kill -9, and nobody is there. */
  kill(): Promise<void>
  /** Resolves when it can be used, with what was on disk; at once when nobody has killed it. */
  start(): Promise<void>
  /** kill -9, and there again. */
  restart(): Promise<void>
}

/** RabbitMQ needs ten seconds of two cores. */
const WATCHDOG = 120_000
const PAUSE = 20

const running = (child: ChildProcess | undefined): child is ChildProcess => child?.exitCode === null && child.signalCode === null

/** Started at once; ended after the test file. */
export async function startBroker({ command, env, answers }: BrokerPlan): Promise<Broker> {
  const [host, port, folder] = [ownHost, freshPort(), freshPath('-broker')]
  mkdirSync(folder)
  const told = { ...process.env, ...(await env?.(host, port, folder)) }
  let child: ChildProcess | undefined
  let output = ''
  const start = async (): Promise<void> => {
    if (running(child)) return
    const [program, ...words] = command(host, port, folder)
    const started = (child = spawn(program, words, { cwd: folder, env: told, stdio: ['ignore', 'pipe', 'pipe'] }))
    output = ''
    let ended: string | undefined
    for (const stream of [started.stdout!, started.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
    started.once('error', (reason) => (ended = String(reason))).once('exit', (code, signal) => (ended = `ended with ${code ?? signal}`))
    const until = performance.now() + WATCHDOG
    for (;;) {
      const answer = await answers(host, port).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      if (ended !== undefined) throw new Error(`${program} ${ended}\n${output}`)
      if (answer === undefined) return
      if (performance.now() > until) throw new Error(`${program} does not answer: ${(answer as Error).message}\n${output}`)
      await new Promise((resolve) => setTimeout(resolve, PAUSE))
    }
  }
  const kill = async (): Promise<void> => {
    const killed = child
    child = undefined
    if (!running(killed)) return
    const gone = new Promise((resolve) => killed.once('exit', resolve))
    killed.kill('SIGKILL')
    await gone
  }
  endsBefore(kill)
  // What fails before the first test has no end of it that would be told.
  await start().catch(async (reason: unknown) => {
    await kill()
    throw reason
  })
  return {
    host,
    port,
    folder,
    kill,
    start,
    async restart() {
      await kill()
      await start()
    },
  }
}

/** Sends a text and resolves with what comes back when it has another in it: for `answers`. */
export function asks(host: string, port: number, question: string, wanted: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = net.connect(port, host, () => socket.write(question))
    socket
      .setEncoding('utf8')
      .setTimeout(1000, () => socket.destroy(new Error('no answer')))
      .on('data', (text: string) => {
        answer += text
        if (answer.includes(wanted)) socket.end(() => resolve(answer))
      })
      .on('error', reject)
      .on('close', () => {
        if (answer.includes(wanted)) resolve(answer)
        else reject(new Error(`it answers ${JSON.stringify(answer.slice(0, 200))}`))
      })
  })
}
