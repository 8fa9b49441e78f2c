// What the documentation checks read from a page: code blocks, links, anchors.

/** @typedef {{ language: string, words: string[], line: number, code: string }} Block `line` is that of the opening fence */

/** @param {string} text @returns {Block[]} */
export function blocksOf(text) {
  /** @type {Block[]} */
  const blocks = []
  /** @type {{ fence: string, indent: number, block: Block } | undefined} */
  let open
  for (const [index, line] of text.split('\n').entries()) {
    const fence = /^(\s*)(`{3,}|~{3,})\s*(.*)$/.exec(line)
    if (open && fence && fence[2]?.startsWith(open.fence) && !fence[3]) {
      blocks.push(open.block)
      open = undefined
    } else if (open) open.block.code += `${line.slice(Math.min(open.indent, line.length - line.trimStart().length))}\n`
    else if (fence) {
      const [language = '', ...words] = (fence[3] ?? '').split(/\s+/)
      open = { fence: fence[2] ?? '', indent: (fence[1] ?? '').length, block: { language, words, line: index + 1, code: '' } }
    }
  }
  return blocks
}

/** The text with its code blanked; lines stay. @param {string} text */
function proseOf(text) {
  let fence = ''
  return text
    .split('\n')
    .map((line) => {
      const found = /^\s*(`{3,}|~{3,})(.*)$/.exec(line)
      if (fence) {
        if (found?.[1]?.startsWith(fence) && !found[2]?.trim()) fence = ''
        return ''
      }
      if (found) return ((fence = found[1] ?? ''), '')
      return line.replace(/(`+)[^`].*?\1/g, (code) => ' '.repeat(code.length))
    })
    .join('\n')
}

/** Inline links, images and link definitions. @param {string} text @returns {{ target: string, line: number }[]} */
export function linksOf(text) {
  return proseOf(text)
    .split('\n')
    .flatMap((line, index) =>
      [...line.matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*<?([^\s>]+)/g)].map((match) => ({
        target: match[1] ?? match[2] ?? '',
        line: index + 1,
      })),
    )
}

/** The ids that headings get where Markdown is shown. @param {string} text @returns {Set<string>} */
export function anchorsOf(text) {
  const anchors = new Set([...text.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)].map((match) => match[1] ?? ''))
  let fenced = false
  for (const line of text.split('\n')) {
    if (/^\s*(`{3,}|~{3,})/.test(line)) fenced = !fenced
    const heading = fenced ? null : /^#{1,6}\s+(.*?)\s*#*$/.exec(line)
    if (!heading) continue
    const plain = (heading[1] ?? '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const id = plain
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
      .replaceAll(' ', '-')
    let unique = id
    for (let n = 1; anchors.has(unique); n++) unique = `${id}-${n}`
    anchors.add(unique)
  }
  return anchors
}
