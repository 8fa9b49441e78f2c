/** Clients of foreign SOAP services, from their WSDL. The service is npm's soap, with WSDLs as the world has them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type net from 'node:net'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import npmSoap from 'soap'
import * as z from 'zod'
import { bridge, connect, contract, discover, jsonSchema, rpc, serve, type Contract, type TalkwireError } from '../../src/index.js'
import { readWsdl } from '../../src/protocols/soap-foreign.js'
import { writeMessage } from '../../src/protocols/soap-schema.js'
import { loadXml } from '../../src/protocols/xml.js'
import { fails } from '../helpers/expect.js'

/** Types by name, by element and in place; another namespace; lists, choices, extensions, enumerations; what cannot be read. */
const DOCUMENT = `<?xml version="1.0"?>
<wsdl:definitions name="Shop" targetNamespace="http://shop.example/wsdl" xmlns:tns="http://shop.example/wsdl" xmlns:m="http://shop.example/model"
  xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:x="http://www.w3.org/2001/XMLSchema">
 <wsdl:types>
  <x:schema targetNamespace="http://shop.example/model" elementFormDefault="qualified">
   <x:complexType name="Item"><x:sequence>
     <x:element name="id" type="x:int"/><x:element name="tags" type="x:string" minOccurs="0" maxOccurs="unbounded"/>
     <x:element name="kind" type="m:Kind" minOccurs="0"/><x:element name="parts" type="m:Item" minOccurs="0" maxOccurs="unbounded"/>
   </x:sequence></x:complexType>
   <x:complexType name="Priced"><x:complexContent><x:extension base="m:Item"><x:sequence><x:element name="price" type="x:decimal"/></x:sequence></x:extension></x:complexContent></x:complexType>
   <x:simpleType name="Kind"><x:restriction base="x:token"><x:enumeration value="a"/></x:restriction></x:simpleType>
   <x:element name="note" type="x:string" nillable="true"/>
  </x:schema>
  <x:schema targetNamespace="http://shop.example/wsdl" xmlns:t="http://shop.example/wsdl">
   <x:element name="Find"><x:complexType><x:sequence><x:element name="id" type="x:int"/><x:element name="since" type="x:dateTime" minOccurs="0"/></x:sequence></x:complexType></x:element>
   <x:element name="FindResponse"><x:complexType><x:sequence><x:element name="found" type="m:Priced" minOccurs="0"/></x:sequence></x:complexType></x:element>
   <x:element name="Store"><x:complexType><x:sequence><x:element name="item" type="m:Item"/><x:element ref="m:note"/></x:sequence></x:complexType></x:element>
   <x:element name="StoreResponse"><x:complexType><x:sequence><x:element name="ok" type="x:boolean"/><x:element name="count" type="x:long"/></x:sequence></x:complexType></x:element>
   <x:element name="Tell"><x:complexType><x:sequence/></x:complexType></x:element>
   <x:complexType name="Money"><x:simpleContent><x:extension base="x:decimal"><x:attribute name="currency" type="x:string" use="required"/><x:attribute name="exact" type="x:boolean"/></x:extension></x:simpleContent></x:complexType>
   <x:element name="Rate"><x:complexType><x:sequence><x:element name="price" type="tns:Money"/><x:element name="id" type="x:int"/></x:sequence><x:attribute name="id" type="x:int" use="required"/><x:attribute name="gone" use="prohibited"/></x:complexType></x:element>
   <x:element name="RateResponse"><x:complexType><x:sequence><x:element name="price" type="tns:Money" maxOccurs="unbounded"/></x:sequence><x:attribute name="id" type="x:int"/></x:complexType></x:element>
   <x:element name="NoSuchItem"><x:complexType><x:sequence><x:element name="id" type="x:int"/></x:sequence><x:attribute name="since" type="x:string"/></x:complexType></x:element>
   <x:element name="Refusal" type="x:string"/>
   <x:element name="Odd"><x:complexType><x:sequence><x:any/></x:sequence></x:complexType></x:element>
  </x:schema>
 </wsdl:types>
 <wsdl:message name="FindIn"><wsdl:part name="parameters" element="tns:Find"/></wsdl:message><wsdl:message name="FindOut"><wsdl:part name="parameters" element="tns:FindResponse"/></wsdl:message>
 <wsdl:message name="StoreIn"><wsdl:part name="parameters" element="tns:Store"/></wsdl:message><wsdl:message name="StoreOut"><wsdl:part name="parameters" element="tns:StoreResponse"/></wsdl:message>
 <wsdl:message name="OddIn"><wsdl:part name="parameters" element="tns:Odd"/></wsdl:message><wsdl:message name="OddOut"><wsdl:part name="parameters" element="tns:Odd"/></wsdl:message>
 <wsdl:message name="TellIn"><wsdl:part name="parameters" element="tns:Tell"/></wsdl:message>
 <wsdl:message name="RateIn"><wsdl:part name="parameters" element="tns:Rate"/></wsdl:message><wsdl:message name="RateOut"><wsdl:part name="parameters" element="tns:RateResponse"/></wsdl:message>
 <wsdl:message name="NoSuchItemFault"><wsdl:part name="fault" element="tns:NoSuchItem"/></wsdl:message><wsdl:message name="RefusalFault"><wsdl:part name="fault" element="tns:Refusal"/></wsdl:message>
 <wsdl:portType name="ShopPort">
  <wsdl:operation name="Find"><wsdl:input message="tns:FindIn"/><wsdl:output message="tns:FindOut"/></wsdl:operation>
  <wsdl:operation name="Store"><wsdl:input message="tns:StoreIn"/><wsdl:output message="tns:StoreOut"/></wsdl:operation>
  <wsdl:operation name="Odd"><wsdl:input message="tns:OddIn"/><wsdl:output message="tns:OddOut"/></wsdl:operation>
  <wsdl:operation name="Tell"><wsdl:input message="tns:TellIn"/></wsdl:operation>
  <wsdl:operation name="Rate"><wsdl:input message="tns:RateIn"/><wsdl:output message="tns:RateOut"/><wsdl:fault name="noSuch-item" message="tns:NoSuchItemFault"/><wsdl:fault name="Refusal" message="tns:RefusalFault"/><wsdl:fault name="Lost" message="tns:nowhere"/></wsdl:operation>
 </wsdl:portType>
 <wsdl:binding name="ShopSoap" type="tns:ShopPort"><s:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
  ${['Find', 'Store', 'Odd', 'Tell', 'Rate'].map((name) => `<wsdl:operation name="${name}"><s:operation soapAction="urn:${name}"/><wsdl:input><s:body use="literal"/></wsdl:input><wsdl:output><s:body use="literal"/></wsdl:output></wsdl:operation>`).join('')}
 </wsdl:binding>
 <wsdl:service name="Shop"><wsdl:port name="ShopSoap" binding="tns:ShopSoap"><s:address location="http://unreachable.example/shop"/></wsdl:port></wsdl:service>
</wsdl:definitions>`

