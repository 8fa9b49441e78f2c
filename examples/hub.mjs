// The hub for an example's test: it ends with the test. Programs start it themselves otherwise.
import { fileURLToPath } from 'node:url'

const talkwire = fileURLToPath(new URL('../packages/talkwire/dist/src/cli/main.js', import.meta.url))

/** @param {ReturnType<typeof import('./harness.mjs').programs>} own */
export async function startHub(own) {
  const hub = own.start('node', talkwire, 'hub')
  await hub.line(/serves/)
  return hub
}
