/** A contract in the languages in which others describe services. */
import { checkDialectCalls, jsonSchema, openRpc, type Contract } from '../index.js'
import type { Dialect } from '../protocols/dialect.js'
import { UsageError } from './output.js'

type Form = (contract: Contract) => Promise<string>

/** Where nobody serves it yet. */
const NOWHERE = 'http://127.0.0.1/'

export const forms: Readonly<Record<string, Form>> = {
  openrpc: async (contract) => JSON.stringify(await openRpc(await jsonSchema(contract)), null, 2),
  openapi: async (contract) => (await import('../protocols/http.js')).openApiText(contract),
  proto: async (contract) => {
    const { grpc, protoOf } = await import('../protocols/grpc.js')
    return carried(grpc, contract, protoOf)
  },
  graphql: async (contract) => {
    const { graphql, graphqlSchema } = await import('../protocols/graphql.js')
    return carried(graphql, contract, graphqlSchema)
  },
  wsdl: async (contract) => {
    const { soap, wsdl } = await import('../protocols/soap.js')
    return carried(soap, contract, (each) => wsdl(each, `${NOWHERE}${each.name}`))
  },
  thrift: async (contract) => {
    const { thrift, thriftIdl } = await import('../protocols/thrift.js')
    return carried(thrift, contract, thriftIdl)
  },
  varlink: async (contract) => {
    const { varlink, varlinkInterface } = await import('../protocols/varlink.js')
    return carried(varlink, contract, varlinkInterface)
  },
  dbus: async (contract) => {
    const { dbus, dbusInterface } = await import('../protocols/dbus.js')
    return carried(dbus, contract, dbusInterface)
  },
}

/** As it would be served: what the protocol cannot carry is no part of its language. Rejects with UNSUPPORTED. */
async function carried(dialect: Dialect, contract: Contract, text: Form): Promise<string> {
  checkDialectCalls(dialect, contract)
  return text(contract)
}

/** Throws UsageError. */
export function formFor(name: string): Form {
  const form = Object.hasOwn(forms, name) ? forms[name] : undefined
  if (!form) throw new UsageError(`there is no --as ${name}; there is ${Object.keys(forms).join(', ')}`)
  return form
}