/** RPC style, as older services have it. */
const RPC = `<?xml version="1.0"?>
<definitions name="Calc" targetNamespace="urn:calc" xmlns:tns="urn:calc" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:x="http://www.w3.org/2001/XMLSchema">
 <message name="addIn"><part name="a" type="x:int"/><part name="b" type="x:double"/></message><message name="addOut"><part name="sum" type="x:double"/></message>
 <portType name="P"><operation name="add"><input message="tns:addIn"/><output message="tns:addOut"/></operation></portType>
 <binding name="B" type="tns:P"><s:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="add"><s:operation soapAction="urn:add"/><input><s:body use="literal" namespace="urn:calc"/></input><output><s:body use="literal" namespace="urn:calc"/></output></operation>
 </binding>
 <service name="Calc"><port name="B" binding="tns:B"><s:address location="http://127.0.0.1/calc"/></port></service>
</definitions>`

/** `allow` says which requests are heard. */
async function npmServer(
  t: TestContext,
  path: string,
  services: object,
  wsdl: string,
  allow?: (request: IncomingMessage, response: ServerResponse) => boolean,
): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const heard = npmSoap.listen(server, path, services as never, wsdl)
  if (allow) heard.authorizeConnection = allow as never
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `soap+http://127.0.0.1:${(server.address() as net.AddressInfo).port}${path}`
}

const stored: unknown[] = []
const shop = (t: TestContext) =>
  npmServer(
    t,
    '/shop',
    {
      Shop: {
        ShopSoap: {
          Find({ id }: { id: string }) {
            if (Number(id) < 0) throw { Fault: { faultcode: 'soap:Client', faultstring: 'no <such> item' } }
            return Number(id) === 0 ? {} : { found: { id, tags: ['x', 'y'], price: '1.25' } }
          },
          Tell(input: unknown) {
            stored.push(input)
          },
          Rate({ price, id, attributes }: any) {
            if (Number(id) === 404)
              throw {
                Fault: {
                  faultcode: 'soap:Server',
                  faultstring: 'gone',
                  detail: { 'ns:NoSuchItem': { attributes: { 'xmlns:ns': 'http://shop.example/wsdl', since: 'Monday' }, id } },
                },
              }
            if (Number(id) === 403)
              throw {
                Fault: {
                  faultcode: 'soap:Server',
                  faultstring: 'no',
                  detail: { 'ns:Refusal': { attributes: { 'xmlns:ns': 'http://shop.example/wsdl' }, $value: 'never <you>' } },
                },
              }
            stored.push({ price, id, attributes })
            return { attributes: { id: attributes.id }, price: [{ attributes: price.attributes, $value: price.$value }] }
          },
          Store(input: unknown) {
            stored.push(input)
            return { ok: true, count: stored.length }
          },
        },
      },
    },
    DOCUMENT,
  )

