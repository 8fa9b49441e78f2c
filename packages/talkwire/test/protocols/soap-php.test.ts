/** SOAP with PHP's own SoapClient and SoapServer, both ways. scripts/system.mjs installs them. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { connect, contract, discover, rpc, serve, type TalkwireError } from '../../src/index.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'

const fixture = (name: string): string => fileURLToPath(new URL(`../../../test/protocols/fixtures/${name}`, import.meta.url))
const key = 'a-token-for-the-tests'
const thing = z.object({
  text: z.string(),
  numbers: z.array(z.int()),
  inners: z.array(z.object({ text: z.string(), maybe: z.string().optional() })),
})
const bank = contract('bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  twice: rpc({ input: z.number(), output: z.number() }),
  echo: rpc({ input: thing, output: thing }),
})

test("soap: PHP's SoapClient calls a contract from its WSDL, in SOAP 1.1 and 1.2", async () => {
  await using service = await serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: '<Monday>' }, 'no more of this')
        if (account === 'secret') throw new Error('secret')
        return { balance: amount + 1 }
      },
      twice: (value) => 2 * value,
      echo: (value) => value,
    },
    { listen: `soap+http://${ownHost}:0`, token: key, onError: () => {} },
  )
  const url = `${service.addresses[0]!.replace('soap+', '')}/bank`
  const { stdout } = await promisify(execFile)('php', [fixture('soap_client.php'), url, key])
  const told = (client: string, server: string): unknown[] => [
    { result: { balance: 6 } },
    42,
    { text: 'ä<&>€😀', numbers: [1, 2 ** 40], inners: [{ text: 'x' }, { text: '', maybe: 'y' }] },
    [client, '[AccountClosed] no more of this', { 'deposit.AccountClosed': { since: '<Monday>' }, error: '' }],
    [server, '[INTERNAL] internal error', { error: '' }],
  ]
  const said = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
  assert.deepEqual(said, [...told('s:Client', 's:Server'), ...told('s:Sender', 's:Receiver'), 'WSDL'])
})

const SHOP = `<?xml version="1.0"?>
<definitions name="Shop" targetNamespace="urn:shop" xmlns:tns="urn:shop" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:x="http://www.w3.org/2001/XMLSchema">
 <types><x:schema targetNamespace="urn:shop" elementFormDefault="qualified">
  <x:element name="add"><x:complexType><x:sequence><x:element name="a" type="x:int"/><x:element name="b" type="x:double" minOccurs="0"/></x:sequence></x:complexType></x:element>
  <x:element name="addResponse"><x:complexType><x:sequence><x:element name="sum" type="x:double"/></x:sequence></x:complexType></x:element>
  <x:element name="find"><x:complexType><x:sequence><x:element name="id" type="x:int"/></x:sequence></x:complexType></x:element>
  <x:element name="findResponse"><x:complexType><x:sequence><x:element name="text" type="x:string"/><x:element name="tags" type="x:string" minOccurs="0" maxOccurs="unbounded"/></x:sequence></x:complexType></x:element>
  <x:element name="NoSuchItem"><x:complexType><x:sequence><x:element name="since" type="x:string"/></x:sequence></x:complexType></x:element>
 </x:schema></types>
 <message name="addIn"><part name="parameters" element="tns:add"/></message><message name="addOut"><part name="parameters" element="tns:addResponse"/></message>
 <message name="findIn"><part name="parameters" element="tns:find"/></message><message name="findOut"><part name="parameters" element="tns:findResponse"/></message>
 <message name="NoSuchItem"><part name="fault" element="tns:NoSuchItem"/></message>
 <portType name="P">
  <operation name="add"><input message="tns:addIn"/><output message="tns:addOut"/></operation>
  <operation name="find"><input message="tns:findIn"/><output message="tns:findOut"/><fault name="NoSuchItem" message="tns:NoSuchItem"/></operation>
 </portType>
 <binding name="B" type="tns:P"><s:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="add"><s:operation soapAction="urn:add"/><input><s:body use="literal"/></input><output><s:body use="literal"/></output></operation>
  <operation name="find"><s:operation soapAction="urn:find"/><input><s:body use="literal"/></input><output><s:body use="literal"/></output><fault name="NoSuchItem"><s:fault name="NoSuchItem" use="literal"/></fault></operation>
 </binding>
 <service name="Shop"><port name="B" binding="tns:B"><s:address location="http://127.0.0.1/shop"/></port></service>
</definitions>`

test("soap: we call PHP's SoapServer by a contract of its WSDL", async () => {
  const file = freshPath('.wsdl')
  writeFileSync(file, SHOP)
  const at = `${ownHost}:${freshPort()}`
  const server = spawn('php', ['-S', at, fixture('soap_server.php')], {
    env: { ...process.env, SHOP_WSDL: file },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  try {
    for await (const line of createInterface({ input: server.stderr })) if (line.includes('started')) break
    server.stderr.resume()
    const address = `soap+http://${at}/shop`
    const client: any = await soon(
      discover(address).then((found) => connect(found, address)),
      'a client',
    )
    assert.equal(await client.add({ a: 2, b: 0.5 }), 2.5)
    assert.equal(await client.add({ a: 2 }), 2)
    assert.deepEqual(await client.find({ id: 7 }), { text: '7: ä<&>😀', tags: ['a', 'b'] })
    assert.deepEqual(await client.find({ id: 0 }), { text: '0: ä<&>😀' })
    await assert.rejects(client.find({ id: 404 }), (error: TalkwireError) => {
      assert.deepEqual([error.code, error.declared, error.details, error.outcome], ['NoSuchItem', true, { since: 'Monday ä' }, 'ran'])
      return true
    })
    await assert.rejects(client.find({ id: 500 }), (error: TalkwireError) => !error.declared && error.outcome === 'ran')
    assert.deepEqual((await Promise.all(Array.from({ length: 20 }, (_, a) => client.add({ a, b: 1 })))).at(-1), 20)
    await client.close()
  } finally {
    server.kill('SIGKILL')
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
  }
})
