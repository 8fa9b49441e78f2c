/** What people and tools see first: the OpenAPI document and a page to try the methods. */
import type { Service } from '../session/service.js'
import type { Public } from './http-server.js'

/** The text of /openapi.json, made when it is first asked for. */
export function createDocument(service: Service): () => Promise<string> {
  let text: Promise<string> | undefined
  return () => (text ??= make(service))
}

async function make({ name, contract, methods }: Service): Promise<string> {
  const { openApi } = await import('../contract/openapi.js')
  if (contract) {
    const { jsonSchema } = await import('../contract/json-schema.js')
    return JSON.stringify(openApi(await jsonSchema(contract)))
  }
  const { parameterNames } = await import('../contract/parameters.js')
  const functions = [...methods.values()].map(({ name: method, source, handler }) => ({
    name: method,
    parameters: (source && parameterNames(source)) ?? handler.length,
  }))
  return JSON.stringify(openApi({ name, functions }))
}

/** `/` is the page. It holds no secret: it asks for the token, or takes it from the part of its address behind #, which no server sees. */
export const servePage: Public = (request, response, path) => {
  if (path !== '/' || request.method !== 'GET') return false
  void import('./http-page.js').then(({ PAGE }) =>
    response
      .writeHead(200, {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy':
          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      })
      .end(PAGE),
  )
  return true
}
