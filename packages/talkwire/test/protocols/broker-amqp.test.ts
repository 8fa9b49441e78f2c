/** Calls over RabbitMQ, in a file of its own: its broker takes long to start, and is started once for all of them. */
import { suite, test } from 'node:test'
import { testDialect } from '../../compliance/index.js'
import { amqp } from '../../src/protocols/broker.js'
import { startBroker } from '../helpers/broker.js'
import { freshName } from '../helpers/place.js'
import { RABBITMQ } from '../hub/drivers/brokers.js'
import { addressOf, PATIENT, testBroker, testStrangers } from './broker-tests.js'

const broker = await startBroker(RABBITMQ)
const at = (prefix: string): string => addressOf('amqp', broker, prefix)

suite('amqp', { concurrency: 8 }, () => testDialect({ test, dialect: amqp, address: () => at(freshName()), connectOptions: PATIENT }))
testBroker('amqp', broker)

testStrangers(
  'amqp',
  {
    name: 'pika',
    words: (prefix) => [broker.host, String(broker.port), `${prefix}.requests`],
    both: `
import pika
host, port, exchange = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
channel = connection.channel()
`,
    calls: `
answers = channel.queue_declare('', exclusive=True).method.queue
def ask(method, params, count=1):
    properties = pika.BasicProperties(reply_to=answers, correlation_id=method)
    channel.basic_publish(exchange, f'rpc.org~example~bank-1.{method}', json.dumps(params), properties)
    for _, properties, body in channel.consume(answers, auto_ack=True):
        assert properties.correlation_id == method
        say(json.loads(body) if body else None, (properties.headers or {}).get('talkwire-error'))
        count -= 1
        if not count: return
`,
    ends: `
connection.close()
`,
    serves: `
def answer(properties, value, **headers):
    properties = pika.BasicProperties(correlation_id=properties.correlation_id, headers=headers)
    return lambda to: channel.basic_publish('', to, json.dumps(value), properties)
def control(_, method, properties, body):
    what = properties.headers.get('talkwire-control')
    if what == 'hello': answer(properties, {'service': 'bank', 'contract': 'org.example.bank/1'})(properties.reply_to)
    if what == 'alive': answer(properties, [])(properties.reply_to)
def call(_, method, properties, body):
    name = method.routing_key.rsplit('.', 1)[1]
    params = json.loads(body) if body else None
    say(name, params)
    if name == 'who': answer(properties, 'python')(properties.reply_to)
    elif name == 'watch':
        for balance in range(3): answer(properties, {'balance': balance}, **{'talkwire-more': True, 'talkwire-part': 'item'})(properties.reply_to)
        channel.basic_publish('', properties.reply_to, b'', pika.BasicProperties(correlation_id=properties.correlation_id))
    else: answer(properties, None, **{'talkwire-error': 'AccountClosed not here'})(properties.reply_to)
channel.exchange_declare(exchange, 'topic', durable=True)
for pattern, heard in (('rpc.org~example~bank-1.*', call), ('rpc-control.org~example~bank-1', control)):
    queue = channel.queue_declare('', exclusive=True).method.queue
    channel.queue_bind(queue, exchange, pattern)
    channel.basic_consume(queue, heard, auto_ack=True)
say('ready')
channel.start_consuming()
`,
  },
  at,
)
