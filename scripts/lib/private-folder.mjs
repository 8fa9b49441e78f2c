// A temporary folder and names of their own for the tests of one file: what they leave there is theirs, whoever else runs.
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** @returns {{ path: string, env: { TMPDIR: string, TALKWIRE_RUNTIME_DIR: string }, left: () => string[], remove: () => void }} */
export function privateFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'tw-'))
  // Short: the path of a socket below it has 107 bytes.
  const temporary = path.join(folder, 't')
  mkdirSync(temporary)
  // Tests become other users, who have to reach what the tests give them there.
  for (const each of [folder, temporary]) chmodSync(each, 0o711)
  return {
    path: folder,
    env: { TMPDIR: temporary, TALKWIRE_RUNTIME_DIR: path.join(folder, 'run') },
    left: () => readdirSync(temporary),
    remove: () => removeAll(folder),
  }
}

/** A browser whose test was killed ends a moment later, and writes meanwhile. @param {string} folder */
function removeAll(folder) {
  for (let left = 50; ; left--)
    try {
      return rmSync(folder, { recursive: true, force: true })
    } catch (reason) {
      if (left === 0) throw reason
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
    }
}
