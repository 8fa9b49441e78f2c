// One line a protocol: the bare library beside which it is measured, and how many of its calls/s Talkwire is to make.

/**
 * What `protocols/<name>.mjs` exports as `ours` and as `bare`.
 * @typedef {object} Side
 * @property {(place: Place) => Promise<string>} server listens, and returns the address for the client
 * @property {(address: string) => Promise<Caller>} client
 *
 * @typedef {{ folder: string, bus?: string }} Place
 * @typedef {{ add: (a: number, b: number) => Promise<number>, close: () => unknown }} Caller
 */

/** @type {Record<string, { library: string, least: number, bus?: true }>} */
export const protocols = {
  http: { library: 'node:http, both ends by hand', least: 0.9 },
  ws: { library: 'ws, calls in JSON by hand', least: 0.9 },
  grpc: { library: '@grpc/grpc-js with @grpc/proto-loader', least: 0.9 },
  graphql: { library: 'graphql-http, both ends', least: 1 },
  xmlrpc: { library: 'xmlrpc, both ends', least: 1 },
  soap: { library: 'soap, both ends', least: 1 },
  dbus: { library: 'dbus-next, both ends, over a dbus-daemon', least: 1, bus: true },
  mcp: { library: '@modelcontextprotocol/sdk, both ends, streamable HTTP', least: 1 },
}
