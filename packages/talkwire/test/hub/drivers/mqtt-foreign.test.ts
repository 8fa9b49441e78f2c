/** Programs that know nothing of us, mosquitto_pub, mosquitto_sub and paho-mqtt in Python, and what a broker does beside its best. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { appendFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { soon } from '../../../compliance/ends.js'
import { fresh, hubKit, json, upTo, valueOf } from '../../../compliance/hub-kit.js'
import type { HubChange, OpenOptions } from '../../../src/hub/driver.js'
import { mqtt } from '../../../src/hub/drivers/mqtt.js'
import { openHub } from '../../../src/hub/index.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { MOSQUITTO } from './brokers.js'

const broker = await startBroker(MOSQUITTO)
const address = `mqtt://${broker.host}:${broker.port}`
const kit = hubKit({ driver: mqtt, module: '', address }, () => true)
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const PLAIN = { retain: false }
/** "secret", as mosquitto_passwd writes it. */
const SECRET = '$7$101$JACFf9YAA25tdRo9$nZSSeWKRwhnuZEQawJ90S0yt98TBguuZpocg6mnpMcYZsn3IOUb1xNEB9hmr//4x9FsyPlLAVIng1nhyhWgyjg=='
const place = ['-h', broker.host, '-p', String(broker.port)]
const pub = async (...words: string[]): Promise<void> => void (await promisify(execFile)('mosquitto_pub', [...place, '-q', '1', ...words]))

/** A line of what a program says, each time it is asked. */
function reader(program: string, words: readonly string[]): () => Promise<string> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  after(() => child.kill())
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return async () => (await soon(lines.next(), `a line of ${program} ${words.join(' ')}`)).value as string
}
const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
const peer = new URL('../../../../test/hub/fixtures/mqtt_peer.py', import.meta.url).pathname
const paho = (...words: string[]): (() => Promise<string>) => reader(python, [peer, broker.host, String(broker.port), ...words])

/** Between a hub and the broker: can be cut, and can be one that knows no MQTT 5. */
async function between({ old = false } = {}): Promise<{ readonly address: string; cut(): void; stop(): void }> {
  const open = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    socket.once('data', (hello) => {
      // The byte behind the protocol's name is its version.
      if (old && hello[hello.indexOf('MQTT') + 4] === 5) return socket.end(Buffer.from([0x20, 2, 0, 1]))
      const beyond = net.connect(broker.port, broker.host)
      for (const each of [socket, beyond]) {
        open.add(each)
        each.on('error', () => {}).on('close', () => open.delete(each))
      }
      beyond.write(hello)
      socket.pipe(beyond).pipe(socket)
      return undefined
    })
    socket.on('error', () => {})
  })
  const port = freshPort()
  await new Promise<void>((resolve) => server.listen(port, ownHost, resolve))
  const cut = (): void => {
    for (const socket of open) socket.destroy()
  }
  const stop = (): void => {
    cut()
    server.close()
  }
  after(stop)
  return { address: `mqtt://${ownHost}:${port}`, cut, stop }
}

test('mosquitto_sub sees plain messages with their properties, mosquitto_pub is heard', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const ear = await kit.listener(hub, 'orders.*')
    const read = reader('mosquitto_sub', [...place, '-V', '5', '-t', 'talkwire/orders/#', '-F', '%t|%p|%C|%P|%q', '-q', '1'])
    const ready = paho('hear', 'talkwire/orders/#')
    assert.equal(await ready(), '"ready"')
    // mosquitto_sub says nothing when it has subscribed: it has when a message comes.
    const began = fresh()
    let first = ''
    const seen = read().then((line) => (first = line))
    while (first === '') {
      await hub.topics!.publish(`orders.${began}.begin`, json(began), PLAIN)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await seen
    await hub.topics!.publish('orders.new', { ...json({ id: 1 }), headers: { to: 'all' } }, PLAIN)
    let line = first
    while (line.includes(began)) line = await read()
    assert.equal(line, 'talkwire/orders/new|{"id":1}|application/json|to:all|1')
    await pub('-V', '5', '-t', 'talkwire/orders/new', '-m', '{"id":2}', '-D', 'publish', 'user-property', 'from', 'pub')
    await pub('-V', 'mqttv311', '-t', 'talkwire/orders/new', '-m', '{"id":3}')
    const came = await ear.until(3)
    assert.deepEqual(
      came.map((message) => [message.topic, valueOf(message), message.type, { ...message.headers }]),
      [
        ['orders.new', { id: 1 }, 'json', { to: 'all' }],
        ['orders.new', { id: 2 }, undefined, { from: 'pub' }],
        ['orders.new', { id: 3 }, undefined, {}],
      ],
    )
  }))

