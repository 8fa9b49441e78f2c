// A temporary folder and names of their own for the tests of one file: what they leave there is theirs, whoever else runs.
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** @returns {{ path: string, env: { TMPDIR: string, TALKWIRE_RUNTIME_DIR: string, NODE_EXTRA_CA_CERTS: undefined }, left: () => string[], remove: () => void }} */
export function privateFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'tw-'))
  // Short: the path of a socket below it has 107 bytes.
  const temporary = path.join(folder, 't')
  mkdirSync(temporary)
  // Tests become other users, who have to reach what the tests give them there.
  for (const each of [folder, temporary]) chmodSync(each, 0o711)
  return {
    path: folder,
    // Node reads these certificates whenever it starts, and for longer than all the rest of its start. No test calls who has one of them.
    env: { TMPDIR: temporary, TALKWIRE_RUNTIME_DIR: path.join(folder, 'run'), NODE_EXTRA_CA_CERTS: undefined },
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
