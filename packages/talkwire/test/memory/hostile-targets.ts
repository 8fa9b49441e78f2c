/** What is in shared memory, each whole, and how it is used: everything that a process does with it, in one step. */
import { TalkwireError } from '../../src/error.js'
import { encodeHeader, headerFor, HEADER_BYTES, parseHeader } from '../../src/memory/array-layout.js'
import { BroadcastRing } from '../../src/memory/broadcast.js'
import type { Handler } from '../../src/memory/consumer.js'
import { mapBytes, SharedMap } from '../../src/memory/map.js'
import { self } from '../../src/memory/owner.js'
import { RING_HEADER } from '../../src/memory/ring-layout.js'
import { Ring } from '../../src/memory/ring.js'
import { SharedArray } from '../../src/memory/shared-array.js'
import { HEADER, WRITER_LONG } from '../../src/memory/shared-layout.js'
import type { SharedMemory } from '../../src/memory/shared-memory.js'
import { SharedValue, valueBytes } from '../../src/memory/value.js'
import { Barrier } from '../../src/sync/barrier.js'
import { Condition } from '../../src/sync/condition.js'
import { Event } from '../../src/sync/event.js'
import { bytesOf, waiterLong, type Kind } from '../../src/sync/lock-layout.js'
import { Mutex } from '../../src/sync/mutex.js'
import { Once } from '../../src/sync/once.js'
import { openLock } from '../../src/sync/place.js'
import { enqueue } from '../../src/sync/queue.js'
import { RwLock } from '../../src/sync/rwlock.js'
import { Semaphore } from '../../src/sync/semaphore.js'
import { RING } from './rings.js'
import { MAP, patternOf, SIZE } from './shared.js'

export interface Target {
  /** Bytes. */
  readonly size: number
  /** Where the words are that decide: bytes from and to. */
  readonly hot: readonly [number, number][]
  make(memory: SharedMemory): void
  /** Opens it anew in each step, and does all that can be done. */
  user(memory: SharedMemory): (n: number) => void
  /** Opens it once; each step reads once. */
  reader(memory: SharedMemory): (n: number) => void
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`outside: ${what}`)
}

// -- rings

const message = new Uint8Array(40)
const within: Handler = ({ bytes }, offset, length) =>
  check(offset >= 0 && length >= 0 && offset + length <= bytes.length && offset % 8 === 0, `${length} bytes at ${offset}`)

function ring(producers: 'one' | 'many'): Target {
  const use = (memory: SharedMemory, times: number): void => {
    const opened = new Ring({ memory }, { producers })
    using producer = opened.producer()
    using consumer = opened.consumer()
    for (let n = 0; n < times; n++) {
      producer.tryWrite(message)
      if (producer.tryClaim(n * 9) >= 0) producer.abort()
      consumer.read(within)
    }
    check(consumer.lost >= 0, 'lost')
  }
  return {
    size: RING.size,
    // All but the seats, of which 120 that are taken are the only thing to see.
    hot: [
      [0, 4],
      [64, 80],
      [128, 200],
      [RING_HEADER, RING.size],
    ],
    make(memory) {
      use(memory, 5)
      const opened = new Ring({ memory }, { producers })
      using producer = opened.producer()
      for (let n = 0; n < 10; n++) producer.tryWrite(message)
    },
    user: (memory) => () => use(memory, 5),
    reader(memory) {
      const opened = new Ring({ memory }, { producers })
      let ends: [ReturnType<Ring['producer']>, ReturnType<Ring['consumer']>] | undefined
      return () => {
        try {
          ends ??= [opened.producer(), opened.consumer()]
          ends[0].tryWrite(message)
          ends[1].read(within)
        } catch (reason) {
          // What is broken is left, and taken anew.
          for (const end of ends ?? []) end.close()
          ends = undefined
          throw reason
        }
      }
    },
  }
}