test('paho-mqtt hears, and is one of a group', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const read = paho('hear', `talkwire/${topic}`)
    assert.equal(await read(), '"ready"')
    await hub.topics!.publish(topic, { body: Buffer.from('Grüße'), type: 'text', headers: { to: 'ärzte' } }, PLAIN)
    assert.deepEqual(JSON.parse(await read()), [`talkwire/${topic}`, 'Grüße', 'text/plain; charset=utf-8', [['to', 'ärzte']], false])
    const ours = await kit.listener(hub, topic, { group: 'g' })
    const theirs = paho('hear', `$share/g/talkwire/${topic}`)
    assert.equal(await theirs(), '"ready"')
    for (const value of upTo(4)) await hub.topics!.publish(topic, json(value), PLAIN)
    const [one, two] = await Promise.all([theirs(), theirs(), ours.until(2)])
    assert.deepEqual([...ours.values(), ...[one, two].map((line) => Number(JSON.parse(line)[1]))].toSorted(), upTo(4))
  }))

test('paho-mqtt answers requests, and asks', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const [theirs, ours] = [fresh(), fresh()]
    const responder = paho('respond', `talkwire-requests/${theirs}`)
    assert.equal(await responder(), '"ready"')
    const answered = new Promise(
      (resolve) => void hub.requests!.request(theirs, json(21), (reply) => resolve([valueOf(reply), reply.more])),
    )
    assert.deepEqual(await soon(answered, 'a reply'), [42, false])
    await hub.requests!.respond(ours, 'g', (request) => void request.reply(json(2 * Number(valueOf(request))), false))
    const asks = paho('request', `talkwire-requests/${ours}`, '4')
    assert.equal(await asks(), '"ready"')
    assert.deepEqual(JSON.parse(await asks()).slice(0, 2), ['answers/paho', '8'])
  }))

test('a request that names no place for its reply, or one that is none, has none, and does no harm', () =>
  kit.within(async () => {
    const seen: HubChange[] = []
    const hub = await kit.open({ onConnection: (change) => void seen.push(change) })
    const topic = fresh()
    const outcomes: Promise<unknown>[] = []
    let came: (() => void) | undefined
    await hub.requests!.respond(topic, undefined, (request) => {
      const refused = request.reply(json(1), false).then(
        () => 'sent',
        (reason: unknown) => (reason as { code: string }).code,
      )
      outcomes.push(refused)
      came?.()
    })
    const next = (): Promise<void> => soon(new Promise((resolve) => (came = resolve)), 'a request')
    const one = next()
    await pub('-V', '5', '-t', `talkwire-requests/${topic}`, '-m', '1')
    await one
    const two = next()
    // The tools of mosquitto check what they send.
    const hello = Buffer.from('\x10\x0d\0\x04MQTT\x05\x02\0\x0a\0\0\0')
    const name = Buffer.from(`talkwire-requests/${topic}`)
    const body = Buffer.concat([Buffer.from([0, name.length]), name, Buffer.from([6, 8, 0, 3]), Buffer.from('a/#'), Buffer.from('1')])
    const raw = net.connect(broker.port, broker.host, () => raw.write(hello))
    const ended = new Promise((resolve) => raw.once('close', resolve))
    raw.once('data', () => raw.end(Buffer.concat([Buffer.from([0x30, body.length]), body])))
    await Promise.all([two, soon(ended, 'the end of the stranger')])
    assert.deepEqual(await Promise.all(outcomes), ['sent', 'INVALID_MESSAGE'])
    await hub.topics!.publish(fresh(), json(1), PLAIN)
    assert.deepEqual(seen, [])
  }))

