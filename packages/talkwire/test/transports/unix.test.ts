import { test } from 'node:test'
import { testTransport } from '../../compliance/index.js'
import { unix } from '../../src/transports/unix.js'
import { freshPath } from '../helpers/place.js'

testTransport({ test, transport: unix, address: () => `unix:${freshPath('.sock')}` })
