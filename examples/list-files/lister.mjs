// The child: lists a folder for its parent. Its stdout stays free for printing.
import { lstat, opendir } from 'node:fs/promises'
import path from 'node:path'
import { serve, TalkwireError } from 'talkwire'

export const files = {
  /** One file after the other, as the folder is read. @param {string} folder */
  async *list(folder) {
    const entries = await opendir(folder).catch((reason) => {
      // A declared error reaches the caller; of any other it learns "internal error" only.
      throw new TalkwireError('CannotList', reason.message, { declared: true, details: { folder, code: reason.code } })
    })
    for await (const { name } of entries) {
      const { size } = await lstat(path.join(folder, name))
      yield { name, size }
    }
  },
}

await serve('files', files, { listen: 'stdio:' })
console.log(`lister: process ${process.pid} is ready`)
