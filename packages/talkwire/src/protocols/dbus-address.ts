/** Addresses of D-Bus: `dbus:session#org.example.Bank/org/example/Bank`, and what is in the environment. Source: D-Bus Specification, "Server Addresses". */
import type net from 'node:net'
import { parseAddress } from '../address.js'
import type { Contract } from '../contract/contract.js'
import { plainMessage, TalkwireError } from '../error.js'
import { isBusName, isInterface, isMember } from './dbus-message.js'
import { isObjectPath } from './dbus-values.js'

export interface Place {
  /** Without its object. */
  readonly bus: string
  readonly name: string | undefined
  readonly path: string | undefined
}

/** What the specification says, and where it is when nothing links one to the other. */
const SYSTEM = 'unix:path=/var/run/dbus/system_bus_socket;unix:path=/run/dbus/system_bus_socket'
const invalid = (text: string): TalkwireError => new TalkwireError('INVALID_ADDRESS', text)

/** Throws INVALID_ADDRESS. */
export function placeOf(address: string): Place {
  const mark = address.indexOf('#')
  if (mark < 0) return { bus: address, name: undefined, path: undefined }
  const object = address.slice(mark + 1)
  const slash = object.indexOf('/')
  const name = slash < 0 ? object : object.slice(0, slash)
  const path = slash < 0 ? undefined : object.slice(slash)
  if ((name !== '' && !isBusName(name)) || (path !== undefined && !isObjectPath(path)) || object === '')
    throw invalid(
      `${JSON.stringify(object.slice(0, 120))} is no name and path of D-Bus; write for example #org.example.Bank/org/example/Bank`,
    )
  return { bus: address.slice(0, mark), name: name || undefined, path }
}

/** Where the sockets of a bus may be, best first. Throws INVALID_ADDRESS, PEER_NOT_FOUND, UNSUPPORTED. */
export function targetsOf(bus: string): net.NetConnectOpts[] {
  const said = busAddress(parseAddress(bus).rest)
  const targets = said.split(';').filter(Boolean).map(targetOf)
  const usable = targets.filter((target) => target !== undefined)
  if (usable.length > 0) return usable
  throw new TalkwireError(
    'UNSUPPORTED',
    `${bus} names no socket that is supported (${JSON.stringify(said.slice(0, 120))}); there are unix:path=… and unix:abstract=…`,
  )
}

/** There is no bus at a place where one should be. */
export function noBus(bus: string, reason: TalkwireError): TalkwireError {
  if (reason.code !== 'PEER_NOT_FOUND') return reason
  const name = parseAddress(bus).rest
  const fix =
    name === 'session' || name === 'system'
      ? `start one, or say where it is: DBUS_${name.toUpperCase()}_BUS_ADDRESS=unix:path=… in the environment, or dbus:unix:path=… as the address`
      : 'start one there (dbus-daemon --session --address=…)'
  const why = reason.cause instanceof Error ? reason.cause.message : plainMessage(reason)
  return new TalkwireError('PEER_NOT_FOUND', `there is no bus at ${bus}: ${why}; ${fix}`, { cause: reason.cause })
}

function busAddress(rest: string): string {
  const { DBUS_SESSION_BUS_ADDRESS, DBUS_SYSTEM_BUS_ADDRESS, XDG_RUNTIME_DIR } = process.env
  if (rest === 'system') return DBUS_SYSTEM_BUS_ADDRESS || SYSTEM
  if (rest !== 'session') return rest
  // Of what stands in a path, an address would take some for borders.
  const found = DBUS_SESSION_BUS_ADDRESS || (XDG_RUNTIME_DIR && `unix:path=${encodeURIComponent(`${XDG_RUNTIME_DIR}/bus`)}`)
  if (found) return found
  throw new TalkwireError(
    'PEER_NOT_FOUND',
    'there is no session bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set; start one, or name its socket: dbus:unix:path=…',
  )
}

function targetOf(text: string): net.NetConnectOpts | undefined {
  const match = /^([a-z-]+):(.*)$/.exec(text)
  const keys = new Map<string, string>()
  for (const pair of match?.[2]!.split(',').filter(Boolean) ?? []) {
    const at = pair.indexOf('=')
    if (at < 1)
      throw invalid(`${JSON.stringify(text.slice(0, 120))} is no address of a bus; write for example dbus:unix:path=/run/user/1000/bus`)
    keys.set(pair.slice(0, at), unescaped(pair.slice(at + 1)))
  }
  if (!match) throw invalid(`${JSON.stringify(text.slice(0, 120))} is no bus; write dbus:session, dbus:system or dbus:unix:path=…`)
  const path = keys.get('path') ?? (keys.has('abstract') ? `\0${keys.get('abstract')}` : undefined)
  if (match[1] !== 'unix' || path === undefined) return undefined
  // The kernel's limit; Node would cut a longer path and find something else.
  if (Buffer.byteLength(path) > 107) throw invalid(`the path of the bus has ${Buffer.byteLength(path)} bytes, the limit is 107`)
  return { path }
}

function unescaped(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    throw invalid(`${JSON.stringify(value.slice(0, 80))} in the address of a bus is no text`)
  }
}

/** The same for a client: nobody knows what a contract is called that was made of what an object says of itself. */
export const knownInterface = (contract: Contract | undefined): string | undefined =>
  contract && !contract.foreign ? interfaceOf(contract) : undefined

/** The interface of a contract: its name, which gets the version when it is not 1, and a place of ours when it has no dot. Throws UNSUPPORTED. */
export function interfaceOf({ name, version, id }: Contract): string {
  const own = `${name.includes('.') ? '' : 'talkwire.'}${name.replaceAll('-', '_')}${version === 1 ? '' : version}`
  if (!isInterface(own))
    throw new TalkwireError(
      'UNSUPPORTED',
      `dbus: ${JSON.stringify(own)}, of the contract ${id}, is no interface of D-Bus; name it with letters, digits, "_" and ".", no part of it beginning with a digit`,
    )
  return own
}

export const pathOf = (of: string): string => `/${of.replaceAll('.', '/').replace(/[^A-Za-z0-9_/]/g, '_')}`

/** Throws UNSUPPORTED. */
export function validateMember(name: string, { id }: Contract): void {
  if (!isMember(name))
    throw new TalkwireError('UNSUPPORTED', `dbus: "${name}" of ${id} is no member of D-Bus; name it with letters, digits and "_"`)
}
