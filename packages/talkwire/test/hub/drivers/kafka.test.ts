/** The suite, and programs that know nothing of us: kafka-python, and an operator. One broker for all: it is a JVM. */
import { Admin } from '@platformatic/kafka'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { turns } from '../../../compliance/ends.js'
import { fresh, hubKit, json, upTo, valueOf, Waiting, type Ear } from '../../../compliance/hub-kit.js'
import type { TalkwireError } from '../../../src/error.js'
import { kafka } from '../../../src/hub/drivers/kafka.js'
import { connectKafka, type Kafka } from '../../../src/hub/drivers/kafka/connection.js'
import { requests } from '../../../src/hub/drivers/kafka/requests.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { isTrusted } from './broker-tls.js'
import { KAFKA } from './brokers.js'

const broker = await startBroker(KAFKA)
const place = `${broker.host}:${broker.port}`
const module = new URL('../../../src/hub/drivers/kafka.js', import.meta.url).href

testHubDriver({
  test,
  driver: kafka,
  module,
  address: `kafka://${place}?prefix=suite`,
  nobody: `kafka://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(1, { driver: kafka, address: `kafka://${place}?prefix=storm`, broker })

const kitOf = (address: string): ReturnType<typeof hubKit> =>
  hubKit({ driver: kafka, module, address }, (trait) => kafka.traits.includes(trait))
const kit = kitOf(`kafka://${place}`)
const PLAIN = { retain: false }

/** What it prints, as JSON. `script` finds where the broker is, and the words that it is given. */
async function python(script: string, ...words: string[]): Promise<any> {
  const whole = `import json, sys\nfrom kafka import KafkaConsumer, KafkaProducer\nplace, *words = sys.argv[1:]\n${script}`
  const { stdout } = await promisify(execFile)(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', whole, place, ...words])
  return JSON.parse(stdout)
}

/** As somebody who looks after the broker. */
async function operate<T>(run: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Admin({ clientId: 'operator', bootstrapBrokers: [place] })
  try {
    return await run(admin)
  } finally {
    await admin.close()
  }
}

/** Resolves when nobody finds it any more: until then what is published goes where nobody reads it. */
const remove = (topic: string): Promise<void> =>
  operate(async (admin) => {
    await admin.deleteTopics({ topics: [topic] })
    const isThere = (): Promise<boolean> =>
      admin.metadata({ topics: [topic], forceUpdate: true }).then(
        () => true,
        () => false,
      )
    while (await isThere());
  })

/**
 * Until it is done: what is refused meanwhile certainly did not run. Whoever leads no more might have written before that, as far as
 * anybody can tell from outside; here the topic was gone.
 */
async function again(run: () => Promise<void>): Promise<void> {
  for (;;) {
    const reason = await run().then(
      () => undefined,
      (failure: TalkwireError) => failure,
    )
    if (!reason) return
    if (!/not the current leader/.test(reason.message)) assert.equal(reason.outcome, 'not-sent', String(reason))
    await turns()
  }
}

test('kafka-python reads what we publish, and publishes, packed, in transactions and without a word on its kind', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    const ear = await kit.listener(hub, `${root}.*`)
    const every = await kit.listener(hub, '>')
    const tomorrow = await kit.listener(hub, `${root}.*`, { from: { time: Date.now() + 86_400_000 } })
    await hub.topics!.publish(`${root}.new`, { ...json({ id: 1 }), headers: { to: 'all', 'content-type': 'mine' } }, PLAIN)
    const read = await python(
      `
found = None
consumer = KafkaConsumer('talkwire.topics', bootstrap_servers=place, auto_offset_reset='earliest')
for record in consumer:
    if record.key == (words[0] + '.new').encode():
        found = [record.key.decode(), record.value.decode(), [[name, value.decode()] for name, value in record.headers]]
        break
consumer.close()
producer = KafkaProducer(bootstrap_servers=place, compression_type='gzip', acks='all')
for key, value, headers in [
    ('python', b'{"id": 2}', [('said', b'yes'), ('content-type', b'application/json'), ('last', b'1')]),
    (None, b'no topic', []),
    ('python', None, []),
    ('python', b'plain', []),
]:
    producer.send('talkwire.topics', key=key and (words[0] + '.' + key).encode(), value=value, headers=headers)
producer.close()
producer = KafkaProducer(bootstrap_servers=place, transactional_id=words[0])
producer.init_transactions()
for value, end in [(b'taken back', producer.abort_transaction), (b'meant', producer.commit_transaction)]:
    producer.begin_transaction()
    producer.send('talkwire.topics', key=(words[0] + '.python').encode(), value=value)
    producer.flush()
    end()
producer.close()
print(json.dumps(found))
`,
      root,
    )
    assert.deepEqual(read, [
      `${root}.new`,
      '{"id":1}',
      [
        ['to', 'all'],
        ['content-type', 'mine'],
        ['content-type', 'application/json'],
      ],
    ])
    await hub.topics!.publish(`${root}.last`, json('last'), PLAIN)
    const came = await ear.until(6)
    assert.deepEqual(
      came.map(({ topic, body, type, headers }) => [topic.slice(root.length), String(body), type, { ...headers }]),
      [
        ['.new', '{"id":1}', 'json', { to: 'all', 'content-type': 'mine' }],
        ['.python', '{"id": 2}', 'json', { said: 'yes', last: '1' }],
        ['.python', '', undefined, {}],
        ['.python', 'plain', undefined, {}],
        ['.python', 'meant', undefined, {}],
        ['.last', '"last"', 'json', {}],
      ],
    )
    assert.deepEqual(await every.until(6), came)
    assert.equal(await tomorrow.something(), false)
  }))

test('a group goes on after a restart, and with one member when the other has gone', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const waiting = new Waiting()
    const members = [await kit.listener(hub, topic, { group: 'g' }), await kit.listener(await kit.open(), topic, { group: 'g' })]
    const heard = (value: number): Promise<Ear> =>
      waiting.until(`${value}`, () => members.find((member) => member.values().includes(value)))
    for (const { listener } of members) {
      const { message } = listener
      listener.message = (each) => {
        const room = message.call(listener, each)
        waiting.happened()
        return room
      }
    }
    const asked: unknown[] = []
    for (const responder of [hub, await kit.open()])
      await responder.requests!.respond(topic, 'g', (request) => {
        asked.push(valueOf(request))
        void request.reply(json(valueOf(request)), false)
      })
    const answered: unknown[] = []
    const ask = async (value: number): Promise<void> => {
      await hub.requests!.request(topic, json(value), (reply) => {
        answered.push(valueOf(reply))
        waiting.happened()
      })
    }
    await hub.topics!.publish(topic, json(0), PLAIN)
    await heard(0)
    await ask(0)
    await waiting.until('an answer', () => answered[0])
    await broker.restart()
    await again(() => hub.topics!.publish(topic, json(1), PLAIN))
    await again(() => ask(1))
    const holder = await heard(1)
    await waiting.until('an answer after the restart', () => answered[1])
    assert.deepEqual(
      [asked, answered],
      [
        [0, 1],
        [0, 1],
      ],
    )
    await holder.close()
    const before = holder.values()
    await hub.topics!.publish(topic, json(2), PLAIN)
    assert.notEqual(await heard(2), holder)
    assert.deepEqual(holder.values(), before)
  }))

