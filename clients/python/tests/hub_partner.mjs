// A Node process with a hub of its own, for the tests of Python's: each line on stdin is one thing to do, each line on stdout its answer.
import { openSync, readSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Descriptor, TalkwireError, connect, contract, rpc, serve } from '../../../packages/talkwire/dist/src/index.js'
import { openHub, serveHub } from '../../../packages/talkwire/dist/src/hub/index.js'

const server = await serveHub({ name: 'svc', durability: 'memory' })
const hub = await openHub(`hub:${server.addresses[0]}`)
const kept = new Map()
let go = () => {}

const anything = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } }
const contractOf = (name) => contract(`${name}/1`, { who: rpc({ output: anything, idempotent: true }), single: rpc({ output: anything }) })

function double(value) {
  if (value === 'refuse') throw new TalkwireError('TOO_BIG', 'not that much')
  if (value === 'break') throw new Error('a secret')
  return { twice: value * 2 }
}

async function all(items) {
  const found = []
  for await (const item of items) found.push(item)
  return found
}

function headOf({ fd }) {
  const head = Buffer.alloc(4)
  readSync(fd, head, 0, 4, 0)
  return head.toString('latin1')
}

const actions = {
  respond: async ({ topic, group }) => kept.set(topic, await hub.topic(topic).respond(double, { group })),
  request: ({ topic, data }) => hub.topic(topic).request(data),
  gather: ({ topic, data, count }) => all(hub.topic(topic).gather(data, { count })),
  async work({ queue }) {
    const worker = await hub.queue(queue, { results: 60_000 }).consume(async (job) => {
      for (const step of [1, 2]) {
        const goes = new Promise((resolve) => (go = resolve))
        await job.progress(step)
        await goes
      }
      return job.data.map((n) => n + 1)
    })
    kept.set(queue, worker)
  },
  push: ({ queue, data }) => hub.queue(queue).push(data),
  result: ({ queue, id }) => hub.queue(queue, { results: 60_000 }).result(id),
  async follow({ queue, id }) {
    kept.set(id, hub.queue(queue, { results: 60_000 }).follow(id))
    return (await kept.get(id).next()).value
  },
  rest: ({ id }) => all(kept.get(id)),
  go: () => go(),
  async serve({ name, who }) {
    const service = await serve(contractOf(name), { who: () => who, single: () => who }, { listen: `unix:@${name}-${who}` })
    const known = await hub.register(service, { metadata: { who } })
    kept.set(who, { close: async () => (await known.close(), await service.close()) })
  },
  connect: async ({ name, balance }) => kept.set(name, await connect(contractOf(name), { hub, balance })),
  async dial({ address, method }) {
    const client = await connect(address)
    return client[method]().finally(() => client.close())
  },
  call: ({ name, method }) => kept.get(name)[method](),
  instances: ({ name }) => hub.instances(name),
  async handle({ action, type, label }) {
    const known = await hub.intents.handle({ action, type, label }, ({ type, data, descriptor, segment, peer }) => {
      if (data === 'refuse') throw new TalkwireError('TOO_BIG', 'not that much')
      return { label, type, data, segment, head: descriptor && headOf(descriptor), pid: peer.pid }
    })
    kept.set(label, known)
  },
  send: ({ path, choose, ...intent }) =>
    hub.intents.send({
      ...intent,
      ...(path && { descriptor: Descriptor.give(openSync(path, 'r')) }),
      ...(choose && { choose: (handlers) => handlers.find(({ label }) => label === choose) }),
    }),
  async close({ name }) {
    await kept.get(name).close()
    kept.delete(name)
  },
}

console.log(JSON.stringify({ value: server.addresses[0] }))
for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...wish } = JSON.parse(line)
  const told = await Promise.resolve(actions[what](wish)).then(
    (value) => ({ value: value instanceof Map ? null : (value ?? null) }),
    (error) => ({ code: error.code, outcome: error.outcome, text: String(error) }),
  )
  console.log(JSON.stringify(told))
}
for (const thing of kept.values()) await thing.close?.()
await hub.close()
await server.close()
