/** A private folder for a test file's sockets and names; it is gone afterwards. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { removeQueues } from './queues.js'

export const place = mkdtempSync(join(tmpdir(), 'tw-'))
process.env['TALKWIRE_RUNTIME_DIR'] = join(place, 'run')
after(() => {
  removeQueues(join(place, 'run', 'queues'))
  rmSync(place, { recursive: true, force: true })
})

let next = 0
/** A path in it that nobody uses. */
export const freshPath = (ending = ''): string => join(place, `${next++}${ending}`)
/** A name that nobody uses. */
export const freshName = (): string => `t${process.pid}-${next++}`
