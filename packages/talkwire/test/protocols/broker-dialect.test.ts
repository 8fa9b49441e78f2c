import { suite, test } from 'node:test'
import { testDialect } from '../../compliance/index.js'
import { mqtt, nats, redis } from '../../src/protocols/broker.js'
import { freshName } from '../helpers/place.js'
import { at, type schemes } from './broker-places.js'

// Each with a prefix of its own: two services of one contract would share its calls. At once: some wait for those who say nothing any more.
suite('brokers', { concurrency: 8 }, () => {
  for (const dialect of [nats, mqtt, redis])
    testDialect({ test, dialect, address: () => at(dialect.scheme as (typeof schemes)[number], freshName()) })
})
