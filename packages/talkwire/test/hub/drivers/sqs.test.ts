/** The suite, and programs that know nothing of us: boto3, and an operator. ElasticMQ stands in for Amazon; one for all: it is a JVM. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import http from 'node:http'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { soon, turns } from '../../../compliance/ends.js'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { fresh, hubKit, json, upTo, valueOf } from '../../../compliance/hub-kit.js'
import type { NewJob, OpenOptions } from '../../../src/hub/driver.js'
import { sqs } from '../../../src/hub/drivers/sqs.js'
import { openHub } from '../../../src/hub/index.js'
import type { Code } from '../../../src/error.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testTls } from './broker-tls.js'
import { ELASTICMQ } from './brokers.js'

const broker = await startBroker(ELASTICMQ)
const module = new URL('../../../src/hub/drivers/sqs.js', import.meta.url).href
const place = `${broker.host}:${broker.port}`
const address = `sqs+http://any:any@${place}`

testHubDriver({
  test,
  driver: sqs,
  module,
  address: `${address}?prefix=suite`,
  nobody: `sqs+http://any:any@${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

const kit = hubKit({ driver: sqs, module, address }, (trait) => sqs.traits.includes(trait))
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const job = (value: unknown, wish: Partial<NewJob> = {}): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined, ...wish })

/** What it prints, as JSON. The script has `sqs`, boto3's client, and the words that it is given. */
async function python(script: string, ...words: string[]): Promise<any> {
  const whole = `import boto3, json, sys
place, *words = sys.argv[1:]
sqs = boto3.client('sqs', endpoint_url='http://' + place, region_name='anywhere', aws_access_key_id='any', aws_secret_access_key='any')
def url(name): return sqs.get_queue_url(QueueName=name)['QueueUrl']
${script}`
  const { stdout } = await promisify(execFile)(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', whole, place, ...words])
  return JSON.parse(stdout)
}

test('boto3 takes what we push, and sends; what it sends with ten attributes can be a dead letter, too', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const [theirs, ours] = [fresh(), `größe.${fresh()}`]
    const worker = await kit.worker(hub, ours)
    const pushed = await hub.queues!.push(theirs, [
      job({ id: 1 }, { headers: { to: 'all' } }),
      job(0, { type: 'bytes', body: Buffer.from([0, 255]) }),
    ])
    const read = await python(
      `
read = []
while len(read) < 2:
    for each in sqs.receive_message(QueueUrl=url('talkwire-' + words[0]), MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageAttributeNames=['All']).get('Messages', []):
        said = {name: value.get('StringValue', list(value.get('BinaryValue', b''))) for name, value in each['MessageAttributes'].items()}
        read.append([each['MessageId'], each['Body'], said])
        sqs.delete_message(QueueUrl=url('talkwire-' + words[0]), ReceiptHandle=each['ReceiptHandle'])
sqs.send_message(QueueUrl=url(words[1]), MessageBody='{"id":2}')
sqs.send_message(QueueUrl=url(words[1]), MessageBody='later', DelaySeconds=1, MessageAttributes={
    'a%d' % number: {'DataType': 'Number', 'StringValue': str(number)} if number else {'DataType': 'Binary', 'BinaryValue': b'x'} for number in range(10)})
print(json.dumps(read))
`,
      theirs,
      `talkwire-gr_c3_b6_c3_9fe_2e${ours.split('.')[1]}`,
    )
    assert.deepEqual(
      (read as unknown[][]).toSorted(([one], [other]) => pushed.indexOf(String(one)) - pushed.indexOf(String(other))),
      [
        [pushed[0], '{"id":1}', { 'content-type': 'application/json', to: 'all' }],
        [pushed[1], '-', { 'content-type': 'application/octet-stream', 'talkwire-body': [0, 255] }],
      ],
    )
    worker.consumption.want(2)
    const [one, two] = await worker.until(2)
    assert.deepEqual([valueOf(one!), one!.type, one!.attempt, { ...one!.headers }], [{ id: 2 }, undefined, 1, {}])
    assert.deepEqual([String(two!.body), two!.headers['a0'], two!.headers['a9']], ['later', 'eA==', '9'])
    await one!.dead('no good')
    await two!.dead('no room')
    const letters = await hub.queues!.deadLetters!(ours, 10)
    assert.deepEqual(
      letters.map((letter) => [String(letter.body), letter.reason, letter.attempts]),
      [
        ['{"id":2}', 'no good', 1],
        ['later', 'was handed out 3 times', 3],
      ],
    )
  }))

