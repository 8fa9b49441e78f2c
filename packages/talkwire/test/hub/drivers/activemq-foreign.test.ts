/** Programs that know nothing of us, stomp.py among them, beside the driver; and what ActiveMQ does beside its best. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { soon, turns } from '../../../compliance/ends.js'
import { fresh, hubKit, json, someOf, takeAndDie, upTo, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import type { NewJob, OpenOptions, Request } from '../../../src/hub/driver.js'
import { stomp } from '../../../src/hub/drivers/stomp.js'
import { openHub } from '../../../src/hub/index.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { ACTIVEMQ, cuttable, STOMP_EAR } from './brokers.js'

const broker = await startBroker(ACTIVEMQ)
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const job = (value: unknown, wish: Partial<NewJob> = {}): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined, ...wish })
const settings = { visibility: 30_000, attempts: 3, dedupe: 0 }

const address = `stomp://${broker.host}:${broker.port}`
const module = new URL('../../../src/hub/drivers/stomp.js', import.meta.url).href
const kit = hubKit({ driver: stomp, module, address }, (trait) => stomp.traits.includes(trait))

/** What it prints, line by line, as JSON. `script` finds `hear(destination)`, what came in `next()`, and the words that it is given. */
function python(script: string, ...words: string[]): () => Promise<any> {
  const whole = `
import json, queue, stomp, sys
host, port, *words = sys.argv[1:]
${STOMP_EAR}def next(): return came.get(timeout=60)
def say(*values): print(json.dumps(values), flush=True)
def hear(destination, **more):
    connection.subscribe(destination, id=destination, ack='client-individual', receipt='r', **more)
    assert next().headers['receipt-id'] == 'r'
${script}
connection.disconnect()
`
  const place = [broker.host, String(broker.port)]
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', whole, ...place, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return async () => JSON.parse((await soon(lines.next(), 'a line of stomp.py')).value as string)
}

/** Somebody who answers each frame with what `says` of it. */
async function stranger(says: (command: string, headers: ReadonlyMap<string, string>, socket: net.Socket) => string): Promise<string> {
  const server = net.createServer((socket) => {
    socket.setEncoding('utf8').on('error', () => {})
    let text = ''
    socket.on('data', (chunk: string) => {
      text += chunk
      const frames = text.split('\0')
      text = frames.pop()!
      for (const frame of frames) {
        const [command = '', ...lines] = frame.trimStart().split('\n')
        socket.write(says(command, new Map(lines.map((line) => line.split(/:(.*)/s) as [string, string])), socket))
      }
    })
  })
  server.listen(0, broker.host)
  await once(server, 'listening')
  after(() => server.close())
  return `stomp://${broker.host}:${(server.address() as net.AddressInfo).port}`
}

const frame = (command: string, headers: Readonly<Record<string, string>>): string =>
  `${command}\n${Object.entries(headers)
    .map(([name, value]) => `${name}:${value}\n`)
    .join('')}\n\0`
const CONNECTED = frame('CONNECTED', { version: '1.2', server: 'ActiveMQ/5.17.2' })

