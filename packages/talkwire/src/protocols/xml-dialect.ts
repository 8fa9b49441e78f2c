/** A protocol of XML over HTTP as a dialect: what parses it is loaded first. */
import type { Service } from '../session/service.js'
import type { Dialect, DialectClientOptions, DialectDiscoverOptions, DialectServerOptions, DialectTraits } from './dialect.js'
import { listenHttp, type Site } from './http-server.js'
import { loadXml, type Xml } from './xml.js'

/** As the functions of `Dialect`, with the parser. */
export interface XmlProtocol {
  readonly traits: DialectTraits
  readonly site: (scheme: string, xml: Xml, service: Service, options: DialectServerOptions) => Site | Promise<Site>
  readonly connect: (address: string, xml: Xml, options: DialectClientOptions) => ReturnType<NonNullable<Dialect['connect']>>
  readonly discover: (address: string, xml: Xml, options: DialectDiscoverOptions) => ReturnType<NonNullable<Dialect['discover']>>
}

export function xmlDialect(scheme: string, { traits, site, connect, discover }: XmlProtocol): Dialect {
  const siteOf = async (service: Service, options: DialectServerOptions): Promise<Site> =>
    site(scheme, await loadXml(scheme), service, options)
  return {
    scheme,
    speaks: 'calls',
    traits,
    tokens: true,
    listen: async (address, service, admit, options) => listenHttp(address, admit, await siteOf(service, options), options),
    site: siteOf,
    connect: async (address, options) => connect(address, await loadXml(scheme), options),
    discover: async (address, options) => discover(address, await loadXml(scheme), options),
  }
}
