/**
 * What the embedded hub serves: docs/hub/hub.md. Most methods are for whoever writes a call by hand, in any language; `do`, `feed`,
 * `work` and `look` are for drivers: bodies as bytes, many requests in one call, spec/hub-machine.md.
 */
import { contract, rpc, stream } from '../contract/contract.js'
import type { StandardSchema } from '../contract/standard-schema.js'

type Values = Record<string, any>

/** The members are checked one by one, where they are used, in words that name them. */
const object: StandardSchema<Values, Values> = {
  '~standard': {
    version: 1,
    vendor: 'talkwire',
    validate: (value) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? { value: value as Values }
        : { issues: [{ message: 'no object' }] },
  },
}
const anything: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'talkwire', validate: (value) => ({ value }) } }

const asks = { input: object, output: anything }
const reads = { ...asks, idempotent: true }

export const hubContract = contract('hub/1', {
  publish: rpc(asks),
  subscribe: rpc({ input: object, output: stream(anything) }),
  keep: rpc(reads),
  queue: rpc(reads),
  push: rpc(asks),
  take: rpc(asks),
  ack: rpc(asks),
  nack: rpc(asks),
  dead: rpc(asks),
  extend: rpc(asks),
  counts: rpc(reads),
  purge: rpc(asks),
  deadLetters: rpc(reads),
  revive: rpc(asks),
  get: rpc(reads),
  set: rpc(asks),
  delete: rpc(asks),
  batch: rpc(asks),
  list: rpc(reads),
  watch: rpc({ input: object, output: stream(anything) }),
  add: rpc(asks),
  acquire: rpc(asks),
  renew: rpc(asks),
  release: rpc(asks),
  inspect: rpc(reads),
  status: rpc({ output: anything, idempotent: true }),
  backup: rpc(asks),
  do: rpc({ input: anything, output: anything }),
  feed: rpc({ input: object, output: stream(anything) }),
  work: rpc({ input: object, output: stream(anything) }),
  look: rpc({ input: object, output: stream(anything) }),
})
