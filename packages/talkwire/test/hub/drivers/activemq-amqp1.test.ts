/** AMQP 1.0: the suite, and Qpid Proton, which knows nothing of us. One broker for all: it is a JVM. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import rhea, { type EventContext, type Sender } from 'rhea'
import { soon } from '../../../compliance/ends.js'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { fresh, hubKit, json, someOf, takeAndDie, upTo, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import type { Job, NewJob, OpenOptions } from '../../../src/hub/driver.js'
import type { Arrived, Line } from '../../../src/hub/drivers/activemq/line.js'
import { amqp1 } from '../../../src/hub/drivers/amqp1.js'
import { openAmqp1 } from '../../../src/hub/drivers/amqp1/line.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testTls } from './broker-tls.js'
import { ACTIVEMQ, amqpOf, cuttable } from './brokers.js'

const broker = await startBroker(ACTIVEMQ)
const place = amqpOf(broker, 'jms')
const module = new URL('../../../src/hub/drivers/amqp1.js', import.meta.url).href

testHubDriver({
  test,
  driver: amqp1,
  module,
  address: `amqp1://${place}?prefix=suite`,
  nobody: `amqp1://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

const kit = hubKit({ driver: amqp1, module, address: `amqp1://${place}` }, (trait) => amqp1.traits.includes(trait))
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const job = (value: unknown, wish: Partial<NewJob> = {}): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined, ...wish })

/** What Debian's Proton prints, line by line, as JSON: on PyPI it needs a compiler. */
function proton(script: string, ...words: string[]): () => Promise<any> {
  const whole = `
import json, sys
from proton import Message
from proton.utils import BlockingConnection
place, *words = sys.argv[1:]
connection = BlockingConnection('amqp://' + place, timeout=60)
def say(*values): print(json.dumps(values), flush=True)
def plain(message): return bytes(message.body).decode()
${script}
connection.close()
`
  const child = spawn('/usr/bin/python3', ['-c', whole, place, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
  after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return async () => JSON.parse((await soon(lines.next(), 'a line of Proton')).value as string)
}

test('Proton subscribes and publishes: JSON, text, and values of AMQP', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    const ear = await kit.listener(hub, `${root}.*`)
    const read = proton(
      `
ear = connection.create_receiver('topic://VirtualTopic.talkwire.' + words[0] + '.>')
say('ready')
message = ear.receive(timeout=60)
ear.accept()
say(message.address, message.content_type, message.properties, json.loads(plain(message)))
sender = connection.create_sender('topic://VirtualTopic.talkwire.' + words[0] + '.python')
sender.send(Message(body=b'{"id": 2}', inferred=True, content_type='application/json', properties={'said': 'größer', 'count': 3}))
for body in ['plain', {'id': 4}, None]: sender.send(Message(body=body))
`,
      root,
    )
    assert.deepEqual(await read(), ['ready'])
    await hub.topics!.publish(`${root}.new`, { ...json({ id: 1 }), headers: { to: 'all' } }, { retain: false })
    assert.deepEqual(await read(), [`topic://VirtualTopic.talkwire.${root}.new`, 'application/json', { to: 'all' }, { id: 1 }])
    const [, ...came] = await ear.until(5)
    assert.deepEqual(
      came.map(({ topic, body, type, headers }) => [topic, String(body), type, { ...headers }]),
      [
        [`${root}.python`, '{"id": 2}', 'json', { said: 'größer', count: '3' }],
        [`${root}.python`, 'plain', undefined, {}],
        [`${root}.python`, '{"id":4}', undefined, {}],
        [`${root}.python`, '', undefined, {}],
      ],
    )
  }))

test('Proton works on a queue: what it accepts is done, what it releases is counted, what it sends is a job', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job('one'), job('two', { headers: { said: 'yes' } })])
    const read = proton(
      `
place = 'queue://talkwire.queue.' + words[0]
worker = connection.create_receiver(place, credit=2)
for end in ['accept', 'release']:
    message = worker.receive(timeout=60)
    say(json.loads(plain(message)), message.durable, (message.properties or {}).get('said'))
    if end == 'accept': worker.accept()
worker.close()
connection.create_sender(place).send(Message(body=b'"python"', inferred=True, content_type='application/json', durable=True))
say('done')
`,
      queue,
    )
    assert.deepEqual([await read(), await read(), await read()], [['one', true, null], ['two', true, 'yes'], ['done']])
    worker.consumption.want(2)
    const jobs = await worker.until(2)
    assert.deepEqual(jobs.map(valueOf).toSorted(), ['python', 'two'])
    const [python, two] = ['python', 'two'].map((value) => jobs.find((each) => valueOf(each) === value)!) as [Job, Job]
    await two.ack()
    assert.equal(python.attempt, 1)
    await python.nack(0)
    const again = (await worker.until(3))[2]!
    assert.deepEqual([valueOf(again), again.attempt, again.id], ['python', 2, python.id])
    await again.ack()
    await assert.rejects(again.ack(), fails('NOT_FOUND'))
  }))

