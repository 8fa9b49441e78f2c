import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FrameReader, recognise, type Framing } from '../../src/transports/framing.js'
import { TalkwireError } from '../../src/error.js'
import { fails } from '../helpers/expect.js'

const framings = ['length', 'header', 'line'] as const
const LIMIT = 1 << 20

function frame(framing: Framing, message: Buffer): Buffer {
  if (framing === 'line') return Buffer.concat([message, Buffer.from('\n')])
  if (framing === 'header') return Buffer.concat([Buffer.from(`Content-Length: ${message.length}\r\n\r\n`), message])
  const head = Buffer.alloc(4)
  head.writeUInt32BE(message.length)
  return Buffer.concat([head, message])
}

const frames = (framing: Framing, messages: readonly Buffer[]): Buffer => Buffer.concat(messages.map((message) => frame(framing, message)))

interface Reading {
  readonly limit?: number
  readonly framing?: Framing
  /** Called for each message, with the reader. */
  readonly each?: (reader: FrameReader, index: number) => void
}

/** Pushes the chunks, resuming after every pause, and returns copies of what came out. */
function read(chunks: readonly Buffer[], { limit = LIMIT, framing, each }: Reading = {}): Buffer[] {
  const messages: Buffer[] = []
  const reader: FrameReader = new FrameReader(
    limit,
    (bytes, start, end) => {
      messages.push(Buffer.from(bytes.subarray(start, end)))
      each?.(reader, messages.length - 1)
    },
    framing,
  )
  for (const chunk of chunks) {
    reader.push(chunk)
    while (reader.paused) reader.resume()
  }
  reader.finish()
  return messages
}

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end))
}

/** Compared as text: a difference in a chunk of 100 KB is not worth printing. */
const equal = (actual: readonly Buffer[], expected: readonly Buffer[]): void => {
  assert.deepEqual(
    actual.map(({ length }) => length),
    expected.map(({ length }) => length),
  )
  actual.forEach((message, index) => assert.ok(message.equals(expected[index]!), `message ${index} is damaged`))
}

const texts = (...all: string[]): Buffer[] => all.map((text) => Buffer.from(text))
const json = texts('{}', '{"a":1}', '[1,2]', '{"text":"äöü"}')

test('a first byte says the framing, and most say none', () => {
  const byFraming = new Map<string, number[]>()
  for (let byte = 0; byte < 256; byte++) {
    const framing = recognise(byte) ?? 'none'
    byFraming.set(framing, [...(byFraming.get(framing) ?? []), byte])
  }
  assert.deepEqual(byFraming.get('length'), [0, 1, 2, 3, 4, 5, 6, 7, 8])
  assert.deepEqual(byFraming.get('header'), [0x43, 0x63])
  assert.deepEqual(byFraming.get('line'), [0x09, 0x0a, 0x0d, 0x20, 0x5b, 0x7b])
  for (const byte of byFraming.get('none')!) assert.throws(() => read([Buffer.from([byte, 1, 2, 3])]), fails('INVALID_MESSAGE'))
})

