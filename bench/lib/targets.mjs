// What Talkwire is built to reach, as ratios to the floor: machines differ, ratios hold.
import { align } from './report.mjs'

/** @type {{ peer: string, case: string, column?: string, most?: number, least?: number, says: string }[]} */
const targets = [
  { peer: 'talkwire', case: 'unary', most: 1.15, says: 'p50 of a call' },
  { peer: 'talkwire', case: 'inflight256', least: 600 / 1290, says: 'calls/s, 256 in flight' },
  { peer: 'talkwire', case: 'oneway', least: 4 / 5.7, says: 'one-way messages/s' },
  { peer: 'talkwire', case: 'echo', least: 1.1 / 1.16, says: 'GB/s of 64 KiB echo' },
  { peer: 'talkwire', case: 'sum', most: 3.6 / 3.3, says: 'time for 8 MiB' },
  { peer: 'talkwire', case: 'clients', column: 'rss', most: 10, says: 'KB of server memory for an idle client' },
  { peer: 'talkwire', case: 'clients', column: 'calls', least: 60_000, says: 'calls/s in all, 1000 clients' },
  { peer: 'talkwire-shm', case: 'unary', column: 'p50', most: 5, says: 'µs, p50 of a call over shared memory' },
  { peer: 'talkwire-shm', case: 'inflight256', column: 'calls', least: 1_000_000, says: 'calls/s over shared memory, 256 in flight' },
  { peer: 'jsonrpc-talkwire', case: 'inflight256', least: 300 / 1290, says: 'calls/s of a plain JSON-RPC client' },
  { peer: 'python-talkwire', case: 'python', most: 1.2, says: 'p50 of a call to Python' },
  { peer: 'python-talkwire', case: 'pythonSum', most: 1.2, says: 'time for 8 MiB to NumPy' },
]

/** @param {import('./report.mjs').Row[]} rows */
export function compare(rows) {
  return targets.flatMap(({ peer, case: name, column, most, least, says }) =>
    rows
      .filter((r) => r.peer === peer && r.case === name && (column || r.ratio !== null))
      .map((r) => {
        const value = column ? r.values[column] : /** @type {number} */ (r.ratio)
        const reached = most === undefined ? value >= /** @type {number} */ (least) : value <= most
        return { says, case: name, placement: r.placement, unit: column ? 'absolute' : '× floor', value, most, least, reached }
      }),
  )
}

/** @param {ReturnType<typeof compare>} list */
export function printTargets(list) {
  if (list.length === 0) return ''
  const number = (/** @type {number} */ n) => (n >= 1000 ? Math.round(n).toLocaleString('en-US') : n.toFixed(2))
  const rows = list.map((t) => [
    `${t.says}, ${t.placement}`,
    `${number(t.value)} ${t.unit}`,
    t.most === undefined ? `at least ${number(/** @type {number} */ (t.least))}` : `at most ${number(t.most)}`,
    t.reached ? 'reached' : 'not reached',
  ])
  return `\n\nTalkwire and what it is to reach\n${align(rows)}`
}
