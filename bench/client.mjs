// The client program: gets a job from the runner over IPC, starts the peer's server, measures, answers, ends.
import { once } from 'node:events'
import { Wrong, measures } from './measure.mjs'
import { startServer } from './lib/processes.mjs'
import { peers } from './peers/index.mjs'

/** @typedef {{ name: string, address: string, cases: string[], core: string | null, python: string, effort: any }} Job */

/** @param {Job} job */
async function run(job) {
  const peer = await import(`./peers/${job.name}.mjs`)
  const server = await startServer(job, peer)
  try {
    const connect = () => peer.client(job.address, server.child)
    const client = await connect()
    /** @type {Record<string, any>} */
    const results = {}
    for (const name of job.cases) {
      try {
        const measured = measures[name]({
          client,
          connect,
          memory: () => server.ask('memory'),
          text: peers[job.name].text ?? false,
          effort: job.effort,
        })
        results[name] = await Promise.race([measured, server.ended])
      } catch (/** @type {any} */ error) {
        results[name] = { failed: error instanceof Wrong ? error.message : String(error?.stack ?? error) }
        break // the connection may hold answers to calls that nobody waits for any more
      }
    }
    if (!Object.values(results).some((r) => r.failed)) await Promise.race([client.close(), server.ended])
    return { results }
  } finally {
    await server.stop()
  }
}

process.on('disconnect', () => process.exit())
const [job] = await once(process, 'message')
const answer = await run(job).catch((error) => ({ failed: String(error?.stack ?? error), code: error?.code }))
process.send?.(answer, () => process.exit())
