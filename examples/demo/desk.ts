// The TypeScript process: serves "desk", and calls the Python process, which it knows by name only: "lab".
import { connect, contract, event, ndarray, rpc, serve, stream, TalkwireError, type NdArray } from 'talkwire'
import * as z from 'zod'

const Numbers = z.custom<Float64Array>((value) => value instanceof Float64Array)

const desk = contract('desk/1', {
  price: rpc({
    input: z.object({ item: z.string(), count: z.number().int().positive() }),
    output: z.number(),
    errors: { SoldOut: z.object({ item: z.string() }) },
  }),
  countdown: rpc({ input: z.object({ from: z.number() }), output: stream(z.number()) }),
  brew: rpc(),
  yourTurn: rpc(),
  sold: event(z.object({ item: z.string(), count: z.number() })),
})

const lab = contract('lab/1', {
  mean: rpc({ input: z.object({ numbers: z.array(z.number()) }), output: z.number(), idempotent: true }),
  primes: rpc({ output: stream(z.number().int()) }),
  integrate: rpc({ input: z.object({ f: z.custom<(x: number) => number>(), steps: z.number() }), output: z.number() }),
  total: rpc({ input: z.object({ values: Numbers }), output: z.number() }),
  think: rpc({ input: z.object({ about: z.string() }) }),
  numpy: rpc({ output: z.string().nullable() }),
  eigenvalues: rpc({ input: z.object({ matrix: Numbers }), output: Numbers }),
})

const say = (text: string): void => console.log(text)
const failure = (reason: unknown): string => {
  const { code, outcome } = TalkwireError.from(reason)
  return `${code}, outcome ${outcome}`
}

let begin!: () => void
const ourTurn = new Promise<void>((resolve) => (begin = resolve))

const service = await serve(desk, {
  price({ item, count }, ctx) {
    if (item === 'gold') throw ctx.error('SoldOut', { item })
    service.emit('sold', { item, count })
    return 3.5 * count
  },
  *countdown({ from }) {
    for (let i = from; i > 0; i--) yield i
  },
  brew: (_, ctx) =>
    new Promise((_resolve, reject) => {
      const stop = (): void => {
        say('brew() was stopped, because its caller does not wait any more')
        reject(ctx.signal.reason as Error)
      }
      ctx.signal.addEventListener('abort', stop)
    }),
  yourTurn: () => begin(),
})
say('serves "desk"')
await ourTurn

const client = await connect(lab)
say('found "lab" by name')
say(`mean of 1, 2, 3, 4 in Python: ${await client.mean({ numbers: [1, 2, 3, 4] })}`)

const primes: number[] = []
for await (const prime of client.primes()) if (primes.push(prime) === 5) break
say(`a stream from Python, left after five: ${primes.join(' ')}`)

let calls = 0
const area = await client.integrate({ f: (x) => (calls++, x * x), steps: 100 })
say(`Python integrated a function that stayed here, and called it back ${calls} times: ${area.toFixed(4)}`)

const values = Float64Array.from({ length: 100_000 }, (_, i) => i)
say(`${values.byteLength} bytes of Float64Array to Python, as they are; their sum there: ${await client.total({ values })}`)

const numpy = await client.numpy()
if (numpy === null) say('Python has no NumPy here; everything else works without it')
else {
  const matrix: NdArray<Float64Array> = ndarray(Float64Array.of(2, 1, 1, 2), [2, 2])
  say(
    `NumPy ${numpy} found the eigenvalues of [2 1; 1 2]: ${(await client.eigenvalues({ matrix })).map((x) => Math.round(x * 1e9) / 1e9).join(' and ')}`,
  )
}

const controller = new AbortController()
const onProgress = (): void => controller.abort(new Error('changed my mind'))
await client
  .think({ about: 'everything' }, { signal: controller.signal, onProgress })
  .catch((reason: Error) => say(`cancelled a call: ${reason.message}`))
await client.think({ about: 'nothing' }, { timeout: 300 }).catch((reason: unknown) => say(`gave a call 300 ms: ${failure(reason)}`))
await client.think({ about: 'the end' }).catch((reason: unknown) => say(`the call that Python died in: ${failure(reason)}`))
say(`the same client, the new Python: ${await client.mean({ numbers: [40, 44] })}`)

await client.close()
await service.close()
say('closed')
