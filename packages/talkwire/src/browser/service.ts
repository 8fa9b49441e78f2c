/** What a page serves: session/service.ts in small. The other side's contract is what is checked against. */
import { isContract, isStream, type Contract, type Functions, type FunctionsClient, type Handlers } from '../contract/contract.js'
import type { Method, Service } from '../session/service.js'

export interface Implementation {
  readonly service: Service
}

/** As in Node: handlers for a contract, or plain functions. Throws TypeError for a handler that is missing. */
export function implement<const C extends Contract>(contract: C, handlers: Handlers<C, FunctionsClient<Functions>>): Implementation
export function implement(functions: object): Implementation
export function implement(what: Contract | object, handlers: object = what): Implementation {
  const contract = isContract(what) ? what : undefined
  const methods = new Map<string, Method>()
  for (const [name, member] of Object.entries(contract?.members ?? handlers)) {
    if (contract && member.kind === 'event') continue
    const handler: unknown = (handlers as Record<string, unknown>)[name]
    if (typeof handler !== 'function') throw new TypeError(`there is no handler for "${name}"; add a function of that name`)
    const { input, output, oneway = false, errors } = contract ? member : {}
    methods.set(name, {
      name,
      handler: handler.bind(handlers),
      positional: !contract,
      inputStream: isStream(input),
      outputStream: isStream(output),
      oneway,
      input: isStream(input) ? input.item : input,
      errors: errors && new Set(Object.keys(errors)),
    })
  }
  return { service: { name: contract?.name ?? 'client', contract, methods, events: undefined } }
}
