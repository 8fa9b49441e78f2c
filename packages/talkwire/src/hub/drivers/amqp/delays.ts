/**
 * Delayed jobs. A queue's oldest message alone is looked at for its end, so each queue has one time for all that is in it: queue N holds
 * what comes for 10 · 2^N ms. A job has its delay in binary before its name in the routing key, `0.1.1.NAME`; exchange N lets it into
 * queue N or leads on to exchange N - 1, as its digit says, and what leaves queue N goes there, too.
 */
import type { Channel } from 'amqplib'
import { TalkwireError } from '../../../error.js'
import type { Amqp } from './connection.js'

/** Milliseconds of the shortest queue. */
const UNIT = 10
const DIGITS = 28
/** What stands before the name. */
export const DELAY_BYTES = 2 * DIGITS

export interface Delays {
  /** Has it delivered to a queue what was delayed for it. */
  bind(channel: Channel, queue: string): Promise<void>
  /** Where a job for a queue goes that is to be there in so many milliseconds. */
  way(queue: string, delay: number): { readonly exchange: string; readonly key: string; readonly ready: () => Promise<void> }
}

export function delays(amqp: Amqp): Delays {
  const { prefix } = amqp
  const exchangeOf = (level: number): string => (level < 0 ? `${prefix}.due` : `${prefix}.delay.${level}`)
  const end = exchangeOf(-1)
  const declare = async (channel: Channel): Promise<void> => {
    await channel.assertExchange(end, 'topic', { durable: true })
  }
  const declareLevel = async (channel: Channel, level: number): Promise<void> => {
    const [name, next] = [exchangeOf(level), exchangeOf(level - 1)]
    const digit = (value: string): string => [...Array<string>(DIGITS - 1 - level).fill('*'), value, '#'].join('.')
    await channel.assertExchange(name, 'topic', { durable: true })
    // Only quorum queues hand on what has come to its end with a confirmation.
    const settings = {
      'x-queue-type': 'quorum',
      'x-message-ttl': UNIT * 2 ** level,
      'x-dead-letter-exchange': next,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    }
    await channel.assertQueue(name, { durable: true, arguments: settings })
    await channel.bindQueue(name, name, digit('1'))
    await channel.bindExchange(next, name, digit('0'))
  }
  /** From below: a level leads to one that is there. */
  const ready = async (highest: number): Promise<void> => {
    await amqp.ensure(end, declare)
    for (let level = 0; level <= highest; level++) await amqp.ensure(exchangeOf(level), (channel) => declareLevel(channel, level))
  }
  return {
    async bind(channel, queue) {
      await declare(channel)
      await channel.bindQueue(queue, end, [...Array<string>(DIGITS).fill('*'), queue].join('.'))
    },
    way(queue, delay) {
      const units = Math.ceil(delay / UNIT)
      if (units >= 2 ** DIGITS)
        throw new TalkwireError(
          'UNSUPPORTED',
          `amqp delays jobs for ${Math.floor((2 ** DIGITS * UNIT) / 86_400_000)} days at most; embedded and redis have no limit`,
        )
      const highest = Math.floor(Math.log2(units))
      return {
        exchange: exchangeOf(highest),
        key: [...units.toString(2).padStart(DIGITS, '0'), queue].join('.'),
        ready: () => ready(highest),
      }
    },
  }
}
