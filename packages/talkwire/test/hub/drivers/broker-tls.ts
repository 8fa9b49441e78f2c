/** Whom a driver trusts: a broker whose certificate says that it is the one, and nobody else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import tls from 'node:tls'
import { soon } from '../../../compliance/ends.js'
import { openHub, type Hub } from '../../../src/hub/index.js'
import { TalkwireError } from '../../../src/error.js'
import type { Identity } from '../../transports/fixtures/certificates.js'
import { cuttable, type Place } from './brokers.js'
import { authority, client, elsewhere, server } from './certificates.js'

/** Takes TLS, from whoever shows a certificate of ours, and hands on what is in it. Its place. */
export async function front(broker: Place, identity: Identity): Promise<string> {
  const settings = { ...identity, ca: authority.cert, requestCert: true, rejectUnauthorized: true }
  const { place } = await cuttable(broker, (take) => tls.createServer(settings, take).on('tlsClientError', (_, socket) => socket.destroy()))
  return place
}

const isRefused = (reason: unknown): boolean =>
  reason instanceof TalkwireError && reason.code === 'UNAUTHENTICATED' && reason.outcome === 'not-sent'

/** Whatever it has, used once. */
async function use(hub: Hub): Promise<void> {
  if (hub.traits.has('topics')) {
    const topic = hub.topic('safe')
    const subscription = await topic.subscribe()
    await topic.publish('heard')
    const { value } = await soon(subscription[Symbol.asyncIterator]().next(), 'the message')
    assert.equal(value.data, 'heard')
  } else if (hub.traits.has('state')) {
    await hub.state('safe').set('kept', 1)
    assert.equal((await hub.state('safe').get('kept'))!.value, 1)
  } else await hub.queue('safe').push('job')
}

/** `address`: of a place that takes TLS. */
export async function isTrusted(address: string): Promise<void> {
  await using hub = await openHub(address, { credentials: { tls: { ca: authority.cert, ...client } } })
  await use(hub)
  await assert.rejects(openHub(address), isRefused)
}

/** `addressOf`: what is at a place, over TLS. */
export function testTls(name: string, broker: Place, addressOf: (place: string) => string): void {
  test(`${name} over TLS: with a certificate of ours, and only to one whose certificate is of whom we trust`, async () => {
    await isTrusted(addressOf(await front(broker, server)))
  })

  test(`${name} over TLS: the certificate is for the name in the address, or for the one that is said`, async () => {
    const address = addressOf(await front(broker, elsewhere))
    const settings = { ca: authority.cert, ...client }
    await assert.rejects(openHub(address, { credentials: { tls: settings } }), isRefused)
    await using hub = await openHub(address, { credentials: { tls: { ...settings, servername: 'broker.example' } } })
    await use(hub)
  })
}
