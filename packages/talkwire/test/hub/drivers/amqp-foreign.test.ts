/** Programs that know nothing of us: pika, the Python client, and an operator, beside the driver. */
import type { Channel } from 'amqplib'
import { connect } from 'amqplib'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { soon } from '../../../compliance/ends.js'
import { fresh, hubKit, json, someOf, takeAndDie, upTo, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import type { NewJob } from '../../../src/hub/driver.js'
import { amqp } from '../../../src/hub/drivers/amqp.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { cuttable, RABBITMQ } from './brokers.js'

const broker = await startBroker(RABBITMQ)
const address = `amqp://${broker.host}:${broker.port}`
const module = new URL('../../../src/hub/drivers/amqp.js', import.meta.url).href
const kit = hubKit({ driver: amqp, module, address }, (trait) => amqp.traits.includes(trait))
const job = (value: unknown, wish: Partial<NewJob> = {}): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined, ...wish })

/** What it prints, line by line, as JSON. `script` finds a channel and the names that it is given. */
function pika(script: string, ...words: string[]): () => Promise<any> {
  const whole = `
import json, pika, sys
host, port, *words = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
channel = connection.channel()
def say(*values): print(json.dumps(values), flush=True)
${script}
connection.close()
`
  const place = [broker.host, String(broker.port)]
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', whole, ...place, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return async () => JSON.parse((await soon(lines.next(), 'a line of pika')).value as string)
}

/** On a connection of its own, as somebody who looks after the broker. */
async function operate<T>(run: (channel: Channel) => Promise<T>): Promise<T> {
  const connection = await connect(address)
  try {
    return await run(await connection.createChannel())
  } finally {
    await connection.close()
  }
}

test('pika subscribes and publishes', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    const ear = await kit.listener(hub, `${root}.*`)
    const read = pika(
      `
queue = channel.queue_declare('', exclusive=True).method.queue
channel.queue_bind(queue, 'talkwire.topics', words[0] + '.#')
say('ready')
for method, properties, body in channel.consume(queue, auto_ack=True):
    say(method.routing_key, properties.content_type, properties.headers, json.loads(body))
    break
channel.cancel()
plain = pika.BasicProperties(content_type='application/json', headers={'said': 'yes', 'number': 7, 'list': [1]})
channel.basic_publish('talkwire.topics', words[0] + '.python', b'{"id": 2}', plain)
channel.basic_publish('talkwire.topics', words[0] + '.python', b'plain')
`,
      root,
    )
    assert.deepEqual(await read(), ['ready'])
    await hub.topics!.publish(`${root}.new`, { ...json({ id: 1 }), headers: { to: 'all' } }, { retain: false })
    assert.deepEqual(await read(), [`${root}.new`, 'application/json', { to: 'all' }, { id: 1 }])
    const [, second, third] = await ear.until(3)
    assert.deepEqual(
      [second!.topic, valueOf(second!), second!.type, { ...second!.headers }],
      [`${root}.python`, { id: 2 }, 'json', { said: 'yes', number: '7' }],
    )
    assert.deepEqual([String(third!.body), third!.type, { ...third!.headers }], ['plain', undefined, {}])
  }))

test('pika works on a queue: what it acknowledges is done, what it rejects is a dead letter, what it sends is a job', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job('good'), job('bad', { headers: { said: 'yes' } }), job('later', { delay: 100 })])
    const read = pika(
      `
for method, properties, body in channel.consume('talkwire.queue.' + words[0]):
    say(json.loads(body), properties.delivery_mode)
    if body == b'"bad"': channel.basic_reject(method.delivery_tag, requeue=False)
    else: channel.basic_ack(method.delivery_tag)
    if method.delivery_tag == 3: break
channel.cancel()
channel.basic_publish('', 'talkwire.queue.' + words[0], b'"python"', pika.BasicProperties(content_type='application/json', priority=3))
say('done')
`,
      queue,
    )
    assert.deepEqual([await read(), await read(), await read(), await read()], [['good', 2], ['bad', 2], ['later', 2], ['done']])
    const letters = await hub.queues!.deadLetters!(queue, 10)
    assert.deepEqual(
      letters.map((letter) => [valueOf(letter), letter.reason, letter.attempts, { ...letter.headers }]),
      [['bad', 'rejected', 1, { said: 'yes' }]],
    )
    worker.consumption.want(1)
    const [first] = await worker.until(1)
    assert.deepEqual([valueOf(first!), first!.attempt], ['python', 1])
    await first!.nack(0)
    const second = (await worker.until(2))[1]!
    assert.deepEqual([valueOf(second), second.attempt, second.id], ['python', 2, first!.id])
    await second.ack()
    await assert.rejects(second.ack(), fails('NOT_FOUND'))
  }))

