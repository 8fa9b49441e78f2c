import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { openOwner, whenEnded } from '../../src/memory/ended.js'
import { isAlive, NOBODY, self } from '../../src/memory/owner.js'

const OWNER = new URL('../../src/memory/owner.js', import.meta.url).href
const SAYS_WHO_IT_IS = `import(${JSON.stringify(OWNER)}).then(({ self }) => tell(String(self())))`
/** Of this very process, begun at another time: its id has been given anew. */
const BEFORE_US = self() ^ 1n

/** Resolves once it was told. Keeps this process alive meanwhile. */
function told(owner: bigint): Promise<void> {
  const alive = setInterval(() => {}, 1000)
  return new Promise<void>((resolve) => whenEnded(owner, resolve)).finally(() => clearInterval(alive))
}

async function startChild() {
  const child = spawn(
    process.execPath,
    ['-e', `const tell = (text) => process.send(text); ${SAYS_WHO_IT_IS}; setInterval(() => {}, 1000)`],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    },
  )
  const [text] = (await once(child, 'message')) as [string]
  return { child, owner: BigInt(text) }
}

test('ended: of a process', async (t) => {
  const { child, owner } = await startChild()
  t.after(() => child.kill('SIGKILL'))
  assert.equal(isAlive(owner), true)
  const ending = told(owner)
  child.kill('SIGKILL')
  await ending
  assert.equal(isAlive(owner), false)
  assert.equal(openOwner(owner), undefined)
  // Nor is it too late to ask.
  await told(owner)
})

test('ended: of a thread', async (t) => {
  const worker = new Worker(
    `const tell = (text) => require('node:worker_threads').parentPort.postMessage(text); ${SAYS_WHO_IT_IS}; setInterval(() => {}, 1000)`,
    {
      eval: true,
    },
  )
  t.after(() => worker.terminate())
  const [text] = (await once(worker, 'message')) as [string]
  const owner = BigInt(text)
  assert.equal(openOwner(owner), undefined)
  const ending = told(owner)
  await worker.terminate()
  await ending
})

test('ended: an id that was given anew is another owner', async () => {
  assert.equal(openOwner(BEFORE_US), undefined)
  await told(BEFORE_US)
  await told(NOBODY)
})

test('ended: nobody is told of itself, nor after the end of the watch', async (t) => {
  const { child, owner } = await startChild()
  t.after(() => child.kill('SIGKILL'))
  const never = (): void => assert.fail('was told')
  const stops = [whenEnded(self(), never), whenEnded(owner, never), whenEnded(BEFORE_US, never)]
  const fd = openOwner(owner)
  assert.notEqual(fd, undefined)
  closeSync(fd!)
  for (const stop of stops) stop()
  const ending = told(owner)
  child.kill('SIGKILL')
  await ending
})
