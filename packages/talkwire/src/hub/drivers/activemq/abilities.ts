/**
 * What ActiveMQ does only if its configuration says so, and else does not do without a word: it is tried once, on a queue of its own,
 * before the first job that needs it.
 */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import { FENCE, type Arrived, type Sent } from './line.js'
import type { ActiveMq } from './link.js'

export type Ability = 'delay' | 'priority'

/** Milliseconds after which the broker forgets what nobody read. */
const STALE = 60_000
/** Longer than a broker that has no time stands still. */
const LATE = 10_000

const SAYS: Readonly<Record<Ability, string>> = {
  delay: 'the broker hands out delayed jobs at once; its configuration lacks schedulerSupport="true"',
  priority: 'the broker does not look at priorities; its configuration lacks prioritizedMessages="true" for these queues',
}

/** Rejects with UNSUPPORTED. */
export function abilities(mq: ActiveMq): (ability: Ability) => Promise<void> {
  const known = new Map<Ability, Promise<boolean>>()
  const tries: Readonly<Record<Ability, () => Promise<boolean>>> = { delay: () => delays(mq), priority: () => prefers(mq) }
  return async (ability) => {
    let has = known.get(ability)
    if (!has) {
      has = tries[ability]()
      known.set(ability, has)
      has.catch(() => known.delete(ability))
    }
    if (!(await has)) throw new TalkwireError('UNSUPPORTED', `${mq.name}: ${SAYS[ability]}`, { outcome: 'not-sent' })
  }
}

const tryOf = (mq: ActiveMq, said: string): Sent => ({
  to: [mq.names.probe],
  body: Buffer.alloc(0),
  type: undefined,
  headers: { [FENCE]: said },
  persistent: false,
  ttl: STALE,
})

/** One that is to come later is behind the one that was sent after it. */
async function delays(mq: ActiveMq): Promise<boolean> {
  const [late, now] = [randomUUID(), randomUUID()]
  const came = await hear(mq, [late, now], async () => {
    await mq.send({ ...tryOf(mq, late), delay: LATE })
    await mq.send(tryOf(mq, now))
  })
  return came.headers[FENCE] === now
}

async function prefers(mq: ActiveMq): Promise<boolean> {
  const [low, high] = [randomUUID(), randomUUID()]
  await mq.send({ ...tryOf(mq, low), priority: 0 })
  await mq.send({ ...tryOf(mq, high), priority: 9 })
  const came = await hear(mq, [low, high], async () => {})
  return came.headers[FENCE] === high
}

/** The first of mine. */
async function hear(mq: ActiveMq, mine: readonly string[], then: () => Promise<void>): Promise<Arrived> {
  const line = mq.listener()
  let [take, fail] = [(came: Arrived): void => void came, (reason: TalkwireError): void => void reason]
  const first = new Promise<Arrived>((resolve, reject) => ([take, fail] = [resolve, reject]))
  const receiver = await line.receive({
    from: mq.names.probe,
    window: mine.length,
    selector: mine.map((each) => `${FENCE} = '${each}'`).join(' OR '),
    arrived(message) {
      message.accept().catch(() => {})
      take(message)
    },
    ended: fail,
  })
  const forget = mq.closing(() => fail(new TalkwireError('CLOSED', 'the hub was closed')))
  try {
    await then()
    return await first
  } finally {
    forget()
    await receiver.close()
  }
}
