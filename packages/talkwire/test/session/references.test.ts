import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { connect, ref, serve, sessionOf } from '../../src/index.js'
import { fails, freshAddress, turn, until, wires } from './harness.js'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

type Callback = ((value: number) => Promise<number>) & Disposable

for (const wire of wires) {
  const opened = async (functions: object, limits = {}) => {
    const address = freshAddress(wire)
    const service = await serve('refs', functions, { listen: address, onError: () => {}, limits })
    const client = (await connect(address, { limits })) as any
    return {
      service,
      client,
      session: sessionOf(client)!,
      [Symbol.asyncDispose]: async () => {
        await client.close()
        await service.close()
      },
    }
  }

  test(`${wire}: a function as argument is called back, its errors too`, async () => {
    await using pair = await opened({
      async twice(f: Callback) {
        return (await f(1)) + (await f(2))
      },
    })
    assert.equal(await pair.client.twice((value: number) => value * 10), 30)
    await assert.rejects(
      pair.client.twice(() => {
        throw new Error('mine')
      }),
      fails('INTERNAL'),
    )
  })

  test(`${wire}: functions deep in arguments and results`, async () => {
    await using pair = await opened({ make: (start: number) => ({ next: () => start++, nested: [{ f: (x: number) => -x }] }) })
    const counter = await pair.client.make(5)
    assert.deepEqual([await counter.next(), await counter.next()], [5, 6])
    assert.equal(await counter.nested[0].f(3), -3)
  })

  test(`${wire}: an object by reference keeps its state at its owner`, async () => {
    class Account {
      balance = 0
      deposit(amount: number): number {
        return (this.balance += amount)
      }
      private _secret(): void {}
    }
    const account = new Account()
    await using pair = await opened({ open: () => ref(account) })
    const remote = await pair.client.open()
    assert.equal(await remote.deposit(3), 3)
    assert.equal(await remote.deposit(4), 7)
    assert.equal(account.balance, 7)
    assert.equal(remote._secret, undefined)
    assert.equal(remote.balance, undefined)
    await assert.rejects(pair.session.call('#1._secret', []), fails('METHOD_NOT_FOUND'))
    await assert.rejects(pair.session.call('#1.constructor', []), fails('METHOD_NOT_FOUND'))
    await assert.rejects(pair.session.call('#1.__proto__', []), fails('METHOD_NOT_FOUND'))
  })

  test(`${wire}: a reference that goes home is the thing itself`, async () => {
    const mine = (): number => 1
    await using pair = await opened({ echo: (f: unknown) => f, isSame: (a: unknown, b: unknown) => a === b })
    assert.equal(await pair.client.echo(mine), mine)
    assert.equal(await pair.client.isSame(mine, mine), true)
  })

  test(`${wire}: disposing gives the reference back, and a call to it then fails honestly`, async () => {
    let kept: Callback | undefined
    await using pair = await opened({
      keep(f: Callback) {
        kept = f
      },
      use: () => kept!(1),
      drop() {
        kept![Symbol.dispose]()
      },
    })
    await pair.client.keep((value: number) => value + 1)
    assert.equal(await pair.client.use(), 2)
    assert.equal(pair.session.stats().exported.length, 1)
    assert.match(pair.session.stats().exported[0]!.what, /function/)
    await pair.client.drop()
    await until(() => pair.session.stats().exported.length === 0)
    await assert.rejects(pair.client.use(), fails('INTERNAL'))
  })

  test(`${wire}: sent twice, given back once in all`, async () => {
    const kept: Callback[] = []
    await using pair = await opened({
      keep(f: Callback) {
        kept.push(f)
      },
      drop() {
        kept[0]![Symbol.dispose]()
      },
    })
    const f = (value: number): number => value
    await pair.client.keep(f)
    await pair.client.keep(f)
    assert.equal(kept[0], kept[1])
    assert.deepEqual(
      pair.session.stats().exported.map(({ count }) => count),
      [2],
    )
    await pair.client.drop()
    await until(() => pair.session.stats().exported.length === 0)
  })

  test(`${wire}: what the garbage collector takes is given back, and reported`, async () => {
    await using pair = await opened({
      async use(f: Callback) {
        return await f(1)
      },
    })
    for (let i = 0; i < 20; i++) await pair.client.use((value: number) => value)
    assert.ok(pair.session.stats().exported.length <= 20)
    while (pair.session.stats().exported.length > 0) {
      gc()
      await turn()
    }
    assert.ok(pair.service.stats()[0]!.collected > 0)
  })

  test(`${wire}: references over the limit are refused, and the connection lives`, async () => {
    await using pair = await opened({ keep: () => {}, add: (a: number) => a }, { references: 5 })
    await assert.rejects(pair.client.keep(Array.from({ length: 6 }, () => () => 1)), fails('LIMIT_EXCEEDED'))
    assert.equal(await pair.client.add(3), 3)
  })

  test(`${wire}: a "then" that is a function is never called by an await`, async () => {
    let called = 0
    await using pair = await opened({ echo: async (value: unknown) => value })
    await assert.rejects(
      pair.client.echo({
        then: () => {
          called++
        },
      }),
      fails('FORBIDDEN_KEY'),
    )
    assert.equal(called, 0)
    assert.deepEqual(await pair.client.echo({ then: 'data' }), { then: 'data' })
  })

  test(`${wire}: references end with the connection`, async () => {
    let kept: Callback | undefined
    const address = freshAddress(wire)
    const service = await serve(
      'refs',
      {
        keep(f: Callback) {
          kept = f
        },
      },
      { listen: address },
    )
    const client = (await connect(address)) as any
    await client.keep((value: number) => value)
    await client.close()
    await until(() => service.peers.length === 0)
    await assert.rejects(kept!(1), fails('CONNECTION_CLOSED', 'not-sent'))
    await service.close()
  })
}
