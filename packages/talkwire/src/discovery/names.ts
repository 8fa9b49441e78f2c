/** Names without a daemon: spec/names.md, whose steps the functions follow. */
import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isName, validateName } from '../address.js'
import { TalkwireError } from '../error.js'
import { isAlive, ownIdentity, type ProcessIdentity } from './identity.js'

export interface Entry extends ProcessIdentity {
  readonly talkwire: 1
  readonly name: string
  readonly state: 'claimed' | 'serving' | 'released'
  readonly contract: string | null
  readonly hash: string | null
  readonly addresses: readonly string[]
  readonly language: string
  /** Milliseconds since 1970. */
  readonly since: number
}

/** The private directory of this user's services, made and checked. Throws PERMISSION_DENIED when somebody else could have a hand in it. */
export function runtimeDirectory(): string {
  const { TALKWIRE_RUNTIME_DIR: own, XDG_RUNTIME_DIR: session } = process.env
  const directory = own ? own : session ? join(session, 'talkwire') : join(tmpdir(), `talkwire-${process.getuid?.() ?? 'user'}`)
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST')
      throw new TalkwireError(
        'PERMISSION_DENIED',
        `cannot make the runtime directory ${directory}: ${(cause as Error).message}; set TALKWIRE_RUNTIME_DIR`,
        { cause },
      )
  }
  checkPrivate(directory)
  return directory
}

function checkPrivate(directory: string): void {
  const stat = lstatSync(directory)
  const uid = process.getuid?.()
  const problem = !stat.isDirectory()
    ? 'is not a directory'
    : uid !== undefined && stat.uid !== uid
      ? 'belongs to another user'
      : uid !== undefined && (stat.mode & 0o077) !== 0
        ? 'is open to others'
        : undefined
  if (problem)
    throw new TalkwireError(
      'PERMISSION_DENIED',
      `the runtime directory ${directory} ${problem}; remove it or set TALKWIRE_RUNTIME_DIR to a private one (mode 0700)`,
    )
}

/** No registry grows so far: each claim adds one. */
const LAST_NUMBER = 999_999_999_999_999
/** Bytes; an entry has a few hundred. */
const MAX_ENTRY = 65_536

/** All entries of a name, highest number first. An unreadable one is a `released` one: its writer never finished. */
function entriesOf(directory: string, name: string): { number: number; file: string; entry: Entry | undefined }[] {
  const prefix = `${name}.`
  const found = []
  for (const file of readdirSync(directory)) {
    if (!file.startsWith(prefix)) continue
    const number = /^([1-9]\d{0,14})\.json$/.exec(file.slice(prefix.length))?.[1]
    if (number !== undefined) found.push({ number: Number(number), file, entry: readEntry(join(directory, file), name) })
  }
  return found.sort((a, b) => b.number - a.number)
}

/** Gone, a symbolic link, a FIFO or socket: no entry. Anything else may be one that we cannot read at the moment. */
const NO_ENTRY = new Set(['ENOENT', 'ELOOP', 'ENXIO'])

function readEntry(path: string, name: string): Entry | undefined {
  let descriptor: number
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (reason) {
    if (NO_ENTRY.has((reason as NodeJS.ErrnoException).code ?? '')) return undefined
    throw TalkwireError.from(reason, 'PERMISSION_DENIED')
  }
  try {
    const stat = fstatSync(descriptor)
    const entry = stat.isFile() && stat.size <= MAX_ENTRY ? parseEntry(readFileSync(descriptor, 'utf8')) : undefined
    return entry?.name === name ? entry : undefined
  } finally {
    closeSync(descriptor)
  }
}

/** A registry file's content, or undefined for anything that is none. Never throws. */
export function parseEntry(text: string): Entry | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const entry = value as Record<string, unknown>
  const texts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.length <= 100 && list.every((item) => typeof item === 'string' && item.length <= 4096)
  const textOrNull = (item: unknown): boolean => item === null || typeof item === 'string'
  const valid =
    entry['talkwire'] === 1 &&
    typeof entry['name'] === 'string' &&
    isName(entry['name']) &&
    (entry['state'] === 'claimed' || entry['state'] === 'serving' || entry['state'] === 'released') &&
    Number.isSafeInteger(entry['pid']) &&
    (entry['pid'] as number) > 0 &&
    typeof entry['since'] === 'number' &&
    texts(entry['addresses']) &&
    ['contract', 'hash', 'start', 'boot', 'pidns'].every((key) => textOrNull(entry[key])) &&
    typeof entry['language'] === 'string'
  return valid ? (value as Entry) : undefined
}

const isDead = (entry: Entry | undefined): boolean => !entry || entry.state === 'released' || !isAlive(entry)