test('Proton asks us, and answers us', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    await hub.requests!.respond(`${root}.*`, 'g', (request) => void request.reply(json(2 * Number(valueOf(request))), false))
    const ask = proton(
      `
replies = connection.create_receiver(None, dynamic=True)
to = replies.link.remote_source.address
connection.create_sender('queue://talkwire.requests.' + words[0] + '.double').send(Message(body='21', reply_to=to, correlation_id='7'))
message = replies.receive(timeout=60)
say(message.correlation_id, json.loads(plain(message)))
`,
      root,
    )
    assert.deepEqual(await ask(), ['7', 42])
    const answer = proton(
      `
requests = connection.create_receiver('queue://talkwire.requests.' + words[0])
say('ready')
message = requests.receive(timeout=60)
requests.accept()
reply = Message(body=json.dumps(sum(json.loads(plain(message)))), correlation_id=message.correlation_id, address=message.reply_to)
connection.create_sender(None).send(reply)
`,
      `${root}-sum`,
    )
    assert.deepEqual(await answer(), ['ready'])
    const replied = new Promise((resolve) => void hub.requests!.request(`${root}-sum`, json([1, 2]), (reply) => resolve(valueOf(reply))))
    assert.equal(await soon(replied, 'a reply'), 3)
  }))

test('a job that its consumers die of is a dead letter in the end', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job('deadly', { headers: { said: 'yes' } })])
    for (const _ of upTo(3)) await takeAndDie(kit, queue)
    worker.consumption.want(1)
    const letters = await someOf(() => hub.queues!.deadLetters!(queue, 10))
    assert.deepEqual(
      letters.map((letter) => [valueOf(letter), letter.reason, letter.attempts, { ...letter.headers }]),
      [['deadly', 'was handed out 3 times', 3, { said: 'yes' }]],
    )
    assert.deepEqual(worker.jobs, [])
  }))

const placeOf = (address: string): { readonly host: string; readonly port: number } => {
  const [host = '', port] = address.split(':')
  return { host, port: Number(port) }
}
/** A connection without a hub around it. */
const lineTo = (address: string): Promise<Line> =>
  openAmqp1(rhea, { ...placeOf(address), tls: undefined, user: '', password: '' }, undefined, () => {})

const plain = (kind: 'queue' | 'reply', name: string) => ({ ...json(1), to: [{ kind, name }] as const, persistent: false })

test('what the broker refuses is refused; somebody who is gone is another matter', async () => {
  const line = await lineTo(place)
  await assert.rejects(line.send(plain('reply', '')), fails('UNKNOWN'))
  await assert.rejects(line.send(plain('reply', 'temp-queue://ID:gone-1:1:1')), fails('NOT_FOUND'))
  await line.close()
})

test('more than the broker has room for waits', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    await Promise.all(upTo(3_000).map((index) => hub.topics!.publish(topic, json(index), { retain: false })))
  }))

test('what was said and not answered is told that the connection is lost', () =>
  kit.within(async () => {
    const way = await cuttable(placeOf(place))
    const hub = await amqp1.open(`amqp1://${way.place}`, options)
    const [queue, topic] = [fresh(), fresh()]
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job(1)])
    worker.consumption.want(1)
    const [first] = await worker.until(1)
    way.deafen()
    const open = [hub.topics!.publish(topic, json(1), { retain: false }), first!.ack()]
    way.cut()
    for (const each of open) await assert.rejects(soon(each, 'the end of what was open'), fails('CONNECTION_LOST'))
    await hub.close()
  }))

test('who wants less is sent less, and somebody else gets it', async () => {
  const line = await lineTo(place)
  const queue = fresh()
  const from = { kind: 'queue', name: queue } as const
  const came = new Waiting()
  const [mine, theirs]: [number[], number[]] = [[], []]
  const taking = (list: number[]) => ({
    from,
    arrived: (message: Arrived) => (list.push(JSON.parse(String(message.body)) as number), came.happened()),
    ended() {},
  })
  const one = await line.receive(taking(mine))
  one.want(5)
  one.want(1)
  // Said on the same connection, and answered after that.
  await line.browse(queue, 1)
  for (const index of upTo(5)) await line.send({ ...plain('queue', queue), ...json(index) })
  const other = await line.receive(taking(theirs))
  other.want(4)
  await came.until(
    () => `four for the other; there are ${theirs.length}`,
    () => (theirs.length === 4 ? true : undefined),
  )
  assert.deepEqual([mine, theirs], [[0], [1, 2, 3, 4]])
  await line.close()
})

