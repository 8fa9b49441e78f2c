// npm run soak -- --minutes 10: full load in both directions while a client is killed (kill -9) every second.
//   --minutes n | --seconds n   how long       --clients n   how many at a time (default 4)       --wires unix,tcp
//
// Every call has a number. Whoever handles it writes the number down before it answers; whoever made it
// writes down what it was told. At the end the two are compared: `ran` means that it was written down,
// `not-sent` that it was not, `maybe-ran` may be either; nothing is open, leaked or grown.
// Exit code 1, with reasons, when something is not so. SOAK_LIES plants lies (outcome,memory), to show that each is caught.
import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const dist = process.env.TALKWIRE_DIST ?? fileURLToPath(new URL('../packages/talkwire/dist/src/index.js', import.meta.url))
/** @type {typeof import('../packages/talkwire/dist/src/index.js')} */
const { connect, contract, event, implement, rpc, serve, sessionOf, stream, TalkwireError } = await import(pathToFileURL(dist).href)

/** Lies about calls, which are of different calls, and about what the server holds. */
const CALLS = ['outcome', 'ran', 'callback', 'unsettled']
const LIES = new Set((process.env.SOAK_LIES ?? '').split(',').filter(Boolean))
/** One call in so many is a lie. */
const RARE = 500
const isLie = (/** @type {string} */ lie, /** @type {number} */ n) => LIES.has(lie) && n % RARE === CALLS.indexOf(lie)
/** Milliseconds for what was begun to settle. */
const PATIENCE = LIES.size ? 3_000 : 15_000
const pause = (/** @type {number} */ milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** @type {any} */
const anything = { '~standard': { version: 1, vendor: 'soak', validate: (/** @type {unknown} */ value) => ({ value }) } }
const core = contract('soak-core/1', {
  work: rpc({ input: anything, output: anything }),
  look: rpc({ input: anything, output: anything, idempotent: true }),
  slow: rpc({ input: anything, output: anything }),
  fail: rpc({ input: anything, output: anything, errors: { Refused: anything } }),
  count: rpc({ input: anything, output: stream(anything) }),
  total: rpc({ input: stream(anything), output: anything }),
  each: rpc({ input: anything, output: anything }),
  sum: rpc({ input: anything, output: anything }),
  employ: rpc({ input: anything }),
  dismiss: rpc({ input: anything }),
  tick: event(anything),
})
const helper = contract('soak-helper/1', {
  task: rpc({ input: anything, output: anything }),
  echo: rpc({ input: anything, output: anything }),
})

// ── what both sides write down ─────────────────────────────────────────────────────────────────────

/** A log that outlives kill -9: a line is with the kernel when `note` returns. @param {string} file */
function createLog(file) {
  const descriptor = openSync(file, 'a')
  return { note: (/** @type {string} */ line) => void writeSync(descriptor, `${line}\n`), close: () => closeSync(descriptor) }
}

/** Numbers what is called, and keeps what came of it. @param {number} process @param {ReturnType<typeof createLog>} log */
function createCaller(process, log) {
  let last = 0
  /** @type {{ started: number, settled: number, outcomes: Record<string, number>, wrong: string[] }} */
  const books = { started: 0, settled: 0, outcomes: {}, wrong: [] }
  let lines = ''
  const flush = () => {
    if (lines) log.note(lines.trimEnd())
    lines = ''
  }
  /** @param {number} n @param {string} outcome */
  const settle = (n, outcome) => {
    books.settled++
    books.outcomes[outcome] = (books.outcomes[outcome] ?? 0) + 1
    const told = isLie('outcome', n) && outcome === 'ran' ? 'not-sent' : outcome
    lines += `told ${process} ${n} ${told}\n`
    if (lines.length > 8192) flush()
  }
  return {
    books,
    flush,
    /** Makes a call and waits for its end. @param {(id: [number, number]) => any} make @param {(value: any) => boolean} [right] */
    async call(make, right = () => true) {
      const n = ++last
      books.started++
      try {
        const value = await make([process, n])
        if (!right(value)) books.wrong.push(`call ${process}.${n} was answered with ${String(value).slice(0, 80)}`)
        if (isLie('unsettled', n)) await new Promise(() => {})
        settle(n, 'ran')
      } catch (reason) {
        if (reason instanceof TalkwireError) return settle(n, reason.outcome)
        // The caller's own signal.
        if (reason !== ENOUGH) books.wrong.push(`call ${process}.${n}: ${String(reason)}`)
        settle(n, 'maybe-ran')
      }
    },
  }
}
const ENOUGH = new Error('enough')

/** What this process holds. */
function holdings() {
  // V8 keeps the pages that it emptied; only the last resort gives them back to the system. Node 20 does not know it,
  // and takes any options for a wish to collect what is young: it needs the plain call.
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  globalThis.gc?.()
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
    timers: process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length,
    heap: process.memoryUsage().heapUsed,
    rss: process.memoryUsage.rss(),
  }
}