test('the policy of a queue counts: SQS moves what nobody settles; another is refused, and without one we move it', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const [ours, without, other] = [fresh(), fresh(), fresh()]
    await python(
      `
def create(name, **more): return sqs.create_queue(QueueName='talkwire-' + name, Attributes=more)['QueueUrl']
create(words[0])
dead = create(words[1] + '_dlq')
arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=['QueueArn'])['Attributes']['QueueArn']
create(words[1], RedrivePolicy=json.dumps({'deadLetterTargetArn': arn, 'maxReceiveCount': 7}))
print('null')
`,
      without,
      other,
    )
    await assert.rejects(kit.worker(hub, other, { attempts: 2 }), /UNSUPPORTED.*7 times, not 2/)
    await kit.worker(hub, other, { attempts: 7 })
    await kit.worker(hub, ours, { attempts: 2 })
    await assert.rejects(kit.worker(hub, ours, { attempts: 3 }), /UNSUPPORTED.*2 times, not 3/)
    for (const queue of [ours, without]) {
      // Each of two has it for a second and says nothing; a third gets nothing.
      const workers = await Promise.all(upTo(3).map(() => kit.worker(hub, queue, { attempts: 2, visibility: 1000 })))
      await hub.queues!.push(queue, [job('slow')])
      // It was dead before, which is forgotten.
      const first = await kit.worker(hub, queue, { attempts: 2 })
      first.consumption.want(1)
      const [first_] = await first.until(1)
      // Else it asks for another, and gets this one.
      first.consumption.want(0)
      await first_!.dead('no good')
      const [letter] = await hub.queues!.deadLetters!(queue, 1)
      assert.equal(await hub.queues!.revive!(queue, [letter!.id]), 1)
      for (const [index, worker] of workers.slice(0, 2).entries()) {
        worker.consumption.want(1)
        assert.equal((await worker.until(1))[0]!.attempt, index + 1)
      }
      workers[2]!.consumption.want(1)
      const dead = async (): Promise<unknown> => {
        for (;;) {
          const letters = await hub.queues!.deadLetters!(queue, 1)
          if (letters.length > 0) return letters.map((letter) => [valueOf(letter), letter.reason, letter.attempts])
        }
      }
      assert.deepEqual(await soon(dead(), 'a dead letter'), [['slow', 'was handed out 2 times', 2]])
      assert.equal(workers[2]!.jobs.length, 0)
    }
  }))

test('what comes too late is refused, by our own clock', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const worker = await kit.worker(hub, queue, { visibility: 1000 })
    await hub.queues!.push(queue, [job('a')])
    worker.consumption.want(1)
    const [late] = await worker.until(1)
    const until = performance.now() + 1000
    while (performance.now() < until) await turns()
    for (const settle of [() => late!.extend(1000), () => late!.ack()]) await assert.rejects(settle(), fails('NOT_FOUND'))
    const [, again] = await worker.until(2)
    assert.equal(again!.attempt, 2)
    await assert.rejects(again!.extend(43_201_000), fails('UNSUPPORTED'))
    await again!.ack()
  }))

test('many go ten at a time; what SQS does not take is refused before it is sent', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const ids = await hub.queues!.push(
      queue,
      upTo(25).map((index) => job(index)),
    )
    assert.equal(new Set(ids).size, 25)
    const large = upTo(3).map(() => job(0, { type: 'bytes', body: Buffer.alloc(500_000) }))
    assert.equal((await hub.queues!.push(queue, large)).length, 3)
    assert.equal((await hub.queues!.counts!(queue)).ready, 28)
    const refused = async (code: Code, wish: Partial<NewJob>, to = queue): Promise<void> =>
      assert.rejects(
        hub.queues!.push(to, [job('x', wish)]),
        (reason: unknown) => fails(code)(reason) && (reason as { outcome?: string }).outcome === 'not-sent',
      )
    await refused('UNSUPPORTED', { delay: 900_001 })
    await refused('MESSAGE_TOO_LARGE', { body: Buffer.alloc(1024 * 1024 - 2048, 'a') })
    await refused('INVALID_INPUT', { headers: { 'content-type': 'mine' } })
    await refused('INVALID_INPUT', { headers: { größe: 'x' } })
    await assert.rejects(
      hub.queues!.push(queue, [job('x', { headers: { none: '' } })]),
      /INVALID_INPUT.*SQS keeps no header "none" that is empty/,
    )
    await refused('INVALID_INPUT', { headers: Object.fromEntries(upTo(8).map((index) => [`h${index}`, 'x'])) })
    await refused('INVALID_INPUT', {}, 'x'.repeat(80))
    assert.equal((await hub.queues!.counts!(queue)).ready, 28)
  }))

