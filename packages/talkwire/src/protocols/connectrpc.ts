/**
 * Connect and gRPC-Web: `connect+http://127.0.0.1:8080`, `connect+h2c:` for HTTP/2 in the clear, `connect+https:`, `grpcweb+http:`,
 * `grpcweb+https:`. docs/protocols/connectrpc.md. What serves them is the port of gRPC, which tells them by their content type.
 */
import { TalkwireError } from '../error.js'
import type { Dialect, DialectTraits } from './dialect.js'
import { needsContract, traits, using } from './grpc.js'

const half: DialectTraits = { ...traits, duplex: false }

/** Where the same server speaks gRPC and Connect over HTTP/2, if it does. */
function elsewhere(address: string, secure: boolean): string {
  const rest = address.slice(address.indexOf(':'))
  return secure ? `grpcs${rest}` : `grpc${rest} or connect+h2c${rest}`
}

const dialect = (scheme: string, own: DialectTraits, { web = false, h2 = false, secure = false }): Dialect => {
  const load = (): Promise<[typeof import('./connectrpc-client.js'), import('./connectrpc-words.js').Words]> =>
    using(scheme, async () => {
      const { connectWords, webWords } = await import('./connectrpc-words.js')
      return [await import('./connectrpc-client.js'), web ? webWords : connectWords]
    })
  return {
    scheme,
    speaks: 'calls',
    tokens: true,
    traits: own,
    async listen(address, service, admit, options) {
      const { serveGrpc } = await using(scheme, () => import('./grpc-server.js'))
      return serveGrpc(address, secure, service, admit, options)
    },
    async connect(address, options) {
      if (!options.contract) needsContract(scheme)
      const [{ connectRpc }, words] = await load()
      return connectRpc(address, words, h2, options)
    },
    async discover(address, options) {
      if (web)
        throw new TalkwireError(
          'UNSUPPORTED',
          `${scheme}: cannot ask, because reflection is a stream each way; ask the same server at ${elsewhere(address, secure)}, or take its .proto: protoContract(text)`,
        )
      const [{ openRpc }, words] = await load()
      const { discoverBy } = await using(scheme, () => import('./grpc-discover.js'))
      return discoverBy(address, await openRpc(address, words, h2, options))
    },
  }
}

export const connectHttp = dialect('connect+http', half, {})
export const connectH2c = dialect('connect+h2c', traits, { h2: true })
export const connectHttps = dialect('connect+https', traits, { secure: true })

const web: DialectTraits = { ...half, inputStream: false }
export const webHttp = dialect('grpcweb+http', web, { web: true })
export const webHttps = dialect('grpcweb+https', web, { web: true, secure: true })
