/** AMQP 1.0: the suite, and Qpid Proton, which knows nothing of us. One broker for all: it is a JVM. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { soon } from '../../../compliance/ends.js'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { fresh, hubKit, json, upTo, valueOf } from '../../../compliance/hub-kit.js'
import type { Job, NewJob, OpenOptions } from '../../../src/hub/driver.js'
import { amqp1 } from '../../../src/hub/drivers/amqp1.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { ACTIVEMQ, amqpOf } from './brokers.js'

const broker = await startBroker(ACTIVEMQ)
const place = amqpOf(broker)
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
    for (const _ of upTo(3)) {
      const child = spawn(process.execPath, [kit.far, ...kit.words, 'take', queue, '30000'], { stdio: ['ignore', 'pipe', 'inherit'] })
      await soon(once(child.stdout, 'data'), 'another process that takes the job')
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    }
    worker.consumption.want(1)
    const letters = async (): Promise<unknown[]> => {
      for (;;) {
        const found = await hub.queues!.deadLetters!(queue, 10)
        if (found.length > 0) return found.map((letter) => [valueOf(letter), letter.reason, letter.attempts, { ...letter.headers }])
      }
    }
    assert.deepEqual(await soon(letters(), 'a dead letter'), [['deadly', 'was handed out 3 times', 3, { said: 'yes' }]])
    assert.deepEqual(worker.jobs, [])
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
