import { randomUUID } from 'node:crypto'
import http from 'node:http'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import * as z from 'zod'
import * as service from '../lib/service.mjs'
import { talkwire } from './ours.mjs'
import { listen } from './listen.mjs'

export const ours = talkwire(() => 'mcp+http://127.0.0.1:0')

/** @type {import('./index.mjs').Side} */
export const bare = {
  async server() {
    const server = new McpServer({ name: 'calc', version: '1' })
    const shape = { inputSchema: { a: z.number(), b: z.number() }, outputSchema: { sum: z.number() } }
    server.registerTool('add', shape, ({ a, b }) => ({ content: [], structuredContent: { sum: service.add(a, b) } }))
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, enableJsonResponse: true })
    await server.connect(/** @type {any} */ (transport))
    return listen(http.createServer((request, response) => void transport.handleRequest(request, response)))
  },
  async client(address) {
    const client = new Client({ name: 'bench', version: '1' })
    await client.connect(/** @type {any} */ (new StreamableHTTPClientTransport(new URL(`${address}/mcp`))))
    return {
      add: async (a, b) => /** @type {any} */ (await client.callTool({ name: 'add', arguments: { a, b } })).structuredContent.sum,
      close: () => client.close(),
    }
  },
}