test('stomp.py subscribes and publishes: text, JSON, and what is neither', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    const ear = await kit.listener(hub, `${root}.*`)
    const read = python(
      `
hear('/topic/VirtualTopic.talkwire.' + words[0] + '.>')
say('ready')
frame = next()
say(frame.headers['destination'], frame.headers['content-type'], frame.headers['to'], json.loads(frame.body))
to = '/topic/VirtualTopic.talkwire.' + words[0] + '.python'
connection.send(to, '{"id": 2}', content_type='application/json', headers={'said': 'a\\\\b: c'})
connection.send(to, 'plain')
connection.auto_content_length = False
connection.send(to, 'größer')
connection.send('/topic/VirtualTopic.talkwire.' + words[0] + '.a/b', '1')
`,
      root,
    )
    assert.deepEqual(await read(), ['ready'])
    await hub.topics!.publish(`${root}.new`, { ...json({ id: 1 }), headers: { to: 'a\\nb: c' } }, { retain: false })
    assert.deepEqual(await read(), [`/topic/VirtualTopic.talkwire.${root}.new`, 'application/json', 'a\\nb: c', { id: 1 }])
    const [, second, third, fourth, fifth] = await ear.until(5)
    assert.deepEqual(
      [second!.topic, valueOf(second!), second!.type, { ...second!.headers }],
      [`${root}.python`, { id: 2 }, 'json', { said: 'a\\b: c' }],
    )
    assert.deepEqual([String(third!.body), third!.type, { ...third!.headers }], ['plain', undefined, {}])
    assert.equal(String(fourth!.body), 'größer')
    assert.equal(fifth!.topic, `${root}.a%2Fb`)
    await hub.topics!.publish(fifth!.topic, json('back'), { retain: false })
    assert.equal(valueOf((await ear.until(6))[5]!), 'back')
  }))

test('stomp.py works on a queue: what it acknowledges is done, what it sends is a job that counts', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job('one'), job('two', { headers: { said: 'yes' } })])
    const read = python(
      `
place = '/queue/talkwire.queue.' + words[0]
hear(place)
for _ in range(2):
    frame = next()
    say(json.loads(frame.body), frame.headers['persistent'], frame.headers.get('said'))
    connection.ack(frame.headers['ack'])
connection.unsubscribe(place, receipt='u')
next()
connection.send(place, '"python"', content_type='application/json', persistent='true', receipt='s')
next()
say('done')
`,
      queue,
    )
    assert.deepEqual([await read(), await read(), await read()], [['one', 'true', null], ['two', 'true', 'yes'], ['done']])
    worker.consumption.want(1)
    const [first] = await worker.until(1)
    assert.deepEqual([valueOf(first!), first!.attempt, first!.type, { ...first!.headers }], ['python', 1, 'json', {}])
    await first!.nack(0)
    const second = (await worker.until(2))[1]!
    assert.deepEqual([valueOf(second), second.attempt, second.id, { ...second.headers }], ['python', 2, first!.id, {}])
    await second.ack()
    await assert.rejects(second.ack(), fails('NOT_FOUND'))
  }))

test('a group hears what stomp.py says, and stomp.py is a member of one', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const ear = await kit.listener(hub, topic, { group: 'a.b*' })
    const read = python(
      `
hear('/queue/Consumer.theirs.VirtualTopic.talkwire.' + words[0])
connection.send('/topic/VirtualTopic.talkwire.' + words[0], '1')
frame = next()
say(frame.body)
connection.ack(frame.headers['ack'])
`,
      topic,
    )
    assert.deepEqual(await read(), ['1'])
    assert.deepEqual(
      (await ear.until(1)).map((message) => [valueOf(message), message.topic]),
      [[1, topic]],
    )
  }))

test('stomp.py asks us, and answers us', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    await hub.requests!.respond(`${root}.*`, 'g', (request) => void request.reply(json(2 * Number(valueOf(request))), false))
    const ask = python(
      `
hear('/temp-queue/mine')
connection.send('/queue/talkwire.requests.' + words[0] + '.double', '21', headers={'reply-to': '/temp-queue/mine', 'correlation-id': '7'})
frame = next()
say(frame.headers['correlation-id'], json.loads(frame.body))
`,
      root,
    )
    assert.deepEqual(await ask(), ['7', 42])
    const answer = python(
      `
hear('/queue/talkwire.requests.' + words[0])
say('ready')
frame = next()
said = json.dumps(sum(json.loads(frame.body)))
connection.send(frame.headers['reply-to'], said, headers={'correlation-id': frame.headers['correlation-id']}, receipt='s')
next()
connection.ack(frame.headers['ack'])
`,
      `${root}-sum`,
    )
    assert.deepEqual(await answer(), ['ready'])
    const replied = new Promise((resolve) => void hub.requests!.request(`${root}-sum`, json([1, 2]), (reply) => resolve(valueOf(reply))))
    assert.equal(await soon(replied, 'a reply'), 3)
  }))

