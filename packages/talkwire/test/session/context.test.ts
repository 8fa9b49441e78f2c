/** What a handler knows of its call, taken apart. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, context, contract, implement, isError, rpc, serve, withOptions, type FunctionsClient } from '../../src/index.js'
import { fails, freshAddress, is, text, wires } from './harness.js'

const ui = { ask: (question: string) => `${question}? yes` }
const job = contract('job/1', {
  run: rpc({ output: text, errors: { Busy: is<{ until: number }>('a time', (value) => typeof value === 'object') } }),
  refuse: rpc({ errors: { Busy: is<{ until: number }>('a time', (value) => typeof value === 'object') } }),
})

for (const wire of wires) {
  test(`${wire}: every part of a context works by itself`, async () => {
    const address = freshAddress(wire)
    const service = await serve(
      job,
      {
        async run(_, ctx) {
          const { method, peer, signal, deadline, metadata, caller, progress, error } = ctx
          await Promise.resolve()
          progress([method, typeof peer.address, signal.aborted, deadline! > 0, metadata['key'], error('Busy', { until: 1 }).code])
          return String(await caller['ask']!('sure'))
        },
        refuse(_, { error }) {
          throw error('Busy', { until: 5 })
        },
      },
      { listen: address },
    )
    const client = await connect(job, address, { serve: implement(ui) })
    const reports: unknown[] = []
    const onProgress = (value: unknown): void => void reports.push(value)
    assert.equal(await client.run(undefined, { onProgress, timeout: 60_000, metadata: { key: 'value' } }), 'sure? yes')
    assert.deepEqual(reports, [['run', 'string', false, true, 'value', 'Busy']])
    const reason: unknown = await client.refuse().catch((error: unknown) => error)
    assert.ok(isError(reason, job, 'refuse', 'Busy'))
    assert.deepEqual(reason.details, { until: 5 })
    await client.close()
    await service.close()
  })

  test(`${wire}: plain functions: the caller typed, and a declared error`, async () => {
    const address = freshAddress(wire)
    const jobs = {
      run(): Promise<string> {
        const { caller, progress } = context<FunctionsClient<typeof ui>>()
        progress(1)
        return caller.ask('sure')
      },
      refuse(): never {
        const { error } = context()
        throw error('Busy', { until: 5 }, 'come back later')
      },
    }
    const service = await serve('jobs', jobs, { listen: address })
    const client = await connect<typeof jobs>(address, { serve: implement(ui) })
    const reports: unknown[] = []
    assert.equal(await withOptions(client, { onProgress: (value) => reports.push(value) }).run(), 'sure? yes')
    assert.deepEqual(reports, [1])
    await assert.rejects(client.refuse(), fails('Busy', 'ran'))
    await client.close()
    await service.close()
  })
}