const broadcast: Target = {
  size: RING.size,
  hot: [
    [0, 4],
    [64, 80],
    [RING_HEADER, RING.size],
  ],
  make(memory) {
    using writer = new BroadcastRing({ memory }).writer()
    for (let n = 0; n < 30; n++) writer.write(message)
  },
  user: (memory) => () => {
    const opened = new BroadcastRing({ memory })
    using reader = opened.reader()
    using writer = opened.writer()
    for (let n = 0; n < 5; n++) {
      writer.write(message)
      reader.read(within)
    }
    check(reader.lost >= 0, 'lost')
  },
  reader(memory) {
    const opened = new BroadcastRing({ memory })
    const writer = opened.writer()
    const reader = opened.reader()
    return () => {
      try {
        writer.write(message)
        reader.read(within)
      } catch (reason) {
        writer.close()
        reader.close()
        throw reason
      }
    }
  },
}

// -- values, maps, arrays

const fits = (value: Uint8Array | undefined): void => check(value === undefined || value.length <= SIZE, `a value of ${value?.length}`)

const value: Target = {
  size: valueBytes(SIZE),
  hot: [
    [16, 36],
    [0, HEADER],
    [HEADER, valueBytes(SIZE)],
  ],
  make(memory) {
    using writer = new SharedValue({ memory }, { size: SIZE }).writer()
    for (let n = 1; n < 4; n++) writer.write(patternOf(n))
    // One that died in between.
    memory.array(BigInt64Array)[WRITER_LONG] = self() ^ 1n
  },
  user: (memory) => (n) => {
    const opened = new SharedValue({ memory })
    fits(opened.read())
    using writer = opened.writer()
    writer.write(patternOf(n & 255).subarray(0, opened.size))
    fits(opened.read())
  },
  reader(memory) {
    const opened = new SharedValue({ memory }, { size: SIZE })
    return () => fits(opened.read())
  },
}

const map: Target = {
  size: mapBytes(MAP),
  hot: [
    [0, HEADER],
    [HEADER, HEADER + 64],
    [HEADER, mapBytes(MAP)],
  ],
  make(memory) {
    const opened = new SharedMap({ memory }, MAP)
    for (let n = 0; n < 6; n++) opened.set(`k${n}`, patternOf(n))
    opened.delete('k2')
    memory.array(BigInt64Array)[WRITER_LONG] = self() ^ 1n
  },
  user: (memory) => (n) => {
    const opened = new SharedMap({ memory })
    check(opened.size <= opened.sizes.entries, 'more entries than there are')
    fits(opened.get('k1'))
    opened.set(`k${n % 9}`, patternOf(n & 63).subarray(0, opened.sizes.value))
    opened.delete('k3')
    for (const [key, each] of opened.entries()) {
      check(key.length <= MAP.key, `a key of ${key.length}`)
      fits(each)
    }
  },
  reader(memory) {
    const opened = new SharedMap({ memory }, MAP)
    return (n) => fits(opened.get(`k${n % 8}`))
  },
}

const ARRAY = headerFor('f8', [4, 8])
/** The last element that an index reaches. */
function inside(array: { readonly shape: readonly number[]; readonly strides: readonly number[] }, length: number): void {
  if (array.shape.includes(0)) return
  const last = array.shape.reduce((at, count, index) => at + (count - 1) * array.strides[index]!, 0)
  check(last >= 0 && last < length, `element ${last} of ${length}`)
}

const array: Target = {
  size: HEADER_BYTES + ARRAY.bytes,
  hot: [
    [0, 40],
    [64, 96],
    [128, 160],
  ],
  make: (memory) => memory.bytes.set(encodeHeader(ARRAY)),
  user: (memory) => () => {
    using opened = SharedArray.attach(memory.path)
    inside(opened, opened.values.length)
    check(opened.generation >= 0, 'generation')
    opened.publish()
  },
  reader(memory) {
    const bytes = memory.bytes
    return () => {
      const header = parseHeader(bytes.slice(0, HEADER_BYTES), bytes.length)
      check(header.offset + header.bytes <= bytes.length, `${header.bytes} bytes at ${header.offset}`)
      inside({ shape: header.shape, strides: header.strides }, header.bytes)
    }
  },
}

