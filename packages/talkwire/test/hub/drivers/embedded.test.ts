import { after, test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { embedded } from '../../../src/hub/drivers/embedded.js'
import { hubProcess } from '../hub-process.js'

const hub = await hubProcess({ keep: [{ pattern: '>', messages: 10_000 }] })
after(() => hub.end())

testHubDriver({
  test,
  driver: embedded,
  module: new URL('../../../src/hub/drivers/embedded.js', import.meta.url).href,
  address: hub.address,
  nobody: 'hub:unix:nobody-is-here',
  none: 'hub:no/name',
  async restart() {
    await hub.kill()
    await hub.start()
  },
})
