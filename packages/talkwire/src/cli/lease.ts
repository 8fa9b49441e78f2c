import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Grant, Lease } from '../hub/index.js'
import { json, text, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { hubOption, withHub } from './opening.js'
import { clean, exitCode, note, print, table, toLine, UsageError } from './output.js'
import { readCount, readMilliseconds } from './words.js'

export const lease: Command = {
  usage: 'lease <name> [-- command…]',
  summary: 'run a command while holding a lease of the hub, or say who holds it',
  help: `The command finds its fencing token in TALKWIRE_LEASE_TOKEN. It gets SIGTERM when the lease is lost.
The exit code is the command's; 1 when the lease was not free in time, or was lost.`,
  options: {
    hub: hubOption,
    ttl: { type: 'string', value: 'ms', help: 'milliseconds after which others may take it when we say nothing; default: 10000' },
    timeout: { type: 'string', value: 'ms', help: 'how long to wait for it; default: for good' },
    permits: { type: 'string', value: 'number', help: 'how many may hold it at once; default: 1' },
    json,
  },
  examples: [
    ['talkwire lease nightly -- ./backup.sh', 'one at a time, on all machines of the hub'],
    ['talkwire lease nightly', 'who holds it, who waits'],
    ['talkwire lease builds --permits 4 -- make', 'four at a time'],
  ],
  words: { least: 1, most: Infinity },
  run,
}

async function run([name, ...command]: readonly string[], values: Values): Promise<number> {
  const ttl = readMilliseconds('ttl', text(values, 'ttl'))
  const permits = readCount('permits', text(values, 'permits'))
  const timeout = readMilliseconds('timeout', text(values, 'timeout'))
  const signal = interruption()
  return withHub(values, signal, async (hub) => {
    const found = hub.lease(name!, {
      ...(ttl !== undefined && { ttl }),
      ...(permits !== undefined && { permits }),
      label: command.length > 0 ? command.join(' ').slice(0, 100) : 'talkwire lease',
    })
    if (command.length === 0) return show(found, values)
    const grant = await found.acquire({ ...(timeout !== undefined && { timeout }), signal })
    try {
      return await hold(grant, command, signal)
    } finally {
      await grant.release()
    }
  })
}

async function show(found: Lease, values: Values): Promise<number> {
  const { holders, waiters } = await found.inspect()
  if (values['json'] === true) await print(toLine({ holders, waiters }))
  else if (holders.length === 0) note('nobody holds it')
  else {
    const rows = holders.map(({ token, label, left }) => [String(token), clean(label ?? ''), String(Math.round(left))])
    await print(table([['TOKEN', 'LABEL', 'LEFT (ms)'], ...rows]))
    if (waiters > 0) note(`${waiters} wait`)
  }
  return exitCode.ok
}

function hold(grant: Grant, [program, ...args]: readonly string[], stop: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { stdio: 'inherit', env: { ...process.env, TALKWIRE_LEASE_TOKEN: String(grant.token) } })
    const end = (): void => void child.kill('SIGTERM')
    const lost = (): void => {
      note(`talkwire: ${(grant.signal.reason as Error).message}`)
      end()
    }
    grant.signal.addEventListener('abort', lost, { once: true })
    stop.addEventListener('abort', end, { once: true })
    child.once('error', (reason) => reject(new UsageError(`${program} could not be started: ${reason.message}`)))
    child.once('exit', (code, name) => {
      if (grant.signal.aborted) resolve(exitCode.failed)
      else resolve(code ?? 128 + constants.signals[name!])
    })
  })
}