test('names that only others have come, and go back as they were', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const root = fresh()
    const ear = await kit.listener(hub, `${root}.>`)
    const names = ['a b', 'v1.2', 'x//y', '50%', 'ü*>', '%2E', ' ']
    for (const name of names) await pub('-t', `talkwire/${root}/${name}`, '-m', JSON.stringify(name))
    await pub('-t', `talkwire/${root}`, '-m', '"the parent"')
    await pub('-t', `talkwire/${root}/`, '-m', '"empty"')
    const came = await ear.until(names.length + 1)
    assert.deepEqual(ear.values(), [...names, 'empty'])
    assert.deepEqual(
      came.map(({ topic }) => topic.slice(root.length + 1)),
      ['a%20b', 'v1%2E2', 'x.%.y', '50%', 'ü%2A%3E', '%2E', '%20', '%'],
    )
    const back = paho('hear', `talkwire/${root}/#`)
    assert.equal(await back(), '"ready"')
    for (const { topic } of came.slice(0, 5)) await hub.topics!.publish(topic, json(1), PLAIN)
    for (const name of names.slice(0, 5)) assert.equal(JSON.parse(await back())[0], `talkwire/${root}/${name}`)
  }))

test('what is published while a subscriber has lost its connection comes when it is back', () =>
  kit.within(async () => {
    const proxy = await between()
    const seen: string[] = []
    let changed: (() => void) | undefined
    const far = await mqtt.open(proxy.address, {
      ...options,
      onConnection({ state }) {
        seen.push(state)
        changed?.()
      },
    })
    try {
      const hub = await kit.open()
      const topic = fresh()
      const [ear, other] = [await kit.listener(far, topic), await kit.listener(far, `${topic}.*`)]
      await hub.topics!.publish(topic, json(0), PLAIN)
      await ear.until(1)
      // Answered behind the acknowledgement of what came: else that would come twice.
      await far.topics!.publish(fresh(), json(0), PLAIN)
      const back = soon(
        new Promise<void>((resolve) => (changed = () => (seen.includes('connected') ? resolve() : undefined))),
        'a new connection',
      )
      proxy.cut()
      for (const value of [1, 2]) await hub.topics!.publish(topic, json(value), PLAIN)
      await ear.until(3)
      await back
      await hub.topics!.publish(`${topic}.a`, json(3), PLAIN)
      await other.until(1)
      assert.deepEqual(ear.values(), [0, 1, 2])
      assert.deepEqual(seen, ['lost', 'connected'])
    } finally {
      await far.close()
    }
  }))

test('what a member of a group that lost its connection would have had goes to the others', () =>
  kit.within(async () => {
    const proxy = await between()
    const far = await mqtt.open(proxy.address, options)
    try {
      const hub = await kit.open()
      const [topic, fence] = [fresh(), fresh()]
      const [gone, here] = [await kit.listener(far, topic, { group: 'g' }), await kit.listener(hub, topic, { group: 'g' })]
      await far.requests!.respond(fence, undefined, () => {})
      for (const value of upTo(4)) await hub.topics!.publish(topic, json(value), PLAIN)
      await Promise.all([gone.until(2), here.until(2)])
      proxy.stop()
      const there = (): Promise<boolean> =>
        hub
          .requests!.request(fence, json(1), () => {})
          .then(
            ({ stop }) => {
              stop()
              return true
            },
            (reason: unknown) => !fails('PEER_NOT_FOUND')(reason),
          )
      let tries = 0
      while (await there()) assert.ok(++tries < 1000, 'the broker keeps what is gone')
      for (const value of upTo(4)) await hub.topics!.publish(topic, json(value + 4), PLAIN)
      await here.until(6)
      assert.deepEqual(here.values().slice(2), [4, 5, 6, 7])
    } finally {
      await far.close()
    }
  }))

