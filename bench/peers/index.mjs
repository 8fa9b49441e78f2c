// One line a peer. `cases` is what it can be asked; a peer without one of them appears in that table with the reason.

const calls = ['unary', 'inflight256', 'inflight1024', 'oneway', 'echo', 'sum']
const all = [...calls, 'clients']
const json = ['unary', 'inflight256', 'inflight1024', 'clients']

/**
 * @typedef {object} Peer
 * @property {string} wire what the table says about it
 * @property {string[]} cases
 * @property {'json' | 'advanced'} [ipc] the wire is the IPC channel of a forked child, with this serialization
 * @property {boolean} [text] carries text: bytes are sent as a string of the same length
 * @property {boolean} [ours] never excused: it is what is measured
 * @property {boolean} [python] the server is a Python program
 */

/** @type {Record<string, Peer>} */
export const peers = {
  talkwire: { wire: 'Unix socket, schema-less, full session', cases: all, ours: true },
  'talkwire-shm': { wire: 'shared memory, schema-less, full session', cases: calls, ours: true },
  floor: { wire: "hand-written binary frames, Unix socket, one write a turn: the best of Node's public API", cases: all },
  'fork-json': { wire: 'child_process IPC, serialization json', cases: calls, ipc: 'json', text: true },
  'fork-advanced': { wire: 'child_process IPC, serialization advanced', cases: calls, ipc: 'advanced' },
  birpc: { wire: 'over child_process IPC, advanced', cases: calls, ipc: 'advanced' },
  ws: { wire: 'hand-written binary calls in WebSocket messages, Unix socket', cases: all },
  zeromq: { wire: 'hand-written binary calls, dealer and router, ipc', cases: all },
  'vscode-jsonrpc': { wire: 'Unix socket', cases: all, text: true },
  'grpc-js': { wire: 'Unix socket, hand-written serializers', cases: all },
  'jsonrpc-talkwire': { wire: 'hand-written JSON-RPC client, a Talkwire server', cases: json, ours: true },
  'jsonrpc-hand': { wire: 'hand-written JSON-RPC, both ends', cases: json },
  'bare-socket': { wire: 'a Unix socket and a fixed answer: what Node itself needs for a connection', cases: ['clients'] },
  'python-talkwire': {
    wire: 'Node to Python, Talkwire on both ends, Unix socket',
    cases: ['python', 'pythonSum'],
    ours: true,
    python: true,
  },
  'python-floor': { wire: 'Node to Python, hand-written, Unix socket', cases: ['python', 'pythonSum'], python: true },
}