test('what is no JSON, and has no headers, is an error of the one who reads it; what comes behind it is read', async () => {
  const hub = await openHub(address)
  const queue = fresh()
  const read = python(
    `
for body in ['{', '"good"']: connection.send('/queue/talkwire.queue.' + words[0], body, receipt='s'); next()
say('done')
`,
    queue,
  )
  assert.deepEqual(await read(), ['done'])
  const seen: unknown[] = []
  const jobs = hub.queue(queue, { attempts: 2 })
  const both = new Waiting()
  const consumer = await jobs.consume(({ data }) => {
    seen.push(data)
    both.happened()
  })
  await both.until('the good one', () => (seen.includes('good') ? true : undefined))
  assert.deepEqual(seen, ['good'])
  assert.equal((await someOf(() => jobs.deadLetters())).length, 1)
  await consumer.close()
  await hub.close()
})

test('a job that its consumers die of is a dead letter in the end', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    await hub.queues!.declare(queue, settings)
    await hub.queues!.push(queue, [job('deadly', { headers: { said: 'yes' } })])
    for (const _ of upTo(3)) await takeAndDie(kit, queue)
    const worker = await kit.worker(hub, queue)
    worker.consumption.want(1)
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

test('dead letters: two who revive revive each once; one without an id of ours has the broker’s', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const queue = fresh()
    const worker = await kit.worker(hub, queue)
    const read = python(
      `
for value in range(5): connection.send('/queue/talkwire.dead.' + words[0], str(value), persistent='true', receipt='s'); next()
say('done')
`,
      queue,
    )
    assert.deepEqual(await read(), ['done'])
    const letters = await hub.queues!.deadLetters!(queue, 10)
    assert.deepEqual(letters.map(valueOf), upTo(5))
    assert.equal(new Set(letters.map(({ id }) => id)).size, 5)
    assert.deepEqual((await other.queues!.deadLetters!(queue, 2)).map(valueOf), [0, 1])
    const counts = await Promise.all([hub, other, hub].map((each) => each.queues!.revive!(queue, [letters[3]!.id, 'nobody'])))
    assert.ok(counts.reduce((sum, count) => sum + count) <= 1)
    if (!counts.includes(1)) assert.equal(await hub.queues!.revive!(queue, [letters[3]!.id]), 1)
    worker.consumption.want(2)
    const [revived] = await worker.until(1)
    assert.deepEqual([valueOf(revived!), revived!.attempt], [3, 1])
    await revived!.ack()
    assert.deepEqual((await hub.queues!.deadLetters!(queue, 10)).map(valueOf).toSorted(), [0, 1, 2, 4])
  }))

