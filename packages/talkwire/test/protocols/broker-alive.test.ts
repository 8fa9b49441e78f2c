/** Who is gone behind a broker, and who only seems to be: what is on its way is delivered by the test, one message after the other. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OpenDriver, Outgoing, Reply, Request } from '../../src/hub/driver.js'
import type { BrokerConnection } from '../../src/protocols/broker.js'
import type { Looking } from '../../src/protocols/broker-alive.js'
import { BrokerCallee } from '../../src/protocols/broker-call.js'
import { Served, type Topics } from '../../src/protocols/broker-serve.js'
import type { Answer, Caller, DialectClientOptions, DialectServerOptions } from '../../src/protocols/dialect.js'
import type { Meta } from '../../src/protocols/message.js'
import type { Service } from '../../src/session/service.js'
import { withDefaults } from '../../src/session/limits.js'

const topics: Topics = { calls: 'rpc.bank', control: 'control.bank', events: 'events.bank' }
const limits = withDefaults({})

interface Ear {
  readonly pattern: string
  readonly group: string | undefined
  readonly who: string
  readonly hear: (request: Request) => void
}

/** A broker that holds what it is given until the test lets it go. */
function openBroker() {
  let takes: Promise<void> | undefined
  const ears: Ear[] = []
  const boxes = new Map<string, (() => void)[]>()
  const put = (who: string, message: () => void): void => void (boxes.get(who) ?? boxes.set(who, []).get(who)!).push(message)
  const fits = (topic: string, pattern: string): boolean =>
    topic === pattern || (pattern.endsWith('.>') && topic.startsWith(pattern.slice(0, -1)))
  const driverOf = (me: string): OpenDriver => {
    const request = async (topic: string, message: Outgoing, onReply: (reply: Reply) => void): Promise<{ stop: () => void }> => {
      if (takes) await takes
      if (!ears.some(({ pattern }) => fits(topic, pattern))) throw new Error('nobody responds')
      let stopped = false
      const groups = new Set<string>()
      for (const { pattern, group, who, hear } of ears) {
        if (!fits(topic, pattern) || (group !== undefined && groups.has(group))) continue
        if (group !== undefined) groups.add(group)
        const reply = (out: Outgoing, more: boolean): Promise<void> => {
          put(me, () => stopped || onReply({ ...out, more } as Reply))
          return Promise.resolve()
        }
        put(who, () => hear({ ...message, topic, reply } as unknown as Request))
      }
      return { stop: () => void (stopped = true) }
    }
    const respond = (pattern: string, group: string | undefined, hear: (request: Request) => void) => {
      ears.push({ pattern, group, who: me, hear })
      return Promise.resolve({ resume() {}, close: () => Promise.resolve() })
    }
    return { requests: { request, respond } } as unknown as OpenDriver
  }
  return {
    driverOf,
    /** So many of what is on its way to one, or all. */
    deliver(who: string, count = Infinity): number {
      const box = boxes.get(who) ?? []
      let delivered = 0
      while (delivered < count && box.length > 0) {
        box.shift()!()
        delivered++
      }
      return delivered
    },
    /** It takes nothing until what this returns is called. */
    stall(): () => void {
      let go!: () => void
      takes = new Promise((resolve) => (go = resolve))
      return go
    },
    /** The process dies with all that it has not said. */
    leave(who: string): void {
      for (let index = ears.length; index-- > 0;) if (ears[index]!.who === who) ears.splice(index, 1)
      boxes.delete(who)
    },
  }
}

function byHand(): { begin: Looking; look: () => void } {
  let looks: () => void = () => {}
  return {
    begin: (look) => {
      looks = look
      return () => {}
    },
    look: () => looks(),
  }
}

const ended: Pick<BrokerConnection, 'onEnd'> = { onEnd() {} }

type Broker = ReturnType<typeof openBroker>

/** Calls that have come to an instance, in the order in which they came. */
interface Came {
  readonly method: string
  readonly answer: Answer
  readonly inputs: unknown[]
  cancelled: number
}

