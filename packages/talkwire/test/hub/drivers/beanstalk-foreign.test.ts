/** Programs that know nothing of us: greenstalk in Python beside the driver; and what beanstalkd does beside its best. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import net from 'node:net'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { soon } from '../../../compliance/ends.js'
import { fresh, hubKit, json, valueOf } from '../../../compliance/hub-kit.js'
import type { DeadLetter, Job, NewJob, OpenOptions } from '../../../src/hub/driver.js'
import { beanstalk } from '../../../src/hub/drivers/beanstalk.js'
import { openHub } from '../../../src/hub/index.js'
import { asks, startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { BEANSTALKD } from './brokers.js'

const broker = await startBroker(BEANSTALKD)
const address = `beanstalk://${broker.host}:${broker.port}`
const kit = hubKit({ driver: beanstalk, module: '', address }, (trait) => trait !== 'dedupe')
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const job = (value: unknown): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined })
const peer = new URL('../../../../test/hub/fixtures/greenstalk_peer.py', import.meta.url).pathname
const python = async (...words: string[]): Promise<unknown[]> => {
  const { stdout } = await promisify(execFile)(process.env['TALKWIRE_PYTHON'] ?? 'python3', [
    peer,
    broker.host,
    String(broker.port),
    ...words,
  ])
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
}

test('a worker with greenstalk takes what we push, and we take what it puts', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const [theirs, ours] = [fresh(), fresh()]
    const ids = await hub.queues!.push(theirs, [job({ id: 1 }), job({ id: 2 })])
    assert.deepEqual(await python('work', `talkwire.${theirs}`, '2'), [
      [Number(ids[0]), '{"id":1}'],
      [Number(ids[1]), '{"id":2}'],
    ])
    const worker = await kit.worker(hub, ours)
    worker.consumption.want(1)
    const [id] = await python('put', `talkwire.${ours}`, '{"id":3}')
    const [came] = await worker.until(1)
    assert.deepEqual([came!.id, valueOf(came!), came!.attempt], [String(id), { id: 3 }, 1])
    await came!.ack()
  }))

test('names that no tube may have are written so that one may', () =>
  kit.within(async () => {
    const hub = await kit.open()
    await hub.queues!.push('größe.a$b', [job(1)])
    assert.equal((await python('work', 'talkwire.gr$c3$b6$c3$9fe.a$24b', '1')).length, 1)
    await assert.rejects(hub.queues!.push('x'.repeat(200), [job(1)]), fails('INVALID_INPUT'))
  }))

test('a job that is too large is refused, and the connection goes on', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    await assert.rejects(hub.queues!.push(queue, [{ ...job(1), body: Buffer.alloc(2_000_001) }]), fails('MESSAGE_TOO_LARGE'))
    assert.equal((await hub.queues!.push(queue, [job(1)])).length, 1)
  }))

test('a job that nobody settled in its tries is a dead letter, and says so', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const wish = { attempts: 2, visibility: 1000 }
    const workers = [await kit.worker(hub, queue, wish), await kit.worker(hub, queue, wish), await kit.worker(hub, queue, wish)]
    await hub.queues!.push(queue, [job('slow')])
    // Each of two has it and says nothing.
    for (const [index, worker] of workers.slice(0, 2).entries()) {
      worker.consumption.want(1)
      const [slow] = await worker.until(1)
      assert.equal(slow!.attempt, index + 1)
    }
    workers[2]!.consumption.want(1)
    const dead = async (): Promise<readonly DeadLetter[]> => {
      for (;;) {
        const letters = await hub.queues!.deadLetters!(queue, 10)
        if (letters.length > 0) return letters
      }
    }
    const letters = await soon(dead(), 'a dead letter')
    assert.deepEqual(
      letters.map((letter) => [valueOf(letter), letter.reason, letter.attempts]),
      [['slow', 'was handed out 2 times', 2]],
    )
    assert.equal(workers[2]!.jobs.length, 0)
  }))

test('who wants no job waits for none', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    // A tube that nobody watches is gone.
    const waiting = async (wanted: boolean): Promise<void> => {
      const stats = (): Promise<string> => asks(broker.host, broker.port, `stats-tube talkwire.${queue}\r\n`, '\n')
      while ((await stats()).includes('\ncurrent-waiting: 1\n') !== wanted);
    }
    const worker = await kit.worker(hub, queue)
    worker.consumption.want(1)
    await soon(waiting(true), 'one who waits')
    worker.consumption.want(0)
    await soon(waiting(false), 'nobody who waits')
  }))

test('who has a job says something when its time is over, since beanstalkd may miss that until then', async () => {
  const asked: string[] = []
  let told: (() => void) | undefined
  const twice = new Promise<void>((resolve) => (told = resolve))
  const answers: Record<string, string> = {
    watch: 'WATCHING 2',
    ignore: 'WATCHING 1',
    reserve: 'RESERVED 7 2\r\n{}',
    'stats-job': 'OK 24\r\nreserves: 1\nttr: 1\npri: 1',
  }
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.setEncoding('utf8').on('data', (lines: string) => {
      for (const [word] of lines.matchAll(/^[a-z-]+/gm)) {
        asked.push(word)
        socket.write(`${answers[word] ?? 'UNKNOWN_COMMAND'}\r\n`)
      }
      if (asked.filter((each) => each === 'stats-job').length === 2) told!()
    })
  })
  const port = freshPort()
  await new Promise<void>((resolve) => server.listen(port, ownHost, resolve))
  after(() => server.close())
  const hub = await beanstalk.open(`beanstalk://${ownHost}:${port}`, options)
  const came: Job[] = []
  await hub.queues!.declare('a', { visibility: 1000, attempts: 0, dedupe: 0 })
  const consumption = await hub.queues!.consume('a', { job: (each) => void came.push(each), ended() {} })
  consumption.want(1)
  await soon(twice, 'a word')
  assert.deepEqual([came.length, asked], [1, ['watch', 'ignore', 'reserve', 'stats-job', 'stats-job']])
  await hub.close()
  server.close()
})

test('what is no beanstalkd is noticed; addresses that are none are refused', async () => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write('x'.repeat(5000)))
  })
  const port = freshPort()
  await new Promise<void>((resolve) => server.listen(port, ownHost, resolve))
  after(() => server.close())
  const hub = await beanstalk.open(`beanstalk://${ownHost}:${port}`, options)
  await assert.rejects(soon(hub.queues!.push('a', [job(1)]), 'an error'), fails('CONNECTION_LOST'))
  server.close()
  await hub.close()
  for (const wrong of ['beanstalk:', 'beanstalk://h/x', 'beanstalk://h?prefix=a.b', 'beanstalk://h?other=1'])
    await assert.rejects(beanstalk.open(wrong, options), fails('INVALID_ADDRESS'))
})

test('what it lacks is refused in words', async () => {
  const hub = await openHub(address)
  try {
    await assert.rejects(
      hub.topic('a').publish(1),
      (reason: unknown) => fails('UNSUPPORTED')(reason) && /beanstalk has no topics .*\bmqtt\b.* have it/.test((reason as Error).message),
    )
  } finally {
    await hub.close()
  }
})

test('while there is no beanstalkd what is sent fails at once as not sent', () =>
  kit.within(async () => {
    const changes = new Map<string, () => void>()
    const [lost, back] = ['lost', 'connected'].map((state) => new Promise<void>((resolve) => void changes.set(state, resolve)))
    const hub = await kit.open({ onConnection: ({ state }) => changes.get(state)!() })
    await broker.kill()
    await soon(lost!, 'lost')
    await assert.rejects(
      hub.queues!.push('a', [job(1)]),
      (reason: unknown) => fails('UNAVAILABLE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
    )
    await broker.start()
    await soon(back!, 'connected')
    assert.equal((await hub.queues!.push('a', [job(1)])).length, 1)
  }))
