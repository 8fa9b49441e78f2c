// What a run of tests left behind in the kernel: shared memory, semaphores, queues. All processes of a machine share these, so each
// thing is looked at for whose it is. Tests put a process's id into every name and key; the kernel knows some ids, too.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'

/**
 * @typedef {object} Thing
 * @property {string} what its path, or how a person would look for it
 * @property {number[]} pids of those whose it is; [] when nobody can tell
 * @property {number} since when it came, milliseconds since 1970; 0 when the kernel does not say
 * @property {number} [inode] of shared memory
 */

const SHM = '/dev/shm'
const QUEUES = '/dev/mqueue'
/** Keys of tests are the id of the process times this, and a number below it: test/helpers/place.ts. */
export const KEYS_A_PROCESS = 500

/** All that is there now. @returns {Map<string, Thing>} */
export const kernelThings = () => new Map([...segments(), ...posixQueues(), ...systemV()])

/** @param {string} folder */
const namesIn = (folder) => (existsSync(folder) ? readdirSync(folder) : [])

/** @returns {[string, Thing][]} */
function segments() {
  return namesIn(SHM).flatMap((name) => {
    const path = `${SHM}/${name}`
    const stat = statSync(path, { throwIfNoEntry: false })
    return stat ? [[`${path} ${stat.ino}`, { what: path, pids: pidsIn(name), since: stat.birthtimeMs, inode: stat.ino }]] : []
  })
}

/** Of a name whose first number is a process's id: `tw-test-t123-4`, `talkwire-0-mutex-t123-4`; of a queue of ours: spec/queues.md. @param {string} name */
export function pidsIn(name) {
  const [, owner] = /^talkwire-([0-9a-z]{8,13})-\d+\.(?:c2s|s2c)$/.exec(name) ?? []
  if (owner) return [Number([...owner].reduce((sum, digit) => sum * 36n + BigInt(parseInt(digit, 36)), 0n) >> 42n)]
  const [, number] = /(?:^|[-._])[a-z]{0,2}(\d+)(?![0-9a-z])/.exec(name.replace(/^talkwire-\d+-/, '')) ?? []
  return number ? [Number(number)] : []
}

/** @returns {[string, Thing][]} */
const posixQueues = () => queueNames().map((name) => [`queue /${name}`, { what: `POSIX queue /${name}`, pids: pidsIn(name), since: 0 }])

/** Their file system need not be mounted; who may do so mounts it for itself alone. */
function queueNames() {
  if (statSync(QUEUES, { throwIfNoEntry: false })?.isDirectory()) return readdirSync(QUEUES)
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return []
  const script = 'mount -t mqueue none /mnt && ls -A /mnt'
  try {
    return execFileSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')
      .filter(Boolean)
  } catch {
    return []
  }
}

/** @returns {[string, Thing][]} */
function systemV() {
  return Object.entries({ msg: 'msqid', sem: 'semid', shm: 'shmid' }).flatMap(([kind, id]) =>
    rows(`/proc/sysvipc/${kind}`).map((row) => {
      const pids = [row['cpid'], row['lpid'], row['lspid'], row['lrpid']].flatMap((pid) => (pid ? [pid] : []))
      const ofKey = Math.floor((row['key'] ?? 0) / KEYS_A_PROCESS)
      const what = `System V ${kind} ${row[id]} (ipcs; key ${row['key']})`
      return [`${kind} ${row[id]}`, { what, pids: ofKey ? [...pids, ofKey] : pids, since: (row['ctime'] ?? 0) * 1000 }]
    }),
  )
}

/** A table of the kernel with a line of titles. @param {string} file @returns {Record<string, number>[]} */
function rows(file) {
  if (!existsSync(file)) return []
  const [titles = [], ...lines] = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
  return lines.map((line) => Object.fromEntries(titles.map((title, n) => [title, Number(line[n])])))
}

