/**
 * Connections to one server over plain HTTP, for calls with one answer. Node's own agent makes a name of each request's options,
 * copies them twice, and sets up and takes down what an idle connection has for each: a third of what a call costs its caller.
 */
import http, { type ClientRequest } from 'node:http'
import net from 'node:net'

/** Milliseconds after which the kernel asks whether an idle server lives. */
const ALIVE = 1000

export class HttpPool extends http.Agent {
  private readonly idle: net.Socket[] = []
  private readonly waiting: ClientRequest[] = []
  private readonly all = new Set<net.Socket>()
  private over = false

  /** At most `most` connections; other requests wait. */
  constructor(
    private readonly at: { readonly host: string; readonly port: number },
    private readonly most: number,
  ) {
    super({ keepAlive: true })
  }

  /** What `http.request` calls an agent for: it is to hand the request a socket, once there is one. */
  addRequest(request: ClientRequest): void {
    if (this.over) return dismiss(request)
    const socket = this.idle.pop()
    if (socket) this.reuse(socket, request)
    else if (this.all.size < this.most) request.onSocket(this.open())
    else this.waiting.push(request)
  }

  override destroy(): void {
    this.over = true
    for (const socket of this.all) socket.destroy()
    for (const request of this.waiting.splice(0)) dismiss(request)
  }

  private open(): net.Socket {
    const socket = net.connect({ ...this.at, noDelay: true, keepAlive: true, keepAliveInitialDelay: ALIVE })
    this.all.add(socket)
    // Its request listens, too; while it is idle nobody does.
    socket.on('error', () => {})
    socket.on('free', () => this.freed(socket))
    socket.on('close', () => this.closed(socket))
    return socket
  }

  private reuse(socket: net.Socket, request: ClientRequest): void {
    request.reusedSocket = true
    socket.ref()
    request.onSocket(socket)
  }

  /** Node says so when an answer is complete and the connection stays. */
  private freed(socket: net.Socket): void {
    if (this.over || socket.destroyed || !socket.writable) return void socket.destroy()
    const next = this.waiting.shift()
    if (next) return this.reuse(socket, next)
    socket.unref()
    this.idle.push(socket)
  }

  private closed(socket: net.Socket): void {
    this.all.delete(socket)
    const at = this.idle.indexOf(socket)
    if (at >= 0) this.idle.splice(at, 1)
    const next = this.over ? undefined : this.waiting.shift()
    if (next) next.onSocket(this.open())
  }
}

/** A request ends as soon as it has a socket, also one that is none. */
function dismiss(request: ClientRequest): void {
  request.destroy()
  request.onSocket(new net.Socket().destroy())
}
