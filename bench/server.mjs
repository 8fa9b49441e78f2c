// The server program: `node server.mjs <peer> <address>`. Ends when the process that started it goes away.
import { finish } from './lib/service.mjs'
import { peers } from './peers/index.mjs'

const [name, address] = process.argv.slice(2)
process.on('disconnect', () => process.exit())

if (!peers[name].ipc) {
  // The IPC channel is not the wire that is measured: it answers questions about memory.
  process.on('message', async (question) => {
    if (question === 'memory') process.send?.(await memory())
    if (question === 'finish') process.send?.(finish())
  })
}

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function memory() {
  await pause(200)
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await pause(50)
  }
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, heap: heapUsed + external }
}

try {
  const peer = await import(`./peers/${name}.mjs`)
  await peer.server(address)
  process.send?.({ ready: true })
} catch (/** @type {any} */ error) {
  process.send?.({ failed: String(error?.stack ?? error), code: error?.code })
  process.exitCode = 1
  if (process.connected) process.disconnect()
}
