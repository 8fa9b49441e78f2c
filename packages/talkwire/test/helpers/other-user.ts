/** Root proves nothing about permissions: a process that has loaded what it needs becomes somebody else. */
import { libc } from '../../src/kernel/libc.js'

/** Only root can. */
export const MAY_BE_OTHERS = process.getuid?.() === 0
export const NOBODY_ID = 65_534

/** This process is nobody's from now on; its runtime directory is that one. There is no way back. */
export function becomeNobody(runtimeDirectory: string): void {
  // Its files may lie where nobody else can look.
  libc()
  process.env['TALKWIRE_RUNTIME_DIR'] = runtimeDirectory
  process.setgroups!([])
  process.setgid!(NOBODY_ID)
  process.setuid!(NOBODY_ID)
}