test('who lost the connection is told at the acknowledgement, subscribers hear again, and the job is counted', () =>
  kit.within(async () => {
    const way = await cuttable(broker)
    const seen: string[] = []
    const waiting = new Waiting()
    const hub = await stomp.open(`stomp://${way.place}`, {
      ...options,
      onConnection: ({ state }) => (seen.push(state), waiting.happened()),
      onError: (reason) => assert.fail(String(reason)),
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

test('of two connections neither stays when the other is lost', () =>
  kit.within(async () => {
    const way = await cuttable(broker)
    const seen: string[] = []
    const waiting = new Waiting()
    const hub = await stomp.open(`stomp://${way.place}`, {
      ...options,
      onConnection: ({ state }) => (seen.push(state), waiting.happened()),
    })
    way.cutOne()
    await waiting.until('another connection', () => (seen.includes('connected') ? true : undefined))
    await way.lines.until('the end of the other', () => (way.lines.count === 2 ? true : undefined))
    assert.deepEqual(seen, ['lost', 'connected'])
    await hub.close()
  }))

test('an answer to somebody who is gone is no failure; another one is', async () => {
  let reason = 'The destination temp-queue://ID:gone does not exist.'
  const place = await stranger((command, headers) => {
    if (command === 'CONNECT') return CONNECTED
    const id = headers.get('receipt') ?? ''
    if (command === 'SEND') return frame('ERROR', { 'receipt-id': id, message: reason })
    const request = { destination: '/topic/talkwire.requests.a', 'reply-to': '/temp-queue/gone', 'content-length': '0', 'message-id': '1' }
    return (
      frame('RECEIPT', { 'receipt-id': id }) +
      (command === 'SUBSCRIBE' ? frame('MESSAGE', { ...request, subscription: headers.get('id')!, ack: '1' }) : '')
    )
  })
  const hub = await stomp.open(place, options)
  const asked = new Promise<Request>((resolve) => void hub.requests!.respond('a', undefined, resolve))
  const { reply } = await soon(asked, 'a request')
  await reply(json(1), false)
  reason = 'no room'
  await assert.rejects(reply(json(1), false), fails('UNKNOWN'))
  await hub.close()
})

test('what ActiveMQ cannot carry is refused', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const from = { from: 'new', buffer: 1 } as const
    const sink = { message: () => true, lost() {}, ended() {} }
    for (const name of ['a,b', 'a?b=c']) {
      await assert.rejects(hub.topics!.publish(name, json(1), { retain: false }), fails('INVALID_INPUT'))
      await assert.rejects(hub.queues!.declare(name, settings), fails('INVALID_INPUT'))
    }
    for (const name of ['priority', 'JMSXGroupID', 'AMQ_SCHEDULED_DELAY'])
      await assert.rejects(hub.topics!.publish('a', { ...json(1), headers: { [name]: '1' } }, { retain: false }), fails('INVALID_INPUT'))
    await assert.rejects(hub.topics!.subscribe('a.*', { ...from, group: 'g' }, sink), fails('UNSUPPORTED'))
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job(2)])
    worker.consumption.want(1)
    const [taken] = await worker.until(1)
    await assert.rejects(taken!.extend(1000), fails('UNSUPPORTED'))
    await taken!.ack()
  }))

test('a broker that does not look at priorities, or at delays, is noticed before the first job', async () => {
  const plain = await stomp.open(`${address}?prefix=plain`, options)
  await assert.rejects(plain.queues!.push('q', [job(1, { priority: 9 })]), fails('UNSUPPORTED'))
  await plain.queues!.push('q', [job(2)])
  await plain.close()
  // One without a scheduler: what is sent comes to who subscribed, with what it said.
  let listening: { readonly socket: net.Socket; readonly subscription: string } | undefined
  const place = await stranger((command, headers, socket) => {
    if (command === 'CONNECT') return CONNECTED
    if (command === 'SUBSCRIBE') listening = { socket, subscription: headers.get('id')! }
    if (command === 'SEND') {
      const { socket: to, subscription } = listening!
      to.write(frame('MESSAGE', { ...Object.fromEntries(headers), 'content-length': '0', subscription, 'message-id': '1', ack: '1' }))
    }
    return headers.has('receipt') ? frame('RECEIPT', { 'receipt-id': headers.get('receipt')! }) : ''
  })
  const hub = await stomp.open(place, options)
  await assert.rejects(hub.queues!.push('q', [job(1, { delay: 1000 })]), fails('UNSUPPORTED'))
  await hub.close()
})

test('a job that comes before the answer to the last acknowledgement stays its consumer’s when less is wanted', async () => {
  const said: string[] = []
  let subscription = ''
  const place = await stranger((command, headers) => {
    if (command === 'CONNECT') return CONNECTED
    if (command !== 'DISCONNECT') said.push(command)
    if (command === 'SUBSCRIBE') subscription = headers.get('id')!
    const receipt = headers.has('receipt') ? frame('RECEIPT', { 'receipt-id': headers.get('receipt')! }) : ''
    const message = (id: string): string =>
      frame('MESSAGE', { subscription, destination: '/queue/talkwire.queue.q', 'message-id': id, ack: id, 'content-length': '0' })
    if (command === 'SUBSCRIBE') return receipt + message('1')
    return command === 'ACK' && headers.get('id') === '1' ? message('2') + receipt : receipt
  })
  const hub = await stomp.open(place, options)
  const worker = await kit.worker(hub, 'q')
  worker.consumption.want(1)
  await (await worker.until(1))[0]!.ack()
  const second = (await worker.until(2))[1]!
  worker.consumption.want(0)
  // A subscription that is given back is given back by now.
  await turns()
  await second.ack()
  await hub.close()
  assert.deepEqual(said, ['SUBSCRIBE', 'ACK', 'ACK', 'UNSUBSCRIBE'])
})

test('who is no ActiveMQ, or speaks no STOMP, is said', async () => {
  const rabbit = await stranger(() => frame('CONNECTED', { version: '1.2', server: 'RabbitMQ/3.10.8' }))
  await assert.rejects(stomp.open(rabbit, options), fails('UNSUPPORTED'))
  for (const wrong of [
    'HTTP/1.1 400 Bad Request\n\n\0',
    'ERROR\nmessage\n\n\0',
    'MESSAGE\ncontent-length:1e9\n\n\0',
    'MESSAGE\na:\\t\n\n\0',
  ])
    await assert.rejects(stomp.open(await stranger(() => wrong), options), fails('INVALID_MESSAGE', 'UNAVAILABLE'))
})

test('a job that is too large for the broker ends its call with the reason; the next one is taken', () =>
  kit.within(async () => {
    const waiting = new Waiting()
    const seen: string[] = []
    const hub = await stomp.open(address, { ...options, onConnection: ({ state }) => (seen.push(state), waiting.happened()) })
    const queue = fresh()
    const large = job(0, { body: Buffer.alloc(5_000_000), type: 'bytes' })
    await assert.rejects(hub.queues!.push(queue, [large]), fails('CONNECTION_LOST', 'MESSAGE_TOO_LARGE'))
    await waiting.until('another connection', () => (seen.includes('connected') ? true : undefined))
    const worker = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job('next')])
    worker.consumption.want(2)
    const [next] = await worker.until(1)
    assert.equal(valueOf(next!), 'next')
    await next!.ack()
    await hub.close()
  }))

