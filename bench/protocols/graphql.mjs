import http from 'node:http'
import { buildSchema } from 'graphql'
import { createClient } from 'graphql-http'
import { createHandler } from 'graphql-http/lib/use/http'
import * as service from '../lib/service.mjs'
import { talkwire } from './ours.mjs'
import { listen } from './listen.mjs'

export const ours = talkwire(() => 'graphql+http://127.0.0.1:0')

/** @type {import('./index.mjs').Side} */
export const bare = {
  server() {
    const schema = buildSchema('type Query { add(a: Float!, b: Float!): Float! }')
    const rootValue = { add: (/** @type {{ a: number, b: number }} */ { a, b }) => service.add(a, b) }
    return listen(http.createServer(createHandler({ schema, rootValue })))
  },
  async client(address) {
    const client = createClient({ url: `${address}/graphql` })
    const query = 'query Add($a: Float!, $b: Float!) { add(a: $a, b: $b) }'
    return {
      add: (a, b) =>
        new Promise((resolve, reject) => {
          /** @type {any} */
          let last
          client.subscribe(
            { query, variables: { a, b } },
            { next: (result) => (last = result), error: reject, complete: () => resolve(last.data.add) },
          )
        }),
      close: () => client.dispose(),
    }
  },
}