for (const framing of framings) {
  const bytes = frames(framing, json)

  test(`${framing}: recognised, and cut at every place`, () => {
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) equal(read(cut(bytes, [first, second])), json)
    }
  })

  test(`${framing}: one byte at a time`, () => {
    equal(read([...bytes].map((byte) => Buffer.from([byte]))), json)
  })

  test(`${framing}: any messages in any chunks`, () => {
    const binary = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
    const text = fc.json({ maxDepth: 2 }).map((value) => Buffer.from(value.replace(/^\s*[^[{]*$/s, '{}')))
    const large = fc
      .integer({ min: 60_000, max: 140_000 })
      .map((size) => (framing === 'line' ? Buffer.from(`"${'x'.repeat(size)}"`) : Buffer.alloc(size, size & 0xff)))
    const message = fc.oneof({ weight: 8, arbitrary: framing === 'line' ? text : binary }, { weight: 1, arbitrary: large })
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 12 }),
        fc.array(fc.nat(600_000), { maxLength: 20 }),
        fc.array(fc.nat(12), { maxLength: 4 }),
        (messages, cuts, pauses) => {
          const whole = frames(framing, messages)
          equal(
            read(cut(whole, cuts), { framing, each: (reader, index) => void (pauses.includes(index) && (reader.paused = true)) }),
            messages,
          )
        },
      ),
    )
  })

  test(`${framing}: the bytes of a chunk are not changed, and what is owned stays as it is`, () => {
    const messages =
      framing === 'line'
        ? texts(`"${'x'.repeat(3000)}"`, '{"b":2}', `"${'y'.repeat(100_000)}"`)
        : [Buffer.alloc(3000, 1), Buffer.alloc(5, 2), Buffer.alloc(100_000, 3)]
    const whole = frames(framing, messages)
    for (const place of [1, 5, 900, 3020, 50_000]) {
      const kept: { bytes: Buffer; then: string }[] = []
      const reader = new FrameReader(
        LIMIT,
        (each, start, end, owned) => {
          if (owned) kept.push({ bytes: each.subarray(start, end), then: each.toString('hex', start, end) })
        },
        framing,
      )
      const chunks = cut(whole, [place]).map((chunk) => Buffer.from(chunk))
      for (const chunk of chunks) {
        const before = chunk.toString('hex')
        reader.push(chunk)
        assert.equal(chunk.toString('hex'), before)
        chunk.fill(0xee)
      }
      for (const { bytes: each, then } of kept) assert.equal(each.toString('hex'), then)
    }
  })

  test(`${framing}: a message over the limit is refused, one of exactly the limit is not`, () => {
    const fits = framing === 'line' ? Buffer.from(`"${'x'.repeat(98)}"`) : Buffer.alloc(100)
    const over = Buffer.concat([fits, Buffer.from([0x20])])
    for (const place of [0, 1, 4, 30, 90]) {
      equal(read(cut(frames(framing, [fits, fits]), [place]), { limit: 100, framing }), [fits, fits])
      let seen = 0
      assert.throws(
        () => read(cut(frames(framing, [fits, over, fits]), [place, place + 60]), { limit: 100, framing, each: () => void seen++ }),
        fails('MESSAGE_TOO_LARGE'),
      )
      assert.equal(seen, 1)
    }
  })

  test(`${framing}: stopped inside a message, nothing more comes`, () => {
    for (let place = 0; place < bytes.length; place++) {
      assert.equal(read(cut(bytes, [place]), { each: (reader) => void (reader.stopped = true) }).length, 1)
    }
  })

  test(`${framing}: while paused nothing comes, afterwards all of it`, () => {
    const seen: string[] = []
    const reader: FrameReader = new FrameReader(LIMIT, (each, start, end) => {
      seen.push(each.toString('utf8', start, end))
      reader.paused = true
    })
    // As a socket does, all reads go into one buffer.
    const shared = Buffer.alloc(3)
    for (let at = 0; at < bytes.length; at += 3) {
      shared.fill(0xee)
      reader.push(shared, 0, bytes.copy(shared, 0, at, at + 3))
    }
    assert.equal(seen.length, 1)
    for (let expected = 2; expected <= json.length; expected++) {
      reader.resume()
      assert.equal(seen.length, expected)
    }
    assert.deepEqual(seen, json.map(String))
  })

  test(`${framing}: a trickle costs time in proportion to its bytes`, () => {
    const trickle = (size: number): number => {
      const whole = frame(framing, framing === 'line' ? Buffer.from(`"${'x'.repeat(size - 2)}"`) : Buffer.alloc(size, 0x20))
      let messages = 0
      const reader = new FrameReader(2 * LIMIT, () => void messages++, framing)
      const start = process.hrtime.bigint()
      for (let at = 0; at < whole.length; at += 4) reader.push(whole, at, Math.min(at + 4, whole.length))
      assert.equal(messages, 1)
      return Number(process.hrtime.bigint() - start)
    }
    trickle(100_000)
    const best = (size: number): number => Math.min(...Array.from({ length: 3 }, () => trickle(size)))
    const [small, large] = [best(100_000), best(1_600_000)]
    // Sixteen times the bytes; a quadratic reader would need 256 times as long.
    assert.ok(large < 100 * small, `${large / small} times as long for 16 times the bytes`)
  })
}

/** Bytes of typed arrays that `action` leaves allocated, at its largest. */
function growth(action: (sample: () => void) => void): number {
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  action(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before)
  })
  return most
}

test('an announced length reserves no memory in proportion (threat 17)', () => {
  const announced = 60 * 1024 * 1024
  for (const head of [frame('length', Buffer.alloc(0)), Buffer.from(`Content-Length: ${announced}\r\n\r\n`)]) {
    if (head.length === 4) head.writeUInt32BE(announced)
    const most = growth((sample) => {
      for (let connection = 0; connection < 50; connection++) {
        const reader = new FrameReader(64 * 1024 * 1024, () => {})
        reader.push(head)
        reader.push(Buffer.from('a few bytes'))
        sample()
        assert.ok(reader.midMessage)
      }
    })
    assert.ok(most < 8 * 1024 * 1024, `${most} bytes for 50 announcements`)
  }
})

