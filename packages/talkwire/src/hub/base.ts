/** What the patterns need of the hub they belong to. */
import type { HubTrait, OpenDriver } from './driver.js'

export interface Base {
  readonly driver: OpenDriver
  /** Of the driver. */
  readonly name: string
  has(trait: HubTrait): boolean
  /** Undefined: all are there. Else it rejects with UNSUPPORTED, naming the drivers that have it, or CLOSED when the hub is closed. */
  need(...traits: readonly HubTrait[]): Promise<never> | undefined
  onError(error: unknown, what: string): void
}
