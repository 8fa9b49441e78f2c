import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

const client = new Client({ name: 'example', version: '1' })
const headers = { authorization: `Bearer ${process.env.TOKEN}` }
await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${process.env.PORT}/mcp`), { requestInit: { headers } }))
const result = await client.callTool({ name: 'deposit', arguments: { account: 'mcp', amount: 5 } })
console.log(/** @type {any} */ (result.content)[0].text)
await client.close()