type Calls = Readonly<Record<string, (input?: unknown) => Promise<unknown>>> & AsyncDisposable
const callsOf = async (made: Contract, address: string): Promise<Calls> => (await connect(made, address, { reconnect: false })) as never

test('soap: a client from a foreign WSDL: what it offers, and what cannot be read is left out with the reason', async (t) => {
  const made = await discover(await shop(t))
  assert.equal(made.id, 'Shop/0')
  assert.deepEqual(Object.keys(made.members), ['Find', 'Store', 'Tell', 'Rate'])
  assert.match(made.foreign!.leftOut['Odd']!, /may hold anything/)
  const { methods } = await jsonSchema(made)
  assert.deepEqual(methods['Find']!.input!.schema, {
    type: 'object',
    properties: { id: { type: 'integer' }, since: { 'x-talkwire': 'date' } },
    required: ['id'],
    additionalProperties: false,
  })
})

test('soap: calls go out as the foreign WSDL wants them, answers and faults come back', async (t) => {
  const address = await shop(t)
  const made = await discover(address)
  await using client = await callsOf(made, address)
  assert.deepEqual(await client['Find']!({ id: 7, since: new Date() }), { id: 7, tags: ['x', 'y'], price: 1.25 })
  assert.equal(await client['Find']!({ id: 0 }), undefined)
  await assert.rejects(client['Find']!({ id: -1 }), /no <such> item/)
  const item = { id: 1, tags: ['<a>', 'b'], parts: [{ id: 2, kind: 'a' }] }
  assert.deepEqual(await client['Store']!({ item, note: null }), { ok: true, count: stored.length })
  const [{ item: seen }] = stored.splice(0) as [{ item: { id: unknown; tags: unknown; parts: { id: unknown }[] } }]
  assert.deepEqual([Number(seen.id), seen.tags, Number([seen.parts].flat()[0]!.id)], [1, ['<a>', 'b'], 2])
  await assert.rejects(async () => client['Store']!({ item: { id: 1.5 }, note: 'x' }), TypeError)
})

test('soap: attributes, declared faults and one-way operations of a foreign WSDL', async (t) => {
  const address = await shop(t)
  const made = await discover(address)
  await using client = await callsOf(made, address)
  stored.splice(0)
  const price = { value: 1.5, currency: '"€" & <more>', exact: true }
  assert.deepEqual(await client['Rate']!({ price, id: 7, id_: 8 }), { price: [price], id: 8 })
  const [seen] = stored.splice(0) as any[]
  assert.deepEqual(
    [seen.attributes.id, seen.price.attributes.currency, Number(seen.price.$value), Number(seen.id)],
    ['8', price.currency, 1.5, 7],
  )
  await assert.rejects(async () => client['Rate']!({ price: { value: 1 }, id: 7, id_: 8 }), /currency|INVALID_INPUT|TypeError/)
  const failure = async (id: number): Promise<unknown[]> =>
    client['Rate']!({ price, id, id_: 8 }).then(
      () => assert.fail('no fault'),
      ({ code, declared, details, outcome, message }: TalkwireError) => [
        code,
        declared,
        details,
        outcome,
        message.replace(/^\[\w+\] /, ''),
      ],
    )
  assert.deepEqual(await failure(404), ['NoSuchItem', true, { id: 404, since: 'Monday' }, 'ran', 'gone'])
  assert.deepEqual(await failure(403), ['Refusal', true, 'never <you>', 'ran', 'no'])
  assert.equal(await client['Tell']!(), undefined)
  assert.equal(stored.length, 1)
})

