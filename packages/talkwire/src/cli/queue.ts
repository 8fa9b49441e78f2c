import type { Hub, Job, Queue } from '../hub/index.js'
import { json, text, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { actionOf, hubOption, withHub } from './opening.js'
import { exitCode, outputClosed, print, table, toLine, UsageError } from './output.js'
import { readCount, readJsonStdin, readMilliseconds, readWord, STDIN } from './words.js'

export const queue: Command = {
  usage: 'queue <push|take|counts|dead|revive|purge> <queue> [data or ids]',
  summary: 'push a job, take jobs, look at a work queue of the hub',
  help: `push    a job; its id is printed when it is safe
take    jobs, one a line; each is done once it was printed
counts  how many are ready, delayed, taken and dead
dead    the dead letters, one a line
revive  dead letters with these ids go back into the queue
purge   removes what waits`,
  options: {
    hub: hubOption,
    delay: { type: 'string', value: 'ms', help: 'push: milliseconds until it may be handed out' },
    priority: { type: 'string', value: '0-9', help: 'push: 0 is ordinary, 9 is soonest' },
    key: { type: 'string', value: 'text', help: 'push: not again if one with this key was pushed lately' },
    count: { type: 'string', value: 'number', help: 'take: end after so many; default: when Ctrl-C comes' },
    json,
  },
  examples: [
    ['talkwire queue push mail \'{"to": "ada"}\'', 'one job'],
    ['talkwire queue take mail --count 1', 'the next one'],
    ['talkwire queue counts mail', 'how many'],
  ],
  words: { least: 2, most: Infinity },
  run,
}

interface Wish {
  readonly jobs: Queue<any, any>
  readonly words: readonly string[]
  readonly values: Values
  readonly signal: AbortSignal
}

const actions: Readonly<Record<string, (wish: Wish) => Promise<void>>> = { push, take, counts, dead, revive, purge }

async function run([action, name, ...words]: readonly string[], values: Values): Promise<number> {
  const act = actionOf(actions, action!, (known) => new UsageError(`talkwire queue does not ${JSON.stringify(action)}; it does ${known}`))
  const signal = AbortSignal.any([interruption(), outputClosed])
  return withHub(values, signal, async (hub: Hub) => {
    await act({ jobs: hub.queue(name!), words, values, signal })
    return exitCode.ok
  })
}

async function push({ jobs, words, values }: Wish): Promise<void> {
  if (words.length !== 1) throw new UsageError('push takes one job: talkwire queue push <queue> <data>')
  const data = words[0] === STDIN ? await readJsonStdin() : readWord(words[0]!)
  const delay = readMilliseconds('delay', text(values, 'delay'))
  const priority = text(values, 'priority')
  const key = text(values, 'key')
  if (priority !== undefined && !/^\d$/.test(priority)) throw new UsageError(`--priority takes 0 to 9, not ${JSON.stringify(priority)}`)
  const id = await jobs.push(data, {
    ...(delay !== undefined && { delay }),
    ...(priority !== undefined && { priority: Number(priority) }),
    ...(key !== undefined && { key }),
  })
  await print(values['json'] === true ? toLine({ id }) : id)
}

async function take({ jobs, values, signal }: Wish): Promise<void> {
  const most = readCount('count', text(values, 'count')) ?? Infinity
  let seen = 0
  await new Promise<void>((resolve, reject) => {
    const end = new AbortController()
    signal.addEventListener('abort', () => end.abort(signal.reason), { once: true })
    const worker = jobs.consume(async (job: Job<any>) => {
      await print(toLine({ id: job.id, data: job.data, attempt: job.attempt }))
      if (++seen >= most) end.abort()
    })
    worker.then((each) => {
      const close = (): void => void each.close().then(() => (signal.aborted ? reject(signal.reason) : resolve()), reject)
      if (end.signal.aborted) close()
      else end.signal.addEventListener('abort', close, { once: true })
      each.closed.catch(reject)
    }, reject)
  })
}

async function counts({ jobs, values }: Wish): Promise<void> {
  const found = await jobs.counts()
  const row = [found.ready, found.delayed, found.taken, found.dead].map(String)
  await print(values['json'] === true ? toLine(found) : table([['READY', 'DELAYED', 'TAKEN', 'DEAD'], row]))
}

async function dead({ jobs }: Wish): Promise<void> {
  for (const { id, reason, attempts, data } of await jobs.deadLetters()) await print(toLine({ id, reason, attempts, data }))
}

async function revive({ jobs, words, values }: Wish): Promise<void> {
  if (words.length === 0) throw new UsageError('revive takes ids, as talkwire queue dead prints them')
  const revived = await jobs.revive(words)
  await print(values['json'] === true ? toLine({ revived }) : String(revived))
}

async function purge({ jobs, values }: Wish): Promise<void> {
  const purged = await jobs.purge()
  await print(values['json'] === true ? toLine({ purged }) : String(purged))
}
