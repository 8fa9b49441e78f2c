/** A Python file is served by Python: `python3 -m talkwire serve file.py`, with the same options. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { TalkwireError } from '../index.js'

/** Python's half of the repository, for a clone that nobody has installed anything from. */
const CLONE = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))

/** `-m talkwire` with two additions: it ends when we end, however that is, and finds the clone where the package is not installed. */
const BOOTSTRAP = `
import importlib.util, os, runpy, signal, sys
parent, clone = int(sys.argv[1]), sys.argv[2]
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except Exception:
    pass
if os.getppid() != parent:
    sys.exit(1)
if importlib.util.find_spec("talkwire") is None:
    if not clone:
        sys.exit("talkwire: this Python has no package talkwire; pip install talkwire")
    sys.path.append(clone)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), clone]))
sys.argv = ["talkwire", *sys.argv[3:]]
runpy.run_module("talkwire", run_name="__main__", alter_sys=True)
`

/** Runs until it ends; its exit code is ours. Throws START_FAILED when there is no Python. */
export async function servePython(args: readonly string[], signal: AbortSignal): Promise<number> {
  const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
  const descriptor = Number(process.env['TALKWIRE_FD'])
  const wire = Number.isInteger(descriptor) && descriptor > 2 ? [...Array.from({ length: descriptor - 3 }, () => 'ignore' as const), descriptor] : []
  // A process group of its own: Ctrl-C at the terminal reaches us alone, and we pass it on once.
  const child = spawn(python, ['-c', BOOTSTRAP, String(process.pid), existsSync(CLONE) ? CLONE : '', 'serve', ...args], { stdio: ['inherit', 'inherit', 'inherit', ...wire], detached: true })
  const stop = (): void => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => reject(new TalkwireError('START_FAILED', `${python} could not be started (${cause.message}); install Python 3.9 or later, or set TALKWIRE_PYTHON`, { cause })))
    child.once('exit', (code, ending) => resolve(code ?? 128 + constants.signals[ending!]))
  })
}
