// What no file of the repository may say.
import path from 'node:path'
import { main } from './lib/check.mjs'
import { repositoryFiles, readText } from './lib/repository.mjs'

// Written in pieces, so that this file does not say it either.
const join = (/** @type {string[]} */ ...pieces) => pieces.join('')
const hosts = [
  join('registry.npm', 'js.org'),
  join('registry.', 'yarnpkg.com'),
  join('py', 'pi.org'),
  join('files.python', 'hosted.org'),
  join('crates', '.io'),
  join('repo.maven', '.apache.org'),
  join('proxy.go', 'lang.org'),
]
const escaped = hosts.map((host) => host.replaceAll('.', '\\.')).join('|')
const call = join('(?:test|it|describe|suite|t)\\.', '(?:skip|only|todo)\\b')

/** @type {{ pattern: RegExp, advice: string, only?: RegExp }[]} */
const RULES = [
  { pattern: new RegExp(escaped, 'i'), advice: "names a package registry's host. Leave it to the client's configuration" },
  { pattern: /(?<![\w.\-/])\/(?:work|root)\/[\w.]/, advice: 'names a path of one machine. Write it relative to the repository' },
  { pattern: new RegExp(join('\\b(?:TO', 'DO|FIX', 'ME|XX', 'X)\\b(?!-)')), advice: 'notes unfinished work. Do it, or open an issue' },
  { pattern: new RegExp(`\\b${call}`), advice: 'leaves tests out. Remove it', only: /\.(ts|mts|js|mjs|cjs)$/ },
  {
    pattern: new RegExp(join('\\{[^}]*\\b(?:sk', 'ip|to', 'do|on', 'ly)\\s*:\\s*(?!false)[^}]*\\}\\s*,\\s*(?:async|\\(|function)')),
    advice: 'leaves tests out. Remove it',
    only: /\.test\.m?[jt]s$/,
  },
  {
    pattern: new RegExp(join('pytest\\.(?:mark\\.)?(?:sk', 'ip\\w*|x', 'fail|importor', 'skip)|unittest\\.sk', 'ip')),
    advice: 'leaves tests out. Remove it',
    only: /\.py$/,
  },
]
const LOCK = 'package-lock.json'

/** @param {string} root */
export function check(root) {
  const problems = []
  for (const file of repositoryFiles(root)) {
    const text = readText(path.join(root, file))
    if (text.includes('\0')) continue
    const rules = RULES.filter(({ only }) => (only ? only.test(file) : true)).filter((_, index) => file !== LOCK || index < 2)
    for (const [index, line] of text.split('\n').entries()) {
      for (const { pattern, advice } of rules) {
        if (pattern.test(line)) problems.push(`${file}:${index + 1} ${advice}`)
      }
    }
  }
  return problems
}

await main(import.meta.url, check)
