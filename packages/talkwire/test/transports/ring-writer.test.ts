/** A message is written right into the ring, and elsewhere once it is too long for that: whichever way, the same bytes arrive. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digest, LocalEnd } from '../../compliance/ends.js'
import { TalkwireError } from '../../src/error.js'
import { Consumer } from '../../src/memory/consumer.js'
import { Producer } from '../../src/memory/producer.js'
import { ringBytes } from '../../src/memory/ring-layout.js'
import { openRing } from '../../src/memory/ring-place.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { RingConnection, type Control } from '../../src/transports/ring-connection.js'
import { RingWriter } from '../../src/transports/ring-writer.js'
import { fails } from '../helpers/expect.js'

const CAPACITY = 64 * 1024
const HEADER = 8
/** Bytes of a message that the ring has room for beside its header: ROOM of ring-writer.ts. */
const FITS = 4096 - HEADER

function ringOf(capacity: number) {
  const ring = openRing('one producer', { memory: SharedMemory.anonymous(ringBytes(capacity)) })
  const producer = new Producer(ring)
  return { producer, consumer: new Consumer(ring), writer: new RingWriter(producer, HEADER) }
}

const noise = (length: number, seed: number): Buffer => Buffer.from(Array.from({ length }, (_, n) => (n * 31 + seed) & 255))

/** In pieces, so that it is in the middle of it when the room ends. */
function write(writer: RingWriter, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at += 700) writer.bytes(bytes.subarray(at, at + 700))
}

/** What the writer holds, wherever it is. */
const held = ({ buffer, start, position }: RingWriter): Buffer => Buffer.from(buffer.subarray(start, position))

test('a message that fits is read from where it was written; the next one follows, at every place of the ring', () => {
  const { consumer, writer } = ringOf(CAPACITY)
  for (let n = 0; n < 600; n++) {
    const message = noise((n * 97) % (FITS + 1), n)
    writer.begin(true)
    assert.ok(writer.inRing)
    write(writer, message)
    assert.ok(writer.inRing)
    writer.publish()
    writer.reset()
    const got: Buffer[] = []
    consumer.read(({ bytes }, offset, length) => got.push(Buffer.from(bytes.subarray(offset + HEADER, offset + length))))
    assert.deepEqual(got, [message])
  }
})

test('one that does not goes on elsewhere with all that was written, and leaves nothing in the ring', () => {
  const { producer, consumer, writer } = ringOf(CAPACITY)
  const free = producer.room
  for (const length of [FITS + 1, FITS + 700, 3 * FITS, 10 * CAPACITY]) {
    const message = noise(length, length)
    writer.begin(true)
    write(writer, message)
    assert.ok(!writer.inRing)
    assert.deepEqual(held(writer), message)
    writer.reset()
    assert.equal(producer.room, free)
    assert.equal(
      consumer.read(() => {}),
      0,
    )
  }
  assert.ok(writer.buffer.length <= 256 * 1024, 'the memory of a long message is given back')
})

test('what is thrown away was never there', () => {
  const { producer, consumer, writer } = ringOf(CAPACITY)
  const free = producer.room
  writer.begin(true)
  write(writer, noise(1000, 1))
  writer.reset()
  assert.equal(producer.room, free)
  writer.begin(true)
  write(writer, noise(10, 2))
  writer.publish()
  writer.reset()
  const lengths: number[] = []
  consumer.read((_, __, length) => lengths.push(length - HEADER))
  assert.deepEqual(lengths, [10])
})

test('a ring without room is not entered', () => {
  const { writer } = ringOf(CAPACITY)
  for (;;) {
    writer.begin(true)
    if (!writer.inRing) break
    write(writer, noise(FITS, 0))
    writer.publish()
    writer.reset()
  }
  write(writer, noise(20, 3))
  assert.deepEqual(held(writer), noise(20, 3))
})

test('a claim gets shorter only, and only among one producer', () => {
  const { producer } = ringOf(CAPACITY)
  assert.throws(() => producer.shrink(1), TypeError)
  producer.tryClaim(100)
  for (const length of [101, -1, NaN]) assert.throws(() => producer.shrink(length), RangeError)
  producer.shrink(99)
  producer.shrink(5)
  producer.commit()
  const many = new Producer(openRing('many producers', { memory: SharedMemory.anonymous(ringBytes(CAPACITY)) }))
  many.tryClaim(100)
  assert.throws(() => many.shrink(5), RangeError)
  many.abort()
})

const silent: Control = { peer: { address: 'test' }, ring() {}, end() {}, close() {}, abort() {}, ref() {}, unref() {}, release() {} }

/** Two ends in this process. */
function ends(maxMessage?: number): { near: RingConnection; far: LocalEnd } {
  const size = ringBytes(256 * 1024)
  const memory = SharedMemory.anonymous(2 * size)
  const pair = { toServer: { memory, offset: 0, size }, toClient: { memory, offset: size, size } }
  const far = new LocalEnd()
  far.connection = new RingConnection(pair, 'server', silent, undefined).attach(far)
  return { near: new RingConnection(pair, 'client', silent, maxMessage).attach(new LocalEnd()), far }
}

test('attachments, messages of every length about the limit, and what was rolled back between them', async () => {
  const { near, far } = ends()
  const lengths = [0, 1, 7, 8, 9, FITS - 1, FITS, FITS + 1, 20_000, 100]
  for (const length of lengths) {
    near.begin().bytes(noise(50, 9))
    near.rollback()
    near.begin().bytes(noise(length, length))
    near.commit()
  }
  const writer = near.begin()
  writer.bytes(noise(40, 4))
  writer.attachments.push(noise(5000, 5))
  near.commit()
  const received = await far.got(lengths.length + 1)
  // The envelope of one attachment, the message up to a multiple of 8, and the attachment.
  const envelope = Buffer.from([0xc1, 0, 0, 1, 0, 0, 0, 40, 0, 0, 0x13, 0x88])
  const last = Buffer.concat([envelope, noise(40, 4), Buffer.alloc(4), noise(5000, 5)])
  const sent = [...lengths.map((length) => noise(length, length)), last]
  assert.deepEqual(
    received.map((each) => each.digest),
    sent.map(digest),
  )
})

test('a message over the limit is refused, and the next one arrives', async () => {
  const { near, far } = ends(100)
  near.begin().bytes(noise(101, 1))
  assert.throws(() => near.commit(), fails('MESSAGE_TOO_LARGE'))
  near.begin().bytes(noise(100, 2))
  near.commit()
  await far.got(1)
  near.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
})
