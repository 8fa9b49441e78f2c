/** The names of shared memory: shm_overview(7). On Linux each is a file below /dev/shm; Python's `multiprocessing.shared_memory` uses the same. */
import { TalkwireError } from '../error.js'

export const SHM = '/dev/shm'

/** Bytes; room is left for what is put beside a name. */
const MAX_NAME = 200

export const pathOfSegment = (name: string): string => `${SHM}/${name}`

/** The name without the slash that C programs write before it. Throws INVALID_ADDRESS. */
export function validateSegmentName(name: string): string {
  if (typeof name !== 'string') throw new TypeError('the name of shared memory is a string')
  const plain = name.startsWith('/') ? name.slice(1) : name
  const reserved = plain === '' || plain === '.' || plain === '..' || plain.startsWith('sem.')
  // oxlint-disable-next-line no-control-regex -- half a surrogate pair would become the same bytes as any other half
  if (reserved || /[/\x00-\x1f\x7f-\x9f\p{Surrogate}]/u.test(plain) || Buffer.byteLength(plain) > MAX_NAME)
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `${JSON.stringify(name.slice(0, 80))} cannot name shared memory; take 1 to ${MAX_NAME} bytes without "/" and control characters, not "sem." at its beginning`,
    )
  return plain
}
