/**
 * Eight processes use a hub as fast as they can, and the hub is killed at any moment and started again. Afterwards what they were
 * told fits together, and is still there.
 */
import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from '../../src/connect.js'
import { hubContract } from '../../src/hub/contract.js'
import type { HubClient } from '../../src/hub/drivers/embedded/link.js'
import { freshPath } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'
import { faultsIn, type Note } from './crash-history.js'
import { hubProcess, type HubProcess } from './hub-process.js'
import { randomOf, type Random } from './random.js'

const CLIENTS = 8
/** Of them in Python. */
const SNAKES = 2
const script = fileURLToPath(new URL('fixtures/crash_client.py', import.meta.url)).replace('/dist/test/', '/test/')

export interface Storm {
  readonly kills: number
  readonly notes: readonly Note[]
  readonly faults: readonly string[]
}

/** `done`: whether there were enough kills. */
export async function storm(seed: number, done: (kills: number) => boolean): Promise<Storm> {
  const random = randomOf(seed)
  const hub = await hubProcess({ keep: [{ pattern: 'log.>' }] })
  const files = Array.from({ length: CLIENTS }, () => freshPath('.jsonl'))
  try {
    // What is handed out at the moment of a kill counts as a try.
    await using first = await connect(hubContract, `unix:${hub.name}`, { reconnect: { initial: 10, max: 50 } })
    await first.queue({ queue: 'q', attempts: 1_000_000, visibility: 2_000 })
    const clients = files.map((file, number) => start(hub.name, number, file))
    await Promise.all(clients.map((client) => client.line('ready')))
    let kills = 0
    for (; !done(kills); kills++) {
      await heard(first, 1 + random.below(30))
      await killed(hub, random)
    }
    for (const { child } of clients) assert.equal(child.exitCode, null, 'a client ended by itself')
    const ends = clients.map(({ child }) => new Promise((resolve) => child.once('exit', resolve)))
    for (const { child } of clients) child.stdin!.write('stop\n')
    assert.deepEqual([...new Set(await Promise.all(ends))], [0], 'a client failed')
    const notes = [...files.flatMap(notesIn), ...(await left(hub))]
    return { kills, notes, faults: faultsIn(notes) }
  } finally {
    await hub.end()
    for (const file of files) rmSync(file, { force: true })
  }
}

function start(name: string, number: number, file: string): Running {
  const words = [`unix:${name}`, String(number), file]
  return number < SNAKES ? run(python, [script, ...words]) : fixture(import.meta.url, 'crash-client.js', ...words)
}

/** Until so much was published: the clients are at it again, however busy the machine is. */
async function heard(hub: HubClient, most: number): Promise<void> {
  let count = 0
  for await (const { data } of hub.subscribe({ pattern: 'log.>' }) as AsyncIterable<{ data?: string }>)
    if (data !== undefined && ++count >= most) return
}

/** At any moment; one in five times also while it starts. */
async function killed(hub: HubProcess, random: Random): Promise<void> {
  await delay(random.below(20))
  await hub.kill()
  if (random.below(5) === 0) {
    const starting = hub.start().then(
      () => true,
      () => false,
    )
    await delay(random.below(250))
    await hub.kill()
    await starting
  }
  await hub.start()
}

function notesIn(file: string): Note[] {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line) as Note)
}

/** What is still there when nobody is left: as one more client sees it. */
async function left({ name }: HubProcess): Promise<Note[]> {
  const notes: Note[] = []
  const now = (): number => Number(process.hrtime.bigint()) / 1e6
  await using hub = await connect(hubContract, `unix:${name}`)
  for (let after = ''; ;) {
    const begin = now()
    const found = (await hub.list({ prefix: 'k.', after })) as { key: string; data: string; revision: number }[]
    for (const { key, data, revision } of found)
      notes.push({ kind: 'key', key, begin, end: now(), what: { op: 'get', value: data, revision } })
    if (found.length === 0) break
    after = found.at(-1)!.key
  }
  for (;;) {
    const jobs = (await hub.take({ queue: 'q', max: 1000 })) as { id: number; receipt: string; data: string }[]
    for (const { id, receipt, data } of jobs) {
      const number = Number(receipt.split('-')[1])
      notes.push({ kind: 'given', id, receipt: number, body: data })
      notes.push({ kind: 'ack', begin: now(), end: now(), id, receipt: number, done: true })
    }
    if (jobs.length > 0) await hub.ack({ queue: 'q', receipts: jobs.map(({ receipt }) => receipt) })
    else if (Object.values((await hub.counts({ queue: 'q' })) as Record<string, number>).every((count) => count === 0)) break
    else await delay(50)
  }
  notes.push({ kind: 'counted', value: ((await hub.add({ name: 'c', amount: 0 })) as { value: number }).value })
  await hub.publish({ topic: 'log.end', data: 'end' })
  for await (const { data, position } of hub.subscribe({ pattern: 'log.>', from: 'all' }) as AsyncIterable<{
    data?: string
    position: number
  }>) {
    if (data === 'end') break
    if (data !== undefined) notes.push({ kind: 'kept', position, body: data })
  }
  return notes
}
