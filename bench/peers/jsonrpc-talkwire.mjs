export { client } from '../lib/jsonrpc.mjs'
export { server } from './talkwire.mjs'