const ASKS_AND_ANSWERS = `
import struct, time, uuid
root, prefix, answers = words
producer = KafkaProducer(bootstrap_servers=place, acks='all')
consumer = KafkaConsumer(answers, bootstrap_servers=place, auto_offset_reset='earliest')
asked = [(uuid.uuid4().bytes, None, None), (uuid.uuid4().bytes, 'two', struct.pack('>i', 1)), (b'three', None, b'1'), (b'four', None, None)]
def ask(index, to=answers, **more):
    correlation, said, partition = asked[index]
    headers = [('kafka_replyTopic', to.encode()), ('kafka_correlationId', correlation), ('said', (said or 'no').encode())]
    headers += [('kafka_replyPartition', partition)] if partition else []
    producer.send(prefix + '.requests', key=(root + '.python').encode(), value=str(index).encode(), headers=headers, **more)
now = int(time.time() * 1000)
ask(3, timestamp_ms=now - 120_000)
ask(0, to='nobody-has-this', timestamp_ms=now)
producer.send(prefix + '.requests', key=(root + '.python').encode(), value=b'"for nobody"', timestamp_ms=now)
for index in range(3): ask(index, timestamp_ms=now)
producer.flush()
found = []
for record in consumer:
    headers = dict(record.headers)
    index = next(index for index, each in enumerate(asked) if each[0] == headers['kafka_correlationId'])
    found.append([index, record.partition, record.value.decode(), sorted(name for name in headers if name != 'kafka_correlationId')])
    if len(found) == 6: break
consumer.close()
for record in KafkaConsumer(prefix + '.requests', bootstrap_servers=place, auto_offset_reset='earliest'):
    if record.key != (root + '.ours').encode(): continue
    headers = dict(record.headers)
    for value, more in [(b'"one"', [('talkwire_more', b'true')]), (record.value, [])]:
        own = [('kafka_correlationId', headers['kafka_correlationId']), ('content-type', b'application/json')]
        producer.send(headers['kafka_replyTopic'].decode(), value=value, headers=own + more)
    break
producer.close()
print(json.dumps(sorted(found)))
`

