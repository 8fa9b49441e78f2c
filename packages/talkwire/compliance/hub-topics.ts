/** Topics: order, patterns, groups, what is kept, and waiting for who is slow. */
import assert from 'node:assert/strict'
import type { BodyType } from '../src/hub/driver.js'
import { soon, turns } from './ends.js'
import { bodies, fresh, json, upTo, valueOf, type HubKit } from './hub-kit.js'

const PLAIN = { retain: false }
const KEPT = { retain: true }

export function testHubTopics({ group, within, open, has, listener }: HubKit): void {
  group('messages of each publisher come in its order, all of them', ['topics'], () =>
    within(async () => {
      const [one, two, three] = [await open(), await open(), await open()]
      const topic = fresh()
      const ears = [await listener(three, topic), await listener(one, topic)]
      const COUNT = 300
      await Promise.all(
        [one, two].map(async (hub, who) => {
          await Promise.all(upTo(COUNT).map((index) => hub.topics!.publish(topic, json([who, index]), PLAIN)))
        }),
      )
      for (const ear of ears) {
        await ear.until(2 * COUNT)
        for (const who of [0, 1])
          assert.deepEqual(
            ear.values().flatMap((value) => ((value as number[])[0] === who ? [(value as number[])[1]] : [])),
            upTo(COUNT),
          )
      }
    }),
  )

  group('bodies of every byte, empty and of 1 MB, with their type', ['topics'], () =>
    within(async () => {
      const hub = await open()
      const topic = fresh()
      const ear = await listener(await open(), topic)
      const sent = bodies()
      for (const body of sent) await hub.topics!.publish(topic, { body, type: 'bytes', headers: {} }, PLAIN)
      for (const type of ['json', 'text'] as BodyType[])
        await hub.topics!.publish(topic, { body: Buffer.from('"a"'), type, headers: {} }, PLAIN)
      const came = await ear.until(5)
      for (const [index, body] of sent.entries()) assert.ok(body.equals(came[index]!.body), `body ${index}`)
      assert.deepEqual(
        // Of bytes nothing has to be said.
        came.map(({ type }, index) => (has('headers') && index < 3 ? (type ?? 'bytes') : type)),
        // Without headers there is nowhere to say it.
        has('headers') ? ['bytes', 'bytes', 'bytes', 'json', 'text'] : came.map(() => undefined),
      )
      assert.ok(came.every((message) => message.topic === topic && !message.retained))
    }),
  )

  group('headers, also of other alphabets', ['topics', 'headers'], () =>
    within(async () => {
      const hub = await open()
      const topic = fresh()
      const ear = await listener(await open(), topic)
      const headers = { plain: 'yes', 'X-Long': 'a'.repeat(1000), unicode: 'Grüße, 世界 🎈', spaces: 'a b  c', colon: 'a: b' }
      await hub.topics!.publish(topic, { ...json(1), headers }, PLAIN)
      await hub.topics!.publish(topic, json(2), PLAIN)
      const came = await ear.until(2)
      assert.deepEqual(
        came.map((message) => ({ ...message.headers })),
        [headers, {}],
      )
    }),
  )

  group('patterns take what they say, and nothing else', ['topics', 'wildcards'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const root = fresh()
      const wanted: Record<string, string[]> = {
        [`${root}.*`]: ['a', 'b', 'a-b[c]'],
        [`${root}.>`]: ['a', 'a.b', 'a.b.c', 'b', 'b.b', 'a-b[c]'],
        [`${root}.*.b`]: ['a.b', 'b.b'],
        [`${root}.a.*`]: ['a.b'],
        [`${root}.a.>`]: ['a.b', 'a.b.c'],
        [`${root}.a`]: ['a'],
        [`${root}.a-b[c]`]: ['a-b[c]'],
      }
      const ears = await Promise.all(Object.keys(wanted).map(async (pattern) => [pattern, await listener(other, pattern)] as const))
      const topics = ['a', 'a.b', 'a.b.c', 'b', 'b.b', 'a-b[c]']
      for (const topic of topics) await hub.topics!.publish(`${root}.${topic}`, json(topic), PLAIN)
      await hub.topics!.publish(root, json('the root itself'), PLAIN)
      // A last one for each, so that what should not have come would have come before it.
      for (const [pattern, ear] of ears) {
        const last = pattern.replace('*', 'zz').replace('>', 'zz')
        await hub.topics!.publish(last, json('last'), PLAIN)
        await ear.listener.until('the last message', () => (ear.values().includes('last') ? true : undefined))
        assert.deepEqual(
          ear.values().filter((value) => topics.includes(value as string)),
          wanted[pattern],
          pattern,
        )
        assert.ok(!ear.values().includes('the root itself'), pattern)
      }
    }),
  )

  group('nothing comes after a subscription has closed; it ends once, without an error', ['topics'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const topic = fresh()
      const [closed, fence] = [await listener(other, topic), await listener(other, topic)]
      await hub.topics!.publish(topic, json(1), PLAIN)
      await Promise.all([closed.until(1), fence.until(1)])
      await closed.close()
      await closed.close()
      await hub.topics!.publish(topic, json(2), PLAIN)
      await fence.until(2)
      assert.deepEqual(closed.values(), [1])
      assert.deepEqual(closed.listener.ends, [undefined])
    }),
  )

  group('close delivers what was published, and ends the subscriptions', ['topics'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const topic = fresh()
      const [ear, own] = [await listener(other, topic), await listener(hub, topic)]
      const sent = upTo(200).map((index) => hub.topics!.publish(topic, json(index), PLAIN))
      await soon(hub.close(), 'close()')
      await soon(Promise.all(sent), 'what was published before')
      await ear.until(200)
      assert.deepEqual(ear.values(), upTo(200))
      assert.deepEqual(own.listener.ends, [undefined])
    }),
  )

  group('a group gets each message once, whoever of it is there', ['topics', 'groups'], () =>
    within(async () => {
      const hub = await open()
      const [one, two] = [await open(), await open()]
      const topic = fresh()
      const members = await Promise.all([one, two, two].map((each) => listener(each, topic, { group: 'workers' })))
      const lone = await listener(one, topic, { group: 'others' })
      const all = await listener(two, topic)
      await Promise.all(upTo(200).map((index) => hub.topics!.publish(topic, json(index), PLAIN)))
      await Promise.all([lone.until(200), all.until(200)])
      const came = (): unknown[] => members.flatMap((member) => member.values())
      await soon(
        new Promise<void>((resolve) => {
          const look = (): void => (came().length >= 200 ? resolve() : void setImmediate(look))
          look()
        }),
        () => `200 messages for the group; ${came().length} came`,
      )
      await turns()
      assert.deepEqual(
        came().toSorted((a, b) => Number(a) - Number(b)),
        upTo(200),
      )
      assert.deepEqual(lone.values(), upTo(200))
      assert.deepEqual(all.values(), upTo(200))
    }),
  )

  group('a group goes on where it was when all members were away', ['topics', 'groups', 'resume'], () =>
    within(async () => {
      const hub = await open()
      const topic = fresh()
      const first = await listener(hub, topic, { group: 'g' })
      await hub.topics!.publish(topic, json(1), PLAIN)
      await first.until(1)
      await first.close()
      for (const value of [2, 3]) await hub.topics!.publish(topic, json(value), PLAIN)
      const second = await listener(await open(), topic, { group: 'g' })
      await hub.topics!.publish(topic, json(4), PLAIN)
      await second.until(3)
      assert.deepEqual(second.values(), [2, 3, 4])
      assert.deepEqual(first.values(), [1])
    }),
  )

  group('the retained value comes first, once, and is the last', ['topics', 'retained'], () =>
    within(async () => {
      const hub = await open()
      const root = fresh()
      const [topic, plain] = [`${root}.a`, `${root}.b`]
      await hub.topics!.publish(topic, json('old'), KEPT)
      await hub.topics!.publish(topic, json('kept'), KEPT)
      await hub.topics!.publish(topic, json('not kept'), PLAIN)
      await hub.topics!.publish(plain, json('not kept'), PLAIN)
      const other = await open()
      const ears = [await listener(other, topic)]
      if (has('wildcards')) ears.push(await listener(other, `${root}.*`))
      for (const ear of ears) {
        const [kept] = await ear.until(1)
        assert.deepEqual([valueOf(kept!), kept!.retained, kept!.topic], ['kept', true, topic])
      }
      const early = await listener(other, `${root}.later`)
      await hub.topics!.publish(`${root}.later`, json('live'), KEPT)
      await hub.topics!.publish(topic, json('live'), PLAIN)
      for (const ear of ears) await ear.listener.until('the live one', () => (ear.values().includes('live') ? true : undefined))
      for (const ear of ears)
        assert.deepEqual(
          ear.messages.filter(({ topic: of }) => of === topic).map((each) => [valueOf(each), each.retained]),
          [
            ['kept', true],
            ['live', false],
          ],
        )
      await early.until(1)
      assert.deepEqual(
        early.messages.map((each) => [valueOf(each), each.retained]),
        [['live', false]],
      )
    }),
  )

  group('what is kept is told again: all, after a position, from a time on', ['topics', 'replay'], () =>
    within(async () => {
      const hub = await open()
      const topic = fresh()
      const live = await listener(hub, topic)
      for (const value of upTo(10)) await hub.topics!.publish(topic, json(value), PLAIN)
      const came = await live.until(10)
      assert.ok(came.every(({ position, time }) => position !== undefined && time !== undefined))
      const other = await open()
      const all = await listener(other, topic, { from: 'all' })
      const after = await listener(other, topic, { from: { after: came[3]!.position! } })
      const time = came[5]!.time!
      const since = await listener(other, topic, { from: { time } })
      const later = upTo(10).filter((index) => came[index]!.time! >= time)
      const never = await listener(other, topic, { from: { time: Date.now() + 3_600_000 } })
      await hub.topics!.publish(topic, json(10), PLAIN)
      await Promise.all([live.until(11), all.until(11), after.until(7), since.until(later.length + 1)])
      assert.deepEqual(all.values(), upTo(11))
      assert.deepEqual(after.values(), upTo(11).slice(4))
      assert.deepEqual(since.values(), [...later, 10])
      assert.deepEqual(
        all.messages.map(({ position, time: when }) => [position, when]),
        all.messages.map((_, index) => [live.messages[index]!.position, live.messages[index]!.time]),
      )
      await never.close()
    }),
  )

  group('who is slow gets no more than its buffer, and loses nothing', ['topics', 'backpressure'], () =>
    within(async () => {
      const hub = await open()
      const other = await open()
      const topic = fresh()
      const slow = await listener(other, topic, {}, 5)
      const fence = await listener(other, topic)
      await Promise.all(upTo(500).map((index) => hub.topics!.publish(topic, json(index), PLAIN)))
      await fence.until(500)
      await slow.until(5)
      await turns()
      assert.equal(slow.messages.length, 5)
      for (let got = 5; got < 500; got += 55) {
        slow.listener.room = 55
        slow.listener.subscription.resume()
        await slow.until(got + 55)
        await turns()
        assert.equal(slow.messages.length, got + 55)
      }
      slow.listener.room = Infinity
      slow.listener.subscription.resume()
      await hub.topics!.publish(topic, json(500), PLAIN)
      await slow.until(501)
      assert.deepEqual(slow.values(), upTo(501))
      assert.equal(slow.listener.lostCount, 0)
    }),
  )
}
