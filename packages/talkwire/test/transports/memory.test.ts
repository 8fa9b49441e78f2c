import { test } from 'node:test'
import { testTransport } from '../../compliance/index.js'
import { memory } from '../../src/transports/memory.js'
import { freshName } from '../helpers/place.js'

testTransport({ test, transport: memory, address: () => `memory:${freshName()}` })