test('kafka-python asks as Spring and Nest do, and answers; what is too old is not answered', async () => {
  const [root, prefix, answers] = [fresh(), fresh(), fresh()]
  // So that a program may say when it asked.
  const configs = [{ name: 'message.timestamp.type', value: 'CreateTime' }]
  await operate(async (admin) => {
    await admin.createTopics({ topics: [`${prefix}.requests`], partitions: 1, configs })
    await admin.createTopics({ topics: [answers], partitions: 2 })
  })
  const own = kitOf(`kafka://${place}?prefix=${prefix}`)
  await own.within(async () => {
    const [server, client] = [await own.open(), await own.open()]
    const heard: unknown[] = []
    const refused: string[] = []
    await server.requests!.respond(`${root}.python`, 'g', async (request) => {
      heard.push([String(request.body), { ...request.headers }])
      try {
        await request.reply(json(1), true)
        await request.reply({ ...json(2), headers: { last: 'yes' } }, false)
      } catch (reason) {
        refused.push((reason as TalkwireError).code)
      }
    })
    const replies: unknown[] = []
    const answered = new Waiting()
    await client.requests!.request(`${root}.ours`, json('me'), (reply) => {
      replies.push([valueOf(reply), reply.more, { ...reply.headers }])
      answered.happened()
    })
    const read = await python(ASKS_AND_ANSWERS, root, prefix, answers)
    const whole = [
      ['1', 'talkwire_more'],
      ['2', 'last'],
    ] as const
    const places = [0, 1, 1].entries()
    assert.deepEqual(
      read,
      [...places].flatMap(([index, partition]) =>
        whole.map(([value, name]) => [index, partition, value, ['content-type', name].toSorted()]),
      ),
    )
    assert.deepEqual(heard, [
      ['0', { said: 'no' }],
      ['"for nobody"', {}],
      ['0', { said: 'no' }],
      ['1', { said: 'two' }],
      ['2', { said: 'no' }],
    ])
    assert.deepEqual(refused, ['NOT_FOUND'])
    await answered.until('both replies', () => (replies.length === 2 ? true : undefined))
    assert.deepEqual(replies, [
      ['one', true, {}],
      ['me', false, {}],
    ])
  })
})

/** The Kafka of a driver, whose first word to a group on how far it is gets lost. */
async function forgetful(): Promise<Kafka> {
  const kafka = await connectKafka(`kafka://${place}?prefix=${fresh()}`, {
    credentials: undefined,
    onConnection() {},
    onError() {},
    signal: undefined,
  })
  let lost = false
  return {
    ...kafka,
    reader(group) {
      const reader = kafka.reader(group)
      const commit = reader.commit.bind(reader)
      reader.commit = (async (options: Parameters<typeof commit>[0]) => {
        if (!lost && options.offsets.some(({ offset }) => offset > 0n)) {
          lost = true
          throw new Error('lost')
        }
        await commit(options)
      }) as typeof commit
      return reader
    },
  }
}

test('a request that Kafka does not know of yet is not heard, and heard once then', async () => {
  const kafka = await forgetful()
  const { request, respond } = requests(kafka)
  const heard: unknown[] = []
  await respond('a', 'g', (asked) => {
    heard.push(valueOf(asked))
    void asked.reply(json('yes'), false)
  })
  const answered = new Waiting()
  let answers = 0
  for (const value of upTo(3))
    await request('a', json(value), () => {
      answers++
      answered.happened()
    })
  await answered.until('answers', () => (answers === 3 ? true : undefined))
  assert.deepEqual(heard, [0, 1, 2])
  await kafka.close()
})

