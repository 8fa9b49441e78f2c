/** What /proc says of all processes: proc(5). Linux. */
import { readdirSync } from 'node:fs'

/** Their ids. */
export const processes = (): string[] => readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))

/** A device as makedev(3) packs it, in the words of /proc/<pid>/maps and /proc/locks. */
export function deviceText(dev: number): string {
  const hex = (part: number): string => part.toString(16).padStart(2, '0')
  return `${hex((dev >>> 8) & 0xfff)}:${hex((dev & 0xff) | ((dev >>> 12) & 0xfff00))}`
}
