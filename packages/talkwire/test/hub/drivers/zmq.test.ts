import { mkdirSync } from 'node:fs'
import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { zmq } from '../../../src/hub/drivers/zmq.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { freshPath } from '../../helpers/place.js'
import { otherHolder } from './zmq-holder.js'

const module = new URL('../../../src/hub/drivers/zmq.js', import.meta.url).href
const folder = freshPath('-zmq')
mkdirSync(folder, { mode: 0o700 })

// Whoever of a test opens first holds the hub.
testHubDriver({
  test,
  driver: zmq,
  module,
  address: `zmq+ipc://${folder}/hub`,
  nobody: `zmq+ipc://${folder}/none?hold=no`,
  none: 'zmq+ipc:a/b',
})

/** One port for publishers, and the one behind it for subscribers. */
const [port] = [freshPort(), freshPort()]
const address = `zmq+tcp://${ownHost}:${port}`
const holder = otherHolder(address)
await holder.start()
testHubDriver({
  test,
  driver: zmq,
  module,
  address: `${address}?hold=no`,
  nobody: `zmq+tcp://${ownHost}:${freshPort()}?hold=no`,
  none: 'zmq+tcp://h',
  async restart() {
    await holder.kill()
    await holder.start()
  },
})
