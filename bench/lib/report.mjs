// From single figures to medians, ratios and tables.

/**
 * @typedef {{ peer: string, case: string, placement: string, repetition: number, values: Record<string, number> }} Sample
 * @typedef {{ peer: string, case: string, placement: string, values: Record<string, number>, ratio: number | null, repetitions: Record<string, number>[] }} Row
 * @typedef {{ case: string, title: string, columns: [name: string, head: string][], ratio: string, floor?: string }} Table
 */

/** `ratio` is the column that is compared with the floor. @type {Table[]} */
export const tables = [
  {
    case: 'unary',
    title: 'add(2, 5), one call after another · µs · less is better',
    columns: [
      ['p50', 'p50'],
      ['p99', 'p99'],
    ],
    ratio: 'p50',
  },
  { case: 'inflight256', title: 'add, 256 calls in flight · calls/s · more is better', columns: [['calls', 'calls/s']], ratio: 'calls' },
  { case: 'inflight1024', title: 'add, 1024 calls in flight · calls/s · more is better', columns: [['calls', 'calls/s']], ratio: 'calls' },
  {
    case: 'oneway',
    title: 'one-way messages of 64 bytes · messages/s · more is better',
    columns: [['messages', 'messages/s']],
    ratio: 'messages',
  },
  {
    case: 'echo',
    title: 'echo of 64 KiB, 8 in flight · GB/s, each byte counted once · more is better',
    columns: [['gbps', 'GB/s']],
    ratio: 'gbps',
  },
  {
    case: 'sum',
    title: 'Float64Array of 8 MiB, summed by the callee · ms · less is better',
    columns: [
      ['p50', 'p50'],
      ['p99', 'p99'],
    ],
    ratio: 'p50',
  },
  {
    case: 'clients',
    title: 'idle clients: server memory for each, KB (RSS; heap after collection) · then calls/s in all, every client in turn',
    columns: [
      ['rss', 'RSS KB'],
      ['heap', 'heap KB'],
      ['calls', 'calls/s'],
    ],
    ratio: 'calls',
  },
  {
    case: 'python',
    title: 'Node to Python: add(2, 5) · µs · less is better',
    columns: [
      ['p50', 'p50'],
      ['p99', 'p99'],
    ],
    ratio: 'p50',
    floor: 'python-floor',
  },
  {
    case: 'pythonSum',
    title: 'Node to Python: 8 MiB, summed by NumPy · ms · less is better',
    columns: [
      ['p50', 'p50'],
      ['p99', 'p99'],
    ],
    ratio: 'p50',
    floor: 'python-floor',
  },
]

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** @param {Sample[]} samples @returns {Row[]} */
export function summarise(samples) {
  /** @type {Map<string, Sample[]>} */
  const groups = new Map()
  for (const s of samples) {
    const key = `${s.case} ${s.placement} ${s.peer}`
    groups.set(key, [...(groups.get(key) ?? []), s])
  }
  return [...groups.values()].map((group) => {
    const [{ peer, case: name, placement, values }] = group
    const table = /** @type {Table} */ (tables.find((t) => t.case === name))
    // The floor of the same repetition was measured moments before or after: noise that lasts longer cancels out.
    const ratios = group.flatMap((s) => {
      const floor = samples.find(
        (f) => f.peer === (table.floor ?? 'floor') && f.case === name && f.placement === placement && f.repetition === s.repetition,
      )
      return floor ? [s.values[table.ratio] / floor.values[table.ratio]] : []
    })
    return {
      peer,
      case: name,
      placement,
      values: Object.fromEntries(Object.keys(values).map((k) => [k, median(group.map((s) => s.values[k]))])),
      ratio: ratios.length ? median(ratios) : null,
      repetitions: group.map((s) => s.values),
    }
  })
}

/** @param {number} n */
export const number = (n) =>
  n >= 1000 ? Math.round(n).toLocaleString('en-US') : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)

/** @param {string[][]} cells the first column is aligned left, the others right unless there are only two */
export function align(cells) {
  const widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)))
  return cells
    .map((row) =>
      row
        .map((c, i) => (i && row.length > 2 ? c.padStart(widths[i]) : c.padEnd(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/**
 * @param {Row[]} rows @param {string[]} placements @param {Record<string, Record<string, string>>} missing reason by case and peer
 */
export function print(rows, placements, missing) {
  /** @type {string[]} */
  const parts = []
  for (const table of tables) {
    const own = rows.filter((r) => r.case === table.case)
    const absent = Object.entries(missing[table.case] ?? {})
    if (own.length + absent.length === 0) continue
    const used = placements.filter((p) => own.some((r) => r.placement === p))
    const width = table.columns.length + 1
    const head = [
      ['', ...used.flatMap((p) => [...Array(width - 1).fill(''), p])],
      ['peer', ...used.flatMap(() => [...table.columns.map(([, h]) => h), '× floor'])],
    ]
    const body = [...new Set(own.map((r) => r.peer))].map((peer) => [
      peer,
      ...used.flatMap((p) => {
        const row = own.find((r) => r.peer === peer && r.placement === p)
        if (!row) return Array(width).fill('-')
        return [...table.columns.map(([c]) => number(row.values[c])), row.ratio === null ? '-' : row.ratio.toFixed(2)]
      }),
    ])
    parts.push(
      [table.title, ...(own.length ? [align([...head, ...body])] : []), ...absent.map(([peer, reason]) => `${peer}: ${reason}`)].join('\n'),
    )
  }
  return parts.join('\n\n')
}
