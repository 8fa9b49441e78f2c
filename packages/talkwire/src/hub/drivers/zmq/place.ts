/**
 * Where the two doors of a hub are. `zmq+tcp://127.0.0.1:5555`: publishers connect to port 5555, subscribers to 5556. `zmq+ipc:///run/shop/hub`:
 * to the sockets `hub.pub` and `hub.sub` in that folder, `zmq+ipc:shop` to those of that name in this user's runtime directory.
 */
import { createHash } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { lstatSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { isName, parseAddress, parseHostPort } from '../../../address.js'
import { runtimeDirectory } from '../../../discovery/names.js'
import { TalkwireError } from '../../../error.js'

export interface Place {
  /** Endpoints of ZeroMQ: where publishers connect, and where subscribers do. */
  readonly publishers: string
  readonly subscribers: string
  /** Why this process does not hold it; undefined: it does if nobody else does. */
  readonly notHeld: string | undefined
  /** A claim that keeps others away: ZeroMQ takes sockets of a path from those who have them. */
  readonly claim: string | undefined
  /** Those sockets. */
  readonly files: readonly string[]
}

const FORM =
  'ZeroMQ is zmq+tcp://127.0.0.1:5555, whose subscribers connect to the port behind it, zmq+ipc:///run/shop/hub or zmq+ipc:NAME; ?hold=no and ?insecure=yes may stand behind it'
/** Of the kernel, with the end that ZeroMQ needs. */
const LONGEST_PATH = 107
const LAST_PORT = 65_534

const none = (): TalkwireError => new TalkwireError('INVALID_ADDRESS', `an address of ${FORM}`)

/** Rejects with INVALID_ADDRESS. */
export async function placeOf(address: string): Promise<Place> {
  const { scheme, rest } = parseAddress(address)
  const query = new URLSearchParams(/\?(.*)$/s.exec(rest)?.[1])
  const said = (name: string, value: string): boolean => {
    const is = query.get(name)
    query.delete(name)
    if (is !== null && is !== value) throw none()
    return is === value
  }
  const [aside, insecure] = [said('hold', 'no'), said('insecure', 'yes')]
  if (query.size > 0) throw none()
  const place = scheme === 'zmq+tcp' ? await tcp(address, insecure) : ipc(rest.replace(/\?.*$/s, ''), insecure)
  return aside ? { ...place, notHeld: 'hold=no is said' } : place
}

async function tcp(address: string, insecure: boolean): Promise<Place> {
  const { host, port } = parseHostPort(address)
  if (port === 0 || port > LAST_PORT) throw none()
  const { address: number } = await lookup(host).catch((cause: unknown) => {
    throw new TalkwireError('INVALID_ADDRESS', `cannot find ${host}: ${(cause as Error).message}`, { cause })
  })
  const at = (which: number): string => `tcp://${number.includes(':') ? `[${number}]` : number}:${which}`
  const local = /^(127\.|::1$)/.test(number)
  return {
    publishers: at(port),
    subscribers: at(port + 1),
    notHeld: local || insecure ? undefined : `others can reach ${host}, and ZeroMQ asks nobody who they are; &insecure=yes holds it`,
    claim: undefined,
    files: [],
  }
}

function ipc(rest: string, insecure: boolean): Place {
  const place = fileOf(rest)
  if (Buffer.byteLength(`${place}.pub`) > LONGEST_PATH || /[\0\r\n]/.test(place)) throw none()
  const folder = path.dirname(place)
  const files = [`${place}.pub`, `${place}.sub`] as const
  return {
    publishers: `ipc://${files[0]}`,
    subscribers: `ipc://${files[1]}`,
    files,
    notHeld: insecure ? undefined : openFolder(folder),
    claim: `zmq-${createHash('sha1')
      .update(path.join(realFolder(folder), path.basename(place)))
      .digest('hex')}`,
  }
}

function fileOf(rest: string): string {
  if (isName(rest)) return path.join(runtimeDirectory(), `${rest}.zmq`)
  const place = path.normalize(rest.replace(/^\/\//, ''))
  if (!path.isAbsolute(place) || place.endsWith('/')) throw none()
  return place
}

function realFolder(folder: string): string {
  try {
    return realpathSync(folder)
  } catch {
    return folder
  }
}

/** Sockets of a path are made for everybody; the folder keeps others out. */
function openFolder(folder: string): string | undefined {
  const stat = lstatSync(realFolder(folder), { throwIfNoEntry: false })
  if (!stat?.isDirectory()) return `there is no folder ${folder}`
  const uid = process.getuid?.()
  if (uid === undefined || (stat.uid === uid && (stat.mode & 0o077) === 0)) return undefined
  return `others can reach ${folder}; make it this user's alone (mode 0700), or say insecure=yes`
}
