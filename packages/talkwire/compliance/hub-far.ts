/** Another process with a hub, for the suite of drivers: `hub-far.js MODULE NAME ADDRESS hold LEASE TTL | take QUEUE VISIBILITY | publish TOPIC COUNT | everything NAME`. */
import type { HubDriver, OpenDriver } from '../src/hub/driver.js'

const [module = '', name = '', address = '', what = '', target = '', time = '0'] = process.argv.slice(2)

const driver = ((await import(module)) as Record<string, HubDriver>)[name]!
const hub = await driver.open(address, {
  credentials: undefined,
  onConnection() {},
  onError: (error) => console.error(error),
  signal: undefined,
})
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)
const settings = {
  visibility: Number(time),
  attempts: driver.traits.includes('attempts') ? 3 : 0,
  dedupe: driver.traits.includes('dedupe') ? 60_000 : 0,
}

if (what === 'hold') {
  say(
    await hub.leases!.acquire(
      target,
      { holder: `far ${process.pid}`, label: undefined, ttl: Number(time), wait: 0, permits: 1 },
      undefined,
    ),
  )
  stay()
} else if (what === 'take') {
  await hub.queues!.declare(target, settings)
  const consumption = await hub.queues!.consume(target, { job: ({ id }) => say(id), ended() {} })
  consumption.want(1)
  stay()
} else if (what === 'publish') {
  // It says what was taken, ten at a time.
  for (let first = 0; first < Number(time); first += 10) {
    const bodies = Array.from({ length: 10 }, (_, index) => Buffer.from(JSON.stringify([process.pid, first + index])))
    await Promise.all(bodies.map((body) => hub.topics!.publish(target, { body, type: 'json', headers: {} }, { retain: false })))
    say(first + 10)
  }
  await hub.close()
} else await everything(hub)

/** Until it is killed, or whoever started it is gone. */
function stay(): void {
  const parent = process.ppid
  setInterval(() => process.ppid === parent || process.exit(), 500)
}

/** Uses all there is, leaves it open, and closes: nothing may be left that keeps the process. */
async function everything({ topics, requests, queues, state, leases, counters, close }: OpenDriver): Promise<void> {
  const message = { body: Buffer.from('1'), type: 'json', headers: {} } as const
  const from = { from: 'new', group: undefined, buffer: 10 } as const
  await topics?.subscribe(target, from, { message: () => true, lost() {}, ended() {} })
  await topics?.publish(target, message, { retain: false })
  if ((hub.only ?? driver).traits.includes('groups'))
    await topics!.subscribe(target, { ...from, group: 'g' }, { message: () => false, lost() {}, ended() {} })
  await requests?.respond(target, undefined, (request) => void request.reply(message, true))
  await requests?.request(target, message, () => {})
  await queues?.declare(target, { ...settings, visibility: 60_000 })
  const consumption = await queues?.consume(target, { job() {}, ended() {} })
  consumption?.want(10)
  await queues?.push(target, [{ ...message, delay: 0, priority: 0, key: undefined }])
  await state?.watch?.(target, { changed: () => false, ended() {} })
  await state?.set(target, message.body, 'json', {})
  await counters?.add(target, 1)
  const held = await leases?.acquire(target, { holder: 'a', label: undefined, ttl: 60_000, wait: 0, permits: 1 }, undefined)
  if (leases && !held) throw new Error('the lease is somebody else’s')
  await close.call(hub)
}