test('soap: a foreign service is shown the token, for its WSDL too, and told the deadline, the trace context and the metadata', async (t) => {
  const asked: IncomingHttpHeaders[] = []
  const address = await npmServer(
    t,
    '/calc',
    { Calc: { B: { add: ({ a, b }: any) => ({ sum: Number(a.$value ?? a) + Number(b.$value ?? b) }) } } },
    RPC,
    ({ headers }, response) => {
      asked.push(headers)
      if (headers.authorization !== 'Bearer of a secret') response.statusCode = 401
      return response.statusCode === 200
    },
  )
  const shown = { token: 'of a secret' }
  await assert.rejects(discover(address), fails('UNAUTHENTICATED'))
  const made = await discover(address, shown)
  await assert.rejects(connect(made, address, { reconnect: false, token: 'of another' }), fails('UNAUTHENTICATED'))
  await using client: any = await connect(made, address, { reconnect: false, ...shown })
  const metadata = {
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    tracestate: 'a=1',
    baggage: 'k=a%2Cb;p,l=%25',
    who: 'ä',
  }
  assert.equal(await client.add({ a: 2, b: 5 }, { metadata, timeout: 60_000 }), 7)
  const { traceparent, tracestate, baggage, 'talkwire-meta-who': who, 'talkwire-timeout': left } = asked.at(-1)!
  assert.deepEqual({ traceparent, tracestate, baggage, who }, { ...metadata, who: '%C3%A4' })
  assert.ok(Number(left) > 0 && Number(left) <= 60_000, `${String(left)} ms left`)
})

test('soap: RPC style', async (t) => {
  const address = await npmServer(
    t,
    '/calc',
    { Calc: { B: { add: ({ a, b }: any) => ({ sum: Number(a.$value ?? a) + Number(b.$value ?? b) }) } } },
    RPC,
  )
  await using client = await callsOf(await discover(address), address)
  assert.equal(await client['add']!({ a: 2, b: 5.5 }), 7.5)
})

test('soap: a foreign service as REST, called by curl', async (t) => {
  await using made = await bridge(await shop(t), 'http://127.0.0.1:0', { name: 'shop', serve: { token: false, onError: () => {} } })
  const post = async (body: string): Promise<string> =>
    (await promisify(execFile)('curl', ['-s', '-w', ' %{http_code}', '--json', body, `${made.addresses[0]!}/shop/Find`])).stdout
  assert.equal(await post('{"id": 7, "since": "2026-01-01T00:00:00Z"}'), '{"id":7,"tags":["x","y"],"price":1.25} 200')
  assert.match(await post('{"id": -1}'), /no <such> item/)
  assert.match(await post('{"id": "x"}'), /INVALID_INPUT.* 400$/)
})

test('soap: a service of ours is read from its WSDL like any other', async () => {
  const own = contract('own/1', {
    echo: rpc({
      input: z.object({ rows: z.array(z.array(z.string())), maybe: z.string().nullable() }),
      output: z.object({ rows: z.array(z.array(z.string())), maybe: z.string().nullable() }),
    }),
    twice: rpc({ input: z.number(), output: z.number() }),
    wipe: rpc({}),
  })
  await using service = await serve(
    own,
    { echo: (value) => value, twice: (n) => 2 * n, wipe: () => undefined },
    { listen: 'soap+http://127.0.0.1:0', token: false },
  )
  const address = `${service.addresses[0]!}/own`
  await using client = await callsOf(await discover(address), address)
  assert.equal(await client['twice']!({ input: 21 }), 42)
  assert.equal(await client['wipe']!(), undefined)
  const rows = [{ item: ['a', 'b'] }, { item: ['c'] }]
  assert.deepEqual(await client['echo']!({ rows, maybe: null }), { rows, maybe: null })
})

test('soap: what is no WSDL, and a service that is not there, are told', async (t) => {
  const server = createServer((request, response) =>
    response.end(
      request.url!.startsWith('/html')
        ? '<html></html>'
        : request.url!.startsWith('/dtd')
          ? '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
          : '<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/"><w:import location="?wsdl"/><w:import location="http://other.example/x"/></w:definitions>',
    ),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => void server.closeAllConnections())
  t.after(() => void server.close())
  const at = `soap+http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
  await assert.rejects(discover(`${at}/html`), fails('UNSUPPORTED'))
  await assert.rejects(discover(`${at}/loop`), fails('UNSUPPORTED'))
  await assert.rejects(discover(`${at}/dtd`), fails('INVALID_MESSAGE'))
  await assert.rejects(discover('soap+http://127.0.0.1:1/none'), fails('PEER_NOT_FOUND'))
})

test('soap: each element stands in the namespace that its schema gives it', async () => {
  const xml = await loadXml('soap+http')
  const written = (wsdl: string, operation: string, input: unknown): string =>
    writeMessage(readWsdl([xml.parse(wsdl, { depth: 64, values: 10_000 }, true)]).operations.get(operation)!.request, input)
  assert.equal(written(RPC, 'add', { a: 1, b: 2 }), '<a xmlns="">1</a><b xmlns="">2</b>')
  const model = 'xmlns="http://shop.example/model"'
  assert.equal(
    written(DOCUMENT, 'Store', { item: { id: 1, tags: ['x'] }, note: null }),
    `<item xmlns=""><id ${model}>1</id><tags ${model}>x</tags></item><note ${model} xsi:nil="true"/>`,
  )
})
