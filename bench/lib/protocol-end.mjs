// One end of a protocol: `node protocol-end.mjs <protocol> ours|bare`. Told what to do over IPC; ends with the process that started it.
import { measures } from '../measure.mjs'

const [name, who] = process.argv.slice(2)
process.on('disconnect', () => process.exit())

/** @type {import('../protocols/index.mjs').Caller} */
let client

/** @type {Record<string, (told: any) => Promise<unknown>>} */
const jobs = {
  serve: async (place) => (await side()).server(place),
  connect: async (address) => void (client = await (await side()).client(address)),
  /** Microseconds of processor time so far. */
  used: async () => used(),
  async measure({ what, ms }) {
    let made = 0
    const counted = {
      ...client,
      add: (/** @type {number} */ a, /** @type {number} */ b) =>
        (made++, client.add(a, b)),
    }
    const before = used()
    const values = await measures[what](/** @type {any} */ ({ client: counted, effort: { warm: 0, run: ms } }))
    return { values, made, used: used() - before }
  },
}

/** @returns {Promise<import('../protocols/index.mjs').Side>} */
const side = async () => (await import(`../protocols/${name}.mjs`))[who]

function used() {
  const { user, system } = process.cpuUsage()
  return user + system
}

process.on('message', async (/** @type {any} */ { job, told }) => {
  try {
    process.send?.({ answer: await jobs[job](told) })
  } catch (/** @type {any} */ error) {
    process.send?.({ failed: String(error?.stack ?? error), code: error?.code })
  }
})
process.send?.('ready')
