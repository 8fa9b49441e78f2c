// Programs in Java that tests start, from Maven's packages: jars with all that they need, in .jars/NAME-VERSION.
import { spawnSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './lib/repository.mjs'

const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1'

/** @typedef {{ name: string, version: string, packages: readonly string[] }} Jars `packages`: group:artifact:version */

/** @param {Jars} jars */
export const folderOf = ({ name, version }) => path.join(root, '.jars', `${name}-${version}`)

/** @param {string} coordinates */
function dependency(coordinates) {
  const [group, artifact, version] = coordinates.split(':')
  return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`
}

/** Undefined, or what Maven says. @param {Jars} jars @returns {string | undefined} */
export function installJars(jars) {
  const folder = folderOf(jars)
  const part = `${folder}.part`
  rmSync(part, { recursive: true, force: true })
  mkdirSync(part, { recursive: true })
  const pom = path.join(part, 'pom.xml')
  writeFileSync(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>talkwire</groupId><artifactId>${jars.name}</artifactId><version>1</version>
<dependencies>${jars.packages.map(dependency).join('')}</dependencies></project>
`,
  )
  const words = [
    '--batch-mode',
    '--quiet',
    '--file',
    pom,
    `${PLUGIN}:copy-dependencies`,
    `-DoutputDirectory=${part}`,
    '-DincludeScope=runtime',
  ]
  const { status, stdout, stderr } = spawnSync('mvn', words, { encoding: 'utf8' })
  if (status !== 0) return `${stdout}${stderr}`
  rmSync(folder, { recursive: true, force: true })
  renameSync(part, folder)
  return undefined
}
