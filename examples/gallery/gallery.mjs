// Wants an image shared, and does not know who can: `gallery.mjs image.png`.
import { openSync } from 'node:fs'
import { Descriptor } from 'talkwire'
import { openHub } from 'talkwire/hub'

const [file = ''] = process.argv.slice(2)
const hub = await openHub(process.env.HUB)
const answer = await hub.intents.send({
  action: 'share',
  type: 'image/png',
  data: { name: file },
  // The file itself is not sent: the messenger gets it open.
  descriptor: Descriptor.give(openSync(file, 'r')),
  // A desktop would ask a person.
  choose: (handlers) => handlers.find(({ label }) => label === process.env.CHOOSE) ?? handlers[0],
})
console.log(answer)
await hub.close()
