import { readFileSync, statSync } from 'node:fs'
import { UsageError } from './output.js'

/** The key in a file, without the line's end. Throws UsageError for a file that others can read. */
export function readAuthkey(file: string | undefined): Buffer | undefined {
  if (file === undefined) return undefined
  let mode: number
  let key: Buffer
  try {
    ;({ mode } = statSync(file))
    key = readFileSync(file)
  } catch (reason) {
    throw new UsageError(`cannot read the key: ${(reason as Error).message}`)
  }
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw new UsageError(`others can read ${file}; chmod 600 it`)
  let end = key.length
  while (end > 0 && (key[end - 1] === 0x0a || key[end - 1] === 0x0d)) end--
  return key.subarray(0, end)
}