test('lengths that nobody can mean are refused at once', () => {
  for (const length of [LIMIT + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    const head = Buffer.alloc(4)
    head.writeUInt32BE(length)
    assert.throws(() => read([head], { framing: 'length' }), fails('MESSAGE_TOO_LARGE'))
    assert.throws(() => read(cut(head, [1, 2, 3]), { framing: 'length' }), fails('MESSAGE_TOO_LARGE'))
    assert.throws(() => read([Buffer.from(`Content-Length: ${length}\r\n\r\n`)]), fails('MESSAGE_TOO_LARGE'))
  }
})

test('header: case, blanks and other headers do not matter', () => {
  const [message] = texts('{"a":1}') as [Buffer]
  for (const head of [
    'content-length: 7\r\n\r\n',
    'Content-Length:7\r\n\r\n',
    'CONTENT-LENGTH:  7 \r\n\r\n',
    'Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 7\r\n\r\n',
    'Content-Length: 7\r\nContent-Type: x\r\n\r\n',
  ]) {
    const bytes = Buffer.concat([Buffer.from(head), message, Buffer.from(head), message])
    for (let place = 0; place <= bytes.length; place++) equal(read(cut(bytes, [place])), [message, message])
  }
})

test('header: a block without a length, with a wrong one, or without an end is refused', () => {
  for (const head of [
    'Content-Type: x\r\n\r\n',
    'Content-Length: -1\r\n\r\n',
    'Content-Length: 1e3\r\n\r\n',
    'Content-Length: 0x10\r\n\r\n',
    'Content-Length: \r\n\r\n',
    'Content-Length: 99999999999\r\n\r\n',
    'X-Content-Length: 7\r\n\r\n',
    'Content-Length: 7; x\r\n\r\n',
  ]) {
    assert.throws(() => read([Buffer.from(head)], { framing: 'header' }), fails('INVALID_MESSAGE'), head)
  }
  const endless = Buffer.from(`Content-Length: 7\r\n${'X-Header: y\r\n'.repeat(1000)}`)
  assert.throws(() => read([endless]), fails('INVALID_MESSAGE'))
  let pushed = 0
  const reader = new FrameReader(LIMIT, () => {})
  assert.throws(() => {
    for (; pushed < endless.length; pushed++) reader.push(endless, pushed, pushed + 1)
  }, fails('INVALID_MESSAGE'))
  assert.ok(pushed <= 4096, `${pushed} bytes were taken`)
})

test('header: a block of 4096 bytes is read', () => {
  const filler = `Content-Length: 2\r\nX: ${'y'.repeat(4096 - 19 - 3 - 4)}\r\n\r\n`
  assert.equal(filler.length, 4096)
  const bytes = Buffer.from(`${filler}{}`)
  for (const place of [1, 4094, 4095, 4096, 4097]) equal(read(cut(bytes, [place])), texts('{}'))
})

test('line: CR LF, empty lines, blanks before, and a last line without LF', () => {
  equal(read(texts('\r\n\n{"a":1}\r\n\n\r\n[2]\n{"b":3}')), texts('{"a":1}', '[2]', '{"b":3}'))
  equal(read(texts('  {"a":1}\n')), texts('  {"a":1}'))
  equal(read(texts('{}', '\r', '\n', '{}', '\r')), texts('{}', '{}'))
})

test('line: an endless line is refused before it is kept', () => {
  const reader = new FrameReader(1000, () => {})
  reader.push(Buffer.from('{"a":"'))
  const most = growth((sample) => {
    assert.throws(() => {
      for (let count = 0; count < 100_000; count++) {
        reader.push(Buffer.alloc(100, 0x78))
        sample()
      }
    }, fails('MESSAGE_TOO_LARGE'))
  })
  assert.ok(most < 1 << 20)
})

test('midMessage is true exactly between the bytes of a message', () => {
  for (const framing of ['length', 'header'] as const) {
    const bytes = frames(framing, texts('{"a":1}', '{}'))
    const borders = [0, frame(framing, json[1]!).length, bytes.length]
    const reader = new FrameReader(LIMIT, () => {}, framing)
    for (let at = 0; at < bytes.length; at++) {
      assert.equal(reader.midMessage, !borders.includes(at), `${framing} at ${at}`)
      reader.push(bytes, at, at + 1)
    }
    assert.equal(reader.midMessage, false)
  }
})

test('the window for direct reads takes the rest of a body, never more', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 300_000 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 90_000 }), { minLength: 1, maxLength: 20 }),
      (sizes, steps) => {
        const messages = sizes.map((size, index) => Buffer.alloc(size, index + 1))
        const whole = frames('length', messages)
        const seen: Buffer[] = []
        const reader = new FrameReader(LIMIT, (bytes, start, end) => void seen.push(Buffer.from(bytes.subarray(start, end))), 'length')
        for (let at = 0, step = 0; at < whole.length; step++) {
          const window = reader.window()
          const count = Math.min(steps[step % steps.length]!, whole.length - at, window?.length ?? Infinity)
          if (window) {
            whole.copy(window, 0, at, at + count)
            reader.filled(count)
          } else reader.push(Buffer.from(whole.subarray(at, at + count)))
          at += count
        }
        equal(seen, messages)
      },
    ),
    { numRuns: 50 },
  )
})

test('random bytes give messages or a typed error, whatever the framing', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 5000 }),
      fc.array(fc.nat(5000), { maxLength: 5 }),
      fc.constantFrom(undefined, ...framings),
      (array, cuts, framing) => {
        try {
          read(cut(Buffer.from(array), cuts), { ...(framing && { framing }) })
        } catch (reason) {
          assert.ok(
            reason instanceof TalkwireError && (reason.code === 'INVALID_MESSAGE' || reason.code === 'MESSAGE_TOO_LARGE'),
            String(reason),
          )
        }
      },
    ),
    { numRuns: 2000 },
  )
})
