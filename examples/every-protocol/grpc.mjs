// The .proto is printed by protoOf(bank) of talkwire/protocols/grpc.
import { writeFileSync } from 'node:fs'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { protoOf } from 'talkwire/protocols/grpc'
import { bank } from './contract.mjs'

const file = process.argv[2] ?? 'bank.proto'
writeFileSync(file, await protoOf(bank))
const { Bank } = /** @type {any} */ (grpc.loadPackageDefinition(loadSync(file))).bank.v1
const client = new Bank(`127.0.0.1:${process.env.PORT}`, grpc.credentials.createInsecure())
const metadata = new grpc.Metadata()
metadata.set('authorization', `Bearer ${process.env.TOKEN}`)
client.deposit({ account: 'grpc', amount: 5 }, metadata, (/** @type {Error | null} */ error, /** @type {object} */ answer) => {
  console.log(error ? error.message : Object.values(answer)[0])
  client.close()
})