/** A broker that takes two messages at a time, and tells what came; packets of less than 128 bytes. */
async function narrow(came: (ack: () => void, cut: () => void) => void): Promise<string> {
  const server = net.createServer((socket) => {
    let rest = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= 2 && rest.length >= 2 + rest[1]!) {
        const packet = rest.subarray(0, 2 + rest[1]!)
        rest = rest.subarray(packet.length)
        if (packet[0] === 0x10) socket.write(Buffer.from([0x20, 6, 0, 0, 3, 0x21, 0, 2]))
        if (packet[0] !== 0x32) continue
        const id = 4 + packet.readUInt16BE(2)
        came(
          () => socket.write(Buffer.from([0x40, 2, packet[id]!, packet[id + 1]!])),
          () => socket.destroy(),
        )
      }
    })
  })
  const port = freshPort()
  await new Promise<void>((resolve) => server.listen(port, ownHost, resolve))
  after(() => server.close())
  return `mqtt://${ownHost}:${port}`
}

test('no more are on their way than the broker takes', async () => {
  let [out, most] = [0, 0]
  const where = await narrow((ack) => {
    most = Math.max(most, ++out)
    setImmediate(() => {
      out--
      ack()
    })
  })
  const hub = await mqtt.open(where, options)
  await soon(Promise.all(upTo(10).map((value) => hub.topics!.publish('a', json(value), PLAIN))), 'ten publications')
  await hub.close()
  assert.equal(most, 2)
})

test('what was on its way when the connection was lost may have come; what waited was not sent', async () => {
  let messages = 0
  const where = await narrow((_ack, cut) => {
    if (++messages === 2) cut()
  })
  const hub = await mqtt.open(where, options)
  const sent = upTo(4).map((value) =>
    hub.topics!.publish('a', json(value), PLAIN).then(
      () => 'sent',
      (reason: unknown) => [(reason as { code: string }).code, (reason as { outcome: string }).outcome],
    ),
  )
  const [lost, unsent] = [
    ['CONNECTION_LOST', 'maybe-ran'],
    ['UNAVAILABLE', 'not-sent'],
  ]
  assert.deepEqual(await soon(Promise.all(sent), 'four answers'), [lost, lost, unsent, unsent])
  await hub.close()
})

test('a broker without MQTT 5 is spoken to in 3.1.1; what that lacks is refused in words', async () => {
  const proxy = await between({ old: true })
  await assert.rejects(mqtt.open(`${proxy.address}?version=5`, options), fails('UNAVAILABLE'))
  const hub = await openHub(proxy.address)
  try {
    assert.deepEqual([hub.driver, [...hub.traits].toSorted()], ['mqtt', ['confirmed', 'retained', 'topics', 'wildcards']])
    const topic = fresh()
    const ear = await hub.topic(topic).subscribe()
    await hub.topic(topic).publish({ id: 1 })
    assert.deepEqual((await soon(ear.next(), 'a message')).value.data, { id: 1 })
    const refused = async (run: Promise<unknown>, words: RegExp): Promise<void> => {
      await assert.rejects(run, (reason: unknown) => fails('UNSUPPORTED')(reason) && words.test((reason as Error).message))
    }
    await refused(hub.topic(topic).publish(1, { headers: { a: 'b' } }), /MQTT 3\.1\.1 has no headers .*; .*\bmqtt\b.* have it/)
    await refused(hub.topic(topic).subscribe({ group: 'g' }), /MQTT 3\.1\.1 has no groups/)
    await refused(hub.topic(topic).request(1), /MQTT 3\.1\.1 has no requests/)
    await refused(hub.queue('jobs').push(1), /MQTT 3\.1\.1 has no queues/)
  } finally {
    await hub.close()
  }
})

