// The command line of the bench.
import { parseArgs } from 'node:util'
import { peers } from '../peers/index.mjs'

export const help = `node run.mjs [options]
  --only a,b        only these peers: ${Object.keys(peers).join(', ')}
  --cases a,b       only these cases: unary, inflight, oneway, echo, sum, clients, python
  --repetitions n   how often everything is measured (3); figures are medians
  --smoke           tiny counts: is everything still right? The figures mean nothing
  --strict          a peer that is not available is a failure
  --json            the result as JSON on stdout`

/** @type {Record<string, string[]>} */
const groups = { inflight: ['inflight256', 'inflight1024'], python: ['python', 'pythonSum'] }
const cases = ['unary', 'inflight256', 'inflight1024', 'oneway', 'echo', 'sum', 'clients', 'python', 'pythonSum']

/** @param {string} text @param {string[]} known @param {string} what */
function list(text, known, what) {
  const names = text.split(',').flatMap((name) => groups[name] ?? name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown) throw new TypeError(`unknown ${what} "${unknown}"; known: ${known.join(', ')}`)
  return names
}

/** @param {string[]} args */
export function parseOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string' },
      cases: { type: 'string' },
      repetitions: { type: 'string' },
      smoke: { type: 'boolean', default: false },
      strict: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const repetitions = Number(values.repetitions ?? (values.smoke ? 1 : 3))
  if (!(Number.isInteger(repetitions) && repetitions > 0)) throw new TypeError('--repetitions takes a whole number above 0')
  return {
    help: values.help,
    only: values.only === undefined ? Object.keys(peers) : list(values.only, Object.keys(peers), 'peer'),
    cases: values.cases === undefined ? cases : list(values.cases, cases, 'case'),
    repetitions,
    smoke: values.smoke,
    strict: values.strict,
    json: values.json,
    effort: values.smoke ? { warm: 10, run: 20, clients: 50 } : { warm: 300, run: 600, clients: 1000 },
  }
}
