/**
 * Making, taking over and removing a lock file, with link(2), rename(2) and unlink(2) alone. Each change of the folder is one
 * step, so that a test can end or stop the process before any one of them.
 *
 * A stale lock file cannot simply be removed: between looking and removing, somebody else may have removed it and made a new
 * one. So whoever wants to take over from a dead owner first makes the claim `.<name>.<token of the dead>.<n>`, which is a link
 * and can be made once. A claim whose maker died as well is not removed either: the next number is claimed. Thus at any time
 * at most one living process may touch a file with that token, and as tokens never come back, a look at the file under the
 * claim stays true until that one renames its own file over it.
 */
import { closeSync, linkSync, openSync, readdirSync, renameSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { TalkwireError } from '../error.js'
import { changing } from '../memory/store.js'
import { isDead, newText, readText, type LockText } from './lock-file-text.js'

interface Draft {
  readonly path: string
  readonly text: LockText
}

const beside = (path: string, ending: string): string => join(dirname(path), `.${basename(path)}.${ending}`)

/** A file of our own, complete before it gets a name that counts. */
function draft(path: string): Draft {
  const text = newText()
  const file = beside(path, `${text.token}.draft`)
  changing()
  const fd = openSync(file, 'wx', 0o600)
  try {
    changing()
    writeSync(fd, `${JSON.stringify(text)}\n`)
  } catch (reason) {
    remove(file)
    throw reason
  } finally {
    closeSync(fd)
  }
  return { path: file, text }
}

function remove(path: string): void {
  changing()
  try {
    unlinkSync(path)
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'ENOENT') throw reason
  }
}

/** What file systems without hard links answer. */
const NO_LINKS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/** False when that name is taken. */
function link(from: string, to: string): boolean {
  changing()
  try {
    linkSync(from, to)
    return true
  } catch (reason) {
    const { code } = reason as NodeJS.ErrnoException
    // A server of files may have done it, and been asked a second time because its answer was lost.
    if (code === 'EEXIST') return readText(from)?.token === readText(to)?.token
    // Somebody took this process for dead: a draft that nobody had written for long.
    if (code === 'ENOENT') return false
    if (NO_LINKS.has(code ?? ''))
      throw new TalkwireError('UNSUPPORTED', `the file system of ${to} has no hard links; put the lock file on another one`, {
        cause: reason,
      })
    throw reason
  }
}

/** Makes the lock file. Undefined when somebody else was first. Throws as `fs` does. */
export function create(path: string): LockText | undefined {
  const own = draft(path)
  try {
    return link(own.path, path) ? own.text : undefined
  } finally {
    remove(own.path)
  }
}

/** Puts ours in the place of a dead one's. Undefined when somebody else does that. Throws as `fs` does. */
export function takeOver(path: string, dead: LockText): LockText | undefined {
  const own = draft(path)
  const claimed = claim(path, dead, own)
  if (claimed === undefined || readText(path)?.token !== dead.token) {
    if (claimed !== undefined) remove(claimed)
    remove(own.path)
    return undefined
  }
  changing()
  renameSync(own.path, path)
  tidy(path)
  return own.text
}

/** The name of the claim, if it is ours. */
function claim(path: string, dead: LockText, own: Draft): string | undefined {
  for (let n = 1; ; n++) {
    const name = beside(path, `${dead.token}.${n}`)
    if (readText(name) === undefined && link(own.path, name)) return name
    const other = readText(name)
    // Just removed: it is over, and another look at the lock file will tell how it ended.
    if (!other || !isDead(other)) return undefined
  }
}

/** Removes what the dead left beside the lock file. */
export function tidy(path: string): void {
  const prefix = beside(path, '')
  // In this order: a claim that was there before the lock file was read, and is not on what was read, is on something that is gone.
  const files = readdirSync(dirname(path))
    .map((file) => join(dirname(path), file))
    .filter((file) => file.startsWith(prefix))
  const current = readText(path)?.token
  for (const file of files) {
    const [, token, ending] = /^([0-9a-f]{24})\.(draft|\d+)$/.exec(file.slice(prefix.length)) ?? []
    if (token === undefined || (ending !== 'draft' && token === current)) continue
    if (ending !== 'draft' || isLeft(file)) remove(file)
  }
}

/** Of a draft that was never written nobody knows the owner: it counts as left when it is old. */
const OLD = 60_000

function isLeft(file: string): boolean {
  const text = readText(file)
  if (text) return isDead(text)
  const stat = statSync(file, { throwIfNoEntry: false })
  return stat !== undefined && Date.now() - stat.mtimeMs > OLD
}

/** Removes the lock file if it still is the one with this token. */
export function removeOwn(path: string, { token }: LockText): void {
  if (readText(path)?.token === token) remove(path)
}