test('a job that comes to somebody who pauses by then goes to somebody else', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const queue = fresh()
    const [paused, worker] = [await kit.worker(hub, queue), await kit.worker(other, queue)]
    for (const round of upTo(20)) {
      paused.consumption.want(1)
      const pushed = other.queues!.push(queue, [job(round)])
      paused.consumption.want(0)
      worker.consumption.want(1)
      await pushed
      const came = (await worker.until(round + 1))[round]!
      assert.equal(valueOf(came), round)
      await came.ack()
      worker.consumption.want(0)
    }
    assert.deepEqual(paused.jobs, [])
  }))

test('a link that brings a job instead of the word that it has none is left, and the job goes back', async () => {
  const said: string[] = []
  const waiting = new Waiting()
  const tell = (what: string): void => (said.push(what), waiting.happened())
  const told = (what: string): Promise<true> => waiting.until(what, () => (said.includes(what) ? true : undefined))
  const container = rhea.create_container()
  container.sasl_server_mechanisms.enable_anonymous()
  const links: Sender[] = []
  container.on('sender_open', ({ sender }: EventContext) => {
    sender!.set_source({ address: sender!.source.address })
    links.push(sender!)
  })
  const draining = new Set<Sender>()
  container.on('sender_draining', ({ sender }: EventContext) => {
    draining.add(sender!)
    sender!.send({ body: '1' })
  })
  container.on('sendable', ({ sender }: EventContext) => {
    if (draining.has(sender!)) return
    tell(`link ${links.indexOf(sender!)} may send`)
    if (sender !== links[0]) sender!.send({ body: '2' })
  })
  container.on('sender_close', ({ sender }: EventContext) => tell(`link ${links.indexOf(sender!)} is left`))
  container.on('message', ({ message }: EventContext) => tell(`sent ${String((message!.body as { content: Buffer }).content)}`))
  container.on('accepted', ({ delivery }: EventContext) => delivery!.update(true))
  container.on('disconnected', () => {})
  const server = container.listen({ port: 0, host: ownHost, properties: { product: 'ActiveMQ' } })
  await once(server, 'listening')
  after(() => server.close())
  const hub = await amqp1.open(`amqp1://${ownHost}:${(server.address() as net.AddressInfo).port}`, options)
  const worker = await kit.worker(hub, 'q')
  worker.consumption.want(1)
  await told('link 0 may send')
  worker.consumption.want(0)
  await told('sent 1')
  await told('link 0 is left')
  worker.consumption.want(1)
  assert.deepEqual((await worker.until(1)).map(valueOf), [2])
  assert.deepEqual(said, ['link 0 may send', 'sent 1', 'link 0 is left', 'link 1 may send'])
  await hub.close()
})

test('a connector that hands on what came as it came: a request to a group and to all has its name', () =>
  kit.within(async () => {
    const hub = await amqp1.open(`amqp1://${amqpOf(broker, 'native')}?prefix=native`, options)
    const topic = fresh()
    const names: string[] = []
    for (const group of ['g', undefined])
      await hub.requests!.respond(topic, group, (request) => {
        names.push(request.topic)
        void request.reply(json(1), false)
      })
    const replies = new Waiting()
    let count = 0
    await hub.requests!.request(topic, json(1), () => (count++, replies.happened()))
    await replies.until('two replies', () => (count === 2 ? true : undefined))
    assert.deepEqual(names, [topic, topic])
    await hub.close()
  }))

test('what is refused says why: a password, names of ActiveMQ’s own, a name that is none', () =>
  kit.within(async () => {
    await assert.rejects(amqp1.open(`amqp1://guest:wrong@${place}`, options), fails('UNAUTHENTICATED'))
    const credentials = { password: '' }
    await assert.rejects(amqp1.open(`amqp1://guest:right@${place}`, { ...options, credentials }), fails('UNAUTHENTICATED'))
    await (await amqp1.open(`amqp1://nobody:wrong@${place}`, { ...options, credentials: { user: 'guest', password: 'right' } })).close()
    const hub = await kit.open()
    for (const name of ['JMSXGroupID', 'AMQ_SCHEDULED_DELAY'])
      await assert.rejects(hub.topics!.publish('a', { ...json(1), headers: { [name]: '1' } }, { retain: false }), fails('INVALID_INPUT'))
    await assert.rejects(hub.topics!.publish('a,b', json(1), { retain: false }), fails('INVALID_INPUT'))
    for (const wrong of ['amqp1:', 'amqp1://h/a', 'amqp1://h?prefix=a.b', 'amqp1://h?other=1'])
      await assert.rejects(amqp1.open(wrong, options), fails('INVALID_ADDRESS'))
  }))

test('who speaks no AMQP 1.0 is said', async () => {
  const server = net.createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  server.listen(0, ownHost)
  await once(server, 'listening')
  after(() => server.close())
  const { port } = server.address() as net.AddressInfo
  await assert.rejects(amqp1.open(`amqp1://${ownHost}:${port}`, options), fails('INVALID_MESSAGE', 'UNAVAILABLE'))
})

const [host, port] = place.split(':')
testTls('AMQP 1.0', { host: host!, port: Number(port) }, (at) => `amqp1s://${at}`)