// -- locks

/** Who looks at all that a lock says reads a file for each process; once in so many steps. */
const LOOK = 16

/** Free, with one who waits and one who died waiting. */
function lock(kind: Kind, open: (memory: SharedMemory) => { inspect(): unknown }, use: (memory: SharedMemory, n: number) => void): Target {
  return {
    size: bytesOf(kind),
    hot: [
      [0, 64],
      [96, 160],
      [0, bytesOf(kind)],
    ],
    make(memory) {
      open(memory)
      const block = openLock(kind, { memory })
      enqueue(block)
      enqueue(block)
      block.long[waiterLong(1)] = self() ^ 1n
    },
    user: (memory) => (n) => {
      use(memory, n)
      if (n % LOOK === 0) open(memory).inspect()
    },
    reader: (memory) => () => void open(memory).inspect(),
  }
}

const NOW = { timeout: 0 }

/** Held for a moment, unless it is not to be had. */
function hold(taken: Disposable | undefined): void {
  taken?.[Symbol.dispose]()
}

/** What is wrong with it is thrown by the next step. */
let wrong: unknown
function settles(promise: Promise<unknown>): void {
  if (wrong !== undefined) throw wrong
  promise.catch((failure: unknown) => {
    if (!(failure instanceof TalkwireError) && (failure as Error).name !== 'AbortError') wrong = failure
  })
}

const locks: Record<Kind, Target> = {
  mutex: lock(
    'mutex',
    (memory) => new Mutex({ memory }),
    (memory) => hold(new Mutex({ memory }).tryAcquire() ?? new Mutex({ memory }).acquireSync(NOW)),
  ),
  semaphore: lock(
    'semaphore',
    (memory) => new Semaphore({ memory }, { permits: 2 }),
    (memory) => {
      const semaphore = new Semaphore({ memory }, { permits: 2 })
      check(semaphore.available <= 128, 'permits')
      hold(semaphore.tryAcquire() ?? semaphore.acquireSync(NOW))
    },
  ),
  rwlock: lock(
    'rwlock',
    (memory) => new RwLock({ memory }),
    (memory) => {
      const rwlock = new RwLock({ memory })
      hold(rwlock.tryAcquireRead() ?? rwlock.acquireReadSync(NOW))
      hold(rwlock.tryAcquireWrite() ?? rwlock.acquireWriteSync(NOW))
    },
  ),
  condition: lock(
    'condition',
    (memory) => new Condition({ memory }),
    (memory, n) => {
      const condition = new Condition({ memory })
      if (n % 2 === 0) condition.notify()
      else condition.notifyAll()
    },
  ),
  barrier: lock(
    'barrier',
    (memory) => new Barrier({ memory }, 1),
    (memory) => {
      const barrier = new Barrier({ memory }, 1)
      const stop = new AbortController()
      // It goes through at once, or it breaks; who waits on is one that was aborted.
      settles(barrier.wait({ signal: stop.signal }))
      stop.abort()
      check(typeof barrier.isBroken === 'boolean', 'broken')
    },
  ),
  event: lock(
    'event',
    (memory) => new Event({ memory }),
    (memory) => {
      const event = new Event({ memory })
      event.set()
      event.waitSync(NOW)
      event.reset()
    },
  ),
  once: lock(
    'once',
    (memory) => new Once({ memory }),
    (memory) => {
      const once = new Once({ memory })
      const stop = new AbortController()
      settles(once.run(() => {}, { signal: stop.signal }))
      stop.abort()
      check(typeof once.isDone === 'boolean', 'done')
    },
  ),
}

/** Of which a process reads what others may write at any time, without taking a turn. */
export const READ: Record<string, Target> = {
  ring: ring('one'),
  'ring of many': ring('many'),
  'broadcast ring': broadcast,
  value,
  map,
  array,
}
export const ALL: Record<string, Target> = { ...READ, ...locks }