test('what is too large is refused before it is sent', () =>
  kit.within(async () => {
    const seen: HubChange[] = []
    const long = await kit.open({ onConnection: (change) => void seen.push(change) })
    const wide = { ...json(1), headers: { wide: 'ü'.repeat(32_768) } }
    await assert.rejects(long.topics!.publish(fresh(), wide, PLAIN), fails('MESSAGE_TOO_LARGE'))
    const small = await startBroker({
      ...MOSQUITTO,
      command(host, port, folder) {
        const words = MOSQUITTO.command(host, port, folder)
        appendFileSync(path.join(folder, 'mosquitto.conf'), 'max_packet_size 20000\n')
        return words
      },
    })
    const hub = await mqtt.open(`mqtt://${small.host}:${small.port}`, { ...options, onConnection: (change) => void seen.push(change) })
    await assert.rejects(hub.topics!.publish('a', { ...json(1), body: Buffer.alloc(20_000) }, PLAIN), fails('MESSAGE_TOO_LARGE'))
    await hub.topics!.publish('a', { ...json(1), body: Buffer.alloc(10_000) }, PLAIN)
    await hub.close()
    assert.deepEqual(seen, [])
  }))

test('a password that is wrong fails with UNAUTHENTICATED; addresses and credentials say it; what is not allowed is refused', async () => {
  const guarded = await startBroker({
    command(host, port, folder) {
      const [config, users, rights] = ['mosquitto.conf', 'users', 'rights'].map((name) => path.join(folder, name)) as [
        string,
        string,
        string,
      ]
      writeFileSync(users, `ann:${SECRET}\n`, { mode: 0o600 })
      writeFileSync(rights, 'user ann\ntopic readwrite talkwire/open/#\n', { mode: 0o600 })
      writeFileSync(config, `listener ${port} ${host}\nallow_anonymous false\npassword_file ${users}\nacl_file ${rights}\nuser root\n`)
      return ['mosquitto', '-c', config]
    },
    // Refused, and so there.
    answers: (host, port) =>
      MOSQUITTO.answers(host, port).catch((reason: Error) =>
        / \\u0002\\u0000\\u0005/.test(reason.message) ? undefined : Promise.reject(reason),
      ),
  })
  const at = (who: string): string => `mqtt://${who}${guarded.host}:${guarded.port}`
  for (const wrong of [at(''), at('ann:wrong@'), `${at('ann:wrong@')}?version=3.1.1`])
    await assert.rejects(mqtt.open(wrong, options), fails('UNAUTHENTICATED'))
  for (const [where, credentials] of [
    [at('ann:secret@'), undefined],
    [at(''), { user: 'ann', password: 'secret' }],
  ] as const) {
    const hub = await mqtt.open(where, { ...options, credentials })
    try {
      await hub.topics!.publish('open.a', json(1), PLAIN)
      await assert.rejects(hub.topics!.publish('secret.a', json(1), PLAIN), fails('UNAUTHENTICATED'))
    } finally {
      await hub.close()
    }
  }
  for (const wrong of ['mqtt:', 'mqtt://h/x', 'mqtt://h?prefix=a.b', 'mqtt://h?other=1', 'mqtt://h?version=4'])
    await assert.rejects(mqtt.open(wrong, options), fails('INVALID_ADDRESS'))
})

test('while there is no broker what is sent fails at once as not sent', () =>
  kit.within(async () => {
    const changes = new Map<string, () => void>()
    const [lost, back] = ['lost', 'connected'].map((state) => new Promise<void>((resolve) => void changes.set(state, resolve)))
    const hub = await kit.open({ onConnection: ({ state }) => changes.get(state)!() })
    await broker.kill()
    await soon(lost!, 'lost')
    for (const run of [
      hub.topics!.publish('a', json(1), PLAIN),
      hub.topics!.subscribe('a', { from: 'new', group: undefined, buffer: 1 }, { message: () => true, lost() {}, ended() {} }),
    ])
      await assert.rejects(run, (reason: unknown) => fails('UNAVAILABLE')(reason) && (reason as { outcome: string }).outcome === 'not-sent')
    await broker.start()
    await soon(back!, 'connected')
    await hub.topics!.publish('a', json(1), PLAIN)
  }))