/** @typedef {ReturnType<typeof holdings>} Holdings */

/** @param {Record<string, unknown>} report */
const say = (report) => void process.stdout.write(`${JSON.stringify(report)}\n`)

/** Answers the judge's questions. @param {Record<string, () => unknown>} answers */
async function obey(answers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name = '', number] = line.split(' ')
    say({ answer: Number(number), value: (await answers[name]?.()) ?? null })
    if (name === 'finish') process.exit(0)
  }
}

// ── the server ─────────────────────────────────────────────────────────────────────────────────────

/** @param {{ folder: string, listen: string[] }} setting */
async function beServer({ folder, listen }) {
  const log = createLog(path.join(folder, '0.log'))
  const caller = createCaller(0, log)
  /** @param {{ id: [number, number] }} input */
  const ran = ({ id: [p, n] }) => {
    if (isLie('ran', n)) return
    log.note(`ran ${p} ${n}`)
  }
  /** @type {Map<number, { stopped: boolean, done: Promise<void> }>} */
  const employed = new Map()
  /** Calls one client back, a few at a time, until it is gone or dismissed. @param {number} p @param {any} client */
  const employ = (p, client) => {
    const state = { stopped: false, done: Promise.resolve() }
    const data = new Float64Array(25_000).fill(p)
    const loop = async (/** @type {number} */ lane) => {
      for (let round = 0; !state.stopped; round++) {
        const before = caller.books.outcomes.ran ?? 0
        if (lane === 0 && round % 20 === 0)
          await caller.call(
            (id) => client.echo({ id, data }),
            (value) => value.length === data.length && value[7] === p,
          )
        else
          await caller.call(
            (id) => client.task({ id }, round % 50 === 0 ? { timeout: 1 } : undefined),
            ([, n]) => n > 0,
          )
        // What is gone does not come back on this connection.
        if ((caller.books.outcomes.ran ?? 0) === before && ++failures > 50) state.stopped = true
      }
    }
    let failures = 0
    state.done = Promise.all(Array.from({ length: 8 }, (_, lane) => loop(lane))).then(() => {})
    employed.set(p, state)
  }
  const onError = (/** @type {any} */ error) => {
    // A handler that was calling a client back when that was killed.
    if (!String(error?.code).startsWith('CONNECTION_')) caller.books.wrong.push(`the server: ${String(error)}`.slice(0, 300))
  }
  const service = await serve(
    core,
    {
      work: (/** @type {any} */ input) =>
        (ran(input), input.id),
      look: (/** @type {any} */ input) =>
        (ran(input), input.id),
      slow: async (/** @type {any} */ input, /** @type {any} */ ctx) => {
        ran(input)
        for (let i = 0; i < 20 && !ctx.signal.aborted; i++) await pause(2)
        return input.id
      },
      fail(/** @type {any} */ input, /** @type {any} */ ctx) {
        ran(input)
        throw ctx.error('Refused', { id: input.id })
      },
      async *count(/** @type {any} */ input) {
        ran(input)
        for (let i = 0; i < input.items; i++) yield { i, text: 'x'.repeat(500) }
      },
      async total(/** @type {AsyncIterable<any>} */ items) {
        let sum = 0
        for await (const item of items) {
          if (item.id) ran(item)
          sum += item.value
        }
        return sum
      },
      async each(/** @type {any} */ input) {
        ran(input)
        let sum = 0
        try {
          for (let i = 0; i < 3; i++) sum += await input.f(i)
        } finally {
          input.f[Symbol.dispose]()
        }
        return sum
      },
      sum(/** @type {any} */ input) {
        ran(input)
        let sum = 0
        for (const value of input.data) sum += value
        return sum
      },
      employ: (/** @type {any} */ { p }, /** @type {any} */ ctx) => employ(p, ctx.caller),
      async dismiss(/** @type {any} */ { p }) {
        const state = employed.get(p)
        if (!state) return
        state.stopped = true
        await state.done
        employed.delete(p)
      },
    },
    { listen, caller: helper, limits: { calls: 300 }, onError },
  )
  await pause(100)
  const before = holdings()
  say({ listening: service.addresses })
  let ticks = 0
  const ticking = setInterval(() => service.emit('tick', { n: ++ticks, text: 'x'.repeat(200) }), 5)
  const leaks = []
  await obey({
    look: () => {
      if (LIES.has('descriptor')) leaks.push(openSync('/dev/null', 'r'))
      // More than is noise each time: on a busy machine there are few looks.
      if (LIES.has('memory')) leaks.push(Array.from({ length: 500_000 }, (_, i) => ({ i })))
      for (const [p, state] of employed) if (state.stopped) void state.done.then(() => employed.delete(p))
      return { ...holdings(), peers: service.peers.length }
    },
    /** Every connection is idle or gone: what is still held? */
    settle: async () => {
      clearInterval(ticking)
      const end = performance.now() + PATIENCE
      const busy = () => service.peers.length > 0 || caller.books.started > caller.books.settled
      while (busy() && performance.now() < end) await pause(20)
      const stats = service.stats()
      caller.flush()
      return {
        books: caller.books,
        before,
        after: holdings(),
        ends: service.ends,
        peers: stats.length,
        open: stats.reduce((sum, { pending, handling, exported, imported }) => sum + pending + handling + exported.length + imported, 0),
      }
    },
    finish: () => service.close(),
  })
}

