/** One connection to beanstalkd: commands are answered in order. */
import net from 'node:net'
import { TalkwireError } from '../../../error.js'

export interface Answer {
  readonly words: readonly string[]
  readonly body: Buffer
}

export interface Line {
  readonly open: boolean
  /** Rejects with what beanstalkd refuses, or with the end of the connection. */
  ask(command: string, body?: Uint8Array): Promise<Answer>
  /** What was asked is answered first. */
  close(): Promise<void>
  abort(): void
}

export interface Place {
  readonly host: string
  readonly port: number
}

const CRLF = Buffer.from('\r\n')
const WITH_BODY = /^(RESERVED|FOUND|OK)$/
const REFUSED = /^(OUT_OF_MEMORY|INTERNAL_ERROR|BAD_FORMAT|UNKNOWN_COMMAND|EXPECTED_CRLF|DRAINING|JOB_TOO_BIG)$/
/** Of a line; ours are shorter, and so are the answers. */
const LONGEST = 1024

interface Waiter {
  readonly resolve: (answer: Answer) => void
  readonly reject: (reason: TalkwireError) => void
}

export function openLine({ host, port }: Place, signal: AbortSignal | undefined, ended: (cause: TalkwireError) => void): Promise<Line> {
  return new Promise((resolve, reject) => {
    const waiters: Waiter[] = []
    let rest: Buffer = Buffer.alloc(0)
    let open = false
    let failure: Error | undefined
    const socket = net.connect({ host, port, noDelay: true })
    const abort = (): void => void socket.destroy()
    signal?.addEventListener('abort', abort, { once: true })
    const answer = (words: string[], body: Buffer): void => {
      const waiter = waiters.shift()
      const [word = ''] = words
      if (!waiter) return void socket.destroy(new Error(`beanstalkd says ${word} to nobody`))
      if (REFUSED.test(word)) waiter.reject(refusal(word))
      else waiter.resolve({ words, body })
    }
    const read = (chunk: Buffer): void => {
      rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
      for (;;) {
        const end = rest.indexOf(CRLF)
        if (end < 0 && rest.length > LONGEST) return void socket.destroy(new Error('this is no beanstalkd'))
        if (end < 0) return
        const words = rest.toString('latin1', 0, end).split(' ')
        const size = WITH_BODY.test(words[0]!) ? Number(words.at(-1)) : -1
        const next = end + 2 + (size < 0 ? 0 : size + 2)
        if (rest.length < next) return
        const body = Buffer.from(size < 0 ? [] : rest.subarray(end + 2, next - 2))
        rest = rest.subarray(next)
        answer(words, body)
      }
    }
    socket.on('data', read).on('error', (reason) => (failure = reason))
    socket.once('connect', () => {
      signal?.removeEventListener('abort', abort)
      open = true
      resolve(line)
    })
    socket.once('close', () => {
      signal?.removeEventListener('abort', abort)
      const text = `beanstalkd: ${failure?.message || (failure as { code?: string } | undefined)?.code || 'the connection was closed'}`
      reject(new TalkwireError('UNAVAILABLE', text, { cause: failure, outcome: 'not-sent' }))
      const cause = new TalkwireError('CONNECTION_LOST', text, { cause: failure, outcome: 'maybe-ran' })
      const was = open
      open = false
      for (const waiter of waiters.splice(0)) waiter.reject(cause)
      if (was) ended(cause)
    })
    const line: Line = {
      get open() {
        return open
      },
      ask: (command, body) =>
        new Promise((done, fail) => {
          if (!open) return fail(new TalkwireError('UNAVAILABLE', 'beanstalkd: there is no connection for now', { outcome: 'not-sent' }))
          waiters.push({ resolve: done, reject: fail })
          socket.cork()
          socket.write(`${command}\r\n`)
          if (body) {
            socket.write(body)
            socket.write(CRLF)
          }
          socket.uncork()
        }),
      close: () =>
        new Promise((done) => {
          if (!open) return done()
          socket.once('close', () => done())
          socket.end('quit\r\n')
        }),
      abort,
    }
  })
}

function refusal(word: string): TalkwireError {
  if (word === 'JOB_TOO_BIG')
    return new TalkwireError('MESSAGE_TOO_LARGE', 'beanstalkd takes no job of this size; start it with a larger -z', {
      outcome: 'not-sent',
    })
  if (word === 'DRAINING')
    return new TalkwireError('UNAVAILABLE', 'beanstalkd takes no jobs any more: it is draining', { outcome: 'not-sent' })
  return new TalkwireError('UNKNOWN', `beanstalkd: ${word}`, { outcome: 'maybe-ran' })
}

/** What `stats-job` and `stats-tube` say: a line of YAML each. */
export function statsOf({ body }: Answer): (name: string) => number {
  const known = new Map(
    body
      .toString()
      .split('\n')
      .map((line) => line.split(': '))
      .map(([name, value]) => [name, Number(value ?? 0)] as const),
  )
  return (name) => known.get(name) ?? 0
}
