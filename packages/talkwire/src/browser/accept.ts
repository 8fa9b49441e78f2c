/** A session in a page that the other side has begun: it answers hello and keeps who listens to which events. */
import { isStream } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { asParams } from '../session/params.js'
import type { Method, Service } from '../session/service.js'
import { createClient } from './client.js'
import { BrowserLink } from './link.js'
import { defaultLimits } from './index.js'
import { BrowserSession, type Limits } from './session.js'

export interface Accepted {
  readonly session: BrowserSession
  readonly emit: (event: string, payload: unknown) => void
}

export function acceptSession(
  served: Service,
  limits: Partial<Limits> | undefined,
  onError: (error: unknown, what: string) => void,
  gone: () => void,
): Accepted {
  const wanted = new Set<string>()
  const reserved: Record<string, (params: any) => unknown> = {
    'rpc.hello': (params) => answerHello(session, served, params ?? {}),
    'rpc.on'({ event }: { event: string }) {
      if (served.contract?.members[event]?.kind !== 'event') throw new TalkwireError('METHOD_NOT_FOUND', `there is no event "${event}"`)
      wanted.add(event)
      return null
    },
    'rpc.off'({ event }: { event: string }) {
      wanted.delete(event)
      return null
    },
  }
  const methods = new Map(served.methods)
  for (const [name, handler] of Object.entries(reserved)) methods.set(name, { name, handler, positional: false } as Method)
  let caller: BrowserLink | undefined
  const session: BrowserSession = new BrowserSession('webrtc:', {
    limits: { ...defaultLimits, ...limits },
    service: { ...served, methods },
    onEvent() {},
    onError,
    callerOf(own, call) {
      caller ??= new BrowserLink({
        contract: undefined,
        interceptors: [],
        reconnect: false,
        onError,
        open: () => Promise.reject(own.cause),
      })
      caller.adopt(own)
      return createClient(caller, { from: call })
    },
    onClosed(own) {
      caller?.adopt(own)
      gone()
    },
  })
  return {
    session,
    emit(event, payload) {
      if (wanted.has(event)) session.tell(event, asParams(payload))
    },
  }
}

function answerHello(session: BrowserSession, { contract, name }: Service, hello: Record<string, unknown>): unknown {
  const served = contract?.id ?? name
  if (typeof hello['contract'] === 'string' && hello['contract'] !== contract?.id)
    throw new TalkwireError('CONTRACT_MISMATCH', `this page serves ${served}; give both the same contract`, { outcome: 'not-sent' })
  const { window, message: maxMessage } = session.options.limits
  session.agree(hello)
  const streams = contract
    ? Object.entries(contract.members).flatMap(([each, member]) => (member.kind === 'rpc' && isStream(member.output) ? [each] : []))
    : []
  return { wire: 1, codec: 'json', attachments: true, contract: served, hash: null, window, maxMessage, heartbeat: 0, streams }
}
