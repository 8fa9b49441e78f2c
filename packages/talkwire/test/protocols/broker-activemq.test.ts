/** Calls over ActiveMQ, in STOMP and AMQP 1.0, in a file of their own: its broker is a JVM, and is started once for all of them. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { testDialect } from '../../compliance/index.js'
import { openStomp } from '../../src/hub/drivers/stomp/line.js'
import { connect } from '../../src/index.js'
import { amqp1, stomp } from '../../src/protocols/broker.js'
import { startBroker } from '../helpers/broker.js'
import { freshName } from '../helpers/place.js'
import { ACTIVEMQ, amqpOf, STOMP_EAR } from '../hub/drivers/brokers.js'
import { addressOf, bank, openBank, PATIENT, testBroker, testInstances, testStrangers } from './broker-tests.js'

const broker = await startBroker(ACTIVEMQ)
const at = (prefix: string): string => addressOf('stomp', broker, prefix)
const overAmqp = (prefix: string): string => `amqp1://${amqpOf(broker, 'jms')}?prefix=${prefix}`

testBroker('stomp', broker)
testInstances('amqp1', overAmqp)

test('stomp: what all instances hear does not lie in a queue that nobody reads', async () => {
  const prefix = freshName()
  await using _service = await openBank(at(prefix))
  await using client = await connect(bank, at(prefix))
  for await (const _ of client.watch({ account: 'ann' }));
  const { host, port } = broker
  const line = await openStomp({ host, port, tls: undefined, user: '', password: '' }, undefined, () => {})
  const place = `${prefix}.requests.rpc-control.org~example~bank-1`
  assert.equal((await line.browse(place, 10)).length, 0)
  await line.send({ to: [{ kind: 'queue', name: place }], body: Buffer.from('1'), type: 'json', headers: {}, persistent: false })
  assert.equal((await line.browse(place, 10)).length, 1)
  await line.close()
})

testStrangers(
  'stomp',
  {
    name: 'stomp.py',
    words: (prefix) => [broker.host, String(broker.port), `${prefix}.requests`],
    both: `
import queue, stomp
host, port, place = sys.argv[1:]
${STOMP_EAR}def hear(destination):
    connection.subscribe(destination, id=destination, receipt='r')
    assert came.get().headers['receipt-id'] == 'r'
`,
    calls: `
connection.subscribe('/temp-queue/answers', id='1')
def ask(method, params, count=1):
    headers = {'reply-to': '/temp-queue/answers', 'correlation-id': method}
    connection.send(f'/queue/{place}.rpc.org~example~bank-1.{method}', json.dumps(params), headers=headers)
    for _ in range(count):
        frame = came.get()
        assert frame.headers['correlation-id'] == method
        say(json.loads(frame.body) if frame.body else None, frame.headers.get('talkwire-error'))
`,
    ends: `
connection.disconnect()
`,
    serves: `
def answer(frame, value, **more):
    body = '' if value is None else json.dumps(value)
    connection.send(frame.headers['reply-to'], body, headers={'correlation-id': frame.headers['correlation-id'], **more})
hear(f'/topic/{place}.rpc-control.org~example~bank-1')
hear(f'/queue/{place}.rpc.org~example~bank-1.>')
say('ready')
while True:
    frame = came.get()
    what = frame.headers.get('talkwire-control')
    if what == 'hello': answer(frame, {'service': 'bank', 'contract': 'org.example.bank/1'})
    if what == 'alive': answer(frame, [])
    if what is not None: continue
    name = frame.headers['destination'].rsplit('.', 1)[1]
    say(name, json.loads(frame.body) if frame.body else None)
    if name == 'who': answer(frame, 'python')
    elif name == 'watch':
        for balance in range(3): answer(frame, {'balance': balance}, **{'talkwire_more': 'true', 'talkwire-part': 'item'})
        answer(frame, None)
    else: answer(frame, None, **{'talkwire-error': 'AccountClosed not here'})
`,
  },
  at,
)

testStrangers(
  'amqp1',
  {
    name: 'Proton',
    // Debian's: on PyPI it needs a compiler.
    python: '/usr/bin/python3',
    words: (prefix) => [amqpOf(broker, 'jms'), `${prefix}.requests`],
    both: `
from proton import Message
from proton.handlers import MessagingHandler
from proton.reactor import Container, DynamicNodeProperties
from proton.utils import BlockingConnection
place, requests = sys.argv[1:]
def read(message): return json.loads(bytes(message.body)) if len(message.body) else None
`,
    calls: `
connection = BlockingConnection('amqp://' + place, timeout=60)
sender = connection.create_sender(None)
answers = connection.create_receiver(None, dynamic=True, credit=1000)
def ask(method, params, count=1):
    to = f'queue://{requests}.rpc.org~example~bank-1.{method}'
    sender.send(Message(body=json.dumps(params), address=to, reply_to=answers.link.remote_source.address, correlation_id=method))
    for _ in range(count):
        message = answers.receive()
        answers.accept()
        assert message.correlation_id == method
        say(read(message), (message.properties or {}).get('talkwire-error'))
`,
    ends: `
answers = None
connection.close()
`,
    serves: `
class Service(MessagingHandler):
    open = 0
    def on_start(self, event):
        connection = event.container.connect('amqp://' + place)
        self.sender = event.container.create_sender(connection, None)
        event.container.create_receiver(connection, f'topic://{requests}.rpc-control.org~example~bank-1')
        event.container.create_receiver(connection, f'queue://{requests}.rpc.org~example~bank-1.>')
    def on_link_opened(self, event):
        self.open += 1
        if self.open == 3: say('ready')
    def answer(self, message, value, **more):
        body = '' if value is None else json.dumps(value)
        self.sender.send(Message(body=body, address=message.reply_to, correlation_id=message.correlation_id, properties=more))
    def on_message(self, event):
        message = event.message
        what = (message.properties or {}).get('talkwire-control')
        if what == 'hello': self.answer(message, {'service': 'bank', 'contract': 'org.example.bank/1'})
        if what == 'alive': self.answer(message, [])
        if what is not None: return
        name = message.address.rsplit('.', 1)[1]
        say(name, read(message))
        if name == 'who': self.answer(message, 'python')
        elif name == 'watch':
            for balance in range(3): self.answer(message, {'balance': balance}, **{'talkwire_more': True, 'talkwire-part': 'item'})
            self.answer(message, None)
        else: self.answer(message, None, **{'talkwire-error': 'AccountClosed not here'})
Container(Service()).run()
`,
  },
  overAmqp,
)

suite('activemq', { concurrency: 8 }, () => {
  testDialect({ test, dialect: stomp, address: () => at(freshName()), connectOptions: PATIENT })
  testDialect({ test, dialect: amqp1, address: () => overAmqp(freshName()), connectOptions: PATIENT })
})
