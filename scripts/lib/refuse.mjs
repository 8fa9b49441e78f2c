// Preloaded by check-scripts: ends the process when something loads native code, opens a connection or starts a process.
import child from 'node:child_process'
import dgram from 'node:dgram'
import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import worker from 'node:worker_threads'

/** @param {string} what @returns {any} */
function refuse(what) {
  return () => {
    process.stderr.write(`${what}${new Error().stack?.split('\n').slice(2, 6).join('\n')}\n`)
    process.exit(3)
  }
}

process.dlopen = refuse('loads a native module')
net.Socket.prototype.connect = refuse('opens a connection')
net.Server.prototype.listen = refuse('listens')
dgram.createSocket = refuse('opens a datagram socket')
dns.lookup = refuse('looks up a name')
for (const name of /** @type {const} */ (['spawn', 'fork', 'exec', 'execFile', 'spawnSync', 'execSync', 'execFileSync']))
  child[name] = refuse('starts a process')
Object.defineProperty(worker, 'Worker', { value: refuse('starts a thread') })
syncBuiltinESMExports()
