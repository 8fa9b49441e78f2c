/** A private folder for a test file's sockets and names; it is gone afterwards. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { removeQueues } from './queues.js'

/** The processes that a test starts have it from the test, and leave it to the test: they may be killed. */
const INHERITED = 'TALKWIRE_TEST_PLACE'
const isMine = process.env[INHERITED] === undefined
export const place = (process.env[INHERITED] ??= mkdtempSync(join(tmpdir(), 'tw-')))
/** What still writes there ends first: hooks run in the order in which they were made, and this file's is the first. */
const writers: (() => Promise<void>)[] = []
export const endsBefore = (end: () => Promise<void>): void => (isMine ? void writers.push(end) : after(end))
if (isMine) {
  process.env['TALKWIRE_RUNTIME_DIR'] = join(place, 'run')
  after(async () => {
    await Promise.all(writers.map((end) => end()))
    removeQueues(join(place, 'run', 'queues'))
    rmSync(place, { recursive: true, force: true })
  })
}

let next = 0
/** A path in it that nobody uses. */
export const freshPath = (ending = ''): string => join(place, `${isMine ? '' : `${process.pid}-`}${next++}${ending}`)
/** A name that nobody uses. Whoever finds it left behind knows by the id whose it was: scripts/lib/leftovers.mjs. */
export const freshName = (): string => `t${process.pid}-${next++}`
let keys = 0
/** A key of System V that nobody uses; it tells whose it was, too. */
export const freshKey = (): number => process.pid * 500 + (keys++ % 500)