test('pika asks us, and answers us', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    await hub.requests!.respond(`${root}.*`, 'g', (request) => void request.reply(json(2 * Number(valueOf(request))), false))
    const ask = pika(
      `
answers = channel.consume('amq.rabbitmq.reply-to', auto_ack=True, inactivity_timeout=0.01)
next(answers)
how = pika.BasicProperties(reply_to='amq.rabbitmq.reply-to', correlation_id='7', content_type='application/json')
channel.basic_publish('talkwire.requests', words[0] + '.double', b'21', how)
for method, properties, body in answers:
    if not method: continue
    say(properties.correlation_id, json.loads(body))
    break
channel.cancel()
`,
      root,
    )
    assert.deepEqual(await ask(), ['7', 42])
    const answer = pika(
      `
queue = channel.queue_declare('', exclusive=True).method.queue
channel.queue_bind(queue, 'talkwire.requests', words[0])
say('ready')
for method, properties, body in channel.consume(queue, auto_ack=True):
    to = pika.BasicProperties(correlation_id=properties.correlation_id)
    channel.basic_publish('', properties.reply_to, json.dumps(sum(json.loads(body))).encode(), to)
    break
channel.cancel()
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
    await hub.queues!.declare(queue, { visibility: 30_000, attempts: 3, dedupe: 0 })
    await hub.queues!.push(queue, [job('deadly', { headers: { said: 'yes' } })])
    for (const _ of upTo(3)) await takeAndDie(kit, queue)
    const worker = await kit.worker(hub, queue)
    worker.consumption.want(1)
    // The dead letter is there before what comes behind it is handed out.
    await hub.queues!.push(queue, [job('next')])
    const [next] = await worker.until(1)
    assert.equal(valueOf(next!), 'next')
    await next!.ack()
    const letters = await someOf(() => hub.queues!.deadLetters!(queue, 10))
    assert.deepEqual(
      letters.map((letter) => [valueOf(letter), letter.reason, letter.attempts, { ...letter.headers }]),
      [['deadly', 'was handed out 3 times', 3, { said: 'yes' }]],
    )
  }))

test('who lost the connection is told at the acknowledgement, subscribers hear again, and the job is counted', () =>
  kit.within(async () => {
    const way = await cuttable(broker)
    const seen: string[] = []
    const waiting = new Waiting()
    const hub = await amqp.open(`amqp://${way.place}`, {
      credentials: undefined,
      onConnection: ({ state }) => (seen.push(state), waiting.happened()),
      onError: (reason) => assert.fail(String(reason)),
      signal: undefined,
    })
    const [queue, topic] = [fresh(), fresh()]
    const other = await kit.open()
    const worker = await kit.worker(hub, queue)
    const ears = [await kit.listener(hub, topic), await kit.listener(hub, topic, { group: 'g' })]
    await other.queues!.push(queue, [job('a')])
    worker.consumption.want(1)
    const [first] = await worker.until(1)
    way.cut()
    await waiting.until('a lost connection', () => (seen.includes('lost') ? true : undefined))
    await assert.rejects(first!.ack(), fails('NOT_FOUND'))
    await other.topics!.publish(topic, json('while it is away'), { retain: false })
    const second = (await worker.until(2))[1]!
    assert.deepEqual([valueOf(second), second.attempt, second.id], ['a', 2, first!.id])
    await second.ack()
    assert.deepEqual(seen, ['lost', 'connected'])
    // A group's queue stays, a subscriber's goes with its connection.
    await ears[1]!.until(1)
    for (let sent = 0; !(await ears[0]!.something()); sent++) await other.topics!.publish(topic, json(sent), { retain: false })
    await hub.close()
  }))