async function instanceOf(broker: Broker, name: string): Promise<{ came: Came[]; look: () => void }> {
  const { begin, look } = byHand()
  const came: Came[] = []
  const caller = {
    call(method: string, _params: unknown, _meta: Meta | undefined, answer: Answer) {
      const call: Came = { method, answer, inputs: [], cancelled: 0 }
      came.push(call)
      return {
        cancel: () => void call.cancelled++,
        grant() {},
        input: (value: unknown) => call.inputs.push(value),
        endInput() {},
      }
    },
  } as unknown as Caller
  const options = { limits, onError: (reason: unknown) => assert.fail(String(reason)) } as unknown as DialectServerOptions
  const service = { name: 'bank', contract: undefined } as unknown as Service
  const served = new Served(broker.driverOf(name), topics, service, ended as BrokerConnection, () => caller, options, begin)
  await served.listen()
  return { came, look }
}

function clientOf(broker: Broker) {
  const { begin, look } = byHand()
  const options = { limits, contract: undefined, onEvent() {}, onClosed() {} } as unknown as DialectClientOptions
  const callee = new BrokerCallee(broker.driverOf('client'), topics, options, ended, begin)
  const call = (method: string, meta?: Meta) => {
    const told: string[] = []
    let items = 0
    const answer: Answer = {
      result: (value) => void told.push(`result ${String(value)}`),
      error: ({ code, outcome }) => void told.push(`${code}/${outcome}`),
      item: () => ++items,
    }
    return { told, open: callee.call(method, [], meta, answer), items: () => items }
  }
  return { call, look }
}

