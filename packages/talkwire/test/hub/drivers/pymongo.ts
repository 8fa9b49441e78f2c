/** pymongo as a program of its own that knows nothing of us, told line by line what to do: ../fixtures/mongo_peer.py */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { soon } from '../../../compliance/ends.js'
import { endsBefore } from '../../helpers/place.js'

export interface Pymongo {
  /** Statements: nothing comes back. */
  run(line: string): void
  /** Resolves with the value of an expression, when everything before it has run. */
  say(expression: string): Promise<unknown>
}

/** Started at once; ended after the test file. */
export function startPymongo(address: string): Pymongo {
  const peer = new URL('../../../../test/hub/fixtures/mongo_peer.py', import.meta.url).pathname
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', [peer, address], { stdio: ['pipe', 'pipe', 'inherit'] })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  endsBefore(async () => {
    child.stdin.end()
    await gone
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const run = (line: string): void => void child.stdin.write(`${line}\n`)
  return {
    run,
    async say(expression) {
      run(`say(${expression})`)
      return JSON.parse((await soon(lines.next(), 'a line of pymongo')).value as string)
    },
  }
}
