import * as both from '../lib/talkwire.mjs'

export const server = (/** @type {string} */ address) => both.server('unix', address)
export const client = (/** @type {string} */ address) => both.client('unix', address)
