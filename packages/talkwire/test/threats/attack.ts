/** What the threat tests share: a victim, an honest client beside it, raw attackers, and what "stays healthy" means. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import net from 'node:net'
import { availableParallelism, loadavg } from 'node:os'
import { freshPath } from '../helpers/place.js'
import { fileURLToPath } from 'node:url'
import { msgpack } from '../../src/codecs/msgpack.js'
import { fixture, run, type Running } from '../session/processes.js'
import type { Served } from './fixtures/honest.js'
import type { Health, Setting } from './fixtures/victim.js'

export const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Waits for something that another process brings about. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, patience = 60_000): Promise<number> {
  const start = performance.now()
  while (!(await condition())) {
    if (performance.now() - start > patience) throw new Error(`${what}: not within ${patience} ms`)
    await pause(10)
  }
  return Math.round(performance.now() - start)
}

/** Resident memory in MiB; −1 when the process is gone. */
export function memoryOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
  } catch {
    return -1
  }
}

export const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

/** The highest resident memory that was seen while something happened. */
async function peakDuring<T>(pid: number, action: () => Promise<T>): Promise<{ peak: number; result: T }> {
  let peak = memoryOf(pid)
  const timer = setInterval(() => {
    peak = Math.max(peak, memoryOf(pid))
  }, 20)
  try {
    const result = await action()
    return { peak: Math.max(peak, memoryOf(pid)), result }
  } finally {
    clearInterval(timer)
  }
}

let asked = 0
async function ask<T>(running: Running, command: string, argument = ''): Promise<T> {
  const key = `${command} ${++asked}`
  running.child.stdin!.write(`${key} ${argument}\n`)
  const line = await running.line(`${key} `)
  return JSON.parse(line.slice(key.length)) as T
}

export interface Victim {
  readonly running: Running
  readonly pid: number
  readonly unix: string
  readonly tcp: string
  readonly addresses: readonly string[]
  health(): Promise<Health>
  tell(command: string, argument?: string): Promise<unknown>
  end(): Promise<void>
}

/** glibc keeps what was freed below something that is still held; with these, resident memory is what the victim holds. */
const GIVES_BACK = { MALLOC_MMAP_THRESHOLD_: '16384', MALLOC_TRIM_THRESHOLD_: '16384' }

