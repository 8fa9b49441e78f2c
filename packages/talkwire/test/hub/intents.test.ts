/** Intents: a gallery and messengers, as processes of their own. */
import assert from 'node:assert/strict'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Descriptor, TalkwireError } from '../../src/index.js'
import { SharedMemory } from '../../src/memory/index.js'
import { withHub } from '../helpers/hub.js'
import { freshName, freshPath } from '../helpers/place.js'
import { run } from '../session/processes.js'

const fixture = fileURLToPath(new URL('fixtures/handler.js', import.meta.url))
const code = (wanted: string) => (error: unknown) => error instanceof TalkwireError && error.code === wanted

async function start(address: string, label: string, type: string) {
  const handler = run(process.execPath, [fixture, address, label, type])
  await handler.line('ready')
  return handler
}

test('data, memory and a descriptor reach the one who handles it, and its answer comes back', () =>
  withHub(async ({ intents }, { address }) => {
    await assert.rejects(intents.send({ action: 'share', type: 'image/png' }), code('NOT_FOUND'))
    const handler = await start(address, 'messenger', 'image/*')
    assert.deepEqual(await intents.send({ action: 'share', type: 'image/png', data: { to: 'ada' } }), {
      label: 'messenger',
      data: { to: 'ada' },
      pid: process.pid,
    })
    const path = freshPath('.png')
    writeFileSync(path, Buffer.alloc(12_345))
    const fd = openSync(path, 'r')
    const sent = (await intents.send({ action: 'share', type: 'image/png', descriptor: Descriptor.lend(fd) })) as { size: number }
    closeSync(fd)
    assert.equal(sent.size, 12_345)
    const segment = freshName()
    using memory = SharedMemory.create(segment, 64)
    memory.array(Uint8Array)[0] = 42
    assert.equal(((await intents.send({ action: 'share', type: 'image/png', segment })) as { first: number }).first, 42)
    memory.unlink()
    await assert.rejects(intents.send({ action: 'share', type: 'text/plain' }), code('NOT_FOUND'))
    await assert.rejects(
      intents.send({ action: 'share', type: 'image/png', data: 'die' }),
      (error: TalkwireError) => error.outcome === 'maybe-ran',
    )
    void handler
  }))

test('several: whoever asks chooses, or says that nobody shall', () =>
  withHub(async ({ intents }, { address }) => {
    await Promise.all([start(address, 'mail', '*/*'), start(address, 'chat', 'image/*')])
    assert.deepEqual((await intents.handlers('share', 'image/png')).map(({ label }) => label).sort(), ['chat', 'mail'])
    assert.deepEqual(
      (await intents.handlers('share', 'text/plain')).map(({ label }) => label),
      ['mail'],
    )
    const intent = { action: 'share', type: 'image/png' }
    await assert.rejects(intents.send(intent), (error: TalkwireError) => code('ALREADY_EXISTS')(error) && /chat/.test(error.message))
    const told = (await intents.send({ ...intent, choose: (all) => all.find(({ label }) => label === 'chat') })) as { label: string }
    assert.equal(told.label, 'chat')
    await assert.rejects(intents.send({ ...intent, choose: () => undefined }), code('CANCELLED'))
    await assert.rejects(intents.send({ action: 'share', type: 'png' }), TypeError)
  }))

test('who closed is not found any more', () =>
  withHub(async ({ intents }) => {
    const handler = await intents.handle({ action: 'open' }, ({ type }) => type)
    assert.equal(await intents.send({ action: 'open', type: 'text/html' }), 'text/html')
    await handler.close()
    await assert.rejects(intents.send({ action: 'open', type: 'text/html' }), code('NOT_FOUND'))
  }))
