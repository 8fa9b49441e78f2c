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
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
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

/** Until it is done: what is refused meanwhile certainly did not run. */
async function again(run: () => Promise<void>): Promise<void> {
  for (;;) {
    const reason = await run().then(
      () => undefined,
      (failure: TalkwireError) => failure,
    )
    if (!reason) return
    assert.equal(reason.outcome, 'not-sent', String(reason))
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
    await hub.topics!.publish(topic, json(0), PLAIN)
    await heard(0)
    await broker.restart()
    await again(() => hub.topics!.publish(topic, json(1), PLAIN))
    const holder = await heard(1)
    await holder.close()
    const before = holder.values()
    await hub.topics!.publish(topic, json(2), PLAIN)
    assert.notEqual(await heard(2), holder)
    assert.deepEqual(holder.values(), before)
  }))

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
      await operate((admin) => admin.deleteTopics({ topics: [topic] }))
      await again(() => hub.topics!.publish('a', json('made anew'), PLAIN))
      assert.deepEqual((await (await own.listener(hub, 'a', { from: 'all' })).until(1)).map(valueOf), ['made anew'])
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