test('what it lacks is refused in words; addresses that are none, too', async () => {
  const hub = await openHub(address)
  try {
    await assert.rejects(hub.topic('a').publish(1), /UNSUPPORTED.*sqs has no topics .*\bmqtt\b.* have it/)
    await assert.rejects(hub.queue('a').push(1, { priority: 1 }), /UNSUPPORTED.*sqs has no priority .*beanstalk/)
    await assert.rejects(hub.queue('a').purge(), /UNSUPPORTED.*sqs has no purge/)
  } finally {
    await hub.close()
  }
  for (const wrong of ['sqs+http:', 'sqs+http://h/x', 'sqs+http://h?prefix=a.b', 'sqs+http://h?other=1'])
    await assert.rejects(sqs.open(wrong, options), fails('INVALID_ADDRESS'))
})

/** Answers every question with one of SQS's errors. */
async function liar(): Promise<{ says: string; close(): void; open(): Promise<void>; readonly address: string }> {
  const port = freshPort()
  let server: http.Server | undefined
  const self = {
    says: 'InvalidClientTokenId',
    address: `sqs+http://${ownHost}:${port}`,
    close(): void {
      server?.close()
      server?.closeAllConnections()
    },
    async open(): Promise<void> {
      server = http.createServer((request, response) => {
        request.resume()
        response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' })
        response.end(JSON.stringify({ __type: `com.amazonaws.sqs#${self.says}`, message: 'no' }))
      })
      server.listen(port, ownHost)
      await once(server, 'listening')
    },
  }
  after(self.close)
  await self.open()
  return self
}

test('whose keys are unknown is told so, and who may not ask for a queue is let in; while nobody answers nothing is sent', async () => {
  const there = await liar()
  const credentials = { accessKeyId: 'a', secretAccessKey: 'b' }
  await assert.rejects(sqs.open(there.address, { ...options, credentials }), fails('UNAUTHENTICATED'))
  there.says = 'AccessDeniedException'
  const changes = new Map<string, () => void>()
  const [lost, back] = ['lost', 'connected'].map((state) => new Promise<void>((resolve) => void changes.set(state, resolve)))
  const hub = await sqs.open(there.address, { ...options, credentials, onConnection: ({ state }) => changes.get(state)!() })
  const pushed = (): Promise<unknown> => hub.queues!.push('a', [job(1)])
  await assert.rejects(pushed(), fails('PERMISSION_DENIED'))
  there.says = 'RequestThrottled'
  await assert.rejects(pushed(), fails('LIMIT_EXCEEDED'))
  there.close()
  await assert.rejects(pushed(), fails('UNAVAILABLE'))
  await soon(lost!, 'lost')
  await assert.rejects(
    pushed(),
    (reason: unknown) => fails('UNAVAILABLE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
  )
  there.says = 'QueueDoesNotExist'
  await there.open()
  await soon(back!, 'connected')
  await hub.close()
  await assert.rejects(pushed(), fails('CLOSED'))
  there.close()
})

test('a queue that somebody deleted is made anew', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    await hub.queues!.push(queue, [job(1)])
    await python(`sqs.delete_queue(QueueUrl=url('talkwire-' + words[0])); print('null')`, queue)
    await assert.rejects(hub.queues!.push(queue, [job(1)]), fails('NOT_FOUND'))
    assert.equal((await hub.queues!.push(queue, [job(1)])).length, 1)
  }))

testTls('SQS', broker, (place) => `sqs+https://any:any@${place}`)