/** A victim on a Unix socket and on TCP, or as said. `descriptors`: its ulimit -n. */
export async function startVictim(setting: Partial<Setting> = {}, descriptors?: number): Promise<Victim> {
  const listen = setting.listen ?? [`unix:${freshPath('.sock')}`, 'tcp://127.0.0.1:0']
  const argument = JSON.stringify({ ...setting, listen })
  const script = fileURLToPath(new URL('fixtures/victim.js', import.meta.url))
  // Its warnings are counted; nobody wants to read them here.
  const command = [process.execPath, '--no-warnings', '--expose-gc', script, argument]
  const running =
    descriptors === undefined
      ? run(command[0]!, command.slice(1), { env: GIVES_BACK })
      : run('sh', ['-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...command], { env: GIVES_BACK })
  const addresses = JSON.parse((await running.line('listening ')).slice('listening '.length)) as string[]
  return {
    running,
    pid: running.pid,
    addresses,
    unix: addresses.find((address) => address.startsWith('unix:')) ?? '',
    tcp: addresses.find((address) => address.startsWith('tcp:')) ?? '',
    health: () => ask<Health>(running, 'health'),
    tell: (command, text) => ask(running, command, text),
    async end() {
      assert.equal(running.child.exitCode, null, 'the victim had ended')
      await running.kill()
    },
  }
}

export interface Honest {
  /** Calls since the last sample. */
  count(): Promise<number>
  sample(): Promise<Served>
  end(): Promise<void>
}

export async function startHonest(address: string): Promise<Honest> {
  const running = fixture(import.meta.url, 'honest.js', address)
  await running.line('connected')
  return { count: () => ask<number>(running, 'count'), sample: () => ask<Served>(running, 'sample'), end: () => running.kill() }
}

/** The machine is shared with other tests: less than this is no sign of an attack's effect. */
const FLOOR = 500
const floor = (): number => FLOOR * Math.max(1, loadavg()[0]! / (2 * availableParallelism()))
/** With fewer calls the slowest of them would be the 99th percentile: one pause of the machine. */
const ENOUGH_CALLS = 200
/** MiB above the baseline within RETURN milliseconds after the attack. */
const GROWTH = 64
const RETURN = 10_000

export interface Toll {
  readonly baseline: Served
  readonly served: Served
  readonly health: Health
  /** MiB of the victim: before, at most during the attack, when it was back. */
  readonly memory: readonly [before: number, peak: number, after: number]
  readonly descriptors: readonly [before: number, after: number]
}

/** Attacks, and demands what TRAPS §3 calls healthy. Says the measured numbers as a diagnostic of the test. */
export async function staysHealthy(
  t: { diagnostic(text: string): void },
  victim: Victim,
  attack: () => Promise<unknown>,
  address = victim.unix,
): Promise<Toll> {
  const honest = await startHonest(address)
  try {
    await pause(200)
    await honest.sample()
    await pause(300)
    const baseline = await honest.sample()
    await victim.tell('reset')
    const descriptors = descriptorsOf(victim.pid)
    const before = memoryOf(victim.pid)
    const { peak } = await peakDuring(victim.pid, attack)
    await until('enough calls to judge by', async () => (await honest.count()) >= ENOUGH_CALLS)
    const served = await honest.sample()
    const health = await victim.health()
    // V8 collects when something is allocated; a victim that has nothing to do any more is told to.
    const back = async (): Promise<boolean> =>
      memoryOf(victim.pid) <= before + GROWTH || (await victim.tell('gc'), memoryOf(victim.pid) <= before + GROWTH)
    await until(`memory back to ${Math.round(before)} + ${GROWTH} MiB`, back, RETURN).catch((reason: Error) => {
      throw new Error(`${reason.message}; it is ${memoryOf(victim.pid)} MiB`)
    })
    const toll: Toll = {
      baseline,
      served,
      health,
      memory: [Math.round(before), Math.round(peak), Math.round(memoryOf(victim.pid))],
      descriptors: [descriptors, descriptorsOf(victim.pid)],
    }
    t.diagnostic(
      `honest p99 ${baseline.p99} -> ${served.p99} ms (worst ${served.worst}) in ${served.calls} calls; lag p99 ${health.lag}, worst ${health.worstLag} ms; memory ${toll.memory.join(' -> ')} MiB; ends ${JSON.stringify(health.ends)}; ${health.warnings} warnings`,
    )
    assert.deepEqual(served.errors, [], 'the honest client had errors')
    assert.ok(served.calls > 0, 'the honest client was not served at all')
    assert.ok(served.p99 < Math.max(floor(), 5 * baseline.p99), `honest p99 ${served.p99} ms, was ${baseline.p99}`)
    assert.ok(health.lag < floor(), `the victim's event loop was ${health.lag} ms late (p99)`)
    assert.equal(victim.running.child.exitCode, null)
    return toll
  } finally {
    await honest.end()
  }
}

// ── raw peers ────────────────────────────────────────────────────────────────────────────────────

export const framings = ['length', 'header', 'line'] as const
export type Framing = (typeof framings)[number]

export function frame(payload: string | Uint8Array, framing: Framing = 'length'): Buffer {
  const bytes = Buffer.from(payload as string)
  if (framing === 'line') return Buffer.concat([bytes, Buffer.from('\n')])
  if (framing === 'header') return Buffer.concat([Buffer.from(`Content-Length: ${bytes.length}\r\n\r\n`), bytes])
  const head = Buffer.alloc(4)
  head.writeUInt32BE(bytes.length)
  return Buffer.concat([head, bytes])
}

export function target(address: string): net.NetConnectOpts {
  if (address.startsWith('unix:')) return { path: address.slice('unix:'.length) }
  const { hostname, port } = new URL(address)
  return { host: hostname, port: Number(port) }
}

/** Tries again while the listener's queue is full. */
export async function dial(address: string): Promise<net.Socket> {
  for (;;) {
    const socket = net.connect(target(address))
    const reason = await new Promise<NodeJS.ErrnoException | undefined>((resolve) =>
      socket.once('connect', () => resolve(undefined)).once('error', resolve),
    )
    if (!reason) return socket
    if (reason.code !== 'EAGAIN') throw reason
    await pause(10)
  }
}

export interface Raw {
  readonly socket: net.Socket
  /** Everything that arrived. */
  readonly received: () => Buffer
  send(payload: string | Uint8Array | object): void
  /** The next whole message, parsed if it is JSON; undefined when the connection has ended. */
  next(): Promise<any>
  readonly ended: Promise<void>
  /** Sends a request and waits for the response to it. */
  call(method: string, params: unknown, id?: unknown): Promise<any>
}

/** A peer made by hand. */
export async function raw(address: string, framing: Framing = 'length'): Promise<Raw> {
  return peerOn(await dial(address), framing)
}

export function peerOn(socket: net.Socket, framing: Framing): Raw {
  const chunks: Buffer[] = []
  let unread = Buffer.alloc(0)
  let over = false
  let wake = (): void => {}
  socket.on('error', () => {})
  socket.on('data', (chunk) => {
    chunks.push(chunk)
    unread = Buffer.concat([unread, chunk])
    wake()
  })
  const ended = new Promise<void>((resolve) =>
    socket.once('close', () => {
      over = true
      wake()
      resolve()
    }),
  )
  const take = (): Buffer | undefined => {
    let start = 0
    let end = -1
    if (framing === 'line') {
      end = unread.indexOf('\n')
      if (end < 0) return undefined
      const line = unread.subarray(0, end)
      unread = unread.subarray(end + 1)
      return line
    }
    if (framing === 'length') {
      if (unread.length < 4) return undefined
      start = 4
      end = 4 + unread.readUInt32BE(0)
    } else {
      const close = unread.indexOf('\r\n\r\n')
      if (close < 0) return undefined
      start = close + 4
      end = start + Number(/length: (\d+)/i.exec(unread.toString('latin1', 0, close))![1])
    }
    if (unread.length < end) return undefined
    const payload = unread.subarray(start, end)
    unread = unread.subarray(end)
    return payload
  }
  let id = 0
  const peer: Raw = {
    socket,
    received: () => Buffer.concat(chunks),
    send(payload) {
      const plain = typeof payload === 'string' || payload instanceof Uint8Array
      socket.write(frame(plain ? payload : JSON.stringify(payload), framing))
    },
    async next() {
      for (;;) {
        const message = take()
        if (message) return message[0] === 0x7b || message[0] === 0x5b ? JSON.parse(message.toString()) : message
        if (over) return undefined
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    ended,
    async call(method, params, own) {
      const asking = own ?? ++id
      peer.send({ jsonrpc: '2.0', id: asking, method, params })
      for (;;) {
        const message = await peer.next()
        if (message === undefined || message.id === asking) return message
      }
    },
  }
  return peer
}

/** A Talkwire peer made by hand: hello is said, MessagePack or JSON may follow. */
export async function hello(address: string, params: object = {}, framing: Framing = 'length'): Promise<Raw> {
  const peer = await raw(address, framing)
  await peer.call(
    'rpc.hello',
    {
      wire: 1,
      codecs: ['json'],
      attachments: true,
      contract: null,
      serves: null,
      window: 524288,
      maxMessage: 67108864,
      heartbeat: 0,
      ...params,
    },
    1,
  )
  return peer
}

/** MessagePack by hand: what our own writer would refuse can be said too. A Map may hold any key. */
export function pack(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value
  if (value === null || value === undefined) return Buffer.from([0xc0])
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2])
  if (typeof value === 'number')
    return value >= 0 && value < 128 ? Buffer.from([value]) : Buffer.concat([Buffer.from([0xcb]), double(value)])
  if (typeof value === 'string') return Buffer.concat([textHead(Buffer.byteLength(value)), Buffer.from(value)])
  if (Array.isArray(value))
    return Buffer.concat([
      value.length < 16 ? Buffer.from([0x90 + value.length]) : Buffer.concat([Buffer.from([0xdd]), u32(value.length)]),
      ...value.map(pack),
    ])
  const entries = value instanceof Map ? [...value] : Object.entries(value as object)
  return Buffer.concat([Buffer.from([0xdf]), u32(entries.length), ...entries.flatMap(([key, item]) => [pack(key), pack(item)])])
}

function textHead(length: number): Buffer {
  if (length < 32) return Buffer.from([0xa0 + length])
  return length < 65536 ? Buffer.from([0xda, length >> 8, length & 255]) : Buffer.concat([Buffer.from([0xdb]), u32(length)])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return bytes
}

/** A message in MessagePack, read by our own codec. */
export const unpack = (bytes: Buffer): any[] =>
  msgpack.decode(bytes, 0, bytes.length, [], { depth: 64, extended: true, binary: false, references: undefined }) as any[]
