// One of several equal processes: one of them leads, and if it dies another does.
import { openHub } from 'talkwire/hub'

const name = process.argv[2] ?? String(process.pid)
const hub = await openHub(process.env.HUB)
console.log(`${name} takes part`)
const lead = await hub.lease('leader', { ttl: 1_000, label: name }).acquire()
console.log(`${name} leads, term ${lead.token}`)
lead.signal.addEventListener('abort', () => {
  console.log(`${name} does not lead any more`)
  process.exit(1)
})
setInterval(() => {}, 1 << 30) // a lease keeps no process alive
