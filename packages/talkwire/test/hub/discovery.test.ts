/** Services by name over their instances: real processes, killed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect, contract, rpc, TalkwireError } from '../../src/index.js'
import { withHub } from '../helpers/hub.js'
import { freshName } from '../helpers/place.js'
import { run, type Running } from '../session/processes.js'
import { anything } from './fixtures/who.js'

const fixture = fileURLToPath(new URL('fixtures/instance.js', import.meta.url))
const contractOf = (name: string) =>
  contract(`${name}/1`, {
    who: rpc({ output: anything, idempotent: true }),
    single: rpc({ output: anything }),
    end: rpc({ output: anything }),
  })

async function start(address: string, name: string, who: string): Promise<Running> {
  const process_ = run(process.execPath, [fixture, address, name, who])
  await process_.line(`ready ${who}`)
  return process_
}

test('calls go round the instances; who is killed is left out, who comes is taken in', () =>
  withHub(async (hub, { address }) => {
    const name = freshName()
    const [one] = await Promise.all(['one', 'two'].map((who) => start(address, name, who)))
    assert.deepEqual((await hub.instances(name)).map(({ metadata }) => metadata['who']).sort(), ['one', 'two'])
    await using client = await connect(contractOf(name), { hub })
    const asked = async (count: number): Promise<string[]> =>
      [...new Set(await Promise.all(Array.from({ length: count }, () => client.who() as Promise<string>)))].sort()
    assert.deepEqual(await asked(4), ['one', 'two'])
    await one!.kill()
    // Also what is not idempotent: it was not sent to who is gone.
    for (let n = 0; n < 4; n++) assert.equal(await client.single(), 'two')
    await start(address, name, 'three')
    while ((await asked(4)).length < 2);
    assert.deepEqual(await asked(4), ['three', 'two'])
  }))

test('a call that may have run is not made again elsewhere; an idempotent one is', () =>
  withHub(async (hub, { address }) => {
    const name = freshName()
    await Promise.all(['one', 'two'].map((who) => start(address, name, who)))
    await using client = await connect(contractOf(name), { hub, balance: 'sticky' })
    const first = (await client.who()) as string
    assert.equal(await client.who(), first)
    await assert.rejects(client.end(), (error: TalkwireError) => error.outcome === 'maybe-ran')
    const second = (await client.who()) as string
    assert.notEqual(second, first)
    // Tried where nobody is any more, too, which is not the whole truth.
    await assert.rejects(client.end(undefined, { idempotent: true }), (error: TalkwireError) => error.outcome === 'maybe-ran')
    await assert.rejects(client.who(), TalkwireError)
  }))

test('who has fewest of our calls is asked', () =>
  withHub(async (hub) => {
    const name = freshName()
    const waits: (() => void)[] = []
    const { serve } = await import('../../src/serve.js')
    const at = async (who: string) => {
      const service = await serve(
        contractOf(name),
        {
          who: () => who,
          end: () => null,
          single: () => new Promise((resolve) => waits.push(() => resolve(who))),
        },
        { listen: `unix:@${name}-${who}` },
      )
      await hub.register({ name, addresses: service.addresses })
      return service
    }
    await using one = await at('one')
    await using two = await at('two')
    void [one, two]
    await using client = await connect(contractOf(name), { hub, balance: 'least-pending' })
    const [a, b] = [client.single(), client.single()]
    while (waits.length < 2) await new Promise((resolve) => setImmediate(resolve))
    for (const go of waits) go()
    assert.deepEqual((await Promise.all([a, b])).sort(), ['one', 'two'])
  }))

test('nobody is registered: said so; who waits is connected when somebody comes; who says nothing any more is gone', () =>
  withHub(async (hub, { address }) => {
    const name = freshName()
    await assert.rejects(connect(contractOf(name), { hub }), (error: TalkwireError) => error.code === 'PEER_NOT_FOUND')
    const coming = connect(contractOf(name), { hub, wait: 60_000 })
    const one = await start(address, name, 'one')
    await using client = await coming
    assert.equal(await client.who(), 'one')
    await one.kill()
    while ((await hub.instances(name)).length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    await assert.rejects(connect(contractOf(name), 'tcp://127.0.0.1:1', { hub }), TypeError)
  }))

test('what others wrote among the services is no instance', () =>
  withHub(async (hub, { address }) => {
    const name = freshName()
    await start(address, name, 'one')
    for (const [id, value] of Object.entries({
      null: null,
      text: 'x',
      number: 7,
      list: [],
      half: { id: 'half', name },
      nowhere: { id: 'nowhere', name, host: 'h', addresses: 7 },
    }))
      await hub.state('services').set(`${name}.${id}`, value)
    assert.equal((await hub.instances(name)).length, 1)
    await using client = await connect(contractOf(name), { hub })
    assert.equal(await client.who(), 'one')
  }))
