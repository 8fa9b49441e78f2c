/** A contract of the tools of an MCP server. Sans I/O. */
import { rpc, type Contract, type Members, type Rpc } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import { isSubschema, type JsonSchema, type Subschema } from '../contract/schema-walk.js'
import { isRecord, own } from './mcp-message.js'

/** Each tool as `tools/list` has it. Rejects with MISSING_PACKAGE. */
export async function contractOfTools(name: string, version: number, tools: readonly unknown[]): Promise<Contract> {
  const members: Members = {}
  const leftOut: Record<string, string> = {}
  for (const tool of tools) {
    const called = own(tool, 'name')
    if (typeof called !== 'string' || called === '__proto__') continue
    try {
      members[called] = await methodOf(tool)
    } catch (reason) {
      if (!(reason instanceof TypeError)) throw reason
      leftOut[called] = reason.message
    }
  }
  return foreignContract(name, version, members, leftOut)
}

async function methodOf(tool: unknown): Promise<Rpc> {
  const input = own(tool, 'inputSchema')
  const description = own(tool, 'description')
  const schema: JsonSchema = { type: 'object', ...(isRecord(input) && input), ...(typeof description === 'string' && { description }) }
  const required = Array.isArray(schema['required']) && schema['required'].length > 0
  const takes = required || isRecord(schema['properties']) || isRecord(schema['additionalProperties'])
  return rpc({
    ...(takes && { input: await fromJsonSchema(schema, { optional: !required }) }),
    output: await fromJsonSchema(resultOf(own(tool, 'outputSchema')), { optional: true }),
    idempotent: own(own(tool, 'annotations'), 'idempotentHint') === true || own(own(tool, 'annotations'), 'readOnlyHint') === true,
  }) as Rpc
}

/** As the client takes it out of the answer: a result alone under `result` is meant itself. */
function resultOf(schema: unknown): Subschema {
  if (!isRecord(schema)) return true
  const properties = own(schema, 'properties')
  if (!isRecord(properties) || !Object.hasOwn(properties, 'result')) return schema
  const { result } = properties
  const plain = Object.keys(properties).length === 1 && isSubschema(result) && !JSON.stringify(result).includes('"$ref"')
  return plain ? (result as Subschema) : true
}