test('what is done in one turn is acknowledged together, and nothing else is', () =>
  kit.within(async () => {
    const way = await cuttable(broker)
    const hub = await amqp.open(`amqp://${way.place}`, { credentials: undefined, onConnection() {}, onError() {}, signal: undefined })
    const queue = fresh()
    const other = await kit.open()
    const worker = await kit.worker(hub, queue)
    await other.queues!.push(
      queue,
      upTo(8).map((value) => job(value)),
    )
    worker.consumption.want(8)
    const jobs = (await worker.until(8)).toSorted((one, two) => Number(valueOf(one)) - Number(valueOf(two)))
    await Promise.all([jobs[1]!.ack(), jobs[0]!.ack(), jobs[3]!.ack(), jobs[2]!.nack(10)])
    await Promise.all([jobs[6]!.ack(), jobs[5]!.ack()])
    way.cut()
    const again = (await worker.until(11)).slice(8)
    assert.deepEqual(again.map((each) => [valueOf(each), each.attempt]).toSorted(), [
      [2, 2],
      [4, 2],
      [7, 2],
    ])
    await Promise.all(again.map((each) => each.ack()))
    await hub.close()
    const next = await kit.worker(other, queue)
    await other.queues!.push(queue, [job('last')])
    next.consumption.want(8)
    assert.deepEqual((await next.until(1)).map(valueOf), ['last'])
  }))

test('a queue of the type quorum that was there before counts for itself', () =>
  kit.within(async () => {
    const queue = fresh()
    const settings = { 'x-queue-type': 'quorum', 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': `talkwire.dead.${queue}` }
    await operate((channel) => channel.assertQueue(`talkwire.queue.${queue}`, { durable: true, arguments: settings }))
    const hub = await kit.open()
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job('a')])
    await takeAndDie(kit, queue)
    worker.consumption.want(1)
    const [second] = await worker.until(1)
    assert.equal(second!.attempt, 2)
    await second!.nack(0)
    const third = (await worker.until(2))[1]!
    assert.equal(third.attempt, 3)
    await third.ack()
  }))

test('dead letters: two who look see all of them, in order; one without an id is given one, and can be revived', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const queue = fresh()
    const worker = await kit.worker(hub, queue)
    await operate(async (channel) => {
      for (const value of upTo(5)) channel.sendToQueue(`talkwire.dead.${queue}`, Buffer.from(String(value)), { persistent: true })
      await channel.checkQueue(`talkwire.dead.${queue}`)
    })
    const all = await Promise.all([hub, other, hub, other].map((each) => each.queues!.deadLetters!(queue, 10)))
    for (const letters of all) {
      assert.deepEqual(letters.map(valueOf), upTo(5))
      assert.equal(new Set(letters.map(({ id }) => id)).size, 5)
    }
    assert.equal(await other.queues!.revive!(queue, [all[0]![3]!.id, 'nobody']), 1)
    worker.consumption.want(1)
    const [revived] = await worker.until(1)
    assert.deepEqual([valueOf(revived!), revived!.attempt], [3, 1])
    await revived!.ack()
    assert.deepEqual((await hub.queues!.deadLetters!(queue, 10)).map(valueOf), [0, 1, 2, 4])
  }))

test('what an operator removes is noticed: a queue is not found, an exchange is made again', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const [queue, topic] = [fresh(), fresh()]
    await hub.queues!.declare(queue, { visibility: 30_000, attempts: 3, dedupe: 0 })
    await hub.topics!.publish(topic, json(0), { retain: false })
    await operate(async (channel) => {
      await channel.deleteQueue(`talkwire.queue.${queue}`)
      await channel.deleteExchange('talkwire.topics')
    })
    await assert.rejects(hub.queues!.push(queue, [job(1)]), fails('NOT_FOUND'))
    await assert.rejects(hub.topics!.publish(topic, json(1), { retain: false }), fails('CONNECTION_LOST'))
    const ear = await kit.listener(hub, topic)
    await hub.topics!.publish(topic, json(2), { retain: false })
    await ear.until(1)
    assert.deepEqual(ear.values(), [2])
  }))

test('a subscription whose queue an operator removes makes it again', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const ear = await kit.listener(hub, topic, { group: 'g' })
    const name = `talkwire.group.${createHash('sha1').update(`g\0${topic}`).digest('hex')}`
    await operate((channel) => channel.checkQueue(name))
    await operate((channel) => channel.deleteQueue(name))
    for (let sent = 0; !(await ear.something()); sent++) await hub.topics!.publish(topic, json(sent), { retain: false })
  }))

