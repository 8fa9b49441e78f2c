/** Queues: nothing is lost, nothing is in two hands, and what comes back comes when it should. */
import assert from 'node:assert/strict'
import type { Job, NewJob, OpenDriver } from '../src/hub/driver.js'
import { TalkwireError } from '../src/error.js'
import { soon, turns } from './ends.js'
import { bodies, fresh, json, takeAndDie, upTo, valueOf, type HubKit } from './hub-kit.js'

const job = (value: unknown, wish: Partial<NewJob> = {}): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined, ...wish })
const push = (hub: OpenDriver, queue: string, ...jobs: NewJob[]): Promise<readonly string[]> =>
  soon(hub.queues!.push(queue, jobs), 'push()')
const values = (jobs: readonly Job[]): unknown[] => jobs.map(valueOf)
/** As long as every broker can. */
const LONG = 900_000
const number = (one: unknown, other: unknown): number => Number(one) - Number(other)

export function testHubQueues({ group, within, open, has, worker, far, words }: HubKit): void {
  group('each job is done once, by whoever is there', ['queues'], () =>
    within(async () => {
      const [hub, one, two] = [await open(), await open(), await open()]
      const queue = fresh()
      const workers = [await worker(one, queue), await worker(two, queue), await worker(two, queue)]
      const ids = await push(hub, queue, ...upTo(50).map((index) => job(index)))
      assert.equal(new Set(ids).size, 50)
      for (const each of workers) each.consumption.want(5)
      const done: unknown[] = []
      const taken = new Set<Job>()
      for (const index of upTo(100)) if (index >= 50) await push(hub, queue, job(index))
      while (done.length < 100) {
        for (const each of workers)
          for (const next of each.jobs) {
            if (taken.has(next)) continue
            taken.add(next)
            done.push(valueOf(next))
            await soon(next.ack(), 'ack()')
          }
        await new Promise((resolve) => setImmediate(resolve))
      }
      await turns()
      assert.deepEqual(done.toSorted(number), upTo(100))
      if (has('inspect')) assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 0, dead: 0 })
    }),
  )

  group('jobs come in the order in which they were pushed', ['queues', 'ordered'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      await push(hub, queue, ...upTo(100).map((index) => job(index)))
      one.consumption.want(100)
      const jobs = await one.until(100)
      assert.deepEqual(values(jobs), upTo(100))
      assert.ok(jobs.every(({ attempt }) => attempt === (has('attempts') ? 1 : attempt)))
      await Promise.all(jobs.map((each) => each.ack()))
    }),
  )

  group('bodies of every byte, empty and of 1 MB, with their headers', ['queues'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      const sent = bodies()
      const headers = has('headers') ? { said: 'Grüße, 世界' } : {}
      await push(hub, queue, ...sent.map((body) => job(0, { body, type: 'bytes', headers })))
      one.consumption.want(10)
      for (const [index, each] of (await one.until(3)).entries()) {
        assert.ok(sent[index]!.equals(each.body))
        // Without headers there is nowhere to say it.
        assert.deepEqual([each.type, { ...each.headers }], [has('headers') ? 'bytes' : undefined, headers])
        await each.ack()
      }
    }),
  )

  group('no more are out than are wanted', ['queues'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      const fence = await worker(hub, `${queue}-fence`)
      fence.consumption.want(1)
      const settled = async (): Promise<void> => {
        // The job may be there before its push is answered.
        const before = fence.jobs.length
        await push(hub, `${queue}-fence`, job(0))
        const jobs = await fence.until(before + 1)
        await jobs.at(-1)!.ack()
        await turns()
      }
      await push(hub, queue, ...upTo(30).map((index) => job(index)))
      await settled()
      assert.equal(one.jobs.length, 0)
      one.consumption.want(3)
      await one.until(3)
      await settled()
      assert.equal(one.jobs.length, 3)
      await one.jobs[0]!.ack()
      await one.until(4)
      one.consumption.want(1)
      await one.jobs[1]!.ack()
      await one.jobs[2]!.ack()
      await settled()
      assert.equal(one.jobs.length, 4)
      one.consumption.want(0)
      await one.jobs[3]!.ack()
      await settled()
      assert.equal(one.jobs.length, 4)
      one.consumption.want(26)
      await one.until(30)
      assert.deepEqual(values(one.jobs).toSorted(number), upTo(30))
      await Promise.all(one.jobs.slice(4).map((each) => each.ack()))
    }),
  )

  group('no job comes after a consumption has closed; what is out can still be settled', ['queues'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const queue = fresh()
      const one = await worker(other, queue)
      await push(hub, queue, ...upTo(10).map((index) => job(index)))
      one.consumption.want(2)
      const out = [...(await one.until(2))]
      await soon(one.consumption.close(), 'the end of a consumption')
      const there = one.jobs.length
      await push(hub, queue, job(10))
      const two = await worker(hub, queue)
      two.consumption.want(100)
      await two.until(11 - there)
      assert.equal(one.jobs.length, there)
      assert.deepEqual(one.ends, [undefined])
      for (const each of out) await soon(each.ack(), 'ack()')
      assert.deepEqual([...values(out), ...values(two.jobs)].toSorted(number), upTo(11))
      await Promise.all(two.jobs.map((each) => each.ack()))
    }),
  )

  group('what a consumption that closes still wanted goes to others', ['queues'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const queue = fresh()
      const one = await worker(other, queue)
      const two = await worker(hub, queue)
      one.consumption.want(100)
      const closing = one.consumption.close()
      // While it closes, and behind it.
      await push(hub, queue, ...upTo(10).map((index) => job(index)))
      await soon(closing, 'the end of a consumption')
      await push(hub, queue, ...upTo(10).map((index) => job(10 + index)))
      for (const each of one.jobs) await soon(each.ack(), 'ack()')
      two.consumption.want(100)
      const jobs = await two.until(20 - one.jobs.length)
      assert.deepEqual([...values(one.jobs), ...values(jobs)].toSorted(number), upTo(20))
      await Promise.all(jobs.map((each) => each.ack()))
    }),
  )

  group('a job that is given back comes again, at once or later', ['queues', 'nack'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      await push(hub, queue, job('a'))
      one.consumption.want(1)
      await (await one.until(1))[0]!.nack(0)
      const second = (await one.until(2))[1]!
      if (has('attempts')) assert.equal(second.attempt, 2)
      if (has('inspect')) assert.equal((await hub.queues!.counts!(queue)).taken, 1)
      const since = performance.now()
      await second.nack(300)
      const third = (await one.until(3))[2]!
      assert.ok(performance.now() - since >= 290, 'it came before its time')
      assert.deepEqual(values(one.jobs), ['a', 'a', 'a'])
      if (has('attempts')) assert.equal(third.attempt, 3)
      await third.ack()
    }),
  )

  group('a job whose consumer was killed comes to another', ['queues', 'visibility'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(hub, queue, { visibility: 300 })
      await push(hub, queue, job('a'))
      await takeAndDie({ far, words }, queue, 300)
      one.consumption.want(1)
      const [again] = await one.until(1)
      assert.equal(valueOf(again!), 'a')
      if (has('attempts')) assert.equal(again!.attempt, 2)
      await again!.ack()
    }),
  )

  group('an acknowledgement that comes too late is refused', ['queues', 'visibility', 'receipts'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const queue = fresh()
      const [slow, quick] = [await worker(hub, queue, { visibility: 200 }), await worker(other, queue, { visibility: 200 })]
      await push(hub, queue, job('a'))
      slow.consumption.want(1)
      const [late] = await slow.until(1)
      quick.consumption.want(1)
      const [now] = await quick.until(1)
      await now!.extend(60_000)
      for (const settle of [() => late!.extend(1000), () => late!.ack()])
        await assert.rejects(
          soon(settle(), 'an error'),
          (reason: unknown) => reason instanceof TalkwireError && reason.code === 'NOT_FOUND',
        )
      await now!.ack()
      if (has('inspect')) assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 0, dead: 0 })
    }),
  )

  group('who asks for more time has it', ['queues', 'visibility', 'extend'], () =>
    within(async () => {
      const [hub, other] = [await open(), await open()]
      const queue = fresh()
      const [one, two] = [await worker(hub, queue, { visibility: 400 }), await worker(other, queue, { visibility: 400 })]
      await push(hub, queue, job('long'))
      one.consumption.want(1)
      const [long] = await one.until(1)
      await long!.extend(60_000)
      // A job that nobody extends comes back meanwhile, three times: the long one's first time is over by then.
      two.consumption.want(10)
      const other_ = job('short')
      await push(hub, queue, other_)
      const came = await two.until(2)
      assert.deepEqual([...new Set(values(came))], ['short'])
      await long!.ack()
      await came.at(-1)!.ack()
    }),
  )

  group(
    'what was handed out too often, or is called dead, is among the dead letters; revived, it begins anew',
    ['queues', 'attempts', 'dead', 'nack'],
    () =>
      within(async () => {
        const hub = await open()
        const queue = fresh()
        const headers = has('headers') ? { said: 'yes' } : {}
        const one = await worker(await open(), queue, { attempts: 2 })
        await push(hub, queue, job('again', { headers }), job('bad'))
        one.consumption.want(1)
        const taken = new Set<Job>()
        const next = async (): Promise<Job> => {
          const jobs = await one.until(taken.size + 1)
          const fresh_ = jobs.find((each) => !taken.has(each))!
          taken.add(fresh_)
          return fresh_
        }
        const attempts: unknown[] = []
        for (const _ of upTo(3)) {
          const each = await next()
          attempts.push([valueOf(each), each.attempt])
          if (valueOf(each) === 'bad') await each.dead('no good')
          else if (each.attempt < 2) await each.nack(0)
          else {
            // A dead letter at once, though nobody asks for another job.
            one.consumption.want(0)
            await each.nack(0)
            const letters = await hub.queues!.deadLetters!(queue, 10)
            assert.ok(letters.map(valueOf).includes('again'))
            one.consumption.want(1)
          }
        }
        assert.deepEqual(attempts.toSorted(), [
          ['again', 1],
          ['again', 2],
          ['bad', 1],
        ])
        await push(hub, queue, job('fence'))
        const fence = await next()
        assert.equal(valueOf(fence), 'fence')
        const letters = await hub.queues!.deadLetters!(queue, 10)
        const byValue = new Map(letters.map((letter) => [valueOf(letter), letter]))
        assert.deepEqual([...byValue.keys()].toSorted(), ['again', 'bad'])
        assert.equal(byValue.get('bad')!.reason, 'no good')
        assert.match(byValue.get('again')!.reason, /2 times/)
        assert.deepEqual({ ...byValue.get('again')!.headers }, headers)
        assert.equal((await hub.queues!.deadLetters!(queue, 1)).length, 1)
        if (has('inspect')) assert.equal((await hub.queues!.counts!(queue)).dead, 2)
        assert.equal(await hub.queues!.revive!(queue, [byValue.get('again')!.id]), 1)
        assert.equal(await hub.queues!.revive!(queue, [byValue.get('again')!.id]), 0)
        await fence.ack()
        const revived = await next()
        assert.deepEqual([valueOf(revived), revived.attempt], ['again', 1])
        await revived.ack()
        assert.deepEqual((await hub.queues!.deadLetters!(queue, 10)).map(valueOf), ['bad'])
      }),
  )

  group('a delayed job comes when its time has come, not before', ['queues', 'delay'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      one.consumption.want(10)
      const since = performance.now()
      await push(hub, queue, job('later', { delay: 300 }), job('now'), job('never', { delay: LONG }))
      if (has('inspect')) assert.ok((await hub.queues!.counts!(queue)).delayed >= 1)
      const jobs = await one.until(2)
      assert.ok(performance.now() - since >= 290, 'it came before its time')
      assert.deepEqual(values(jobs), ['now', 'later'])
      await Promise.all(jobs.map((each) => each.ack()))
    }),
  )

  group('the higher priority goes first', ['queues', 'priority'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      const priorities = [0, 9, 3, 9, 0, 5]
      await push(hub, queue, ...priorities.map((priority, index) => job([priority, index], { priority })))
      one.consumption.want(1)
      for (const [index, expected] of [
        [9, 1],
        [9, 3],
        [5, 5],
        [3, 2],
        [0, 0],
        [0, 4],
      ].entries()) {
        const next = (await one.until(index + 1))[index]!
        assert.deepEqual(valueOf(next), expected)
        await next.ack()
      }
    }),
  )

  group('a key is pushed once within its time', ['queues', 'dedupe'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      const pushed = await Promise.all(upTo(5).map((index) => push(hub, queue, job(index, { key: 'same' }))))
      assert.equal(new Set(pushed.flat()).size, 1)
      await push(hub, queue, job('another', { key: 'another' }), job('none'))
      one.consumption.want(10)
      const jobs = await one.until(3)
      await turns()
      assert.equal(jobs.length, 3)
      assert.deepEqual(values(jobs).slice(1), ['another', 'none'])
      await Promise.all(jobs.map((each) => each.ack()))
      // Done, and still known.
      assert.deepEqual(await push(hub, queue, job(9, { key: 'same' })), pushed[0])
    }),
  )

  group('counts say what is where; purge takes what nobody has', ['queues', 'inspect', 'purge'], () =>
    within(async () => {
      const hub = await open()
      const queue = fresh()
      const one = await worker(await open(), queue)
      await push(hub, queue, ...upTo(10).map((index) => job(index)))
      if (has('delay')) await push(hub, queue, job('later', { delay: LONG }))
      one.consumption.want(3)
      const jobs = [...(await one.until(3))]
      one.consumption.want(0)
      const delayed = has('delay') ? 1 : 0
      assert.deepEqual(await hub.queues!.counts!(queue), { ready: 7, delayed, taken: 3, dead: 0 })
      assert.equal(await hub.queues!.purge!(queue), 7 + delayed)
      assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 3, dead: 0 })
      await jobs[0]!.ack()
      if (has('nack')) {
        one.consumption.want(10)
        await jobs[1]!.nack(0)
        const again = (await one.until(4))[3]!
        assert.deepEqual(valueOf(again), valueOf(jobs[1]!))
        await again.ack()
      } else await jobs[1]!.ack()
      await jobs[2]!.ack()
      assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 0, dead: 0 })
    }),
  )
}
