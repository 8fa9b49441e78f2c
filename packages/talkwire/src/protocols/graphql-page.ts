/** GraphiQL for browsers, whole from a package: it loads nothing from another server. */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Public } from './http-server.js'

// Not a literal: with its types those of browsers would come, for everyone.
const PACKAGE: string = '@graphql-yoga/render-graphiql'
const MISSING = `There is no page here: install the package "${PACKAGE}" beside the service. GraphQL is at /graphql.\n`
const TOKEN = '%TOKEN%'

let page: Promise<Buffer | undefined> | undefined

/** `/` and `/graphql` are the page for who wants HTML. It holds no secret: the token may stand behind # in its address, which no server sees. */
export const servePage: Public = (request, response, path) => {
  if (request.method !== 'GET' || (path !== '/' && path !== '/graphql') || !/\btext\/html\b/.test(request.headers.accept ?? ''))
    return false
  void (page ??= render()).then((text) => {
    if (!text) return response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end(MISSING)
    response
      .writeHead(200, {
        'content-type': 'text/html; charset=utf-8',
        'content-encoding': 'gzip',
        'content-length': text.length,
        'content-security-policy':
          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' blob:; worker-src blob:; img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      })
      .end(text)
  })
  return true
}

async function render(): Promise<Buffer | undefined> {
  try {
    const { renderGraphiQL } = (await import(PACKAGE)) as { renderGraphiQL: (options: object) => string }
    const text = renderGraphiQL({
      title: 'Talkwire',
      endpoint: '/graphql',
      defaultQuery: '# What is offered: the book at the left.\n',
      additionalHeaders: { authorization: TOKEN },
    })
    const token = "`Bearer ${new URLSearchParams(location.hash.slice(1)).get('token') ?? ''}`"
    return await promisify(gzip)(text.replace(`"${TOKEN}"`, () => token))
  } catch {
    return undefined
  }
}
