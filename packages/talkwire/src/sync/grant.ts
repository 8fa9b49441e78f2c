/** Something that is held until it is let go of. */
export class Grant implements Disposable, AsyncDisposable {
  private letGo: (() => void) | undefined

  constructor(letGo: () => void) {
    this.letGo = letGo
  }

  protected get isReleased(): boolean {
    return this.letGo === undefined
  }

  /** Lets go. Does not block; a second time does nothing. */
  release(): void {
    const { letGo } = this
    this.letGo = undefined
    letGo?.()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
  }
}
