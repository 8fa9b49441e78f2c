/** How a driver is opened, for a hub and for calls: whom TLS trusts is the same everywhere. */
import { TalkwireError } from '../error.js'
import { aboutTrust, refuseBlindness } from '../trust.js'
import type { HubDriver, OpenDriver, OpenOptions } from './driver.js'

/** Schemes without TLS, and what has it. Of NATS and MongoDB the settings alone ask for it. */
const PLAIN: Readonly<Record<string, string | undefined>> = {
  amqp: 'amqps',
  amqp1: 'amqp1s',
  beanstalk: undefined,
  couchdb: 'couchdbs',
  hub: undefined,
  kafka: 'kafkas',
  mqtt: 'mqtts',
  redis: 'rediss',
  'sqs+http': 'sqs+https',
  stomp: 'stomps',
  'zmq+ipc': undefined,
  'zmq+tcp': undefined,
}

/**
 * Rejects with what the driver does; with UNAUTHENTICATED if a certificate is not accepted, with INVALID_ADDRESS for settings of TLS where
 * there is none, and with a TypeError for settings that would trust anybody.
 */
export async function openDriver(driver: HubDriver, address: string, options: OpenOptions): Promise<OpenDriver> {
  validateTls(address, options.credentials?.['tls'] as object | undefined)
  try {
    return await driver.open(address, options)
  } catch (reason) {
    throw aboutTrust(reason)
  }
}

function validateTls(address: string, settings: object | undefined): void {
  refuseBlindness(settings)
  const [scheme = ''] = address.split(':', 1)
  if (settings === undefined || !Object.hasOwn(PLAIN, scheme)) return
  const secure = PLAIN[scheme]
  throw new TalkwireError('INVALID_ADDRESS', `${scheme}: is without TLS, and tls was given${secure ? `; take ${secure}:` : ''}`)
}
