/** The soak in its short form, and that each thing it looks for is found when it is there. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

// Beside packages/talkwire, wherever this was compiled to.
const script = fileURLToPath(new URL('../../../../scripts/soak.mjs', import.meta.url))
const dist = fileURLToPath(new URL('../src/index.js', import.meta.url))

/** Runs it to its end. */
function soak(seconds: number, clients: number, lies: readonly string[] = []): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [script, '--seconds', String(seconds), '--clients', String(clients)], {
    env: { ...process.env, TALKWIRE_DIST: dist, SOAK_LIES: lies.join() },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })))
}

test('20 seconds of full load in both directions, a client killed every second: nothing leaks, every outcome is true', async (t) => {
  const { code, output } = await soak(20, 4)
  for (const line of output.trim().split('\n')) t.diagnostic(line)
  assert.equal(code, 0, output)
})

const lies: Record<string, RegExp> = {
  outcome: /the caller was told "not-sent", and it ran/,
  ran: /call [1-9]\d*\.\d+: the caller was told "ran", and it did not run/,
  callback: /call 0\.\d+: the caller was told "ran", and it did not run/,
  unsettled: /of \d+ calls did not settle/,
  descriptor: /the server holds \d+ more descriptors than before/,
  memory: /the server grew by/,
}
test('the soak finds all that is planted', async () => {
  const { code, output } = await soak(10, 2, Object.keys(lies))
  assert.equal(code, 1, output)
  for (const [lie, expected] of Object.entries(lies)) assert.match(output, expected, lie)
})
