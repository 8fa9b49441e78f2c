// The customer: node customer.mjs. Knows the ride service only.
import { connect, isError, TalkwireError } from 'talkwire'
import { rides } from './contracts.mjs'

const client = await connect(rides)

const { way, km, euros } = await client.offer({ from: 'station', to: 'airport' })
console.log(`${way.join(', ')}: ${km} km, ${euros.toFixed(2)} euros`)

for (const to of ['island', 'moon']) {
  await client.offer({ from: 'station', to }).catch((error) => {
    if (!isError(error, rides, 'offer', 'NotServed')) throw error
    console.log(`no ride: ${error.details.why}`)
  })
}

// Exact, but it takes more than a second, and the customer has half of one.
await client.offer({ from: 'station', to: 'airport', traffic: true }, { timeout: 500 }).catch((error) => {
  console.log(`too slow: ${TalkwireError.from(error).code}`)
})

// The customer walks away after the first news.
const controller = new AbortController()
const onProgress = () => controller.abort(new Error('I take the bus'))
await client.offer({ from: 'station', to: 'airport', traffic: true }, { signal: controller.signal, onProgress }).catch((error) => {
  console.log(`cancelled: ${error.message}`)
})

await client.close()
