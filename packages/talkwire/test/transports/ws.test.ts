import { test } from 'node:test'
import { testTransport } from '../../compliance/index.js'
import { ws } from '../../src/transports/ws.js'
import { freshPort, ownHost } from '../helpers/loopback.js'

testTransport({ test, transport: ws, address: () => `ws://${ownHost}:${freshPort()}` })
