// The embedded hub in a process of its own: `node hub-process.mjs NAME FOLDER`.
import { serveHub } from 'talkwire/hub'

const [name, folder] = process.argv.slice(2)
process.on('disconnect', () => process.exit())
await serveHub({ name, folder })
process.send?.('ready')