/** A name that is ours until the process dies or `release` is called. */
export interface Claim {
  readonly name: string
  announce(what: Pick<Entry, 'contract' | 'hash' | 'addresses'>): void
  release(): void
}

/** Takes a name. Throws ADDRESS_IN_USE when a living process has it. Does not block but for a few small files. */
export function claim(name: string): Claim {
  validateName(name)
  const directory = runtimeDirectory()
  for (;;) {
    const highest = entriesOf(directory, name)[0]
    if (highest && !isDead(highest.entry)) throw inUse(name, highest.entry!)
    const number = (highest?.number ?? 0) + 1
    if (number > LAST_NUMBER)
      throw new TalkwireError(
        'ADDRESS_IN_USE',
        `the number of ${join(directory, highest!.file)} leaves no place for another; remove the file`,
      )
    const path = join(directory, `${name}.${number}.json`)
    const entry: Entry = {
      talkwire: 1,
      name,
      state: 'claimed',
      contract: null,
      hash: null,
      addresses: [],
      language: 'node',
      since: Date.now(),
      ...ownIdentity(),
    }
    if (!create(directory, path, entry)) continue
    const rival = entriesOf(directory, name).find((other) => other.number !== number && (other.number > number || !isDead(other.entry)))
    if (rival) {
      remove(path)
      if (!isDead(rival.entry)) throw inUse(name, rival.entry!)
      continue
    }
    for (const old of entriesOf(directory, name)) if (old.number < number) remove(join(directory, old.file))
    return holder(directory, path, entry)
  }
}

/** The same; undefined when a living process has it. */
export function tryClaim(name: string): Claim | undefined {
  try {
    return claim(name)
  } catch (reason) {
    if (reason instanceof TalkwireError && reason.code === 'ADDRESS_IN_USE') return undefined
    throw reason
  }
}

function holder(directory: string, path: string, entry: Entry): Claim {
  const replace = (changes: Partial<Entry>): void => {
    const temporary = writeTemporary(directory, entry.name, { ...entry, ...changes })
    renameSync(temporary, path)
  }
  return {
    name: entry.name,
    announce: (what) => replace({ ...what, state: 'serving' }),
    release: () => replace({ state: 'released' }),
  }
}

/** False: somebody else made that number first. */
function create(directory: string, path: string, entry: Entry): boolean {
  const temporary = writeTemporary(directory, entry.name, entry)
  try {
    linkSync(temporary, path)
    return true
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw TalkwireError.from(reason, 'PERMISSION_DENIED')
  } finally {
    unlinkSync(temporary)
  }
}

function writeTemporary(directory: string, name: string, entry: Entry): string {
  // Not a secret, only nobody else's: loading node:crypto would cost every process more than all of its names.
  const path = join(directory, `.${name}.${process.pid}.${Math.random().toString(16).slice(2, 14)}.tmp`)
  writeFileSync(path, JSON.stringify(entry), { mode: 0o600, flag: 'wx' })
  return path
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (reason) {
    // What is no file was not made by us: it stays, and is in nobody's way.
    if (!['ENOENT', 'EISDIR', 'EPERM'].includes((reason as NodeJS.ErrnoException).code ?? '')) throw reason
  }
}

const inUse = (name: string, { pid }: Entry): TalkwireError =>
  new TalkwireError('ADDRESS_IN_USE', `"${name}" is served by the living process ${pid}; end it or choose another name`, {
    details: { pid },
  })

/** The entry of a name that is being served, or why there is none. */
export function find(name: string): Entry | { readonly reason: string; readonly claimed?: Entry } {
  validateName(name)
  const directory = runtimeDirectory()
  const entry = entriesOf(directory, name)[0]?.entry
  if (!entry) return { reason: `nothing has announced "${name}" in ${directory}` }
  if (entry.state === 'released') return { reason: `"${name}" was closed (it ran as process ${entry.pid})` }
  if (!isAlive(entry)) return { reason: `"${name}" was announced by process ${entry.pid}, which is dead` }
  if (entry.state === 'claimed') return { reason: `"${name}" is starting as process ${entry.pid}`, claimed: entry }
  return entry
}

/** Every service that is announced and alive, by name. */
export function list(): Entry[] {
  const names = new Set<string>()
  for (const file of readdirSync(runtimeDirectory())) {
    const name = /^(.+)\.[1-9]\d{0,14}\.json$/.exec(file)?.[1]
    if (name !== undefined && isName(name) && !/^path-[0-9a-f]{16}$/.test(name)) names.add(name)
  }
  return [...names]
    .sort()
    .map(find)
    .filter((entry): entry is Entry => !('reason' in entry))
}
