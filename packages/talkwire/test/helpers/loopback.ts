/**
 * All of 127/8 is this machine: each process has a host to itself, and no port of it is somebody else's.
 * (A port that was free on 127.0.0.1 a moment ago may be what another's connect() was given since.)
 */
export const ownHost = `127.${[16, 8, 0].map((bits) => (process.pid >>> bits) & 0xff).join('.')}`

let port = 20_000
/** A port of `ownHost` that was not given out before. */
export const freshPort = (): number => port++
