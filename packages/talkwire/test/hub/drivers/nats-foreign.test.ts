/** Programs that know nothing of us: nats-py beside the driver, on Debian's server and on the newest. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { soon } from '../../../compliance/ends.js'
import { openHub } from '../../../src/hub/index.js'
import { startBroker } from '../../helpers/broker.js'
import { python as interpreter, run, type Running } from '../../session/processes.js'
import { NATS, NATS_NOW } from './brokers.js'

const page = readFileSync(new URL('../../../../../../docs/hub/nats.md', import.meta.url), 'utf8')
const [, snippet] = /```python\n(.*?)```/s.exec(page)!

/** `script` finds a connection `nc`, JetStream `js` and the words that it is given; what it says are lines of JSON. */
const natsPy = (place: string, script: string, ...words: string[]): Running =>
  python(
    `
import asyncio, json, nats, sys
place, *words = sys.argv[1:]
def say(*values): print(json.dumps(values), flush=True)
async def main():
    nc = await nats.connect(place)
    js = nc.jetstream()
${script.replaceAll(/^/gm, '    ')}
asyncio.run(main())
`,
    place,
    ...words,
  )
const python = (script: string, ...words: string[]): Running => run(interpreter, ['-c', script, ...words])

for (const [version, plan] of [
  ['2.9', NATS],
  ['now', NATS_NOW],
] as const) {
  const broker = await startBroker(plan)
  const place = `nats://${broker.host}:${broker.port}`

  test(`nats-py does what the page says (${version})`, async () => {
    await using hub = await openHub(place)
    const seen = (await hub.topic('orders.*').subscribe())[Symbol.asyncIterator]()
    const sessions = hub.state('sessions')
    await sessions.set('ada', { cart: 3 })
    const watched = (await sessions.watch('bob'))[Symbol.asyncIterator]()
    await hub.topic('double').respond((n) => n * 2)
    const mail = hub.queue('mail')
    await mail.counts()
    const program = python(snippet!.replace('nats://127.0.0.1:4222', place))
    await program.line("{'to': 'ada'}")
    assert.deepEqual(program.lines, ["{'id': 1}", "{'cart': 3}", '42', "{'to': 'ada'}"])
    const { value: message } = await soon(seen.next(), 'a message of nats-py')
    assert.deepEqual([message.topic, message.data], ['orders.new', { id: 1 }])
    const { value: change } = await soon(watched.next(), 'a value of nats-py')
    assert.deepEqual([change.key, change.value], ['bob', { cart: 1 }])
    await soon(new Promise((resolve) => program.child.once('exit', resolve)), 'the end of nats-py')
    assert.equal((await mail.counts()).taken, 0)
    assert.equal((await mail.counts()).ready, 0)
  })

  test(`nats-py hears what we publish and set, answers us, and gives a job back (${version})`, async () => {
    await using hub = await openHub(place)
    const sessions = hub.state('sessions')
    await sessions.set('first', 1)
    const mail = hub.queue('post', { attempts: 3 })
    await mail.push({ to: 'ada' }, { headers: { said: 'yes' } })
    const program = natsPy(
      place,
      `
async def heard(message):
    if message.data == b'"stop"':
        return await message.respond(b'"stopped"')
    say('heard', message.subject, json.loads(message.data), message.headers and dict(message.headers))
async def add(request):
    await request.respond(json.dumps(sum(json.loads(request.data))).encode())
await nc.subscribe('talkwire.news.>', cb=heard)
await nc.subscribe('talkwire-requests.add', queue='adders', cb=add)
watcher = await (await js.key_value('talkwire')).watch('sessions=2eeve')
worker = await js.pull_subscribe_bind(durable='workers', stream='talkwire-queue-post')
[job] = await worker.fetch(1, timeout=10)
say('job', json.loads(job.data), dict(job.headers), job.metadata.num_delivered)
await job.nak()
await nc.flush()
say('ready')
while True:
    entry = await watcher.updates(timeout=60)
    if entry is not None:
        say('state', entry.key, entry.operation, json.loads(entry.value or b'null'))
`,
    )
    const line = async (start: string): Promise<unknown> => JSON.parse(await program.line(`["${start}"`))
    assert.deepEqual(await line('job'), ['job', { to: 'ada' }, { 'Content-Type': 'application/json', said: 'yes' }, 1])
    await line('ready')
    await hub.topic('news.today').publish('größe')
    assert.deepEqual(await line('heard'), ['heard', 'talkwire.news.today', 'größe', { 'Content-Type': 'application/json' }])
    await sessions.set('eve', { cart: 3 })
    assert.deepEqual(await line('state'), ['state', 'sessions=2eeve', null, { cart: 3 }])
    assert.equal(await sessions.delete('eve'), true)
    const [, key, how] = JSON.parse(await program.line('["state"', 1)) as string[]
    assert.deepEqual([key, how], ['sessions=2eeve', version === '2.9' ? 'DEL' : 'PURGE'])
    assert.equal(await hub.topic('add').request([1, 2]), 3)
    const worker = await mail.consume((job) => assert.deepEqual([job.data, job.attempt], [{ to: 'ada' }, 2]))
    while ((await mail.counts()).ready + (await mail.counts()).taken > 0);
    assert.equal((await mail.counts()).dead, 0)
    await worker.close()
    await program.kill()
  })

  if (version === 'now')
    test('nats-py makes a value that expires, and we hear when it does', async () => {
      await using hub = await openHub(place)
      const state = hub.state('short')
      await state.set('there', 1)
      const watched = (await state.watch('key'))[Symbol.asyncIterator]()
      const program = natsPy(place, `await (await js.key_value('talkwire')).create('short=2ekey', b'1', msg_ttl=1)\nsay('made')`)
      await program.line('["made"')
      const { value: set } = await soon(watched.next(), 'a value of nats-py')
      assert.deepEqual([set.gone, set.value], [false, 1])
      const { value: gone } = await soon(watched.next(), 'its end')
      assert.deepEqual(gone, { key: 'key', gone: true })
      assert.equal(await state.get('key'), undefined)
    })
}