/** A process may end at any time, and another user's says nothing. @template T @param {() => T} read */
function orNothing(read) {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** @param {number} pid */
const environmentOf = (pid) => orNothing(() => readFileSync(`/proc/${pid}/environ`, 'utf8')) ?? ''
/** @param {number} pid */
const parentOf = (pid) => Number(/\) \S (\d+)/.exec(orNothing(() => readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? '')?.[1] ?? 0)

/** Not by its path: memory that got its name late has another one there. @param {number} pid @param {number} inode */
const maps = (pid, inode) => new RegExp(` ${inode} +${SHM}/`).test(orNothing(() => readFileSync(`/proc/${pid}/maps`, 'utf8')) ?? '')

/**
 * One file of tests, and whatever it starts.
 * @typedef {object} Part
 * @property {string} name
 * @property {string} mark stands in the environment of its processes, and in no other's
 * @property {Set<number>} pids all that were seen
 * @property {Set<string>} things that say nobody's id, and were mapped by one of its processes
 * @property {number} began
 * @property {number} ended
 */

/** Milliseconds. What lives shorter than this is known by its test's id in what it leaves, or not at all. */
const LOOK_EVERY = 200
/** Some of the kernel's tables have whole seconds. @param {Part} part @param {number} since */
const during = ({ began, ended }, since) => since === 0 || (since >= began - 1000 && since <= ended + 1000)

/**
 * @typedef {object} Run
 * @property {(name: string, mark: string, pid: number | undefined) => () => void} begin a part, whose first process has `pid`; returns what ends it
 * @property {() => { of: string, what: string }[]} left what is there of this run, and of which part
 * @property {() => { of: string[], what: string }[]} unclear what came meanwhile and says nobody's id, and which parts ran then
 * @property {() => void} look at what is there; it happens by itself, again and again
 * @property {() => void} end
 */

/** Follows a run of tests, and tells what it left. What was there before is not its, nor is what other runs made. @returns {Run} */
export function followRun() {
  const before = kernelThings()
  /** @type {Part[]} */
  const parts = []
  /** @type {Map<number, Part | undefined>} */
  const processes = new Map()
  const looking = setInterval(look, LOOK_EVERY).unref()
  const newThings = () => [...kernelThings()].filter(([key]) => !before.has(key))

  function look() {
    lookAtProcesses()
    lookAtThings()
  }

  function lookAtProcesses() {
    const living = namesIn('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
    const running = parts.filter(({ ended }) => ended === Infinity)
    for (const pid of processes.keys()) if (!living.includes(pid)) processes.delete(pid)
    for (const pid of living.filter((each) => !processes.has(each))) {
      const environment = environmentOf(pid)
      const part = running.find(({ mark }) => environment.includes(mark)) ?? processes.get(parentOf(pid))
      processes.set(pid, part)
      part?.pids.add(pid)
    }
  }

  function lookAtThings() {
    for (const [key, { pids, inode = 0 }] of segments())
      if (pids.length === 0 && !before.has(key)) for (const [pid, part] of processes) if (part && maps(pid, inode)) part.things.add(key)
  }

  // An id may have been another's before, and may be another's afterwards.
  /** @param {string} key @param {Thing} thing */
  const partOf = (key, { pids, since }) =>
    parts.find((part) => part.things.has(key) || (during(part, since) && pids.some((pid) => part.pids.has(pid))))

  return {
    begin(name, mark, pid) {
      const part = { name, mark, pids: new Set(), things: new Set(), began: Date.now(), ended: Infinity }
      parts.push(part)
      if (pid !== undefined) {
        part.pids.add(pid)
        processes.set(pid, part)
      }
      return () => void (part.ended = Date.now())
    },
    look,
    end: () => clearInterval(looking),
    left: () =>
      newThings().flatMap(([key, thing]) => {
        const part = partOf(key, thing)
        return part ? [{ of: part.name, what: thing.what }] : []
      }),
    unclear: () =>
      newThings()
        .filter(([key, thing]) => thing.pids.length === 0 && !partOf(key, thing))
        .map(([, { what, since }]) => ({
          what,
          of: parts.filter((part) => during(part, since)).map(({ name }) => name),
        })),
  }
}
