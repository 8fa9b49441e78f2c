/** A service as an object that a manager of Python's holds: what its proxies ask for beside the methods. Sans I/O. Source: Lib/multiprocessing/managers.py, class Server. */
import { TalkwireError } from '../error.js'
import { notFound, type Method, type Service } from '../session/service.js'
import { resultOf, type PythonCall } from './pymp-calls.js'
import { Tuple } from './pickle.js'

/** Python makes a method of each exposed name, from source text. */
const IDENTIFIER = /^[A-Za-z]\w*$/
const KEYWORDS = new Set(
  'and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield None True False'.split(
    ' ',
  ),
)

const IDENT = '7a1c'
const refused = (text: string): TalkwireError => new TalkwireError('UNSUPPORTED', text)

export class ManagedObject {
  constructor(private readonly service: Service) {}

  /** The manager's own functions. Throws what is to be told as a traceback. */
  answer({ method, args }: PythonCall): Tuple {
    switch (method) {
      case 'dummy':
      case 'accept_connection':
        return resultOf(true, null)
      case 'incref':
      case 'decref':
        // There is one object, as long as it is served.
        this.check(args[0])
        return resultOf(true, null)
      case 'number_of_objects':
        return resultOf(true, 1)
      case 'debug_info':
        return resultOf(true, `  ${IDENT}:       refcount=1\n    ${this.text}`)
      case 'get_methods':
        return resultOf(true, new Set(this.exposed))
      case 'create':
        return this.create(args)
      case 'shutdown':
        throw refused('a caller does not end this service')
      default:
        throw refused(`${JSON.stringify(method.slice(0, 100))} unrecognized`)
    }
  }

  /** What every object answers: its text. Throws for an object that is not there. */
  describe({ ident, method }: PythonCall): Tuple | undefined {
    this.check(ident)
    return method === '__str__' || method === '__repr__' || method === '#GETVALUE' ? resultOf(true, this.text) : undefined
  }

  /** Python's server tells of its own errors by a traceback, and not by an exception. */
  isOwn(error: TalkwireError): boolean {
    return error.code === 'UNSUPPORTED' || error.code === 'NOT_FOUND'
  }

  private create([typeid, ...args]: readonly unknown[]): Tuple {
    if (typeid !== this.service.name)
      throw new TalkwireError('NOT_FOUND', `there is no ${JSON.stringify(String(typeid).slice(0, 100))} here, only "${this.service.name}"`)
    if (args.length > 0) throw refused(`"${this.service.name}" is made without arguments`)
    return resultOf(true, new Tuple(IDENT, new Tuple(...this.exposed)))
  }

  private check(ident: unknown): void {
    if (ident !== IDENT) throw new TalkwireError('NOT_FOUND', `there is no object ${JSON.stringify(String(ident).slice(0, 100))} here`)
  }

  private get exposed(): string[] {
    return [...this.service.methods.keys()].filter((name) => IDENTIFIER.test(name) && !KEYWORDS.has(name))
  }

  private get text(): string {
    return `<service ${this.service.name}>`
  }
}

/** Throws METHOD_NOT_FOUND, also for what is the session's own. */
export function methodOf(service: Service, method: string): Method {
  const target = service.methods.get(method)
  if (!target) throw notFound(service, method)
  return target
}
