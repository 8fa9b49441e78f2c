/** Which of a service's addresses a client takes: the one place that says what is best. */
import { parseAddress } from './address.js'
import { hasLinuxLibc } from './kernel/libc.js'
import { registry } from './registry.js'

/** They need the kernel's own calls. */
const native = new Set(['shm', 'mq', 'sysv'])
/** Fastest first, as measured by the bench. */
const order = ['memory', 'shm', 'unix', 'fifo', 'tcp', 'tls', 'mq', 'sysv']

/** The best address that this side can connect to; undefined when there is none. */
export function chooseAddress(addresses: readonly string[]): string | undefined {
  const rank = (address: string): number => order.indexOf(parseAddress(address).scheme)
  return addresses
    .filter((address) => rank(address) >= 0 && Object.hasOwn(registry, parseAddress(address).scheme) && !address.startsWith('memory:'))
    .filter((address) => !native.has(parseAddress(address).scheme) || hasLinuxLibc())
    .sort((a, b) => rank(a) - rank(b))[0]
}