test('what was cut off is counted, and a log that begins anew is read from its beginning', () =>
  kit.within(async () => {
    const prefix = fresh()
    const own = kitOf(`kafka://${place}?prefix=${prefix}`)
    await own.within(async () => {
      const hub = await own.open()
      const ear = await own.listener(hub, 'a')
      for (const value of upTo(5)) await hub.topics!.publish('a', json(value), PLAIN)
      await ear.until(5)
      const topic = `${prefix}.topics`
      await operate((admin) => admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 3n }] }] }))
      const late = await own.listener(await own.open(), 'a', { from: { after: '0' } })
      await late.until(2)
      assert.deepEqual([late.listener.lostCount, late.values()], [2, [3, 4]])
      await assert.rejects(own.listener(hub, 'a', { from: { after: 'yesterday' } }), fails('INVALID_INPUT'))
      await operate(async (admin) => {
        await admin.deleteTopics({ topics: [topic] })
        await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
      })
      // Until everybody knows of the new one.
      await again(() => hub.topics!.publish('a', json('anew'), PLAIN))
      for (const each of [ear, late])
        await each.listener.until('the first of the new log', () => (each.values().includes('anew') ? true : undefined))
      assert.equal(late.listener.lostCount, 2)
      await remove(topic)
      await again(() => hub.topics!.publish('a', json('made anew'), PLAIN))
      assert.deepEqual((await (await own.listener(hub, 'a', { from: 'all' })).until(1)).map(valueOf), ['made anew'])
      // Whoever begins makes it anew as well, and waits for nobody who publishes.
      await remove(topic)
      await own.listener(hub, 'a', { from: 'all' })
    })
  }))

test('one that is too large is refused alone, with what was published beside it', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const ear = await kit.listener(hub, topic)
    const large = { body: Buffer.alloc(2_000_000), type: 'bytes', headers: {} } as const
    const sent = [json(1), large, json(2)].map((message) => hub.topics!.publish(topic, message, PLAIN))
    await assert.rejects(sent[1]!, fails('MESSAGE_TOO_LARGE'))
    await Promise.all([sent[0], sent[2]])
    await ear.until(2)
    assert.deepEqual(ear.values(), [1, 2])
    const limited = `${fresh()}.topics`
    await operate((admin) =>
      admin.createTopics({ topics: [limited], partitions: 1, configs: [{ name: 'max.message.bytes', value: '1000' }] }),
    )
    const own = kitOf(`kafka://${place}?prefix=${limited.split('.')[0]}`)
    await own.within(async () => {
      const other = await own.open()
      const heard = await own.listener(other, topic)
      const small = upTo(40).map((index) => other.topics!.publish(topic, json(`${index} ${'x'.repeat(100)}`), PLAIN))
      const one = assert.rejects(other.topics!.publish(topic, json('x'.repeat(2000)), PLAIN), fails('MESSAGE_TOO_LARGE'))
      await Promise.all([...small, one])
      await heard.until(40)
      assert.deepEqual(
        heard.messages.map((message) => Number.parseInt(String(valueOf(message)), 10)),
        upTo(40),
      )
    })
  }))

test('what is published in one turn goes in few requests, also where it is mostly headers', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const ear = await kit.listener(hub, topic)
    const headers = { much: 'x'.repeat(250) }
    await Promise.all(upTo(5000).map((value) => hub.topics!.publish(topic, { ...json(value), headers }, PLAIN)))
    await ear.until(5000)
    assert.deepEqual(ear.values(), upTo(5000))
    // Kafka has one time for each.
    assert.ok(new Set(ear.messages.map(({ time }) => time)).size < 10)
  }))

test('a topic of several partitions is refused with the reason', () =>
  kit.within(async () => {
    const prefix = fresh()
    await operate((admin) => admin.createTopics({ topics: [`${prefix}.topics`], partitions: 2 }))
    const own = kitOf(`kafka://${place}?prefix=${prefix}`)
    await own.within(async () => {
      const hub = await own.open()
      await assert.rejects(hub.topics!.publish('a', json(1), PLAIN), /UNSUPPORTED.*2 partitions/)
      await assert.rejects(own.listener(hub, 'a'), fails('UNSUPPORTED'))
    })
  }))

test('a user and a password are told; a wrong one is refused', async () => {
  const known = /SASL_PLAINTEXT:\/\/([^,\n]+)/.exec(readFileSync(join(broker.folder, 'server.properties'), 'utf8'))![1]!
  const own = kitOf(`kafka://known:se%20cret@${known}`)
  await own.within(async () => {
    const hub = await own.open()
    const topic = fresh()
    const ear = await own.listener(hub, topic)
    await hub.topics!.publish(topic, json(1), PLAIN)
    await ear.until(1)
    const sasl = { mechanism: 'PLAIN', username: 'known', password: 'wrong' }
    await assert.rejects(kitOf(`kafka://${known}`).open({ credentials: { sasl } }), fails('UNAUTHENTICATED'))
  })
})

test('Kafka over TLS, and only to one whose certificate is of whom we trust', async () => {
  const secure = /,SSL:\/\/([^,\n]+)/.exec(readFileSync(join(broker.folder, 'server.properties'), 'utf8'))![1]!
  await isTrusted(`kafkas://${secure}`)
})
