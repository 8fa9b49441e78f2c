/** Whatever happened in a test file, the kernel's queues of its processes go with it: all tests of a user share what there may be. */
import { existsSync, readdirSync } from 'node:fs'
import { KINDS } from '../../src/queues/kinds.js'

export function removeQueues(directory: string): void {
  if (!existsSync(directory)) return
  for (const file of readdirSync(directory)) {
    const [, kind, name] = /^([a-z]+)-(.+)$/.exec(file) ?? []
    KINDS.find((each) => each.kind === kind)?.remove(name!)
  }
}
