/** Another process that holds the doors of a hub on ZeroMQ. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { soon } from '../../../compliance/ends.js'
import { endsBefore } from '../../helpers/place.js'

const PROGRAM = fileURLToPath(new URL('../fixtures/zmq-holder.js', import.meta.url))

export interface OtherHolder {
  readonly start: () => Promise<void>
  /** kill -9. */
  readonly kill: () => Promise<void>
}

export function otherHolder(address: string): OtherHolder {
  let child: ReturnType<typeof run> | undefined
  const run = () => spawn(process.execPath, [PROGRAM, address], { stdio: ['pipe', 'pipe', 'inherit'] })
  const kill = async (): Promise<void> => {
    const running = child
    child = undefined
    if (!running || running.exitCode !== null || running.signalCode !== null) return
    const gone = once(running, 'exit')
    running.kill('SIGKILL')
    await gone
  }
  endsBefore(kill)
  return {
    async start() {
      child = run()
      await soon(once(child.stdout, 'data'), 'a process that holds a hub')
    },
    kill,
  }
}
