/** A file of protobuf as the text of its `.proto`. Sans I/O. https://protobuf.dev/reference/protobuf/proto3-spec/ */
import { dependencies, isAlone } from './protobuf-descriptor.js'
import type { Enum, Field, File, Message, Type } from './protobuf-model.js'

export function protoText(file: File): string {
  const imports = dependencies(file)
  const blocks = [
    `syntax = "proto3";\n\npackage ${file.package};`,
    ...(imports.length > 0 ? [imports.map((path) => `import "${path}";`).join('\n')] : []),
    service(file),
    ...file.messages.map((each) => message(each, file)),
    ...file.enums.map(enumeration),
  ]
  return `${blocks.join('\n\n')}\n`
}

function service(file: File): string {
  const lines = file.methods.map(({ name, input, inputStream, output, outputStream, idempotent, errors }) => {
    const type = (streams: boolean, of: Message): string => `${streams ? 'stream ' : ''}${short(of.name, file)}`
    const head = `  rpc ${name}(${type(inputStream, input)}) returns (${type(outputStream, output)})`
    const fails =
      errors.size === 0 ? '' : `  // In the status's details: ${[...errors.values()].map((each) => short(each.name, file)).join(', ')}.\n`
    return `${fails}${head}${idempotent ? ' {\n    option idempotency_level = IDEMPOTENT;\n  }' : ';'}`
  })
  return `service ${file.service} {\n${lines.join('\n')}\n}`
}

const short = (name: string, file: File): string => (name.startsWith(`${file.package}.`) ? name.slice(file.package.length + 1) : name)

function typeName(type: Type, file: File): string {
  return type.kind === 'scalar' ? type.scalar : short(type.kind === 'enum' ? type.enum.name : type.message.name, file)
}

function message(of: Message, file: File): string {
  const lines: string[] = []
  const done = new Set<string>()
  for (const field of of.fields) {
    if (field.oneof === undefined) lines.push(`  ${fieldText(field, file)}`)
    else if (!done.has(field.oneof)) {
      done.add(field.oneof)
      const group = of.fields.filter(({ oneof }) => oneof === field.oneof)
      lines.push(`  oneof ${field.oneof} {`, ...group.map((each) => `    ${fieldText(each, file)}`), '  }')
    }
  }
  return lines.length === 0 ? `message ${short(of.name, file)} {}` : `message ${short(of.name, file)} {\n${lines.join('\n')}\n}`
}

function fieldText(field: Field, file: File): string {
  const type = typeName(field.type, file)
  const whole =
    field.label === 'map'
      ? `map<${field.key}, ${type}>`
      : field.label === 'repeated'
        ? `repeated ${type}`
        : isAlone(field)
          ? `optional ${type}`
          : type
  const usual = field.name.replaceAll(/_+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase())
  return `${whole} ${field.name} = ${field.number}${usual === field.json ? '' : ` [json_name = ${JSON.stringify(field.json)}]`};`
}

const enumeration = ({ name, values }: Enum): string =>
  `enum ${name.slice(name.lastIndexOf('.') + 1)} {\n${values.map(([each, number]) => `  ${each} = ${number};`).join('\n')}\n}`