test('a password that is wrong fails with UNAUTHENTICATED; addresses and credentials say it', async () => {
  const place = `${broker.host}:${broker.port}`
  await assert.rejects(stomp.open(`stomp://guest:wrong@${place}`, options), fails('UNAUTHENTICATED'))
  await assert.rejects(
    stomp.open(`stomp://guest:right@${place}`, { ...options, credentials: { password: 'wrong' } }),
    fails('UNAUTHENTICATED'),
  )
  for (const hub of [
    await stomp.open(`stomp://guest:right@${place}?prefix=other`, options),
    await stomp.open(`stomp://nobody:wrong@${place}`, { ...options, credentials: { user: 'guest', password: 'right' } }),
  ])
    await hub.close()
  for (const wrong of ['stomp:', 'stomp://h/a', 'stomp://h?prefix=a.b', 'stomp://h?other=1'])
    await assert.rejects(stomp.open(wrong, options), fails('INVALID_ADDRESS'))
})

test('kill -9 of ActiveMQ: delayed jobs and what a group has not read survive; meanwhile nothing is sent', () =>
  kit.within(async () => {
    const waiting = new Waiting()
    let connected = false
    const hub = await kit.open({ onConnection: ({ state }) => ((connected = state === 'connected'), waiting.happened()) })
    const [queue, topic] = [fresh(), fresh()]
    const worker = await kit.worker(hub, queue)
    const member = await kit.listener(hub, topic, { group: 'g' })
    await member.close()
    await hub.topics!.publish(topic, json('kept'), { retain: false })
    await hub.queues!.push(
      queue,
      upTo(20).map((index) => job(index, { delay: 1_000 + 37 * index, priority: index % 3 })),
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
