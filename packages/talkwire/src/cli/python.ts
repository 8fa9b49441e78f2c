/** A Python file is served by Python: `python3 -m talkwire serve file.py`, with the same options. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TalkwireError } from '../index.js'

/** Python's half of the repository, for a clone that nobody has installed anything from. */
const CLONE = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))

/** `-m talkwire`, which finds the clone where the package is not installed. */
const BOOTSTRAP = `
import importlib.util, os, runpy, sys
clone = sys.argv[1]
if importlib.util.find_spec("talkwire") is None:
    if not clone:
        sys.exit("talkwire: this Python has no package talkwire; pip install talkwire")
    sys.path.append(clone)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), clone]))
sys.argv = ["talkwire", *sys.argv[2:]]
runpy.run_module("talkwire", run_name="__main__", alter_sys=True)
`

/** Runs until it ends; its exit code is ours. Throws START_FAILED when there is no Python. */
export async function servePython(args: readonly string[], signal: AbortSignal): Promise<number> {
  const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
  const descriptor = Number(process.env['TALKWIRE_FD'])
  const wire =
    Number.isInteger(descriptor) && descriptor > 2 ? [...Array.from({ length: descriptor - 3 }, () => 'ignore' as const), descriptor] : []
  const child = spawn(python, ['-c', BOOTSTRAP, existsSync(join(CLONE, 'talkwire/__main__.py')) ? CLONE : '', 'serve', ...args], {
    stdio: ['inherit', 'inherit', 'inherit', ...wire],
    // A process group of its own: Ctrl-C at the terminal reaches us alone, and we pass it on once.
    detached: true,
    // It ends when we end, however that is.
    env: { ...process.env, TALKWIRE_PARENT: String(process.pid) },
  })
  const stop = (): void => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(
        new TalkwireError(
          'START_FAILED',
          `${python} could not be started (${cause.message}); install Python 3.9 or later, or set TALKWIRE_PYTHON`,
          { cause },
        ),
      ),
    )
    child.once('exit', (code, ending) => resolve(code ?? 128 + constants.signals[ending!]))
  })
}
