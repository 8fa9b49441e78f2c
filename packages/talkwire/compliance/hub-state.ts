/** State: revisions, races, what expires, batches, listing, watching. */
import assert from 'node:assert/strict'
import type { Change, OpenDriver, Stored } from '../src/hub/driver.js'
import { soon, turns } from './ends.js'
import { bodies, fresh, upTo, type HubKit } from './hub-kit.js'

const set = (hub: OpenDriver, key: string, value: string, options = {}): Promise<string | undefined> =>
  soon(hub.state!.set(key, Buffer.from(value), 'json', options), 'set()')
const get = async (hub: OpenDriver, key: string): Promise<string | undefined> => {
  const found = await soon(hub.state!.get(key), 'get()')
  return found && Buffer.from(found.value).toString()
}

export function testHubState({ group, within, open, has, watcher }: HubKit): void {
  group('a key is what was set last; a deleted one is none', ['state'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const key = fresh()
      assert.equal(await get(other, key), undefined)
      const first = await set(hub, key, '1')
      const second = await set(hub, key, '2')
      assert.notEqual(first, second)
      const found = await other.state!.get(key)
      assert.deepEqual([found!.key, String(found!.value), found!.revision], [key, '2', second])
      assert.equal(await other.state!.delete(key), true)
      assert.equal(await hub.state!.delete(key), false)
      assert.equal(await get(hub, key), undefined)
      const third = await set(hub, key, '3')
      assert.ok(third !== undefined && third !== first && third !== second, 'a revision comes again')
    }),
  )

  group('values of every byte, empty and of 1 MB; keys of other alphabets', ['state'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const root = fresh()
      for (const [index, value] of bodies().entries()) {
        await hub.state!.set(`${root}/${index}`, value, 'bytes', {})
        const found = await other.state!.get(`${root}/${index}`)
        assert.ok(value.equals(found!.value))
        assert.equal(found!.type, 'bytes')
      }
      for (const name of ['Grüße 世界', 'a.b', '.a..b.', 'a*b>', 'a/b/', 'a:b', '=41', 'A', 'a'])
        await set(hub, `${root}${name}`, JSON.stringify(name))
      for (const name of ['Grüße 世界', 'a.b', '.a..b.', 'a*b>', 'a/b/', 'a:b', '=41', 'A', 'a'])
        assert.equal(await get(other, `${root}${name}`), JSON.stringify(name))
    }),
  )

  group('of several who compare and set, one wins', ['state', 'cas'], () =>
    within(async () => {
      const hubs = await Promise.all([open(), open(), open()])
      const key = fresh()
      for (const round of upTo(10)) {
        const before = await hubs[0]!.state!.get(key)
        const tries = await Promise.all(
          hubs.flatMap((hub, who) =>
            upTo(4).map((index) => set(hub, key, `"${round} ${who} ${index}"`, { revision: before?.revision ?? null })),
          ),
        )
        const winners = tries.filter((revision) => revision !== undefined)
        assert.equal(winners.length, 1)
        assert.equal((await hubs[1]!.state!.get(key))!.revision, winners[0])
      }
      const { revision } = (await hubs[0]!.state!.get(key))!
      assert.equal(await set(hubs[0]!, key, '1', { revision: null }), undefined)
      const newer = await set(hubs[0]!, key, '1')
      assert.equal(await set(hubs[1]!, key, '2', { revision }), undefined)
      assert.equal(await hubs[1]!.state!.delete(key, revision), false)
      assert.equal(await get(hubs[2]!, key), '1')
      assert.equal(await hubs[1]!.state!.delete(key, newer), true)
      assert.equal(await set(hubs[0]!, key, '3', { revision: newer! }), undefined)
      const created = await Promise.all(hubs.map((hub, who) => set(hub, key, String(who), { revision: null })))
      assert.equal(created.filter((each) => each !== undefined).length, 1)
    }),
  )

  group('values expire, and not before', ['state', 'ttl'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const [short, long, kept] = [fresh(), fresh(), fresh()]
      await set(hub, short, '1', { ttl: 200 })
      await set(hub, long, '1', { ttl: 3_600_000 })
      await set(hub, kept, '1', { ttl: 200 })
      await set(hub, kept, '2')
      // Its time passes with others' questions; nothing else ends it.
      while ((await get(other, short)) !== undefined);
      if (has('cas')) assert.notEqual(await set(hub, short, '2', { revision: null }), undefined)
      // The other value's time was over before; it has none any more.
      assert.equal(await get(other, long), '1')
      assert.equal(await get(other, kept), '2')
    }),
  )

  group('a batch is all or nothing', ['state', 'batch'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const [a, b, c] = [fresh(), fresh(), fresh()]
      const put = (key: string, value: string, options = {}): Change => ({
        op: 'set',
        key,
        value: Buffer.from(value),
        type: 'json',
        options,
      })
      const old = await set(hub, c, '0')
      const done = await hub.state!.batch!([put(a, '1'), put(b, '2'), { op: 'delete', key: c }])
      assert.deepEqual([done!.length, done![2]], [3, ''])
      assert.deepEqual([await get(other, a), await get(other, b), await get(other, c)], ['1', '2', undefined])
      assert.equal((await other.state!.get(a))!.revision, done![0])
      if (has('cas')) {
        assert.equal(await hub.state!.batch!([put(a, '3'), put(b, '4', { revision: old! })]), undefined)
        assert.deepEqual([await get(other, a), await get(other, b)], ['1', '2'])
        assert.equal(
          await hub.state!.batch!([
            { op: 'delete', key: a },
            { op: 'delete', key: b, revision: 'none' },
          ]),
          undefined,
        )
        assert.equal(await get(other, a), '1')
      }
      const many = Array.from({ length: 100 }, (_, index) => put(`${a}/${index}`, String(index)))
      assert.equal((await hub.state!.batch!(many))!.length, 100)
    }),
  )

  group('a prefix lists its keys', ['state', 'list'], () =>
    within(async () => {
      const hub = await open()
      const root = fresh()
      for (const name of ['a', 'a/b', 'b', 'aa']) await set(hub, `${root}/${name}`, JSON.stringify(name))
      await Promise.all(upTo(250).map((index) => set(hub, `${root}/many/${index}`, String(index))))
      await hub.state!.delete(`${root}/b`)
      const keys = async (prefix: string): Promise<string[]> => {
        const found: Stored[] = []
        for await (const each of hub.state!.list!(prefix)) found.push(each)
        assert.ok(found.every(({ value }) => value.length > 0))
        return found.map(({ key }) => key).toSorted()
      }
      assert.deepEqual(await keys(`${root}/a`), [`${root}/a`, `${root}/a/b`, `${root}/aa`])
      assert.equal((await keys(`${root}/many/`)).length, 250)
      assert.equal((await keys(`${root}/`)).length, 253)
      assert.deepEqual(await keys(`${root}/none`), [])
    }),
  )

  group('who watches learns what is there, and of each key its last change', ['state', 'watch'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const root = fresh()
      await set(hub, `${root}/there`, '"before"')
      await set(hub, `${root}x`, '"not ours"')
      const watched = await watcher(other, `${root}/`)
      await watched.until(`${root}/there`, '"before"')
      await Promise.all(upTo(20).map((index) => Promise.all(upTo(20).map((round) => set(hub, `${root}/${index}`, String(round))))))
      await set(hub, `${root}/there`, '"after"')
      for (const index of upTo(20)) await watched.until(`${root}/${index}`, await get(hub, `${root}/${index}`))
      await hub.state!.delete(`${root}/0`)
      await watched.until(`${root}/0`, undefined)
      await watched.until(`${root}/there`, '"after"')
      if (has('ttl')) {
        // One that is over before anybody looked is told to nobody.
        await set(hub, `${root}/short`, '1')
        await watched.until(`${root}/short`, '1')
        await set(hub, `${root}/short`, '1', { ttl: 100 })
        await watched.until(`${root}/short`, undefined)
      }
      assert.ok(!watched.known.has(`${root}x`))
    }),
  )

  group('who watches slowly is waited for', ['state', 'watch'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const root = fresh()
      const [slow, fence] = [await watcher(other, root), await watcher(other, root)]
      slow.full()
      for (const index of upTo(50)) await set(hub, `${root}/${index}`, '1')
      await set(hub, `${root}/last`, '1')
      await fence.until(`${root}/last`, '1')
      await turns()
      assert.ok(slow.told.length <= 1, `${slow.told.length} were told to who said false`)
      // In any order: a listing that stood still while keys came tells those that sort before its place last.
      const wanted = upTo(50)
        .map((index) => `${root}/${index}`)
        .concat(`${root}/last`)
      while (!wanted.every((key) => slow.known.has(key))) {
        slow.subscription.resume()
        await new Promise((resolve) => setImmediate(resolve))
      }
      for (const key of wanted) await slow.until(key, '1')
      const told = slow.told.length
      await soon(slow.subscription.close(), 'the end of a watch')
      await set(hub, `${root}/later`, '1')
      await fence.until(`${root}/later`, '1')
      assert.equal(slow.told.length, told)
    }),
  )
}
