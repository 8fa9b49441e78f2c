/** The text of a `.proto` as descriptors, by protobufjs. Sans I/O. */
import { TalkwireError } from '../error.js'

/** A `google.protobuf.FileDescriptorSet`. Rejects with TypeError for what is no `.proto`, MISSING_PACKAGE. */
export async function parseProto(text: string, imports: Readonly<Record<string, string>>): Promise<Uint8Array> {
  const { protobuf, descriptor } = await load()
  const root = new protobuf.Root()
  const done = new Set<string>()
  const add = (source: string, name: string): void => {
    try {
      const { imports: wanted = [] } = protobuf.parse(source, root, { keepCase: true })
      for (const path of wanted) addFile(path, name)
    } catch (cause) {
      if (cause instanceof TypeError) throw cause
      throw new TypeError(`${name} is no .proto: ${(cause as Error).message}`, { cause })
    }
  }
  const addFile = (path: string, by: string): void => {
    if (done.has(path)) return
    done.add(path)
    const common = protobuf.common.get(path)
    if (common?.nested) root.addJSON(common.nested)
    else if (Object.hasOwn(imports, path)) add(imports[path]!, path)
    else throw new TypeError(`${by} imports ${path}; give its text, too: { imports: { ${JSON.stringify(path)}: … } }`)
  }
  add(text, 'the text')
  try {
    root.resolveAll()
    const set = (root as unknown as { toDescriptor(syntax: string): never }).toDescriptor('proto3')
    return descriptor.FileDescriptorSet.encode(set).finish()
  } catch (cause) {
    throw new TypeError(`the .proto does not hold together: ${(cause as Error).message}`, { cause })
  }
}

async function load() {
  try {
    const { default: protobuf } = await import('protobufjs')
    const { default: descriptor } = await import('protobufjs/ext/descriptor.js')
    return { protobuf, descriptor }
  } catch (cause) {
    throw new TalkwireError('MISSING_PACKAGE', 'reading a .proto needs the package protobufjs; run npm install protobufjs', { cause })
  }
}
