/** Ctrl-C and SIGTERM: the first asks to stop, the second ends at once. */
const CODES = { SIGINT: 130, SIGTERM: 143 } as const

/** The reason of an abort by a signal. */
export class Interrupted extends Error {
  constructor(readonly signalName: keyof typeof CODES) {
    super(`interrupted by ${signalName}`)
  }

  get exitCode(): number {
    return CODES[this.signalName]
  }
}

export function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const name of Object.keys(CODES) as (keyof typeof CODES)[]) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(CODES[name])
      controller.abort(new Interrupted(name))
    })
  }
  return controller.signal
}
