import * as both from '../lib/talkwire.mjs'

export const server = (/** @type {string} */ address) => both.server('shm', address)
export const client = (/** @type {string} */ address) => both.client('shm', address)
