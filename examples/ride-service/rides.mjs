// The ride service: node rides.mjs. Asks the path service on behalf of whoever asks it.
import { connect, isError, serve } from 'talkwire'
import { paths, rides } from './contracts.mjs'

const finder = await connect(paths)

const service = await serve(rides, {
  async offer(trip, ctx) {
    try {
      // `from`: our caller's deadline is this call's too, and when our caller cancels, so does this call.
      const { way, km } = await finder.shortest(trip, { from: ctx, onProgress: (value) => ctx.progress(value) })
      return { way, km, euros: Math.round((3.5 + km * 1.8) * 100) / 100 }
    } catch (error) {
      if (isError(error, paths, 'shortest', 'NoWay')) throw ctx.error('NotServed', { why: `no street leads to the ${error.details.to}` })
      if (isError(error, paths, 'shortest', 'UnknownPlace')) throw ctx.error('NotServed', { why: `where is "${error.details.place}"?` })
      throw error
    }
  },
})

console.log('rides: ready')
process.once('SIGTERM', async () => {
  await service.close()
  await finder.close()
})
