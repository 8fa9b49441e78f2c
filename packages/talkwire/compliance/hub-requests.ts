/** Requests: one reply, several, nobody. */
import assert from 'node:assert/strict'
import { TalkwireError } from '../src/error.js'
import type { OpenDriver, Outgoing, Reply, Request } from '../src/hub/driver.js'
import { soon, turns } from './ends.js'
import { fresh, json, upTo, valueOf, Waiting, type HubKit } from './hub-kit.js'

class Asked extends Waiting {
  readonly replies: Reply[] = []
  stop!: () => void
  got(count: number): Promise<Reply[]> {
    return this.until(
      () => `${count} replies; ${this.replies.length} came`,
      () => (this.replies.length >= count ? this.replies : undefined),
    )
  }
}

async function ask(hub: OpenDriver, topic: string, message: Outgoing): Promise<Asked> {
  const asked = new Asked()
  const { stop } = await soon(
    hub.requests!.request(topic, message, (reply) => {
      asked.replies.push(reply)
      asked.happened()
    }),
    'request()',
  )
  asked.stop = stop
  return asked
}

export function testHubRequests({ group, within, open, has }: HubKit): void {
  const double = (request: Request): void => void request.reply(json(2 * Number(valueOf(request))), false)

  group('a request has its own reply', ['requests'], () =>
    within(async () => {
      const [server, client] = [await open(), await open()]
      const topic = fresh()
      await server.requests!.respond(topic, undefined, double)
      const asked = await Promise.all(upTo(100).map((index) => ask(client, topic, json(index))))
      const replies = await Promise.all(asked.map((each) => each.got(1)))
      assert.deepEqual(
        replies.map(([reply]) => [valueOf(reply!), reply!.more]),
        upTo(100).map((index) => [2 * index, false]),
      )
      for (const each of asked) each.stop()
    }),
  )

  group('replies come as a stream, with every byte and their headers', ['requests'], () =>
    within(async () => {
      const [server, client] = [await open(), await open()]
      const topic = fresh()
      const body = Buffer.from(Uint8Array.from({ length: 256 }, (_, index) => index))
      const headers = has('headers') ? { said: 'Grüße', 'talkwire-error': 'NONE it only looks like one' } : {}
      await server.requests!.respond(topic, undefined, async (request) => {
        assert.ok(body.equals(request.body))
        for (const index of upTo(20))
          await request.reply({ body: Buffer.concat([body, Buffer.from([index])]), type: 'bytes', headers }, index < 19)
      })
      const asked = await ask(client, topic, { body, type: 'bytes', headers })
      const replies = await asked.got(20)
      for (const [index, reply] of replies.entries()) {
        assert.ok(Buffer.concat([body, Buffer.from([index])]).equals(reply.body))
        assert.deepEqual([reply.more, reply.type, { ...reply.headers }], [index < 19, 'bytes', headers])
      }
      asked.stop()
    }),
  )

  group('where nobody answers a request fails at once', ['requests'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const topic = fresh()
      const failure = await soon(
        hub
          .requests!.request(topic, json(1), () => {})
          .then(
            ({ stop }) => void stop(),
            (reason: unknown) => reason,
          ),
        'request()',
      )
      assert.equal(failure !== undefined, has('unanswered'))
      if (failure !== undefined)
        assert.deepEqual([(failure as TalkwireError).code, (failure as TalkwireError).outcome], ['PEER_NOT_FOUND', 'not-sent'])
      const service = await other.requests!.respond(topic, undefined, double)
      const asked = await ask(hub, topic, json(2))
      assert.equal(valueOf((await asked.got(1))[0]!), 4)
      asked.stop()
      await soon(service.close(), 'the end of a responder')
      const seen = await soon(
        hub
          .requests!.request(topic, json(1), () => assert.fail('a closed responder answers'))
          .then(
            ({ stop }) => void stop(),
            (reason: unknown) => (reason as TalkwireError).code,
          ),
        'request()',
      )
      assert.equal(seen, failure === undefined ? undefined : 'PEER_NOT_FOUND')
    }),
  )

  group('of a group one answers; without a group all do', ['requests'], () =>
    within(async () => {
      const [one, two, client] = [await open(), await open(), await open()]
      const [shared, each] = [fresh(), fresh()]
      let requests = 0
      for (const hub of [one, two, two]) {
        await hub.requests!.respond(shared, 'g', (request) => {
          requests++
          double(request)
        })
        await hub.requests!.respond(each, undefined, double)
      }
      const asked = await Promise.all(upTo(50).map((index) => ask(client, shared, json(index))))
      for (const [index, question] of asked.entries()) assert.equal(valueOf((await question.got(1))[0]!), 2 * index)
      const everybody = await ask(client, each, json(7))
      assert.deepEqual((await everybody.got(3)).map(valueOf), [14, 14, 14])
      await turns()
      assert.equal(requests, 50)
      assert.ok(asked.every(({ replies }) => replies.length === 1))
      for (const question of [...asked, everybody]) question.stop()
    }),
  )

  group('a responder hears patterns, and nothing after it has closed', ['requests', 'wildcards'], () =>
    within(async () => {
      const [server, client] = [await open(), await open()]
      const root = fresh()
      const heard: string[] = []
      const service = await server.requests!.respond(`${root}.*`, undefined, (request) => {
        heard.push(request.topic)
        double(request)
      })
      const asked = await ask(client, `${root}.a`, json(1))
      await asked.got(1)
      asked.stop()
      await soon(service.close(), 'the end of a responder')
      assert.deepEqual(heard, [`${root}.a`])
    }),
  )
}
