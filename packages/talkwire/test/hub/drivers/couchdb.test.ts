/** The suite. PouchDB Server stands in for CouchDB. */
import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { couchdb } from '../../../src/hub/drivers/couchdb.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { COUCHDB } from './brokers.js'

const broker = await startBroker(COUCHDB)
const place = `${broker.host}:${broker.port}`
const address = `couchdb://ada:s3cret@${place}`

testHubDriver({
  test,
  driver: couchdb,
  module: new URL('../../../src/hub/drivers/couchdb.js', import.meta.url).href,
  address: `${address}/suite`,
  nobody: `couchdb://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})