// ── a client ───────────────────────────────────────────────────────────────────────────────────────

/** @param {{ folder: string, p: number, address: string, lasting: boolean }} setting */
async function beClient({ folder, p, address, lasting }) {
  const log = createLog(path.join(folder, `${p}.log`))
  const caller = createCaller(p, log)
  const { books } = caller
  const ran = (/** @type {any} */ { id: [who, n] }) => {
    if (isLie('callback', n)) return
    log.note(`ran ${who} ${n}`)
  }
  const client = await connect(core, address, {
    reconnect: { initial: 5, max: 50 },
    serve: implement(helper, {
      task: (/** @type {any} */ input) =>
        (ran(input), input.id),
      echo: (/** @type {any} */ input) =>
        (ran(input), input.data),
    }),
    onError: (error) => books.wrong.push(`client ${p}: ${String(error)}`.slice(0, 300)),
  })
  let reconnected = false
  let last = 0
  let heard = 0
  let lost = 0
  await client.on('tick', (/** @type {any} */ { n }, info) => {
    // A new connection begins anew: what was missed between is nobody's fault.
    if (last && !reconnected && n !== last + 1 + info.lost)
      books.wrong.push(`client ${p} heard the event ${n} after ${last}, with ${info.lost} lost`)
    reconnected = false
    heard++
    lost += info.lost
    last = n
  })
  await client.employ({ p })
  say({ connected: p })

  const data = new Float64Array(100_000).map((_, i) => i % 10)
  let stopping = false
  /** @type {Record<string, () => Promise<void>>} */
  const kinds = {
    work: () =>
      caller.call(
        (id) => client.work({ id }),
        ([, n]) => n > 0,
      ),
    look: () => caller.call((id) => client.look({ id })),
    late: () => caller.call((id) => client.slow({ id }, { timeout: 5 })),
    slow: () => caller.call((id) => client.slow({ id })),
    cancelled: () => {
      const stop = new AbortController()
      setTimeout(() => stop.abort(ENOUGH), 3)
      return caller.call((id) => client.slow({ id }, { signal: stop.signal }))
    },
    fail: () => caller.call((id) => client.fail({ id })),
    count: () =>
      caller.call(
        async (id) => {
          let next = 0
          /** @type {AsyncIterable<any>} */
          const elements = client.count({ id, items: 50 })
          for await (const { i } of elements) if (i !== next++) throw new Error(`element ${i} came as number ${next}`)
          return next
        },
        (items) => items === 50,
      ),
    left: () =>
      caller.call(async (id) => {
        /** @type {AsyncIterable<any>} */
        const elements = client.count({ id, items: 10_000 })
        for await (const { i } of elements) if (i === 20) break
      }),
    total: () =>
      caller.call(
        (id) =>
          client.total(
            (async function* () {
              for (let value = 0; value < 50; value++) yield value === 0 ? { id, value } : { value }
            })(),
          ),
        (sum) => sum === 1225,
      ),
    each: () =>
      caller.call(
        (id) => client.each({ id, f: (/** @type {number} */ i) => i + 1 }),
        (sum) => sum === 6,
      ),
    sum: () =>
      caller.call(
        (id) => client.sum({ id, data }),
        (sum) => sum === 450_000,
      ),
    burst: async () => void (await Promise.all(Array.from({ length: 100 }, () => caller.call((id) => client.slow({ id }))))),
  }
  const mix = [
    'work',
    'work',
    'work',
    'work',
    'look',
    'count',
    'each',
    'work',
    'total',
    'fail',
    'sum',
    'late',
    'work',
    'cancelled',
    'left',
    'slow',
  ]
  /** Each lane makes one call after another. @param {number} lane */
  const lane = async (lane) => {
    for (let turn = lane; !stopping; turn++) {
      await kinds[mix[turn % mix.length] ?? 'work']?.()
      if (lane === 0 && turn % 200 === 0) await kinds.burst?.()
      // An answer may come in the same turn of the event loop for ever.
      if (turn % 16 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const lanes = Promise.all(Array.from({ length: 24 }, (_, i) => lane(i)))
  const tearing = setInterval(
    () => {
      // The connection breaks under the calls, and is made anew.
      reconnected = true
      sessionOf(client)?.abort(new TalkwireError('CONNECTION_LOST', 'torn by the soak', { outcome: 'maybe-ran' }))
      void client.employ({ p }).catch(() => {})
    },
    2500 + 97 * (p % 7),
  )
  if (lasting) clearInterval(tearing)

  await obey({
    look: holdings,
    settle: async () => {
      stopping = true
      clearInterval(tearing)
      await Promise.race([lanes, pause(PATIENCE)])
      await Promise.race([client.dismiss({ p }), pause(PATIENCE)])
      caller.flush()
      const stats = sessionOf(client)?.stats()
      const open = stats ? stats.pending + stats.handling + stats.exported.length + stats.imported : 0
      return { books, open, heard, lost, stats, after: holdings() }
    },
    finish: () => client.close(),
  })
}

// ── the judge ──────────────────────────────────────────────────────────────────────────────────────

/** @param {Record<string, unknown>} setting */
function start(setting) {
  const child = spawn(process.execPath, ['--expose-gc', '--no-warnings', fileURLToPath(import.meta.url)], {
    env: { ...process.env, SOAK_SETTING: JSON.stringify(setting) },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let asked = 0
  /** @type {Map<number, (value: any) => void>} */
  const waiting = new Map()
  let told = (/** @type {any} */ _unused) => {}
  const ready = new Promise((resolve, reject) => {
    told = resolve
    child.once('exit', (code, signal) => {
      reject(new Error(`a process ended with ${signal ?? code}`))
      for (const answer of waiting.values()) answer(undefined)
      waiting.clear()
    })
  })
  ready.catch(() => {})
  child.stdin.on('error', () => {})
  createInterface({ input: child.stdout }).on('line', (line) => {
    const report = JSON.parse(line)
    if (report.answer === undefined) return told(report)
    waiting.get(report.answer)?.(report.value)
    waiting.delete(report.answer)
  })
  return {
    child,
    ready,
    /** Undefined when the process has ended. @param {string} question @returns {Promise<any>} */
    ask(question) {
      if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(undefined)
      return new Promise((resolve) => {
        waiting.set(++asked, resolve)
        child.stdin.write(`${question} ${asked}\n`)
      })
    },
    exited: new Promise((resolve) => child.once('exit', resolve)),
  }
}

const OUTCOMES = ['ran', 'maybe-ran', 'not-sent']
const RAN = 8

/** For each process that called, for each number: what the caller was told (1 + index of OUTCOMES), and RAN. @param {string} folder */
function readLogs(folder) {
  /** @type {Map<number, Uint8Array>} */
  const marks = new Map()
  let untruthful = 0
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.log'))) {
    const text = readFileSync(path.join(folder, file), 'latin1')
    for (let from = 0, to = text.indexOf('\n'); to >= 0; from = to + 1, to = text.indexOf('\n', from)) {
      const [what, who, number, outcome = ''] = text.slice(from, to).split(' ')
      const [p, n] = [Number(who), Number(number)]
      let mark = marks.get(p) ?? new Uint8Array(1 << 16)
      if (n >= mark.length) {
        const larger = new Uint8Array(Math.max(n + 1, mark.length * 2))
        larger.set(mark)
        mark = larger
      }
      marks.set(p, mark)
      if (what === 'ran') mark[n] |= RAN
      else if ((mark[n] ?? 0) & 7) untruthful++
      else mark[n] |= OUTCOMES.indexOf(outcome) + 1
    }
  }
  return { marks, twice: untruthful }
}

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0
const MiB = 1024 * 1024

/** Growth between the first and the last third, after the first fifth: caches and pools fill at the start. @param {Holdings[]} looks @param {'heap' | 'rss'} what */
function growth(looks, what) {
  const warm = looks.slice(Math.ceil(looks.length / 5))
  const third = Math.max(1, Math.floor(warm.length / 3))
  return (median(warm.slice(-third).map((look) => look[what])) - median(warm.slice(0, third).map((look) => look[what]))) / MiB
}
/** MiB that are noise, also after ten minutes: heap after a collection, and what the allocator keeps. */
const TOLERANCE = { heap: 8, rss: 64 }

/** @param {{ seconds: number, clients: number, wires: string[] }} options */
async function judge({ seconds, clients, wires }) {
  const folder = mkdtempSync(path.join(tmpdir(), 'tw-'))
  process.env.TALKWIRE_RUNTIME_DIR = path.join(folder, 'run')
  /** @type {string[]} */
  const reasons = []
  /** @type {Set<ReturnType<typeof start>>} */
  const running = new Set()
  process.once('exit', () => running.forEach(({ child }) => child.kill('SIGKILL')))
  try {
    const listen = wires.map((wire) => (wire === 'tcp' ? 'tcp://127.0.0.1:0' : `unix:${path.join(folder, 'soak.sock')}`))
    const server = start({ role: 'server', folder, listen })
    running.add(server)
    const { listening } = await server.ready
    let last = 0
    const hire = async (lasting = false) => {
      const p = ++last
      const client = start({ role: 'client', folder, p, address: listening[p % listening.length], lasting })
      running.add(client)
      await client.ready
      return { p, ...client, whole: client }
    }
    const witness = await hire(true)
    const staff = await Promise.all(Array.from({ length: clients - 1 }, () => hire()))
    /** @type {Holdings[]} */
    const serverLooks = []
    /** @type {Holdings[]} */
    const witnessLooks = []
    const killed = new Set()
    const end = performance.now() + seconds * 1000
    for (let second = 0; performance.now() < end; second++) {
      const turn = performance.now()
      const victim = staff[second % staff.length]
      if (victim) {
        victim.child.kill('SIGKILL')
        await victim.exited
        running.delete(victim.whole)
        killed.add(victim.p)
        staff[second % staff.length] = await hire()
      }
      const looks = await Promise.all([server.ask('look'), witness.ask('look')])
      if (!looks[0] || !looks[1]) throw new Error('the server or the client that is never killed has ended')
      serverLooks.push(looks[0])
      witnessLooks.push(looks[1])
      await pause(Math.max(0, Math.min(turn + 1000, end) - performance.now()))
    }
    const survivors = [witness, ...staff]
    const reports = await Promise.all(survivors.map((client) => client.ask('settle')))
    for (const client of survivors) {
      await client.ask('finish')
      await client.exited
      running.delete(client.whole)
    }
    const report = await server.ask('settle')
    await server.ask('finish')
    await server.exited
    running.delete(server)

    const { marks, twice } = readLogs(folder)
    /** @type {Record<string, { told: number, wrote: number }>} */
    const table = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, { told: 0, wrote: 0 }]))
    /** @type {Map<string, number>} */
    const lies = new Map()
    for (const [p, mark] of marks) {
      for (let n = 1; n < mark.length; n++) {
        const told = OUTCOMES[((mark[n] ?? 0) & 7) - 1]
        if (told === undefined) continue
        const wrote = ((mark[n] ?? 0) & RAN) !== 0
        const row = table[told]
        if (row) {
          row.told++
          if (wrote) row.wrote++
        }
        if (!((told === 'ran' && !wrote) || (told === 'not-sent' && wrote))) continue
        const kind = `${p === 0 ? 'callbacks' : 'calls'} told "${told}"`
        const already = lies.get(kind) ?? 0
        lies.set(kind, already + 1)
        if (already < 3) reasons.push(`call ${p}.${n}: the caller was told "${told}", and it ${wrote ? 'ran' : 'did not run'}`)
      }
    }
    for (const [kind, count] of lies) if (count > 3) reasons.push(`… and ${count - 3} more ${kind} of which that is not true`)
    if (twice) reasons.push(`${twice} calls settled twice`)
    const all = [...reports, report]
    for (const [index, each] of all.entries()) {
      const who = each === report ? 'the server' : `client ${survivors[index]?.p}`
      const { started, settled, wrong } = each.books
      if (settled !== started) reasons.push(`${who}: ${started - settled} of ${started} calls did not settle`)
      if (each.open) reasons.push(`${who}: ${each.open} calls or references are still open ${JSON.stringify(each.stats ?? '')}`)
      for (const line of wrong.slice(0, 5)) reasons.push(line)
      if (wrong.length > 5) reasons.push(`… and ${wrong.length - 5} more of ${who}`)
    }
    if (report.peers) reasons.push(`${report.peers} connections are still there`)
    for (const what of /** @type {const} */ (['descriptors', 'listeners', 'timers'])) {
      const grown = report.after[what] - report.before[what]
      if (grown > 0) reasons.push(`the server holds ${grown} more ${what} than before`)
    }
    const growths = { server: serverLooks, witness: witnessLooks }
    /** @type {string[]} */
    const memory = []
    for (const [who, looks] of Object.entries(growths)) {
      for (const what of /** @type {const} */ (['heap', 'rss'])) {
        const grown = growth(looks, what)
        memory.push(`${who} ${what} ${grown >= 0 ? '+' : ''}${grown.toFixed(1)}`)
        if (grown > TOLERANCE[what])
          reasons.push(
            `the ${who === 'server' ? 'server' : 'client that was never killed'} grew by ${grown.toFixed(1)} MiB (${what}); ${TOLERANCE[what]} are noise`,
          )
      }
    }
    const total = Object.values(table).reduce((sum, { told }) => sum + told, 0)
    if (!(table.ran?.told ?? 0) || killed.size < Math.min(2, seconds - 1)) reasons.push('too little happened to say anything')
    console.log(
      `soak: ${seconds} s, ${clients} clients over ${wires.join(' and ')}, ${killed.size} killed, ${Math.round(total / seconds)} calls/s in both directions`,
    )
    console.log('  the caller was told     calls   of these written down by the callee')
    for (const [outcome, { told, wrote }] of Object.entries(table))
      console.log(`  ${outcome.padEnd(16)}${String(told).padStart(13)}${String(wrote).padStart(13)}`)
    console.log(
      `  events heard by survivors ${reports.reduce((sum, { heard }) => sum + heard, 0)}, lost and told ${reports.reduce((sum, { lost }) => sum + lost, 0)}`,
    )
    console.log(
      `  server: ${serverLooks.at(-1)?.descriptors} descriptors under load, ${report.before.descriptors} before, ${report.after.descriptors} after; ended ${JSON.stringify(report.ends)}`,
    )
    console.log(`  memory, MiB between first and last third: ${memory.join(', ')}`)
  } catch (reason) {
    reasons.push(reason instanceof Error ? (reason.stack ?? reason.message) : String(reason))
  }
  for (const { child } of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
  for (const reason of reasons) console.log(`soak: ${reason}`)
  console.log(reasons.length ? 'soak: FAILED' : 'soak: ok')
  process.exit(reasons.length ? 1 : 0)
}

const setting = process.env.SOAK_SETTING
if (setting) {
  const { role, ...rest } = JSON.parse(setting)
  await (role === 'server' ? beServer(rest) : beClient(rest))
} else {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      seconds: { type: 'string' },
      clients: { type: 'string', default: '4' },
      wires: { type: 'string', default: 'unix,tcp' },
    },
  })
  const seconds = values.minutes ? Number(values.minutes) * 60 : Number(values.seconds ?? 60)
  await judge({ seconds, clients: Number(values.clients), wires: values.wires.split(',') })
}
