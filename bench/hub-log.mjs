// node bench/hub-log.mjs: appends of 64 bytes to the hub's log, 1, 16 and 256 in flight, each resolved when it is on disk, beside a bare
// loop of write and fdatasync in the same folder.
import { closeSync, fdatasync, mkdtempSync, openSync, rmSync, write } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { openLog } from '../packages/talkwire/dist/src/hub/embedded/log.js'

const SECONDS = 2
const body = Buffer.alloc(64, 'x')
const folder = mkdtempSync(path.join(process.argv[2] ?? tmpdir(), 'hub-log-'))

/** @param {string} name @param {number[]} times in ms @param {number} seconds */
function report(name, times, seconds) {
  const sorted = Float64Array.from(times).sort()
  const at = (/** @type {number} */ part) => `${Math.round((sorted[Math.floor(sorted.length * part)] ?? 0) * 1000)} µs`
  console.log(`${name.padEnd(26)} ${String(Math.round(times.length / seconds)).padStart(9)}/s   p50 ${at(0.5)}   p99 ${at(0.99)}`)
}

async function floor() {
  const fd = openSync(path.join(folder, 'floor'), 'w')
  const [put, sync] = [promisify(write), promisify(fdatasync)]
  const times = []
  const begin = performance.now()
  for (let now = begin; now < begin + SECONDS * 1000;) {
    await put(fd, body, 0, body.length, times.length * body.length)
    await sync(fd)
    const then = performance.now()
    times.push(then - now)
    now = then
  }
  closeSync(fd)
  report('write and fdatasync', times, SECONDS)
}

/** @param {number} inFlight */
async function appends(inFlight) {
  /** @type {{ end: number, began: number }[]} */
  const waiting = []
  /** @type {number[]} */
  const times = []
  let over = false
  let first = 0
  /** @type {(reason: unknown) => void} */
  let fail = () => {}
  const log = await openLog(path.join(folder, `log-${inFlight}`), {
    replay() {},
    live: () => false,
    liveBytes: () => 0,
    moved() {},
    synced(end) {
      const now = performance.now()
      let count = 0
      for (let next = waiting[first]; next && next.end <= end; next = waiting[++first]) {
        times.push(now - next.began)
        count++
      }
      if (first > 10_000) {
        waiting.splice(0, first)
        first = 0
      }
      if (!over) for (; count > 0; count--) push()
    },
    failed: (reason) => fail(reason),
    full: (reason) => fail(reason),
    damaged: (what) => fail(new Error(what)),
  })
  const record = [{ kind: 1, body }]
  const push = () => void waiting.push({ began: performance.now(), end: log.append(record).end })
  for (let count = 0; count < inFlight; count++) push()
  await new Promise((resolve, reject) => {
    fail = reject
    setTimeout(resolve, SECONDS * 1000)
  })
  over = true
  const done = [...times]
  await log.close()
  report(`the log, ${inFlight} in flight`, done, SECONDS)
}

try {
  await floor()
  for (const inFlight of [1, 16, 256]) await appends(inFlight)
} finally {
  rmSync(folder, { recursive: true })
}
