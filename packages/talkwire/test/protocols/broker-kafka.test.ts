/** Calls over Kafka, in a file of its own: its broker is a JVM, and is started once for all of them. */
import { appendFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { testDialect } from '../../compliance/index.js'
import { kafka } from '../../src/protocols/broker.js'
import { startBroker } from '../helpers/broker.js'
import { freshName } from '../helpers/place.js'
import { KAFKA } from '../hub/drivers/brokers.js'
import { addressOf, testBroker, testStrangers } from './broker-tests.js'

const broker = await startBroker({
  ...KAFKA,
  command(host, port, folder) {
    const config = join(folder, 'server.properties')
    const isNew = !existsSync(config)
    const words = KAFKA.command(host, port, folder)
    if (isNew) appendFileSync(config, 'message.max.bytes=4000000\n')
    return words
  },
})
const at = (prefix: string): string => addressOf('kafka', broker, prefix)

testBroker('kafka', broker)

testStrangers(
  'kafka',
  {
    name: 'kafka-python',
    words: (prefix) => [`${broker.host}:${broker.port}`, prefix],
    both: `
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
place, prefix = sys.argv[1:]
producer = KafkaProducer(bootstrap_servers=place)
def consume(topic):
    admin = KafkaAdminClient(bootstrap_servers=place)
    if topic not in admin.list_topics(): admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    consumer = KafkaConsumer(bootstrap_servers=place, auto_offset_reset='earliest')
    consumer.assign([TopicPartition(topic, 0)])
    return consumer
`,
    calls: `
answers = consume(prefix + '.python')
def ask(method, params, count=1):
    headers = [('kafka_replyTopic', (prefix + '.python').encode()), ('kafka_correlationId', method.encode())]
    producer.send(prefix + '.requests', key=f'rpc.org~example~bank-1.{method}'.encode(), value=json.dumps(params).encode(), headers=headers)
    producer.flush()
    for record in answers:
        headers = dict(record.headers)
        assert headers['kafka_correlationId'] == method.encode()
        error = headers.get('talkwire-error')
        say(json.loads(record.value) if record.value else None, error and error.decode())
        count -= 1
        if not count: return
`,
    ends: `
answers.close()
producer.close()
`,
    serves: `
def answer(headers, value, *more):
    own = [('kafka_correlationId', headers['kafka_correlationId'])]
    producer.send(headers['kafka_replyTopic'].decode(), value=b'' if value is None else json.dumps(value).encode(), headers=own + list(more))
requests = consume(prefix + '.requests')
say('ready')
for record in requests:
    headers = dict(record.headers)
    topic = (record.key or b'').decode()
    what = headers.get('talkwire-control')
    if topic == 'rpc-control.org~example~bank-1':
        if what == b'hello': answer(headers, {'service': 'bank', 'contract': 'org.example.bank/1'})
        if what == b'alive': answer(headers, [])
    if not topic.startswith('rpc.org~example~bank-1.'): continue
    name = topic.rsplit('.', 1)[1]
    say(name, json.loads(record.value) if record.value else None)
    if name == 'who': answer(headers, 'python')
    elif name == 'watch':
        for balance in range(3): answer(headers, {'balance': balance}, ('talkwire_more', b'true'), ('talkwire-part', b'item'))
        answer(headers, None)
    else: answer(headers, None, ('talkwire-error', b'AccountClosed not here'))
`,
  },
  at,
)

// At once: some wait for those who say nothing any more.
suite('kafka', { concurrency: 4 }, () => testDialect({ test, dialect: kafka, address: () => at(freshName()) }))
