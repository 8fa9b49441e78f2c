/** Patterns and what hangs on them: a topic finds all that match it in as many steps as it has parts. */

interface Node<T> {
  readonly parts: Map<string, Node<T>>
  readonly here: Set<T>
  /** Below `>`. */
  readonly rest: Set<T>
}

const node = <T>(): Node<T> => ({ parts: new Map(), here: new Set(), rest: new Set() })
const isEmpty = <T>({ parts, here, rest }: Node<T>): boolean => parts.size === 0 && here.size === 0 && rest.size === 0

export class Trie<T> {
  private readonly root = node<T>()

  add(pattern: string, item: T): void {
    let at = this.root
    for (const part of pattern.split('.')) {
      if (part === '>') {
        at.rest.add(item)
        return
      }
      let next = at.parts.get(part)
      if (!next) at.parts.set(part, (next = node()))
      at = next
    }
    at.here.add(item)
  }

  delete(pattern: string, item: T): void {
    const parts = pattern.split('.')
    const path = [this.root]
    for (const part of parts) {
      if (part === '>') break
      const next = path.at(-1)!.parts.get(part)
      if (!next) return
      path.push(next)
    }
    const last = path.at(-1)!
    if (parts.at(-1) === '>') last.rest.delete(item)
    else last.here.delete(item)
    for (let index = path.length - 1; index > 0 && isEmpty(path[index]!); index--) path[index - 1]!.parts.delete(parts[index - 1]!)
  }

  match(topic: string): T[] {
    const found: T[] = []
    collect(this.root, topic.split('.'), 0, found)
    return found
  }
}

function collect<T>(at: Node<T>, parts: readonly string[], index: number, found: T[]): void {
  if (index === parts.length) {
    found.push(...at.here)
    return
  }
  found.push(...at.rest)
  const exact = at.parts.get(parts[index]!)
  if (exact) collect(exact, parts, index + 1, found)
  const any = at.parts.get('*')
  if (any) collect(any, parts, index + 1, found)
}
