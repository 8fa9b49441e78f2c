import type { CountersDriver } from '../../driver.js'
import type { Redis } from './connection.js'

export const counters = (redis: Redis): CountersDriver => ({
  add: async (name, amount) => Number(await redis.command('INCRBY', `${redis.prefix}:counter:${name}`, String(amount))),
})
