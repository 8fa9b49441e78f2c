// Can share images: `messenger.mjs Chat`.
import { readSync } from 'node:fs'
import { TalkwireError } from 'talkwire'
import { openHub } from 'talkwire/hub'

const [label = 'Messenger'] = process.argv.slice(2)
const hub = await openHub(process.env.HUB)
await hub.intents.handle({ action: 'share', type: 'image/*', label }, ({ type, descriptor }) => {
  if (!descriptor) throw new TalkwireError('INVALID_INPUT', 'an image comes as an open file')
  const head = Buffer.alloc(8)
  readSync(descriptor.fd, head, 0, 8, 0)
  return `${label} shares an ${type} that begins with ${head.toString('latin1', 1, 4)}`
})
console.log(`${label} is there`)
