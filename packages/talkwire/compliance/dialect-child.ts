/** A service of `proof/1` that its client starts as a child, and a line to it beside: what its handlers do, and what it is to do. */
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { connect, type ConnectOptions } from '../src/connect.js'
import type { DialectTraits } from '../src/protocols/dialect.js'
import { proofFor, type ProofState } from './dialect-proof.js'
import { soon } from './ends.js'

const far = fileURLToPath(new URL('./dialect-far.js', import.meta.url))

/** What the child says by the line. */
export interface Told {
  readonly pid?: number
  readonly happened?: string
  readonly looked?: { readonly notes: number[]; readonly produced: number }
}

/** What it is told to do. */
export interface Order {
  readonly answer?: string
  readonly emit?: { readonly event: string; readonly value: unknown }
  /** Milliseconds, or null for the usual. */
  readonly close?: number | null
  readonly look?: true
}

export interface Control {
  /** The words of the service's command. */
  command(listen: string): string[]
  /** With its process id. */
  readonly accepted: Promise<number>
  /** Its process is over. */
  readonly ended: Promise<void>
  happened(what: string): Promise<void>
  forget(): void
  order(order: Order): void
  /** Resolves with the first thing told, from now on, that has it. */
  told<K extends keyof Told>(key: K): Promise<NonNullable<Told[K]>>
}

/** Waits for one child. */
export async function openControl(): Promise<Control> {
  const told: Told[] = []
  const looks = new Set<() => void>()
  const look = (): void => looks.forEach((each) => each())
  let socket: net.Socket | undefined
  let over!: () => void
  const ended = new Promise<void>((resolve) => (over = resolve))
  const server = net.createServer((connection) => {
    socket = connection.on('error', () => {}).once('close', over)
    server.close()
    createInterface({ input: connection }).on('line', (line) => {
      told.push(JSON.parse(line) as Told)
      look()
    })
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const until = <T>(what: string, find: () => T | undefined): Promise<T> =>
    soon(
      new Promise<T>((resolve) => {
        const attempt = (): void => {
          const found = find()
          if (found === undefined) return
          looks.delete(attempt)
          resolve(found)
        }
        looks.add(attempt)
        attempt()
      }),
      what,
    )
  const after = <K extends keyof Told>(key: K, begin: number): Promise<NonNullable<Told[K]>> =>
    until(`that the service says "${key}"`, () => told.slice(begin).find((each) => each[key] !== undefined)?.[key] ?? undefined)
  return {
    command: (listen) => [process.execPath, far, 'child', listen, String(port)],
    get accepted() {
      return after('pid', 0)
    },
    ended,
    happened: (what) => until(`the handler ${what}`, () => told.find(({ happened }) => happened === what) && true).then(() => {}),
    forget: () => void told.splice(0),
    order: (order) => void socket!.write(`${JSON.stringify(order)}\n`),
    told: (key) => after(key, told.length),
  }
}

export interface RunningChild {
  readonly client: any
  readonly service: any
  readonly state: ProofState
  readonly pid: number
  readonly ended: Promise<void>
  happened(what: string): Promise<void>
  answer(text: string): void
  look(): Promise<void>
  forget(): void
}

/** A client and the child that it started. */
export async function startChild(
  address: (command: readonly string[]) => string,
  listen: string,
  traits: DialectTraits,
  options: ConnectOptions | undefined,
): Promise<RunningChild> {
  const control = await openControl()
  const { ended, happened, forget } = control
  const state: ProofState & { notes: number[] } = { notes: [], produced: 0, onHappening() {}, answer: new Promise(() => {}) }
  const connecting = connect(proofFor(traits), address(control.command(listen)), { reconnect: false, ...options })
  const client: any = await soon(connecting, 'connect()')
  return {
    client,
    state,
    pid: await control.accepted,
    ended,
    happened,
    forget,
    answer: (answer) => control.order({ answer }),
    service: {
      emit: (event: string, value: unknown) => control.order({ emit: { event, value } }),
      async close({ timeout = null }: { timeout?: number | null } = {}) {
        control.order({ close: timeout })
        await ended
      },
    },
    async look() {
      const looked = control.told('looked')
      control.order({ look: true })
      const { notes, produced } = await looked
      state.notes.splice(0, Infinity, ...notes)
      state.produced = produced
    },
  }
}