const LOST = ['CONNECTION_LOST/maybe-ran']
/** What follows a promise of the broker's has followed. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('broker: answers behind a busy stream are waited for, for its call and for others of that instance', async () => {
  const broker = openBroker()
  const bank = await instanceOf(broker, 'bank')
  const client = clientOf(broker)
  const [watched, waited] = [client.call('watch', { credit: 1_000_000 }), client.call('wait')]
  broker.deliver('bank')
  broker.deliver('client', 1)
  const [watch, wait] = bank.came as [Came, Came]
  for (let turn = 0; turn < 30; turn++) {
    for (let item = 0; item < 5; item++) watch.answer.item(item, 1)
    client.look()
    await settled()
    broker.deliver('bank')
    broker.deliver('client', 3)
  }
  assert.deepEqual([watched.told, waited.told], [[], []])
  broker.deliver('client')
  assert.equal(watched.items(), 150)
  wait.answer.result('late')
  broker.deliver('client')
  assert.deepEqual(waited.told, ['result late'])
  // Silence is another thing.
  broker.leave('bank')
  for (let turn = 0; turn < 3; turn++) {
    assert.deepEqual(watched.told, [])
    client.look()
    await settled()
  }
  assert.deepEqual(watched.told, LOST)
})

test('broker: who died with a call is gone, however busy another instance is and however late it answers', async () => {
  for (const lag of [0, 20]) {
    const broker = openBroker()
    await instanceOf(broker, 'dead')
    const client = clientOf(broker)
    const waited = client.call('wait')
    broker.deliver('dead')
    broker.leave('dead')
    const busy = await instanceOf(broker, 'busy')
    const watched = client.call('watch', { credit: 1_000_000 })
    broker.deliver('busy')
    const [watch] = busy.came as [Came]
    for (let item = 0; item < lag; item++) watch.answer.item(item, 1)
    let turns = 0
    for (; waited.told.length === 0 && turns < 100; turns++) {
      watch.answer.item(turns, 1)
      client.look()
      await settled()
      broker.deliver('busy')
      broker.deliver('client', 2)
    }
    assert.deepEqual([waited.told, watched.told], [LOST, []])
    assert.ok(turns >= 4 + lag / 2, `${turns} looks, ${lag} messages behind`)
  }
})

test('broker: who died with a call is gone while another instance has only calls that are young', async () => {
  const broker = openBroker()
  await instanceOf(broker, 'dead')
  const client = clientOf(broker)
  const waited = client.call('wait')
  broker.deliver('dead')
  broker.leave('dead')
  const busy = await instanceOf(broker, 'busy')
  let turns = 0
  for (; waited.told.length === 0 && turns < 100; turns++) {
    client.call('watch', { credit: 1_000_000 })
    broker.deliver('busy')
    busy.came.at(-1)!.answer.item(0, 1)
    client.look()
    await settled()
    busy.came.at(-1)!.answer.result(undefined)
    broker.deliver('busy')
    broker.deliver('client')
  }
  assert.deepEqual(waited.told, LOST)
})

test('broker: whose a call is, is known by its answer: no other instance is waited for', async () => {
  const broker = openBroker()
  await instanceOf(broker, 'dead')
  const client = clientOf(broker)
  const waited = client.call('wait')
  const round = async (): Promise<void> => {
    client.look()
    await settled()
    broker.deliver('dead')
    broker.deliver('client', 1)
  }
  for (let turns = 0; turns < 3; turns++) await round()
  broker.leave('dead')
  const busy = await instanceOf(broker, 'busy')
  client.call('watch', { credit: 1_000_000 })
  broker.deliver('busy')
  for (let item = 0; item < 20; item++) busy.came[0]!.answer.item(item, 1)
  for (let turns = 0; turns < 4; turns++) await round()
  assert.deepEqual(waited.told, LOST)
})

test('broker: an answer that comes after the next question counts', async () => {
  const broker = openBroker()
  await instanceOf(broker, 'bank')
  const client = clientOf(broker)
  const waited = client.call('wait')
  broker.deliver('bank')
  for (let turns = 0; turns < 3; turns++) {
    client.look()
    await settled()
    broker.deliver('bank')
  }
  assert.equal(broker.deliver('client', 1), 1)
  for (let turns = 0; turns < 2; turns++) {
    client.look()
    await settled()
    assert.deepEqual(waited.told, [])
    broker.deliver('bank')
    broker.deliver('client', 1)
  }
})

test('broker: who stands in for a service in another language answers without a name', async () => {
  const broker = openBroker()
  const stranger = broker.driverOf('stranger').requests!
  await stranger.respond('rpc.bank.>', 'talkwire', () => {})
  await stranger.respond('control.bank', undefined, (request) => {
    void request.reply({ body: request.body, type: 'json', headers: {} }, false)
  })
  const client = clientOf(broker)
  const waited = client.call('wait')
  for (let turns = 0; turns < 10; turns++) {
    client.look()
    await settled()
    broker.deliver('stranger')
    broker.deliver('client')
  }
  assert.deepEqual(waited.told, [])
  broker.leave('stranger')
  for (let turns = 0; turns < 3; turns++) {
    client.look()
    await settled()
  }
  assert.deepEqual(waited.told, LOST)
})

test('broker: who answers no questions has a call for as long as something comes of it', async () => {
  const broker = openBroker()
  const stranger = broker.driverOf('stranger').requests!
  let call: Request | undefined
  await stranger.respond('rpc.bank.>', 'talkwire', (request) => void (call = request))
  const client = clientOf(broker)
  const watched = client.call('watch', { credit: 1_000_000 })
  broker.deliver('stranger')
  for (let turns = 0; turns < 10; turns++) {
    void call!.reply({ body: Buffer.from('5'), type: 'json', headers: { 'talkwire-part': 'item' } }, true)
    broker.deliver('client')
    client.look()
    await settled()
  }
  assert.deepEqual([watched.told, watched.items()], [[], 10])
})

test('broker: an answer that is no list of calls is none', async () => {
  const broker = openBroker()
  const liar = broker.driverOf('liar').requests!
  await liar.respond('rpc.bank.>', 'talkwire', () => {})
  await liar.respond('control.bank', undefined, (request) => {
    for (const text of ['{', 'null', '{}', '[null, 5, ["x"]]', '"x"'])
      void request.reply({ body: Buffer.from(text), type: 'json', headers: {} }, true)
  })
  const client = clientOf(broker)
  const waited = client.call('wait')
  for (let turns = 0; turns < 4; turns++) {
    client.look()
    await settled()
    broker.deliver('liar')
    broker.deliver('client')
  }
  assert.deepEqual(waited.told, LOST)
})

test('broker: a call whose caller sends its input is not cancelled because the question is behind it', async () => {
  const broker = openBroker()
  const bank = await instanceOf(broker, 'bank')
  const client = clientOf(broker)
  const loaded = client.call('load', { input: true })
  const waited = client.call('wait')
  broker.deliver('bank')
  broker.deliver('client')
  const [load, wait] = bank.came as [Came, Came]
  for (let turns = 0; turns < 20; turns++) {
    for (let input = 0; input < 11; input++) loaded.open.input(input, 1)
    client.look()
    await settled()
    broker.deliver('bank', 2)
    bank.look()
    broker.deliver('client')
  }
  assert.deepEqual([load.cancelled, wait.cancelled, waited.told], [0, 0, []])
  broker.deliver('bank')
  assert.equal(load.inputs.length, 220)
  // All questions have come by now. Then the caller is silent: that it was heard is one look, and four are too many.
  for (let looks = 0; looks < 4; looks++) {
    bank.look()
    assert.deepEqual([load.cancelled, wait.cancelled], [0, 0])
  }
  bank.look()
  assert.deepEqual([load.cancelled, wait.cancelled], [1, 1])
})

/** A caller by hand. */
function strangerOf(broker: Broker) {
  const { request } = broker.driverOf('stranger').requests!
  const say = (topic: string, value: unknown, headers: Record<string, string>) =>
    request(topic, { body: Buffer.from(JSON.stringify(value)), type: 'json', headers }, () => {})
  return {
    load: (id: string) => say('rpc.bank.load', [], { 'talkwire-call': id, 'talkwire-input': 'stream' }),
    input: (id: string) => say('control.bank', 5, { 'talkwire-control': 'input', 'talkwire-call': id }),
    ask: (...ids: string[]) => say('control.bank', ids, { 'talkwire-control': 'alive' }),
  }
}

