import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, sessionOf, TalkwireError } from '../../src/index.js'
import { quoteWords } from '../../src/address.js'
import type { ChildConnection } from '../../src/transports/child.js'
import { fork } from '../../src/transports/fork.js'
import '../helpers/place.js'
import { gone, printed, program, start } from './fixtures/support.js'

const forked = (name: string, ...args: string[]): string => `fork:${quoteWords([program(name), ...args])}`
for (const listens of ['ipc:', 'stdio:']) {
  const scheme = listens === 'ipc:' ? 'fork' : 'fork, listening on stdio'
  testTransport({
    test,
    transport: { ...fork, scheme },
    address: () => 'fork:./nowhere.js',
    remote: async ({ control }) => forked('far', control, listens),
    connectOptions: { detached: true },
  })
}

interface Child {
  add(a: number, b: number): number
  pid(): number
  exit(code: number, words?: string): void
  hang(): void
  environment(name: string): string | null
  sendMessage(value: unknown): void
  linger(): void
  grandchild(): [number, string][]
}

test('fork: calls, while the messages of the two programs pass beside them untouched', async () => {
  const client = await connect<Child>(forked('child', 'ipc:'), { env: { COLOUR: 'green' } })
  assert.equal(await client.environment('COLOUR'), 'green')
  const { process: child } = sessionOf(client)!.connection as ChildConnection
  await client.sendMessage(new Map([['sent', 'before anyone listens']]))
  const heard: unknown[] = []
  child.on('message', (message) => heard.push(message))
  child.send({ cmd: 'user', data: [1] })
  const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => client.add(index, 1)))
  assert.equal(answers[199], 200)
  while (heard.length < 2) await soon(once(child, 'message'), 'messages')
  assert.deepEqual(heard, [{ fromChild: new Map([['sent', 'before anyone listens']]) }, { heard: { cmd: 'user', data: [1] } }])
  await client.close()
  assert.equal(child.exitCode, 0)
})

test('fork: the wire does not reach a grandchild', async () => {
  await using client = await connect<Child>(forked('child', 'ipc:'))
  assert.deepEqual(
    (await client.grandchild()).filter(([fd, what]) => fd > 2 && what.startsWith('socket:')),
    [],
  )
  assert.equal(await client.environment('TALKWIRE_FD'), null)
})

test('fork: a module that does not exist, and a child that ends, say so', async () => {
  await assert.rejects(
    connect('fork:./no-such-module.js'),
    (reason: TalkwireError) => reason.code === 'PEER_EXITED' && /Cannot find module/.test(reason.message),
  )
  const client = await connect<Child>(forked('child', 'ipc:'))
  const [exit, hang] = await soon(Promise.allSettled([client.exit(5, 'out of paper'), client.hang()]), 'calls settle')
  for (const result of [exit, hang]) {
    assert.equal(result.status, 'rejected')
    const { code, message, outcome } = result.reason as TalkwireError
    assert.deepEqual([code, outcome], ['PEER_EXITED', 'maybe-ran'])
    assert.match(message, /exit code 5; the last of its stderr:\nout of paper/)
  }
  await client.close()
})

test('fork: a child dies with its parent', async () => {
  for (const end of ['SIGKILL', 'exit']) {
    const parent = start(process.execPath, program('parent'), forked('child', 'ipc:'), 'linger')
    const pid = Number(await soon(printed(parent), 'the parent has called its child'))
    if (end === 'exit') parent.stdin!.write('exit\n')
    else parent.kill('SIGKILL')
    await gone(pid)
  }
})