test('what RabbitMQ cannot carry is refused', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    await hub.queues!.declare(queue, { visibility: 30_000, attempts: 3, dedupe: 0 })
    const long = 'ü'.repeat(200)
    await assert.rejects(hub.topics!.publish(long, json(1), { retain: false }), fails('INVALID_INPUT'))
    await assert.rejects(hub.queues!.declare(long, { visibility: 30_000, attempts: 3, dedupe: 0 }), fails('INVALID_INPUT'))
    await assert.rejects(hub.topics!.publish('a', { ...json(1), headers: { CC: 'b' } }, { retain: false }), fails('INVALID_INPUT'))
    await assert.rejects(hub.queues!.push(queue, [job(1, { delay: 32 * 86_400_000 })]), fails('UNSUPPORTED'))
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job(2)])
    worker.consumption.want(1)
    const [taken] = await worker.until(1)
    await assert.rejects(taken!.extend(1000), fails('UNSUPPORTED'))
    await taken!.ack()
  }))

test('a password that is wrong fails with UNAUTHENTICATED; addresses and credentials say it', async () => {
  const options = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
  await assert.rejects(amqp.open(`amqp://guest:wrong@${broker.host}:${broker.port}`, options), fails('UNAUTHENTICATED'))
  await assert.rejects(amqp.open(`${address}/nowhere`, options), fails('INVALID_ADDRESS'))
  await assert.rejects(amqp.open(address, { ...options, credentials: { password: 'wrong' } }), fails('UNAUTHENTICATED'))
  for (const right of [`amqp://guest:guest@${broker.host}:${broker.port}/`, `${address}/%2f?prefix=other`]) {
    const hub = await amqp.open(right, options)
    await hub.close()
  }
  const hub = await amqp.open(`amqp://nobody:wrong@${broker.host}:${broker.port}`, {
    ...options,
    credentials: { user: 'guest', password: 'guest' },
  })
  await hub.close()
  for (const wrong of ['amqp:', 'amqp://h/a/b', 'amqp://h?prefix=a.b', 'amqp://h?other=1'])
    await assert.rejects(amqp.open(wrong, options), fails('INVALID_ADDRESS'))
})

test('who joins a group while its last member leaves gets its requests', () =>
  kit.within(async () => {
    const [leaver, joiner] = [await kit.open(), await kit.open()]
    const topic = fresh()
    const join = (hub: typeof leaver) => hub.requests!.respond(topic, 'g', (request) => void request.reply(json('here'), false))
    let last = await join(leaver)
    // As often as not the queue goes between the two words with which the other has it.
    for (const turn of upTo(30)) {
      const [next] = await Promise.all([join(Number(turn) % 2 === 0 ? joiner : leaver), last.close()])
      last = next
    }
    await last.close()
  }))

test('kill -9 of RabbitMQ: delayed jobs and what a group has not read survive; meanwhile nothing is sent', () =>
  kit.within(async () => {
    const waiting = new Waiting()
    let connected = false
    const hub = await kit.open({ onConnection: ({ state }) => ((connected = state === 'connected'), waiting.happened()) })
    const [queue, topic] = [fresh(), fresh()]
    const worker = await kit.worker(hub, queue)
    const member = await kit.listener(hub, topic, { group: 'g' })
    await member.close()
    await hub.topics!.publish(topic, json('kept'), { retain: false })
    // RabbitMQ 3.10 writes down a quorum queue half a second after it was made: one of the longest has gone all the way first.
    await hub.queues!.push(queue, [job('first', { delay: 2_550 })])
    worker.consumption.want(1)
    await (await worker.until(1))[0]!.ack()
    worker.consumption.want(0)
    await hub.queues!.push(
      queue,
      upTo(20).map((index) => job(index, { delay: 1_000 + 37 * index })),
    )
    await broker.kill()
    // The first call may be what notices it, and then nobody knows.
    await assert.rejects(hub.queues!.push(queue, [job('b')]), fails('UNAVAILABLE', 'CONNECTION_LOST'))
    await assert.rejects(
      hub.queues!.push(queue, [job('b')]),
      (reason: unknown) => fails('UNAVAILABLE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
    )
    await broker.start()
    await waiting.until('connected', () => (connected ? true : undefined))
    worker.consumption.want(30)
    // At least once: what was acknowledged just before may come again.
    const missing = new Set<unknown>(upTo(20))
    for (let count = worker.jobs.length; missing.size > 0; count++) {
      const came = (await worker.until(count + 1))[count]!
      missing.delete(valueOf(came))
      await came.ack()
    }
    const again = await kit.listener(hub, topic, { group: 'g' })
    await again.until(1)
    assert.deepEqual(again.values(), ['kept'])
  }))
