/** Connections without I/O, for tests of protocols: what is committed is handed on, or kept. */
import { envelopeOf } from '../../compliance/ends.js'
import { Writer } from '../../src/codecs/writer.js'
import { TalkwireError } from '../../src/error.js'
import type { ByteConnection, ValueConnection } from '../../src/transports/transport.js'

const base = {
  peer: { address: 'captured:' },
  buffered: 0,
  unsent: 0,
  pause() {},
  resume() {},
  close: async () => {},
  abort() {},
  ref() {},
  unref() {},
}

export interface Captured extends ByteConnection {
  readonly payloads: Buffer[]
  deliver: (payload: Buffer) => void
}

export function captured(options: { readonly maxMessage?: number; readonly binary?: boolean } = {}): Captured {
  const writer = new Writer(16)
  const payloads: Buffer[] = []
  const rollback = (): void => {
    writer.position = 0
    writer.attachments = []
  }
  return {
    ...base,
    kind: 'bytes',
    binary: options.binary ?? true,
    committed: 0,
    payloads,
    deliver: (payload) => void payloads.push(payload),
    begin: () => writer,
    rollback,
    limitSend() {},
    commit() {
      const head = Buffer.from(writer.buffer.subarray(0, writer.position))
      const payload = writer.attachments.length > 0 ? envelopeOf(head, writer.attachments) : head
      rollback()
      if (payload.length > (options.maxMessage ?? Infinity)) throw new TalkwireError('MESSAGE_TOO_LARGE', `${payload.length} bytes`)
      ;(this as { committed: number }).committed = payload.length
      this.deliver(payload)
      return true
    },
  }
}

export interface CapturedValues extends ValueConnection {
  deliver: (value: unknown) => void
}

export const capturedValues = (): CapturedValues => ({
  ...base,
  kind: 'values',
  deliver() {},
  post(value) {
    this.deliver(structuredClone(value))
    return true
  },
})