test('broker: what the broker has not taken was not asked', async () => {
  const broker = openBroker()
  await instanceOf(broker, 'bank')
  const client = clientOf(broker)
  const waited = client.call('wait')
  await settled()
  broker.deliver('bank')
  const go = broker.stall()
  for (let turns = 0; turns < 10; turns++) {
    client.look()
    await settled()
  }
  assert.deepEqual(waited.told, [])
  go()
  await settled()
  client.look()
  assert.deepEqual(waited.told, LOST)
})

test('broker: a call that its caller has forgotten is cancelled while that one is busy with others', async () => {
  const broker = openBroker()
  const bank = await instanceOf(broker, 'bank')
  const { load, input, ask } = strangerOf(broker)
  for (const id of ['me.1', 'me.2', 'me.3']) await load(id)
  broker.deliver('bank')
  const cancelled = (): number[] => bank.came.map((each) => each.cancelled)
  for (let looks = 0; looks < 5; looks++) {
    assert.deepEqual(cancelled(), [0, 0, 0])
    await input('me.1')
    // One after the other, as some may ask.
    await ask('me.3')
    await ask('me.4')
    broker.deliver('bank')
    bank.look()
  }
  assert.deepEqual(cancelled(), [0, 1, 0])
})

test('broker: a caller that is silent does not live by what others say', async () => {
  const broker = openBroker()
  const bank = await instanceOf(broker, 'bank')
  const { load, input } = strangerOf(broker)
  for (const id of ['me.1', 'you.1', 'they']) await load(id)
  broker.deliver('bank')
  for (let looks = 0; looks < 5; looks++) {
    await input('me.1')
    broker.deliver('bank')
    bank.look()
  }
  assert.deepEqual(
    bank.came.map((each) => each.cancelled),
    [0, 1, 1],
  )
})

test('broker: an instance that stood still cancels nothing of a caller that asked meanwhile', async () => {
  const broker = openBroker()
  const bank = await instanceOf(broker, 'bank')
  const { load, ask } = strangerOf(broker)
  await load('me.1')
  broker.deliver('bank')
  const [call] = bank.came as [Came]
  for (let minutes = 0; minutes < 6; minutes++) {
    for (let questions = 0; questions < 20; questions++) await ask('me.1')
    // Timers come before what has arrived, and one for all that were missed.
    bank.look()
    broker.deliver('bank')
  }
  assert.equal(call.cancelled, 0)
})
