// npm run faults [-- --short] [-- words…]: plants one fault at a time in a copy of the built package. Every one must turn a test red:
// a suite that misses one is not finished. --short plants a fixed sample; --texts only looks whether each can be planted; words choose those with one of them in their name or file.
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { kernelThings } from './lib/leftovers.mjs'
import { privateFolder } from './lib/private-folder.mjs'
import { root } from './lib/repository.mjs'
import { python } from './python.mjs'
import { posixKind } from '../packages/talkwire/dist/src/queues/kinds.js'
import { removeQueues } from '../packages/talkwire/dist/test/helpers/queues.js'

/**
 * `file` is below dist/src, or begins with clients/; `from` stands there exactly once; `tests` are below dist/test, or Python's in clients/, tried in order until one fails.
 * @typedef {{ name: string, file: string, from: string, to: string, tests: string[], short?: boolean }} Fault
 */

/** @param {string} file @param {string[]} tests @param {[name: string, from: string, to: string, short?: 'short'][]} rows @returns {Fault[]} */
const faultsOf = (file, tests, rows) => rows.map(([name, from, to, short]) => ({ name, file, from, to, tests, short: short === 'short' }))

const FAULTS = [
  ...faultsOf(
    'protocols/broker-serve.js',
    ['protocols/broker'],
    [
      ['broker: every instance runs every call', 'GROUP, (request) => this.call(request)', 'undefined, (request) => this.call(request)'],
      ['broker: a stranger is sent a stream for as long as its first credit lasts', 'setImmediate(() => open.grant(size))', 'size'],
      ['broker: an instance that closes takes calls on', 'await this.listening.pop()?.close();', ''],
    ],
  ),
  ...faultsOf(
    'protocols/broker-call.js',
    ['protocols/broker'],
    [['broker: an event that is no value ends everything', 'if (reason instanceof TalkwireError)\n            return undefined;', '']],
  ),
  ...faultsOf(
    'protocols/broker-alive.js',
    ['protocols/broker-alive'],
    [
      ['broker: alive: an answer on its way is no answer', 'closed = Math.min(closed, each.answered)', 'closed = this.number', 'short'],
      ['broker: alive: who died is there for ever', 'heard > this.number - QUESTIONS', 'true'],
      ['broker: alive: what was said of a call is forgotten', 'asked.known = this.number;\n        if', 'if'],
      ['broker: alive: whose call it is stays unknown', 'asked.instance ??= instance;', ''],
      [
        'broker: alive: an answer counts for what was asked before it',
        'told.answered = Math.max(told.answered, question)',
        'told.answered = this.number',
      ],
      ['broker: alive: an answer counts until the next question', 'this.number - MOST_OPEN', 'this.number'],
      ['broker: alive: a young call has missed a question', 'asked.known = this.number;\n        return false;', 'return false;'],
      ['broker: alive: a caller that speaks of others is silent', '(known.asked || !known.spoken)', '(true)'],
      ['broker: alive: a forgotten call lasts while its caller speaks', '(known.asked || !known.spoken)', '(!known.spoken)'],
      ['broker: alive: one look without a word is too many', 'const SILENT = 4', 'const SILENT = 1'],
      ['broker: alive: nothing is cancelled', 'if (each.silent >= SILENT)', 'if (false)'],
      ['broker: alive: what the broker has not taken was asked', 'let closed = this.taken;', 'let closed = this.number;'],
      ['broker: alive: nobody greets a caller whose questions do not come', 'if (known.spoken && !known.asked)', 'if (false)'],
      ['broker: alive: all callers are one', "id.slice(0, id.lastIndexOf('.') + 1) || id", "''"],
    ],
  ),
  ...faultsOf(
    'protocols/broker-serve.js',
    ['protocols/broker-alive'],
    [
      [
        'broker: alive: who has none of the calls says nothing',
        'this.reply(request, this.plain.write(known,',
        'if (known.length > 0) this.reply(request, this.plain.write(known,',
      ],
      ['broker: alive: what a caller sends is no sign of it', 'this.callers.spoke(id);', ''],
      ['broker: alive: an input is no word of its call', 'heard.spoken = true;\n        if (what', 'if (what'],
    ],
  ),
  ...faultsOf(
    'protocols/broker-call.js',
    ['protocols/broker-alive'],
    [
      ['broker: alive: what nobody serves is not asked', 'this.questions.asked(number);\n        }\n    }', '}\n    }'],
      ['broker: alive: an answer that is no list ends the process', 'Array.isArray(known) ? known : []', 'known'],
    ],
  ),
  ...faultsOf(
    'protocols/broker.js',
    ['protocols/broker'],
    [
      ['broker: another contract is not refused', 'if (contract && card && card.contract !== contract.id)', 'if (false)'],
      ['broker: a client waits for the broker and its answers', "if (!endsWhenLost || change.state !== 'lost')", 'if (true)'],
    ],
  ),
  ...faultsOf(
    'protocols/grpc-http2-client.js',
    ['protocols/grpcs'],
    [
      [
        'connect: what comes in one read with the head is lost',
        'head(headers);\n        stream',
        'setImmediate(() => head(headers));\n        stream',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/embedded/topics.js',
    ['hub/embedded'],
    [['hub: all of a turn goes in one message', 'now.messages.bytesLength >= PIECE', 'false']],
  ),
  ...faultsOf(
    'hub/drivers/embedded/lane.js',
    ['hub/drivers/embedded-lane'],
    [
      ['hub: a large request waits for the end of its turn', 'size >= LARGE && ', 'false && '],
      ['hub: bytes under way are not counted', 'this.bytesUnderWay += bytes', ''],
      ['hub: bytes under way are counted for ever', 'this.bytesUnderWay -= bytes', ''],
      ['hub: small requests do not gather', 'UNDER_WAY = 2', 'UNDER_WAY = 1000'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/embedded/topics.js',
    ['hub/drivers/embedded'],
    [
      ['hub: where a message is marked as kept is not said', 'return position > 0 ? String(position) : undefined', 'return undefined'],
      ['hub: a last value is one like any', '(packed.flagsAt(this.bytes, this.at) & packed.RETAIN) > 0', 'false'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/topics.js',
    ['hub/embedded', 'hub/drivers/embedded'],
    [['hub: messages of another topic go with those before them', 'this.keepOne(bytes, at, end', 'this.keepOne(bytes, at, run.end']],
  ),
  ...faultsOf(
    'hub/packed.js',
    ['hub/embedded', 'hub/machine'],
    [['hub: a run does not end where the topic does', ' || !sameTopic(bytes, run.start, at)', '']],
  ),
  ...faultsOf(
    'hub/drivers/gather.js',
    ['hub/drivers/gather', 'hub/embedded'],
    [
      ['gather: all pay for one', 'asked.length === 1 || !tookNone(reason)', 'true'],
      ['gather: what may have been done is done again', 'asked.length === 1 || !tookNone(reason)', 'asked.length === 1'],
      ['gather: answers go to the first who asked', '(from += items.length)', 'items.length'],
      ['gather: requests grow without end', 'known.bytes + more <= MOST_BYTES && ', ''],
      ['gather: more items than a script can take', ' && known.count + items.length <= MOST', ''],
    ],
  ),
  ...faultsOf('timers.js', ['long-times', 'hub/jobs'], [['a long time is over at once', '2 ** 31 - 1', 'Infinity']]),
  ...faultsOf(
    'hub/attempt.js',
    ['hub/jobs', 'hub/hub'],
    [
      ['queues: a signal that is asked for late does not abort', 'if (this.lost)', 'if (false)'],
      ['queues: the signal does not abort', 'this.controller?.abort(reason)', ''],
      ['queues: no more time is asked for', 'attempt.old = !attempt.old', ''],
      ['queues: more time is asked for what is done', 'places[place] = undefined;', ''],
    ],
  ),
  ...faultsOf(
    'hub/queues.js',
    ['hub/jobs', 'hub/hub'],
    [
      ['queues: a job that is another’s is given back', '&& seen.lost', '&& false'],
      ['queues: a job that became another’s is begun', 'if (seen.lost)', 'if (false)'],
      ['queues: a job that waits for its turn is begun after the end', 'await job.nack(0)', 'await handler(seen)'],
      ['queues: jobs that wait for their turn are said to leak', 'setMaxListeners(0, stop.signal);', ''],
      ['queues: a worker closes before its jobs are done', 'await running.settled();', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/topics.js',
    ['hub/drivers/redis'],
    [
      ['redis: what stands together has one position', 'n: of.n + of.next', 'n: of.n'],
      ['redis: the first value of a turn is kept', 'bodies[#bodies]) end', 'bodies[1]) end'],
      ['redis: who closes at once has published nothing', 'redis.closing(() => last.catch(() => { }));', ''],
      ['redis: what differs is said once', 'if (next.some((word, index) => word !== said[index]))', 'if (said.length === 0)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/queue-scripts.js',
    ['hub/drivers/redis'],
    [
      ['redis: who has a job no more acknowledges it', 'receipt == ARGV[count + i]', 'true'],
      ['redis: what makes a table of a list is a job', "'(inf', 'LIMIT'", "'+inf', 'LIMIT'"],
      ['redis: what was not wanted was tried', "how == 'return' and 1", 'false and 1'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/queue-scripts.js',
    ['hub/drivers/redis-foreign'],
    [['redis: a foreign type or header of two lines is part of the body', "string.gsub(said, '\\\\n', ' ')", 'said']],
  ),
  ...faultsOf(
    'hub/drivers/nats/connection.js',
    ['hub/drivers/nats', 'protocols/broker'],
    [
      ['nats: headers of ours are left out', 'talkwire-(more|reason|attempts)$', 'talkwire-'],
      ['nats: too much is said to be no server', '/max_payload/.test(message)', 'false'],
      ['nats: what was on its way waits for its time', '=> answers.fail(new Error(DISCONNECTED))', '=> { }'],
      ['nats: what is asked without a connection waits', 'if (!closed && away)', 'if (false)'],
      ['nats: what the server refuses to publish is waited for', "if (operation !== 'publish'", "if (operation === 'publish'"],
      ['nats: a server without JetStream is not told of', 'if (core && !isThere)', 'if (true)'],
      ['nats: without JetStream nothing comes back', 'while (jetStream &&\n', 'while (\n'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/core-topics.js',
    ['hub/drivers/nats'],
    [
      ['nats, core: what may not be published is said to be there', 'each.get(subject)?.reject(reason)', ';'],
      ['nats, core: what is refused is told too late', 'await new Promise((resolve) => setImmediate(resolve));', ''],
      ['nats, core: what is not there is said to be', "reject(nats.errorOf(reason, 'maybe-ran'));", ';'],
      ['nats, core: types and headers are left out', "message.type === 'bytes' && isEmpty(message.headers)", 'true'],
      ['nats, core: headers of bytes are left out', ' && isEmpty(message.headers)', ''],
      ['nats, core: everybody in a group hears everything', 'group !== undefined && { queue', 'false && { queue'],
      ['nats, core: what was missed is not told', 'sink.lost(1)', 'undefined'],
      ['nats, core: what is kept nowhere is promised', "if (from !== 'new')", 'if (false)'],
      ['nats, core: who is away publishes', 'if (nats.away)', 'if (false)'],
      ['nats, core: it goes on after its end', 'subscription.unsubscribe();', ';'],
      ['nats, core: the end is not told', 'sink.ended();', ';'],
    ],
  ),
  ...faultsOf(
    'hub/handing.js',
    ['hub/handing', 'hub/hub'],
    [
      ['listen: handlers run side by side', 'void goOn(inbox, running)', 'void running', 'short'],
      [
        'listen: what a handler throws later is not told',
        'await running;\n        }',
        'await running.then(undefined, () => { });\n        }',
      ],
      ['listen: who was slow once is queued for ever', 'busy = false;\n        end', 'end'],
      ['listen: closed while a handler runs', 'if (!over || busy)', 'if (!over)'],
      ['listen: closed does not say why', 'settle.reject(over.error)', 'settle.resolve()'],
      ['listen: who closed itself gets more', 'if (inbox.over)\n', 'if (false)\n'],
      ['listen: what was lost is not told', 'hand(inbox.told(item))', 'hand(item)'],
      ['listen: what did not fit is handed over', 'known === undefined ? undefined', 'false ? undefined'],
    ],
  ),
  ...faultsOf(
    'hub/inbox.js',
    ['hub/inbox'],
    [
      ['inbox: the newest are dropped', 'this.take();\n            this.missed++;', 'this.items.pop();\n            this.missed++;'],
      ['inbox: what is dropped is not counted', 'this.missed++;', ';'],
      ['inbox: the count is told again and again', 'this.missed = 0;\n        return', 'return'],
      ['inbox: nobody hears that there is room', 'this.hooks.room();', ';'],
      ['inbox: room is told at the first that is read', 'this.size <= this.limit >> 1', 'true'],
      ['inbox: what is full is never told', 'return !(this.paused = true);', 'return true;'],
      ['inbox: the error comes before what is here', 'if (this.size > 0)\n', 'if (this.size > 0 && !this.over)\n'],
      ['inbox: who waits is not told of the end', 'resolve({ value: undefined, done: true });\n        }', ';\n        }'],
      ['inbox: who leaves goes on getting', 'await this.hooks.stop();', ';'],
    ],
  ),
  ...faultsOf(
    'balance.js',
    ['hub/discovery'],
    [
      ['balance: what may have run runs again elsewhere', "(reason.outcome === 'not-sent' || repeatable)", 'true', 'short'],
      ['balance: what did not run is given up', "(reason.outcome === 'not-sent' || repeatable)", 'repeatable'],
      ['balance: that it may have run somewhere is forgotten', "if (last === undefined || last.outcome === 'not-sent')", 'if (true)'],
      ['balance: always the same', 'from[this.turn++ % from.length]', 'from[0]'],
      ['balance: round and round where it should stick', "this.options.balance === 'sticky'", 'false'],
      ['balance: the busiest is asked', 'place.pending < least.pending ? place : least', 'place.pending < least.pending ? least : place'],
    ],
  ),
  ...faultsOf(
    'hub/discovery.js',
    ['hub/discovery'],
    [
      [
        'discovery: who says nothing any more stays',
        "base.driver.state.set(key, value, 'json', { ttl })",
        "base.driver.state.set(key, value, 'json', {})",
      ],
      ['discovery: what others wrote is an instance', 'return found && addresses ?', 'return found ?'],
      ['discovery: nobody hears who comes', 'if (told && (before === undefined) !== (instance === undefined))', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/intents.js',
    ['hub/intents'],
    [
      ['intents: whoever handles anything handles this', 'if (handler && covers(handler.type, type))', 'if (handler)'],
      ['intents: the first is taken without asking', 'if (near.length === 1)', 'if (true)'],
      ['intents: who chose nobody gets somebody', 'if (!choice)', 'if (false)'],
      ['intents: who closed is still there', 'await known.close();', ';'],
      ['intents: a pattern is a type', "(pattern.endsWith('/*') && type.startsWith(pattern.slice(0, -1)))", 'false'],
    ],
  ),
  ...faultsOf(
    'hub/leases.js',
    ['hub/leases'],
    [
      ['lease: it is not renewed', 'setTimeout(() => void renew(), Math', 'setTimeout(() => { }, Math', 'short'],
      ['lease: who lost it is not told', 'if (ours === false)', 'if (false)'],
      ['lease: who was stopped for too long renews', 'if (began >= until)', 'if (false)'],
      [
        'lease: a hub that does not answer is a lost lease',
        'return undefined;\n        });\n        if (released)',
        'return false;\n        });\n        if (released)',
      ],
      ['lease: what was lost is released', 'lost.signal.aborted ? Promise.resolve(false) : ', ''],
      ['lease: who asks again is taken for who holds it', 'holder: randomUUID()', "holder: 'me'"],
      ['lease: a timeout is none', '} while (performance.now() < end);', '} while (true);'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-writer.js',
    ['hub/log-model'],
    [
      ['hub log: a full disk is the end', 'if (!isFull(reason) || this.ended)', 'if (true)'],
      ['hub log: nobody hears that there is room again', 'this.options.full(undefined);', ';'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-segments.js',
    ['hub/log-model'],
    [['hub log: what cannot be a segment keeps its room', 'await files.remove(NEXT).catch(() => { });', ';']],
  ),
  ...faultsOf(
    'hub/embedded/ops.js',
    ['hub/crash-damage'],
    [
      ['hub: a full disk is filled in memory', 'if (hub.shell.full && !GOES_ON.has(name))', 'if (false)'],
      ['hub: a full disk keeps what is retained in memory', 'if (isKept && shell.full)', 'if (false)'],
      ['hub: renewing waits for the disk', 'if (!answer || effects.count > before)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/queue.js',
    ['hub/crash-damage'],
    [['hub: jobs are handed out that cannot be acknowledged', 'this.waiting > 0 && !this.effects.full', 'this.waiting > 0']],
  ),
  ...faultsOf(
    'hub/embedded/clock.js',
    ['hub/crash-damage'],
    [
      ['hub: times are those of the wall clock', 'return () => monotonic() + shift;', 'return () => wall() + shift;', 'short'],
      ['hub: a reboot is none', 'last && last.boot === boot && monotonic()', 'last && monotonic()'],
      ['hub: time goes back with the clock', 'Math.max(0, wall() - last.wall)', '(wall() - last.wall)'],
      ['hub: a restart begins at nothing', 'shift = last.hub - last.monotonic;', ';'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/clients.js',
    ['hub/crash-damage'],
    [
      ['hub: one client may subscribe without end', 'if (client.subscriptions >= subscriptions)', 'if (false)'],
      ['hub: what a client gave back counts on', 'return () => client.subscriptions--;', 'return () => { };'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/subscriber.js',
    ['hub/crash-damage'],
    [
      ['hub: who reads slowly is kept everything', "if (this.slow !== 'wait' && this.full)", 'if (false)'],
      ['hub: what was lost is not counted', 'this.lost += this.shift().count;', 'this.shift();'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/acl.js',
    ['hub/crash-damage'],
    [
      ['hub: a pattern covers one that matches more', "&& (!name.endsWith('>') || pattern.endsWith('>'))", ''],
      ["hub: a rule of an identity is everybody's", '(identity === undefined || identity === peer.identity)', 'true'],
      ["hub: a rule of a uid is everybody's", '(uid === undefined || uid === peer.uid) &&', ''],
      ['hub: a name inside of another is allowed', 'name.startsWith(prefix)', 'name.includes(prefix)'],
    ],
  ),
  ...faultsOf('hub/embedded/serve.js', ['hub/hub'], [['hub: every hub is announced as the one', 'announce: name,', 'announce: true,']]),
  ...faultsOf(
    'hub/embedded/shell.js',
    ['hub/hub-power'],
    [
      ['hub: answered before the log is on disk', 'if (stamp <= synced)\n                return undefined;', 'return undefined;', 'short'],
      ['hub: what stands in the log is told of too early', 'ends[count].end <= end', 'true'],
      ['hub: the last of those who wait is let go with the first', 'held[count].stamp <= synced', 'true'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/acl.js',
    ['hub/acl'],
    [
      ['hub: any user comes in', 'isOwn(uid) || rules.some', 'true || rules.some'],
      ['hub: whoever comes in may everything', 'if (own.some((rule) => covers(rule, what, name)))', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/embedded/link.js',
    ['hub/acl'],
    [['hub: who is not let in hears that there is no hub', 'if (ABSENT.has(error.code))', 'if (true)']],
  ),
  ...faultsOf(
    'hub/embedded/leases.js',
    ['hub/hub-power'],
    [['hub: a lease that was given back is held after a power cut', 'Kind.free', 'Kind.group']],
  ),
  ...faultsOf(
    'hub/embedded/effects.js',
    ['hub/machine'],
    [
      [
        'hub: tokens are given again after a restart',
        'this.following = this.reserved = Math.max(this.reserved, reserved);',
        'this.reserved = Math.max(this.reserved, reserved);',
      ],
      ['hub: what reserved the numbers is believed to be there', 'if (this.largest >= this.reserved)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/state.js',
    ['hub/machine'],
    [
      ['hub: set whatever the revision', 'if (revision !== undefined && revision !== known)', 'if (false)'],
      ['hub: a deletion is not written', 'return this.effects.write(Kind.gone,', 'return ((..._) => this.effects.count)(Kind.gone,'],
      ['hub: an older value takes the place of a newer one', 'if (known && known.revision > revision)', 'if (false)'],
      ['hub: who finds nothing waits for what expired', 'Math.max(this.gone, entry.stamp)', 'this.effects.count'],
      ['hub: what expired before it was on disk was never there', 'this.gone = Math.max(this.gone, entry.stamp);', ''],
      ['hub: who watches is not told what expired', 'this.watchers.changed(entry.key, entry.stamp);', ''],
      [
        'hub: the number of a set is not met again',
        'const key = reader.text();\n        this.effects.met(revision);',
        'const key = reader.text();',
      ],
    ],
  ),
  ...faultsOf(
    'hub/embedded/state.js',
    ['hub/crash-storm'],
    [['hub: shown before it is on disk', 'return this.entries.get(key)?.stamp ?? this.gone;', 'return 0;']],
  ),
  ...faultsOf(
    'hub/embedded/queue.js',
    ['hub/machine'],
    [
      ['hub: an acknowledgement is not written', 'this.finish(done);', ';', 'short'],
      ['hub: any receipt is good', 'job.at === At.taken && job.receipt === receipt ? job : undefined', 'job'],
      ['hub: attempts are forgotten', 'this.wrote(taken);', ';'],
      ['hub: a dead letter is alive after a restart', 'if (job.at === At.dead)\n                continue;', ''],
    ],
  ),
  ...faultsOf(
    'hub/embedded/leases.js',
    ['hub/machine'],
    [
      ['hub: a lease that was let go is held after a restart', 'lease.holders.delete(token);\n        this.tidy(lease);', ';'],
      [
        'hub: who holds a lease at a restart loses it',
        'holder.due = now + holder.ttl;\n                this.deadlines',
        'holder.due = now;\n                this.deadlines',
      ],
      [
        'hub: a lease is granted to two',
        'if (lease.holders.size < lease.permits && lease.waiters.size === 0)',
        'if (lease.waiters.size === 0)',
      ],
      ['hub: waiters are served from behind', 'for (const waiter of lease.waiters)', 'for (const waiter of [...lease.waiters].reverse())'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/keeper.js',
    ['hub/machine'],
    [['hub: a kept message is shown before it is on disk', 'if (next.stamp > synced)', 'if (false)']],
  ),
  ...faultsOf(
    'hub/embedded/log-open.js',
    ['hub/log-damage'],
    [
      ['hub log: an unfinished write is told of, but not cut', 'await this.cut(file, at);', ';', 'short'],
      ['hub log: damage is told of each time', 'if (!isNews)\n            return;', ''],
      ['hub log: what stands behind damage is dropped', '!stretch.batch && first + stretch.to > proven', '!stretch.batch'],
      [
        'hub log: a closed log that lost its end says nothing',
        'last.first + SEGMENT_HEADER, notes.synced, ',
        'last.first + SEGMENT_HEADER, ',
      ],
      [
        'hub log: a segment without its header is dropped',
        'const first = this.id && firstByBatch(bytes, this.id);',
        'const first = undefined;',
      ],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-format.js',
    ['hub/log-damage'],
    [
      [
        'hub log: a batch is believed without its checksum',
        'if (bytes.readUInt32LE(at + 8) !== crc32(bytes.subarray(at + 12, end)))\n        return undefined;',
        '',
      ],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-writer.js',
    ['hub/log-model'],
    [
      ['hub log: what failed to be written stays readable', 'await this.distrust();', ';', 'short'],
      ['hub log: a failed log that cannot be cut says so nowhere', 'await this.distrustByNext(last.number + 1).catch(() => { });', ''],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-writer.js',
    ['hub/log-power'],
    [['hub log: acknowledged while the disk works', 'await this.file.write(part.slab', 'void this.file.write(part.slab']],
  ),
  ...faultsOf(
    'hub/embedded/log-segments.js',
    ['hub/log-power'],
    [['hub log: a segment takes batches before its name is on disk', 'await files.syncFolder();\n        return file;', 'return file;']],
  ),
  ...faultsOf(
    'hub/embedded/log-cleaner.js',
    ['hub/log-power'],
    [
      [
        'hub log: a segment is removed before what its records gave way to is on disk',
        'await this.writer.reached(this.writer.appended);',
        '',
      ],
      ['hub log: a segment is removed without a word', 'await this.writer.reached(this.writer.append([]).end);', ''],
      [
        'hub log: a segment is removed before its copies are on disk',
        'this.writer.oldest = segment.number + 1;\n        await this.writer.reached(this.writer.append([]).end);',
        'this.writer.oldest = segment.number + 1;\n        this.writer.append([]);',
      ],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-cleaner.js',
    ['hub/log-model'],
    [
      ['hub log: what is live dies with its segment', 'if (!this.asked.live(kind, body, place))', 'if (true)'],
      ['hub log: nothing is cleaned', 'if (this.running || this.stopped || !this.isDue())', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/log-reader.js',
    ['hub/log'],
    [['hub log: what is read back is not checked', 'batchAt(bytes, 0, { id, first: first + at }) ? bytes : undefined', 'bytes']],
  ),
  ...faultsOf(
    'hub/drivers/embedded/queues.js',
    ['hub/embedded', 'hub/drivers/embedded'],
    [
      [
        'embedded: what was wanted and lost with the hub is told as an error',
        'if (!link.closed && !beginsAgain(reason))',
        'if (!link.closed)',
      ],
      ['embedded: what comes to a consumer that closed is dropped', 'release(job);', ';'],
      ['embedded: the hub is not told that a consumer closes', "await link.later(['want', consumer, 0]).catch(unlessGone);", ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/kafka/connection.js',
    ['hub/drivers/kafka'],
    [
      ['kafka: publishing waits for nobody', 'const ALL_IN_STEP = -1', 'const ALL_IN_STEP = 0'],
      ['kafka: one that is too large takes others with it', 'if (batch.length > 1 && [...within(reason)].some(isTooLarge))', 'if (false)'],
      ['kafka: a topic has any number of partitions', 'if (partitions === 1)', 'if (partitions !== undefined)'],
      ['kafka: nobody hears of a lost connection', 'if (broker.open)\n            looking ??=', 'if (false)\n            looking ??='],
      ['kafka: a wrong password is no answer', '/AUTHORIZATION_FAILED|SASL/', '/AUTHORIZATION_FAILED/'],
      ['kafka: a topic that was removed is thought to be there', 'known.delete(idOf(place));\n                    reject', 'reject'],
      ['kafka: headers weigh nothing', 'size += BESIDE + name.length + said.length', ';'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/kafka/log.js',
    ['hub/drivers/kafka'],
    [
      ['kafka: what was cut off is not counted', 'if (begin > seat.at)\n            seat.follower.lost(begin - seat.at);', ''],
      ['kafka: a log that begins anew is not read', 'begin > seat.at || begin < asked', 'begin > seat.at'],
      ['kafka: who is slow misses what it had no room for', 'if (!seat.room)\n                        seat.live = false;', ''],
      ['kafka: who begins waits for a topic that was removed', 'if (isUnknown(reason))', 'if (false)'],
      ['kafka: what was known before a restart is known for ever', 'if (closed || !passes(reason))', 'if (true)'],
      ['kafka: words of transactions are messages', 'if (attributes & CONTROL)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/kafka/topics.js',
    ['hub/drivers/kafka'],
    [
      ['kafka: a header is taken for the type', 'pairs.findLastIndex(', 'pairs.findIndex('],
      ['kafka: what is too old for a time comes', ' || entry.time < since', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/kafka/requests.js',
    ['hub/drivers/kafka'],
    [
      ['kafka: what is stale is answered', 'performance.now() + ahead - time < STALE', 'true'],
      ['kafka: the broker is not asked for its time', 'if (ahead === undefined)\n            return false', 'ahead ??= -Infinity'],
      ['kafka: a correlation id is a text', '[[CORRELATION, id]]', '[[CORRELATION, String(id)]]'],
      ['kafka: replies go to the first partition', 'partition[0] === 0', 'false'],
      ["kafka: headers of the idiom are the caller's", 'incomingOf(entry, OWN)', 'incomingOf(entry)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/kafka/requests.js',
    ['protocols/broker-kafka'],
    [
      ['broker: every instance on Kafka runs every call', 'if (group === undefined)', 'if (true)'],
      ['broker: an element over Kafka is taken for the end', "...(more ? [[MORE, 'true']] : [])", ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/activemq/requests.js',
    ['protocols/broker-activemq'],
    [
      [
        'broker: calls over ActiveMQ go to nobody in a group',
        "responders === 'all' ? [] : [mq.names.asked(topic)]",
        'true ? [] : [mq.names.asked(topic)]',
      ],
      [
        'broker: what all should hear over ActiveMQ lies in a queue',
        "responders === 'all' ? [] : [mq.names.asked(topic)]",
        'false ? [] : [mq.names.asked(topic)]',
      ],
      ['broker: every instance on ActiveMQ runs every call', 'from: group === undefined', 'from: true'],
      [
        'broker: an element over ActiveMQ is taken for the end',
        "const headers = more ? { ...out.headers, [MORE]: 'true' } : out.headers",
        'const headers = out.headers',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/broker-call.js',
    ['protocols/broker-kafka'],
    [['broker: a call to a service that ended waits for ever', 'if (this.questions.isGone(asked))', 'if (false)']],
  ),
  ...faultsOf(
    'protocols/broker-serve.js',
    ['protocols/broker-kafka'],
    [['broker: a call whose caller is gone goes on', '() => open.cancel()', '() => {}']],
  ),
  ...faultsOf(
    'hub/drivers/kafka/groups.js',
    ['hub/drivers/kafka'],
    [
      ['kafka: a group forgets where it was', 'await reader.commit(', 'void ('],
      [
        'kafka: a request is heard before Kafka knows of it',
        'if (once)\n                held.push(each)',
        'if (false)\n                held.push(each)',
      ],
      [
        'kafka: a request that Kafka did not hear of is lost',
        'if (once)\n                unsaid(reason)',
        'if (false)\n                unsaid(reason)',
      ],
      [
        'kafka: a member that was not heard is silent from then on',
        ".on('consumer:heartbeat:error', ({ error }) => void anew(made, error))",
        '',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/presence.js',
    ['hub/drivers/couchdb', 'hub/drivers/sqs', 'hub/drivers/kafka'],
    [
      ['presence: nobody goes on after a restart', 'await backs.all();', ''],
      ['presence: a closed hub asks on', "if (state === 'closed')", 'if (false)'],
      [
        'presence: while nobody is there it is asked all the same',
        "if (state === 'away')\n                throw",
        'if (false)\n                throw',
      ],
      ['presence: a watch that is closed while nobody is there waits', "signal.addEventListener('abort', abort);", ''],
      ['presence: close leaves behind what is under way', 'await asked.settled();', ''],
      ['presence: what is no lost connection is not told', 'onError(reason, what);', ';'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/connection.js',
    ['hub/drivers/couchdb'],
    [
      ['couchdb: nobody hears of a lost connection', 'broker.lost(error);', ''],
      ['couchdb: who watches begins anew', '&since=${from}', '&since=0'],
      ['couchdb: who watches misses what was meanwhile', '&since=${from}', '&since=now'],
      ['couchdb: who may not make a database is said to be nobody', '[401, 403, 412]', '[412]'],
      ['couchdb: a database that another makes at the same time is an error', '[401, 403, 412]', '[401, 403]'],
      ['couchdb: in a cluster revisions are relied on', 'Number(cluster?.n ?? 1)', '1'],
      ['couchdb: what is said of TLS is forgotten', "...(wire === 'https' && credentials['tls']),", ''],
      ['couchdb: whatever answers is a CouchDB', "if (typeof sequence !== 'string' && typeof sequence !== 'number')", 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/exchange.js',
    ['hub/drivers/couchdb'],
    [
      ['couchdb: an answer says how large it is, and is read', "if (Number(response.headers['content-length']) > LARGEST)", 'if (false)'],
      ['couchdb: an answer of any size is read', "if (size > LARGEST)\n            throw tooLarge('an answer', outcome)", ''],
      [
        'couchdb: a line of any size is read',
        "if (size > LARGEST)\n                    throw tooLarge('a line of the feed', 'not-sent')",
        '',
      ],
      ['couchdb: a feed that says nothing is waited for', 'setTimeout(() => response.destroy(silent()), SILENCE)', 'undefined'],
      ['couchdb: an answer that does not come is waited for', 'request.setTimeout(SILENCE, () => request.destroy(silent()));', ''],
      ['couchdb: a redirect is any answer', '(status >= 300 && status < 400)', 'false'],
      ['couchdb: what is no HTTP is a lost connection', 'NO_HTTP.test(code) ? ', 'false ? '],
      ['couchdb: whom nobody trusts is a lost connection', ' || isCertificate(code)', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/documents.js',
    ['hub/drivers/couchdb'],
    [
      ["couchdb: a key is one of CouchDB's own ids", 'ESCAPED.test(id) ? `~${id}` : id', 'id'],
      ['couchdb: what is nobody’s is listed', "|| /^~[^_~]/.test(id) || id === '~'", ''],
      ['couchdb: a value says what CouchDB does', "!names.some((name) => name.startsWith('_')) && ", ''],
      ['couchdb: an object of one value is the value', '!(names.length === 1 && names[0] === VALUE)', 'true'],
      ['couchdb: a key is a way up', '!/^\\.\\.?$|[\\ud800-\\udfff]/u.test(id)', '!/[\\ud800-\\udfff]/u.test(id)'],
      ['couchdb: a key is as long as it is', ' && path.length <= LONGEST_PATH', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/store.js',
    ['hub/drivers/couchdb'],
    [
      ['couchdb: no database is no value', "if (reason === 'missing' || reason === 'deleted')", 'if (true)'],
      ['couchdb: one document takes others with it', "reason.outcome === 'not-sent'", 'false'],
      ['couchdb: what was written need not be answered', '&& answers.length === documents.length', ''],
      ['couchdb: who is refused is in doubt', "Object.hasOwn(REFUSALS, error) ? 'not-sent' : 'maybe-ran'", "'maybe-ran'"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/state.js',
    ['hub/drivers/couchdb'],
    [
      ['couchdb: what was beside a value comes back', 'await write(id, DELETED, each);', ';'],
      ['couchdb: in a cluster revisions are compared', 'if (revision === undefined || couch.copies === 1)', 'if (true)'],
      ['couchdb: another revision is deleted', '|| (revision !== undefined && found._rev !== revision)', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/list.js',
    ['hub/drivers/couchdb'],
    [
      ['couchdb: a page that is too large is an error', ' || limit === 1)', ' || true)'],
      ['couchdb: a list has one page', 'if (rows.length < limit)', 'if (true)'],
      ['couchdb: what comes behind a prefix is listed', ' || !id.startsWith(first))', ')'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/telling.js',
    ['hub/drivers/couchdb', 'hub/drivers/mongodb'],
    [
      ['watching: what is known is told again', 'if (knows(stored.key, stored.revision))', 'if (false)'],
      ['watching: nobody is told what is gone', 'await tell({ key, gone: true });', ';'],
      ['watching: what is gone meanwhile is not told', 'if (!there.has(key))', 'if (false)'],
      ['watching: nobody waits for who is slow', 'if (closed() || sink.changed(change))', 'sink.changed(change);\n        if (true)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/watch.js',
    ['hub/drivers/couchdb'],
    [
      ['couchdb: another database is taken for this one', 'now.instance !== from.instance || ', ''],
      ['couchdb: a database that counts anew is followed', ' || numberOf(now.sequence) < numberOf(from.sequence)', ''],
      ['couchdb: what was told stands for a database that was gone', 'if (reason !== undefined && !isAway(reason))', 'if (false)'],
      ['couchdb: where it was told to is forgotten', 'if (line.seq !== undefined)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/couchdb/counters.js',
    ['hub/drivers/couchdb'],
    [['couchdb: who counts in one turn counts the same', '(now += amount)', '(now = before + amount)']],
  ),
  ...faultsOf(
    'hub/drivers/sqs/connection.js',
    ['hub/drivers/sqs'],
    [
      ['sqs: unknown keys are a broken connection', 'CREDENTIALS.test(name) || REFUSED.test(name)', 'CREDENTIALS.test(name)'],
      ['sqs: who may not ask for a queue is not let in', '|^AccessDenied/.test(reason.name)', '/.test(reason.name)'],
      ['sqs: too many requests are no error of ours', 'if (BUSY.test(name))', 'if (false)'],
      ['sqs: nobody hears of a lost connection', 'broker.lost(error);', ';'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/sqs/messages.js',
    ['hub/drivers/sqs'],
    [
      ['sqs: bytes are sent as text', "type === 'bytes' ? undefined : textOf(body)", 'textOf(body) ?? String(body)'],
      ['sqs: a header may be empty', 'if (!TEXT.test(value))', 'if (false)'],
      ['sqs: a header may have any name', '!NAME.test(name) || ', ''],
      ['sqs: a header is taken for the type', 'name === TYPE || ', ''],
      ['sqs: any number of headers', 'if (pairs.length > MOST_HEADERS)', 'if (false)'],
      ['sqs: no room is kept for the reason', 'if (sizeOf(message) > LARGEST - REASON)', 'if (sizeOf(message) > LARGEST)'],
      ['sqs: an eleventh attribute', '.length >= MOST_ATTRIBUTES || ', '.length > MOST_ATTRIBUTES || '],
      [
        'sqs: a revived job is still dead',
        'const { [DEAD]: _, ...rest } = MessageAttributes;\n    return { MessageBody',
        'const rest = MessageAttributes;\n    return { MessageBody',
      ],
      ['sqs: what boto3 sends in bytes is left out', "Buffer.from(BinaryValue ?? []).toString('base64')", "''"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/sqs/queues.js',
    ['hub/drivers/sqs'],
    [
      ['sqs: who gives back in the last try has it tried again', 'attempt >= settings.attempts', 'false'],
      ['sqs: without a policy attempts have no end', 'else if (settings.attempts > 0 && attempt > settings.attempts)', 'else if (false)'],
      ['sqs: SQS is told of no policy', '...(settings.attempts > 0 && { RedrivePolicy: policy })', '...{}'],
      ['sqs: any policy fits', 'if (declared && most > 0 && most !== settings.attempts)', 'if (false)'],
      ['sqs: what is late is acknowledged', 'if (performance.now() < until)', 'if (true)'],
      ['sqs: extend is not remembered', 'until = from + 1000 * seconds(milliseconds);', ''],
      ['sqs: a delay has no end', 'if (seconds(delay) > LONGEST_DELAY)', 'if (false)'],
      ['sqs: a job is held for ever', 'if (seconds(milliseconds) <= LONGEST_OUT)', 'if (true)'],
      ['sqs: a name is written as it is', 'return /[A-Za-z0-9-]/.test(character) ?', 'return true ?'],
      ['sqs: a name has any length', 'if (deadName.length > LONGEST_NAME)', 'if (false)'],
      ['sqs: more than ten at once', 'batch.length === MOST || ', ''],
      ['sqs: a queue that was deleted is thought to be there', 'if (isNoQueue(reason))\n                places.delete(queue);', ''],
      ['sqs: dead letters that were shown stay away', 'comesIn(sqs, url, message, 0).catch(ignoreGone)', 'undefined'],
      ['sqs: revived and still dead', 'await remove(sqs, place.dead, message);', ''],
      ['sqs: buried and still there', 'await remove(sqs, place.live, message);', ''],
      ['sqs: closing waits until nothing comes', 'ending.abort();', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/connection.js',
    ['hub/drivers/mongodb-foreign'],
    [
      ['mongodb: a second attempt is thought to be the first one', 'return isOpening ? ', 'return true ? '],
      ['mongodb: who has no password is let in', "await db.collection(`${prefix}.state`).findOne({ _id: '' });", ''],
      ['mongodb: one that stands alone will do', "if (hello['setName'] === undefined && hello['msg'] !== 'isdbgrid')", 'if (false)'],
      ['mongodb: who may not is somebody unknown', "hasName ? 'PERMISSION_DENIED' :", ''],
      ['mongodb: nobody hears of a lost connection', 'server.lost(', '((_) => {})('],
      ['mongodb: what is too large is no error of ours', 'if (TOO_LARGE.has(code ?? 0) || ', 'if ('],
      ['mongodb: the credentials are not said', '...(user !== undefined && {', '...(false && {'],
      ['mongodb: a socket that is no more is unknown', 'if (BROKEN.has(', 'if (false && BROKEN.has('],
      ['mongodb: any prefix', '|| !PREFIX.test(prefix)', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/values.js',
    ['hub/drivers/mongodb-foreign'],
    [
      ['mongodb: a reference of MongoDB is taken for one', "key.startsWith('$') || ", ''],
      ['mongodb: half a character is lost', 'if (HALF.test(text))\n        return whole;', ''],
      ['mongodb: any depth', 'if (depth === DEEPEST)', 'if (false)'],
      ['mongodb: a zero loses its sign', ' && !Object.is(value, -0)', ''],
      ['mongodb: text is whatever it is', 'if (!isUtf8(bytes))', 'if (false)'],
      ['mongodb: a large number is an object', "bsonType(there) === 'Long'", 'false'],
      ['mongodb: JSON is kept as text', 'return isPlain(value, 0) ? { value } : whole;', 'return whole;'],
      ['mongodb: text comes back with quotes', "typeof value === 'string' && said === 'text'", 'false'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/feed.js',
    ['hub/drivers/mongodb-foreign'],
    [['mongodb: a dropped collection is as it was', 'if (isAnew)', 'if (false)']],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/feed.js',
    ['hub/drivers/mongodb-topics'],
    [['mongodb: what happened while nobody was there is not told', 'from = { startAfter: mine.resumeToken };', 'from = undefined;']],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/state.js',
    ['hub/drivers/mongodb'],
    [
      ['mongodb: what is over is there', 'const THERE = { $nor: [OVER] };', 'const THERE = {};'],
      ['mongodb: what is over is in the way', 'if (await write({ _id: key, ...OVER }, false))', 'if (false)'],
      ['mongodb: null is anything', '...(revision === null && NONE)', ''],
      ['mongodb: a revision is not compared', 'return { _id: key, revision, ...THERE };', 'return { _id: key, ...THERE };'],
      ['mongodb: a batch compares nothing', 'if (wanted.some(', 'if (false && wanted.some('],
      ['mongodb: a listing has one page', 'if (page.length < PAGE)', 'if (true)'],
      ['mongodb: nobody is told what expired', 'await mongo.run(() => docs.deleteMany(OVER));', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/state.js',
    ['hub/drivers/mongodb-foreign'],
    [
      ['mongodb: a prefix is a pattern', 'prefix.replaceAll(SPECIAL,', 'prefix.replaceAll(/$^/g,'],
      ['mongodb: a batch is many changes', 'await docs.bulkWrite(operations, { session });', 'await docs.bulkWrite(operations);'],
      [
        'mongodb: what somebody else wrote may have changed since',
        'return doc && revisionOf(keys.mongo, doc) === revision ?',
        'return doc ?',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/leases.js',
    ['hub/drivers/mongodb'],
    [
      ['mongodb: a fence stays', "fence: { $cond: ['$granted', token, '$fence'] }", "fence: '$fence'"],
      ['mongodb: who waits is served in any order', "{ $cond: [{ $gte: [place, 0] }, place, { $size: '$waiting' }] }", '0'],
      ['mongodb: a dead holder holds on', "holders: those('holders', THERE),\n", 'holders: { $ifNull: ["$holders", []] },\n'],
      ['mongodb: a lease whose time is over is renewed', '{ $and: [is(holder), THERE] }', 'is(holder)'],
      ['mongodb: one permit is all there is', "{ $size: '$holders' }] }, permits]", "{ $size: '$holders' }] }, 1]"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/leases.js',
    ['hub/drivers/mongodb-foreign'],
    [
      ['mongodb: who gave up still waits', 'if (!isOurs)', 'if (false)'],
      ['mongodb: a label may be a field', 'label: { $literal: label }', 'label'],
      ['mongodb: a holder may be a field', "$eq: ['$$this.holder', { $literal: holder }]", "$eq: ['$$this.holder', holder]"],
      ['mongodb: who waits is waited for by a hub that closes', 'if (closed)\n', 'if (false)\n'],
      ['mongodb: who died while it waited is next', "waiting: those('waiting', THERE),\n", "waiting: { $ifNull: ['$waiting', []] },\n"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/change.js',
    ['hub/drivers/mongodb'],
    [['mongodb: who is slower than another fails', 'if (!isDuplicate(reason))', 'if (true)']],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/due.js',
    ['hub/drivers/mongodb-queues', 'hub/drivers/mongodb'],
    [
      ['mongodb: what has no time comes back', "({ [field]: { $type: 'date' }, $expr:", '({ $expr:'],
      ['mongodb: what has no time is in the way of what has', "{ $match: { ...those, [field]: { $type: 'date' } } }", '{ $match: those }'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/jobs.js',
    ['hub/drivers/mongodb-queues'],
    [
      ['mongodb: what somebody else took is taken', 'docs.updateMany({ ...those, ...ready }, taking)', 'docs.updateMany(those, taking)'],
      ['mongodb: what a closing consumer took was handed out', "tries: { $subtract: ['$tries', 1] }", "tries: '$tries'"],
      [
        'mongodb: a deadly job is handed out for ever',
        "{ $and: [wasTaken, { $gte: ['$tries', attempts] }] }",
        '{ $and: [wasTaken, false] }',
      ],
      ['mongodb: a key is forgotten when its job is done', 'if (doc.key !== undefined)', 'if (false)'],
      ['mongodb: what is done keeps its value', 'return update(doc, DONE, REST);', 'return update(doc, DONE);'],
      ['mongodb: a purge forgets keys', '{ ...waiting, key: { $exists: true } }', "{ ...waiting, key: 'none' }"],
      ['mongodb: a key is known for ever', "{ queue, key, ...isOver('until') }", '{ queue, key, until: 0 }'],
      ['mongodb: what stands behind a known key is lost', 'stopped : stopped + 1;', 'stopped : whole.length;'],
      ['mongodb: a job may be of any size', 'if (lib.BSON.calculateObjectSize(doc) > LARGEST - 1024)', 'if (false)'],
      [
        'mongodb: what comes back twice is heard of once',
        '$literal: `${queue}/${new lib.ObjectId().toHexString()}`',
        '$literal: `${queue}/`',
      ],
      ['mongodb: a job is there before its time', "delay > 0 ? { state: 'later'", "false ? { state: 'later'"],
      ['mongodb: no job is sooner', 'const sort = { priority: -1, seq: 1 };', 'const sort = { seq: 1 };'],
      ['mongodb: a reason may be a field', 'reason: { $literal: reason }', 'reason'],
      ['mongodb: who has another kind of id stays dead', '[id, new ObjectId(id)] : [id]', '[new ObjectId(id)] : []'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/jobs.js',
    ['hub/drivers/mongodb'],
    [
      ['mongodb: who is too late settles', 'const ours = ({ _id, token }) => ({ _id, token });', 'const ours = ({ _id }) => ({ _id });'],
      ['mongodb: jobs of one push share a place', 'seq: seq - made.length + index + 1', 'seq: index === 0 ? seq : 0'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/values.js',
    ['hub/drivers/mongodb-queues'],
    [['mongodb: headers are any field', "fieldOf(bson, Buffer.from(JSON.stringify(headers)), 'json').value", 'headers']],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/log.js',
    ['hub/drivers/mongodb-topics'],
    [
      ['mongodb: a document of another publisher is ours', '{ _id: at, token }, made', '{ _id: at }, made'],
      ['mongodb: who is slower than another publisher fails', 'if (isDuplicate(reason))', 'if (false)'],
      ['mongodb: a message may be of any size', 'if (bytes <= LARGEST - 1024)', 'if (true)'],
      ['mongodb: who slept publishes where nobody looks', 'if (!(await stands(end, time)))', 'if (false)'],
      ['mongodb: who slept is there twice', 'await mongo.run(() => docs.deleteOne({ _id: end.at, token }));', ''],
      ['mongodb: everything is kept', 'if (Math.floor(known.at / SPARE) > Math.floor(end.at / SPARE))', 'if (false)'],
      ['mongodb: what is young is taken away', "time: { $type: 'date' }, $expr: { $lt: ['$time', { $add: ['$$NOW', -YOUNG] }] }", ''],
      ['mongodb: what is kept is taken away', '$lt: end - KEPT', '$lt: end'],
      ['mongodb: a log never begins anew', 'return place.log === (await nameOf(mongo)) ? place', 'return true ? place'],
      [
        'mongodb: the end is looked for after the beginning',
        'first?._id ?? at, skip: 0',
        "first?._id ?? (await endOf(mongo, docs, 'majority')).at, skip: 0",
      ],
      ['mongodb: anything is a position', 'if (doc === undefined)', 'if (false)'],
      ['mongodb: what has no messages takes no place', 'Math.max(1, Array.isArray(messages) ?', 'Math.max(0, Array.isArray(messages) ?'],
      ['mongodb: nothing is kept', "from === 'all' ? {} :", "from === 'all' ? undefined :"],
      ['mongodb: after a message is before it', 'skip: Number(index) + 1', 'skip: Number(index)'],
      ['mongodb: from now on is from the beginning', "from === 'new' ? undefined", "from === 'new' ? {}"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/hearing.js',
    ['hub/drivers/mongodb-topics'],
    [
      ['mongodb: nobody is told what was taken away', 'hearing.lost(lost)', '((_) => {})(lost)'],
      ['mongodb: what was heard is lost', 'place.doc - place.skip', 'place.doc'],
      ['mongodb: what is no message is one', "typeof topic !== 'string' || ", ''],
      ['mongodb: what says no time is of any', '(time ?? 0) >= since', '(time ?? since) >= since'],
      ['mongodb: nobody is told that there are messages', 'heard: look', 'heard() { }'],
      ['mongodb: a pattern is any topic', '!matchesPattern(pattern, topic)', 'false'],
      ['mongodb: who is full goes on behind the document', 'return { ...place, skip: index + 1 }', 'break'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/groups.js',
    ['hub/drivers/mongodb-topics'],
    [
      ['mongodb: a move that was not heard is another member’s', '$or: [at, { token }]', '$or: [at]'],
      ['mongodb: a group is not told what was taken away', 'sink.lost(lost)', '((_) => {})(lost)'],
      ['mongodb: a group waits for a log that is no more', 'seen: await log.known(at)', 'seen: at'],
      ['mongodb: each member has all', '{ _id, $or: [at, { token }] }', '{ _id }'],
      ['mongodb: a group stays where it was', '$set: { ...to, token }', '$set: { token }'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/topics.js',
    ['hub/drivers/mongodb-topics'],
    [
      ['mongodb: a document has any number of messages', 'const MOST = 1000', 'const MOST = 1e9'],
      ['mongodb: a document has any number of bytes', '> MOST_BYTES', '> Infinity'],
      ['mongodb: a large message goes with no document', ' && index > 0', ''],
      ['mongodb: a retained value is like any other', 'if (retain)', 'if (false)'],
      ['mongodb: a hub closes before it has published', 'mongo.closing(() => running);', ''],
      ['mongodb: who is full is told more', 'while (room && !over())', 'while (!over())'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mongodb/queues.js',
    ['hub/drivers/mongodb-queues'],
    [
      ['mongodb: who waits for a job is not told', '?? change.queue) !== queue', '?? change.queue) !== undefined'],
      ['mongodb: a small job that comes back is not heard of', "{ $in: ['ready', 'later'] }", '{ $in: [] }'],
      ['mongodb: a consumption that closes hands out', 'if (closed || out >= wanted)', 'if (out >= wanted)'],
      ['mongodb: who counts brings nothing back', 'await swept(queue);\n            return count(', 'return count('],
    ],
  ),
  ...faultsOf(
    'hub/drivers/beanstalk/line.js',
    ['hub/drivers/beanstalk-foreign', 'hub/drivers/beanstalk'],
    [
      ['beanstalk: what is refused is taken for done', 'if (REFUSED.test(word))', 'if (false)', 'short'],
      ['beanstalk: a line has any length', 'if (end < 0 && rest.length > LONGEST)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/beanstalk/queues.js',
    ['hub/drivers/beanstalk-foreign', 'hub/drivers/beanstalk'],
    [
      ['beanstalk: any acknowledgement counts', '.words[0] !== answer)', '.words[0] === answer && false)', 'short'],
      [
        'beanstalk: who gives back in the last try has it tried again',
        'if (settings.attempts === 0 || attempt < settings.attempts)',
        'if (true)',
      ],
      ['beanstalk: attempts have no end', 'if (settings.attempts > 0 && attempt > settings.attempts)', 'if (false)'],
      ['beanstalk: more are out than are wanted', 'if (out >= wanted)\n                waiting?.abort();', ''],
      ['beanstalk: extend is once', 'touching = setTimeout(', 'if (false) touching = setTimeout('],
      ['beanstalk: revived and still dead', 'await line.ask(`delete ${id}`);', ';'],
      ['beanstalk: a name is written as it is', '.map((byte) => /', '.map((byte) => true ? String.fromCharCode(byte) : /'],
      ['beanstalk: nobody says that a job is late', 'remind();\n        return {', 'return {'],
      [
        'beanstalk: nobody goes on after a restart',
        'timer = setTimeout(lead, LOOK).unref();\n        });\n    };\n    const forgetBack = beanstalk.back(lead);',
        ';\n        });\n    };\n    const forgetBack = () => { };',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mqtt/line.js',
    ['hub/drivers/mqtt-foreign', 'hub/drivers/mqtt'],
    [
      ['mqtt: who was away is not subscribed again', 'if (!sessionPresent)\n', 'if (false)\n', 'short'],
      ['mqtt: nobody is told that nobody answers', 'packet.reasonCode === NOBODY', 'false'],
      ['mqtt: more are on their way than the broker takes', 'if (mine.free === 0)', 'if (false)'],
      ['mqtt: what was on its way waits for ever', 'fail(cause);', ';'],
      ['mqtt: what is sent without a connection is kept', 'if (!client)\n            return reject(away());\n        asked', 'asked'],
      ['mqtt: subscriptions that overlap share a connection', 'overlaps: (filter) =>', 'overlaps: (filter) => false &&'],
      ['mqtt: close does not wait for what was published', 'await publishing.settled();', ';'],
      ['mqtt: the connection is lost without a word', 'told.down(cause);', ';'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mqtt/connection.js',
    ['hub/drivers/mqtt-foreign', 'hub/drivers/mqtt'],
    [
      ['mqtt: nothing waits for who was away', 'clean: !keeps,', 'clean: true,'],
      ['mqtt: a member that is gone has messages waiting', 'const keeps = kept &&', 'const keeps ='],
      ['mqtt: 3.1.1 is never spoken', '|| !wantsOther(reason)', '|| true'],
      ['mqtt: a header has any length', 'if (length > LONGEST_TEXT)', 'if (false)'],
      ['mqtt: a message has any length', 'if (size > largest)', 'if (false)'],
      ['mqtt: 3.1.1 has everything', 'return LESS;', 'return ALL;', 'short'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mqtt/topics.js',
    ['hub/drivers/mqtt-foreign', 'hub/drivers/mqtt'],
    [
      ['mqtt: a pattern takes the parent', 'if (!matchesPattern(pattern, topic))', 'if (false)', 'short'],
      ['mqtt: a group is everybody', 'group === undefined ? filter : shareOf(group, filter)', 'filter'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/mqtt/requests.js',
    ['hub/drivers/mqtt-foreign', 'hub/drivers/mqtt'],
    [
      ['mqtt: a reply goes wherever it is asked to', 'if (/[+#\\0]/.test(responseTopic))', 'if (false)'],
      ['mqtt: a closed hub still hears requests', 'const forget = mqtt.closing(end);', 'const forget = () => { };'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/broker-names.js',
    ['hub/drivers/zmq-foreign', 'hub/drivers/mqtt-foreign'],
    [['mqtt, zmq: a foreign name is taken for one of ours', 'part.replaceAll(foreign, escape)', 'part']],
  ),
  ...faultsOf(
    'hub/drivers/zmq/connection.js',
    ['hub/drivers/zmq', 'hub/drivers/zmq-foreign'],
    [
      [
        'zmq: a subscription is believed before it is in force',
        "if (await proves(() => state === 'linked', answered))",
        'answered();\n            if (true)',
      ],
      ['zmq: close does not wait for what was published', 'if (linked)\n', 'if (false)\n'],
      ['zmq: nobody takes over', 'settling = settle();', ''],
      [
        'zmq: who does not hold it never does',
        'if (!holder && place.notHeld === undefined)',
        "if (!holder && place.notHeld === undefined && state === 'opening')",
      ],
      ['zmq: a subscription that ended goes on', 'ears.delete(heard);', ';'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/zmq/holder.js',
    ['hub/drivers/zmq-foreign', 'hub/drivers/zmq'],
    [
      [
        'zmq: the sockets of a path are taken from who has them',
        'const held = place.claim === undefined ? undefined : tryClaim(place.claim);\n    if (place.claim !== undefined && !held)',
        'const held = undefined;\n    if (false)',
      ],
      ['zmq: sockets are left', 'rmSync(file, { force: true });', ';'],
      ['zmq: who leaves keeps the claim', 'held?.release();', ''],
      ['zmq: publishers begin before anybody hears them', 'await way.send(EVERYTHING);', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/zmq/frames.js',
    ['hub/drivers/zmq-foreign', 'hub/drivers/zmq'],
    [
      ['zmq: a body is not copied', 'Buffer.from(body)]', 'Buffer.from(body.buffer, body.byteOffset, body.byteLength)]'],
      ['zmq: any frames are a message', '|| rest.length > 2', ''],
      ['zmq: headers are believed', "name !== '__proto__' && typeof value === 'string'", 'true'],
      ['zmq: too much is sent', 'if (size > LARGEST)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/zmq/topics.js',
    ['hub/drivers/zmq'],
    [['zmq: what only begins like a topic is taken', '!matchesPattern(pattern, topic)', 'false']],
  ),
  ...faultsOf(
    'hub/drivers/zmq/place.js',
    ['hub/drivers/zmq-foreign'],
    [
      ['zmq: a folder that is open to others is held', '(stat.mode & 0o077) === 0', 'true'],
      ['zmq: an address that others can reach is held', 'local || insecure ? undefined', 'true ? undefined'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp/connection.js',
    ['hub/drivers/amqp', 'hub/drivers/amqp-foreign'],
    [
      ['amqp: who joins a group while its last member leaves fails', 'if (!contested ||', 'if (contested ||'],
      ['amqp: what goes nowhere is said to be there', 'id === undefined || !returned.delete(id)', 'true'],
      ['amqp: nobody subscribes again', 'const forget = backs.add(remake);', 'const forget = () => { };'],
      ['amqp: what was declared is believed for ever', 'from.declared.clear();', ''],
      ['amqp: the end of a pattern is none or more', "'*.#'", "'#'"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp/topics.js',
    ['hub/drivers/amqp'],
    [
      ['amqp: who is slow is given everything', 'while (room && !closed', 'while (!closed', 'short'],
      ['amqp: nothing is acknowledged', 'setImmediate(settle);', ''],
      [
        'amqp: every member is a group',
        'const shared = group === undefined ? undefined : groupName(`${amqp.prefix}.group`, group, pattern);',
        'const shared = undefined;',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp/requests.js',
    ['hub/drivers/amqp'],
    [
      [
        'amqp: everybody of a group answers',
        'const shared = group === undefined ? undefined : groupName(`${amqp.prefix}.responders`, group, pattern);',
        'const shared = undefined;',
      ],
      ['amqp: a stream of replies has no end', 'more ? { [MORE]: true } : {}', '{ [MORE]: true }'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp/delays.js',
    ['hub/drivers/amqp'],
    [['amqp: a digit that is 0 leads nowhere', "await channel.bindExchange(next, name, digit('0'));", '']],
  ),
  ...faultsOf(
    'hub/drivers/stomp/frames.js',
    ['hub/drivers/stomp-frames'],
    [
      ['stomp: a header is written as it is', "command === 'CONNECT' ? ", 'true ? '],
      ['stomp: the last header of a name counts', 'if (!headers.has(name))', 'if (true)'],
      ['stomp: a head has no end', 'if (bytes.length - at > LONGEST_HEAD)', 'if (false)'],
      ['stomp: what is behind a body is skipped', 'if (bytes[end] !== 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/stomp/line.js',
    ['hub/drivers/activemq-foreign', 'hub/drivers/activemq'],
    [
      ['stomp: what is refused is taken for done', 'waiter.reject(errorOf(text))', 'waiter.resolve()'],
      ['stomp: any server is an ActiveMQ', "if (!server.startsWith('ActiveMQ/'))", 'if (false)', 'short'],
      ['stomp: headers of its own are sent as headers', 'if (TAKEN.test(name))', 'if (false)'],
      ['stomp: a job that comes again looks like the first time', "headers.get('redelivered') === 'true'", 'false'],
      ['stomp: the end of a browsed queue is a dead letter', "headers.get('browser') === 'end'", 'false'],
      ['stomp: what waits is not told that the connection is lost', 'failed(cause);', ''],
      ['stomp: what came before an answer is nobody’s', 'if (slot.has === frame)', 'if (true)'],
      ['stomp: more are out than are wanted', 'slots.size < wanted', 'slots.size < 100'],
      ['stomp: less is wanted, and as many come', 'slots.size - (closed ? 0 : wanted)', '0'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp1/line.js',
    ['hub/drivers/activemq-amqp1'],
    [
      [
        'amqp1: what is refused is taken for done',
        "made.on('rejected', done((waiter, { remote_state: said }) => waiter.reject(",
        "made.on('rejected', done((waiter, { remote_state: said }) => waiter.resolve(",
      ],
      ['amqp1: more is sent than there is room for', 'unsent.length > 0 && sender.sendable()', 'unsent.length > 0'],
      [
        'amqp1: what waits is not told that the connection is lost',
        'for (const { reject: failed } of sent.values())\n                failed(cause);',
        '',
      ],
      ['amqp1: receivers are not told that the connection is lost', 'link.lost(cause);', ''],
      ['amqp1: replies come from nowhere', 'what.asks ? replies : undefined', 'undefined'],
      ['amqp1: a wrong password is no answer', "condition === 'amqp:unauthorized-access'", 'false'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp1/receiver.js',
    ['hub/drivers/activemq-amqp1'],
    [
      ['amqp1: less is wanted, and as many come', 'if (lacks < 0)', 'if (false)'],
      ['amqp1: nothing comes after the first', 'credit === 0 || lacks >= most / 4', 'false'],
      ['amqp1: what was used up is waited for', 'if (!draining || credit > 0)', 'if (true)'],
      ['amqp1: a link is trusted with more than it gave back', "if (window === undefined && state === 'open')\n            renew();", ''],
      ['amqp1: a link that was left stays', 'if (old.here === 0)', 'if (false)'],
      ['amqp1: a link with jobs is given back', 'window === undefined && here > 0', 'false'],
      ['amqp1: done is said once', 'rcv_settle_mode: SECOND', 'rcv_settle_mode: 0'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp1/messages.js',
    ['hub/drivers/activemq-amqp1'],
    [
      ['amqp1: headers of its own are sent as headers', 'if (TAKEN.test(name))\n            throw', 'if (false)\n            throw'],
      ['amqp1: a job that comes again looks like the first time', 'message.delivery_count ?? 0', '0'],
      ['amqp1: values of AMQP are no body', 'return Buffer.from(JSON.stringify(', 'return Buffer.alloc(0); (('],
      ['amqp1: delays are not told', 'delay && {', 'false && {'],
      ['amqp1: of several places all are the name', "replace(/,.*/s, '')", "replace('', '')"],
    ],
  ),
  ...faultsOf(
    'hub/drivers/activemq/queues.js',
    ['hub/drivers/activemq-amqp1'],
    [['activemq: a job that comes to somebody who pauses stays there', 'if (wanted === 0)\n            letGo();\n    };', '};']],
  ),
  ...faultsOf(
    'hub/drivers/activemq/queues.js',
    ['hub/drivers/activemq-foreign', 'hub/drivers/activemq'],
    [
      [
        'activemq: a job that comes again is not counted',
        'return aside(giveBack(message, failures + 1))',
        'return aside(giveBack(message, failures))',
      ],
      [
        'activemq: attempts have no end',
        'const giveBack = (message, failures, delay = 0) => attempts > 0 && failures >= attempts',
        'const giveBack = (message, failures, delay = 0) => false',
      ],
      ['activemq: a lost job may be acknowledged', 'if (settled || !line || under.line !== line)', 'if (settled)'],
      ['activemq: revived and still dead', 'await message.accept();\n    };\n    let end', '};\n    let end'],
      ['activemq: one who revives takes the word of another', "selector: `${FENCE} IS NULL OR ${FENCE} = '${fence}'`,", ''],
      ['activemq: a broker without a scheduler is trusted', "await able('delay');\n            if (jobs", 'if (jobs'],
      ['activemq: priorities are not tried', "await able('priority')", ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/activemq/topics.js',
    ['hub/drivers/activemq-foreign', 'hub/drivers/activemq'],
    [
      ['activemq: a pattern takes the topic before it', 'if (group !== undefined || matchesPattern(pattern, topic))', ''],
      ['activemq: who is slow is given everything', 'while (room && ', 'while ('],
      ['activemq: a group of a pattern is asked for', 'if (options.group !== undefined && isPattern(pattern))', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/activemq/link.js',
    ['hub/drivers/activemq-foreign', 'hub/drivers/activemq'],
    [
      ['activemq: nobody subscribes again', 'await backs.all();', ''],
      ['activemq: of two connections one is made again', 'shut(which);\n        void downs', 'void downs'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/activemq/requests.js',
    ['hub/drivers/activemq-foreign', 'hub/drivers/activemq'],
    [
      ['activemq: every reply is the last', 'more: MORE in message.headers', 'more: false'],
      ['activemq: requests go to groups alone', "...(responders === 'group' ? [] : [mq.names.askedAll(topic)])", ''],
      ['activemq: who asked and is gone fails the service', '.catch(unlessGone)', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/activemq/names.js',
    ['hub/drivers/activemq-foreign', 'hub/drivers/activemq'],
    [['activemq: a comma is two names', 'if (!TAKEN.test(name))', 'if (true)', 'short']],
  ),
  ...faultsOf(
    'hub/drivers/amqp/queues.js',
    ['hub/drivers/amqp-foreign', 'hub/drivers/amqp'],
    [
      ['amqp: a job that comes again is not counted', 'if (counted === undefined && message.fields.redelivered)', 'if (false)', 'short'],
      [
        'amqp: attempts have no end',
        'const giveBack = (channel, message, failures, delay = 0) => attempts > 0 && failures >= attempts',
        'const giveBack = (channel, message, failures, delay = 0) => false',
      ],
      ['amqp: priorities are not said', 'options.priority = job.priority;', ''],
      ['amqp: a lost job may be acknowledged', 'if (this.settled || !this.hands.isOurs(this.channel))', 'if (false)'],
      ['amqp: two read the dead letters at once', 'exclusive: true, durable: false', 'exclusive: false, durable: false'],
      ['amqp: revived and still dead', 'channel.ack(message);\n        revived++;', 'revived++;'],
      ['amqp: a queue that is otherwise is refused', 'if (codeOf(reason) !== IS_OTHERWISE)', 'if (true)'],
      ['amqp: what is out is acknowledged with what is done', 'if (tag > first)', 'if (false)'],
      [
        'amqp: of what is done in a turn only the last is acknowledged',
        'acknowledge(channel, upTo, true)',
        'acknowledge(channel, upTo)',
        'short',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp/cork.js',
    ['hub/drivers/amqp-foreign'],
    [['amqp: what was held back does not leave', 'stream.uncork();', '']],
  ),
  ...faultsOf(
    'hub/drivers/redis/connection.js',
    ['hub/drivers/redis'],
    [
      ['redis: what was on its way is said to be not sent', 'const sent = asked && ', 'const sent = false && '],
      ['redis: what is heard first is taken for the next', 'if (known !== (known = interruptions))\n                    back?.();', ''],
      ['redis: a script is asked for by its name at first', 'if (!known.has(sha))', 'if (false)'],
      ['redis: scripts are known to a Redis that came back', "main.on('ready', () => known.clear());", ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/connection.js',
    ['hub/drivers/redis-foreign'],
    [['redis: what cannot be written for five seconds fails', 'commandOptions: { timeout: 0 },', '']],
  ),
  ...faultsOf(
    'protocols/soap.js',
    ['protocols/soap-foreign'],
    [['soap: a foreign service is not told of deadline and metadata', '            ...metaHeaders(meta),\n', '']],
  ),
  ...faultsOf(
    'hub/drivers/redis/queues.js',
    ['hub/drivers/redis'],
    [
      [
        'redis: a job whose answer was lost is out for ever',
        'left(receipts.length);',
        'void answer.then(() => left(receipts.length), () => { });',
      ],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/topics.js',
    ['hub/drivers/redis-foreign', 'hub/drivers/redis'],
    [
      ['redis: who is slow is given everything', 'if (!room)\n            live = false;', '', 'short'],
      ['redis: a part of a topic is any number of parts', 'wanted: matchesPattern(pattern, topic)', 'wanted: true'],
      ['redis: a foreign message is taken for one of ours', 'if (++of.next === of.ids.length)\n            run = undefined;', 'of.next++;'],
      ['redis: what was missed is not read', 'live = false;\n        catchUp();', ''],
      ['redis: what was cut off is not counted', 'if (missed > 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/requests.js',
    ['hub/drivers/redis'],
    [
      ['redis: everybody of a group answers', 'if (group !== undefined &&', 'if (false &&'],
      ['redis: nobody is told that nobody answers', 'message))) !== 0', 'message))) !== -1'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/queue-scripts.js',
    ['hub/drivers/redis'],
    [
      ['redis: any acknowledgement counts', "if redis.call('HGET', k .. 'out', id) ~= receipt then return 0 end", '', 'short'],
      ['redis: a key is forgotten at once', 'if dedupe > 0 then', 'if false then'],
      ['redis: attempts have no end', "if attempt >= setting('attempts') then", 'if false then'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/state.js',
    ['hub/drivers/redis'],
    [
      ['redis: a revision is not compared', "if wanted ~= '' and", 'if false and'],
      ['redis: nobody is told what expired', "redis.call('ZADD', s .. 'expiring', ends, key)", ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/redis/leases.js',
    ['hub/drivers/redis'],
    [
      ['redis: the fence stands still', "redis.call('INCR', l .. 'fence')", '1'],
      ['redis: what is over is renewed and given back', 'return over and tonumber(over) > now()', 'return over'],
      ['redis: anybody renews and gives back', 'return over and tonumber(over) > now()', 'return true'],
      ['redis: who waits for a lease is passed by', "forget), living('alive', leave)", 'forget), 0'],
      [
        'redis: a lease that is free costs listening',
        'let ear;',
        "let ear = await redis.listen('channels', [`${key}wake`], awake.call, awake.call);",
      ],
    ],
  ),
  ...faultsOf(
    'protocols/pymp.js',
    ['protocols/pymp'],
    [['pymp: half a message may wait for ever', 'read: () => this.caller && this.pace.look(),', 'read: () => { },']],
  ),
  ...faultsOf(
    'protocols/mcp-http-client.js',
    ['protocols/mcp-https'],
    [['mcp: a session that is over is kept', 'if (over)\n            this.connection.abort(lost);', '']],
  ),
  ...faultsOf(
    'protocols/mcp-http.js',
    ['protocols/mcp-https'],
    [
      [
        'mcp: the session that spoke last makes room',
        'this.peers.delete(id);\n        this.peers.set(id, peer);\n        return peer;',
        'return peer;',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/soap-foreign.js',
    ['protocols/soap-foreign'],
    [
      [
        'soap: an extended type is only what it adds',
        'for (const [name, field] of base.fields)\n            structure.fields.set(name, field);',
        '',
      ],
      ['soap: a foreign list is one value', "list: most === 'unbounded' || Number(most) > 1", 'list: false'],
      ['soap: RPC parts stand in a namespace', "name: each,\n                uri: '',", "name: each,\n                uri: 'urn:other',"],
    ],
  ),
  ...faultsOf(
    'bridge.js',
    ['bridge'],
    [
      ['bridge: what the service told is kept secret', 'return reveal(reason);\n    return behind', 'return reason;\n    return behind'],
      ['bridge: the deadline and the signal stay here', '{ from: ctx, metadata:', '{ metadata:', 'short'],
      ['bridge: the metadata stay here', 'metadata: { ...ctx.metadata }', 'metadata: {}'],
      ['bridge: progress stays here', 'onProgress: ctx.progress', 'onProgress: () => { }'],
      ['bridge: nobody listens to the events', "if (member.kind === 'event')", 'if (false)'],
      ['bridge: what is gone is gone for ever', 'reconnect: true', 'reconnect: false'],
      ['bridge: dates are only text', 'input: isStream(input) ? stream(revived(input.item)) : revived(input)', 'input'],
    ],
  ),
  ...faultsOf(
    'session/stream.js',
    ['session/descriptor-streams'],
    [
      [
        'descriptors: what a stream still holds when it is left stays open',
        'this.options.drop?.(this.items[this.head++].value);',
        'this.head++;',
      ],
    ],
  ),
  ...faultsOf(
    'session/descriptors.js',
    ['session/descriptor-streams'],
    [
      ['descriptors: an element counts its bytes only', 'count === 0 ? 0 : count * Math.ceil(window / MOST)', '0', 'short'],
      ['descriptors: what came with an event stays open', 'if (promises.length === 0)', 'if (false)'],
      ['descriptors: what came with an event is closed before its listener is done', 'if (promises.length === 0)', 'if (true)'],
      ['descriptors: an event is given to the first only', '&& !this.keeps', ''],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/descriptor.py',
    ['session/descriptor-streams'],
    [['descriptors: an element counts its bytes only', 'return count * -(-window // _MOST)', 'return 0']],
  ),
  ...faultsOf(
    'bridge.js',
    ['bridge-strangers'],
    [['bridge: what takes a descriptor is served', 'if (await hasDescriptors(member))', 'if (false)']],
  ),
  ...faultsOf(
    'protocols/grpc-site.js',
    ['protocols/grpc'],
    [
      [
        'gRPC: headers may have no end',
        'setTimeout(() => session.destroy(), 2 * door.options.limits.handshake)',
        'setTimeout(() => { }, 0)',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/grpc-http2-client.js',
    ['protocols/grpc-http2'],
    [
      ['http2: who says what is no HTTP/2 is waited for', 'waitingIn(socket) === 0', 'false', 'short'],
      ['http2: who does not read says nonsense', 'waitingIn(socket) === 0', 'true'],
      ['http2: what is asked is asked about again', 'this.seen += ANSWER;', ';', 'short'],
      ['http2: who answers nothing is asked on and on', 'const MOST_UNANSWERED = 5', 'const MOST_UNANSWERED = 9'],
      ['http2: an answer is forgotten', 'this.unanswered--;', ';'],
    ],
  ),
  ...faultsOf(
    'protocols/http-meta.js',
    ['protocols/xmlrpc'],
    [
      ['http: escapes of baggage are taken out', 'key === name ? value : decoded(value)', 'decoded(value)'],
      ['http: escapes of baggage are escaped', 'text.replace(UNSAID, encodeURIComponent)', 'encodeURI(text)'],
    ],
  ),
  ...faultsOf(
    'protocols/http-agent.js',
    ['protocols/xmlrpc'],
    [
      [
        'http: a call whose answer cannot be read has no end',
        "answer.error(TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran'));",
        ';',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/http-agent.js',
    ['protocols/http', 'protocols/http-foreign'],
    [
      ['http: each call has a connection of its own', 'maxSockets: CALLS, ', ''],
      [
        'http: streams take the connections of calls',
        'agentOf({ maxFreeSockets: KEPT })',
        'agentOf({ maxSockets: CALLS, maxFreeSockets: KEPT })',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/http-operation.js',
    ['protocols/http-foreign'],
    [
      ['OpenAPI: a part of the path may lead elsewhere', "if (text === '' || /^(\\.|%2e)+$/i.test(text))", 'if (false)'],
      ['OpenAPI: the path of the server is dropped', "(below.replace(/\\/$/, '') || operation.base)", "below.replace(/\\/$/, '')"],
      ['OpenAPI: what is declared is told as anything', 'if (name === undefined)', 'if (true)'],
      ['OpenAPI: cookies stay at home', "headers['cookie'] = cookies.join('; ');", ''],
    ],
  ),
  ...faultsOf(
    'contract/from-openapi.js',
    ['protocols/http-foreign'],
    [
      ['OpenAPI: two parameters of one name are one', 'key: others.length > 0 ? ', 'key: false ? '],
      ['OpenAPI: a list is one text', ": style === 'form',", ': false,'],
      ['OpenAPI: one error stands for all', 'errors.get(String(status)) ?? ', ''],
    ],
  ),
  ...faultsOf(
    'browser/session.js',
    ['browser/browser'],
    [
      ['browser: a call has no deadline', 'after(left,', 'after(undefined,'],
      ['browser: the service is not told of cancelling', "this.hint(id, 'cancelRequest', 'reason', null);", ''],
      ['browser: results are not looked at', 'call.schema ? validate(', 'false ? validate('],
      ['browser: a stream is granted nothing more', "this.hint(call.sequence, 'credit', 'bytes', bytes);", ';'],
      ['browser: who was cut off politely is closed', "if (!cause && !this.peerClosing && this.state === 'open')", 'if (false)'],
    ],
  ),
  ...faultsOf(
    'browser/serving.js',
    ['browser/browser'],
    [["browser: a page's stream runs on without its reader", "else if (what === 'cancelRequest')", "else if (what === 'cancelled')"]],
  ),
  ...faultsOf(
    'browser/socket.js',
    ['browser/browser'],
    [
      ['browser: who was killed has closed', 'const orderly = code === 1000 || code === 1001 || code === 1005;', 'const orderly = true;'],
      ['browser: the token stays in the page', '[PROTOCOL, TOKEN_PREFIX + token]', '[PROTOCOL]'],
      ['browser: arrays stand where they cannot be read', '(offset + 7) & ~7', 'offset'],
    ],
  ),
  ...faultsOf(
    'contract/revive.js',
    ['bridge'],
    [
      ['JSON: the keys of a map stay texts', "wanted.includes('integer') || wanted.includes('number')", 'false'],
      ['JSON: a map stays an object', "mark === 'map' && isRecord(value)", 'false'],
      ['JSON: what is in a set stays as it came', "list(value, { items: schema['x-values'] }, root, depth)", 'value'],
    ],
  ),
  ...faultsOf(
    'contract/openapi.js',
    ['bridge-strangers'],
    [
      [
        'OpenAPI: an input that is a reference has no fields',
        'const shape = referred(placed, (ref) => place.resolve(ref))',
        'const shape = placed',
      ],
    ],
  ),
  ...faultsOf(
    'contract/from-json-schema.js',
    ['contract/from-json-schema'],
    [
      ['JSON Schema: who errs is told the mark', 'if (kind === undefined)', 'if (true)'],
      ['JSON Schema: the mark is in the path', 'tokens.filter((token) => token !== MARK)', 'tokens'],
      ['JSON Schema: a reference out of the schema is followed', 'leadsSomewhere($ref, root) && { $ref }', '{ $ref }'],
      ['JSON Schema: a pattern that cannot be read throws', 'isReadable(pattern) && { pattern }', '{ pattern }'],
      ['JSON Schema: a date may be any object', 'required: [MARK], properties', 'properties'],
      ['JSON Schema: the elements of a map are not looked at', "properties['values'] = { items: inner('x-values') }", ''],
      ['JSON Schema: a list of items is none', 'prefixItems: items, ', ''],
      ['JSON Schema: null is never taken', "anyOf: [schema, { type: 'null' }]", 'anyOf: [schema]'],
      ['JSON Schema: an exclusive bound is none', 'copy[exclusive] = value;', 'copy[bound] = value;'],
      ['JSON Schema: what is undefined stays', 'value: withoutUndefined(value)', 'value: value'],
    ],
  ),
  ...faultsOf(
    'session/service.js',
    ['contract/foreign'],
    [
      ['parameters: by the order of the members', 'for (const name of parameters) {', 'for (const name of Object.keys(input)) {'],
      ['parameters: a member that is none is dropped', 'if (!isParameter(key, parameters) && input[key] !== undefined)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'transports/one-port.js',
    ['protocols/one-port'],
    [
      [
        'one port: who says nothing stays for ever',
        'setTimeout(() => socket.destroy(), this.patience)',
        'setTimeout(() => { }, this.patience)',
        'short',
      ],
      ['one port: any number may be undecided', 'if (this.undecided.size < MOST_UNDECIDED)', 'if (true)'],
      ['one port: what was read is lost', 'socket.unshift(seen);', ''],
      ['one port: only the last piece is looked at', 'Buffer.concat([seen, chunk])', 'chunk'],
      [
        'one port: closing forgets who is undecided',
        'for (const [socket, forget] of this.undecided) {\n            forget();\n            socket.destroy();',
        'for (const [, forget] of this.undecided) {\n            forget();',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/http-guest.js',
    ['protocols/one-port'],
    [
      ['one port: half a method is none', '(MAY_BE_A_METHOD.test(first) ? undefined : false)', 'false'],
      ['one port: HTTP takes the preface of HTTP/2', "if (first.startsWith('PRI') && PREFACE.startsWith(first))", 'if (false)'],
      ['one port: every path is HTTP', 'sites.find(({ claims }) => claims?.(path)) ?? last', 'last'],
      ['one port: nobody looks for late headers', "server.emit('listening');", ''],
    ],
  ),
  ...faultsOf(
    'protocols/thrift-wire.js',
    ['protocols/one-port'],
    [
      ['one port: Thrift in frames is ours', 'return first[4] < 0x80 ? false : first.length < 6', 'return true ? false : first.length < 6'],
      ['one port: half a number of Thrift is none', 'return first.length < 2 ? undefined : formatAt', 'return formatAt'],
      ['one port: a length beyond the limit may be a frame', 'length > limit || (first.length >= 4', '(first.length >= 4'],
    ],
  ),
  ...faultsOf(
    'protocols/socket-site.js',
    ['threats/dialects'],
    [
      ['sockets: a key is named where none is proved', 'guarded === undefined', 'false'],
      ['sockets: who says nothing stays for ever', 'this.timer ??= this.wait(this.handshake)', ''],
      ['sockets: half a message may wait for ever', 'this.partial() === undefined)', 'true)'],
      ['sockets: who never stops is taken for one who does not go on', 'whole() {\n        this.begun = undefined;', 'whole() {'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-object.js',
    ['protocols/dbus-bus'],
    [
      ['dbus: a value of another type is set', 'signature !== property.signature)', 'false)'],
      ['dbus: every event is a change of a property', "event.endsWith('Changed')", 'true'],
      ['dbus: nobody is told that changes are told', 'silent: !told.has(operation)', 'silent: true'],
    ],
  ),
  ...faultsOf(
    'protocols/varlink-begin.js',
    ['protocols/one-port'],
    [
      ['one port: JSON-RPC that begins with its method is varlink', 'return MEMBERS.has(member)', 'return true'],
      ['one port: a call of varlink without parameters is ours', "return behind === '\\0'", 'return false'],
      ['one port: half a call of varlink is none', 'BEGINNING.test(text) ? undefined : false', 'false'],
    ],
  ),
  ...faultsOf(
    'protocols/grpc-site.js',
    ['protocols/one-port'],
    [["one port: Connect over HTTP/1.1 is everybody's path", 'claims: (path) => site.claims(path)', 'claims: () => false']],
  ),
  ...faultsOf(
    'serve-shared.js',
    ['protocols/one-port'],
    [
      ['one port: what is not spoken inside of TLS is answered there', "own ?? (kind === 'unix' ? tcp : undefined)", 'own ?? tcp'],
      ['one port: who cannot prove the key answers', 'checkKey(dialect, options);', ''],
      ['one port: a local caller has to show a token', 'local ? { ...shared, token: false } : shared', 'shared'],
    ],
  ),
  ...faultsOf(
    'protocols/mcp-server.js',
    ['protocols/mcp'],
    [
      ['mcp: nobody is told which tool was meant', 'near === undefined ?', 'true ?'],
      ['mcp: a cancelled call goes on', "if (method === 'notifications/cancelled')", 'if (false)'],
      ['mcp: an endless stream is collected for ever', 'this.items.length === MOST_ITEMS || this.size > MOST_BYTES', 'false'],
      ['mcp: credit is granted without being asked', 'call?.grant(bytes);', ';', 'short'],
      ['mcp: a repeated step of progress is told', 'if (!(progress > this.reached))', 'if (progress > this.reached)'],
      [
        'mcp: the metadata is dropped',
        "typeof value === 'string')\n            metadata[key] = value;",
        'false)\n            metadata[key] = value;',
      ],
      ['mcp: progress is kept for who does not read', ' || this.out.full)', ')'],
      ['mcp: an event is sent without its payload', '[OURS.payload]: payload', '[OURS.payload]: null'],
    ],
  ),
  ...faultsOf(
    'protocols/mcp-http.js',
    ['protocols/mcp'],
    [
      ['mcp: a session that is over is taken for none', 'if (id !== undefined && !peer)', 'if (false)'],
      ['mcp: any content type will do', '!== JSON_TYPE)', "=== 'x')"],
    ],
  ),
  ...faultsOf(
    'transports/memory.js',
    ['transports/memory'],
    [
      ['messages overtake each other', 'far.inbox.push(bytes);', 'far.inbox.unshift(bytes);', 'short'],
      ['backpressure is lost', 'return !far.full;', 'return true;'],
      ['close() drops what was sent', "this.state = 'closing';", "this.state = 'closing'; this.peer$.inbox = [];"],
      ['pause() does nothing', 'this.paused = true;', ';'],
      [
        "the other end's abort is swallowed",
        "return this.finish(new TalkwireError('CONNECTION_LOST', 'the other end aborted'));",
        'return;',
      ],
      ['a closed listener keeps its address', 'close: async () => void listeners.delete(name)', 'close: async () => { }'],
      ['a half-closed peer cannot be answered', 'if (this.sink?.ended)', 'if (false)'],
      ['messages after a broken one are delivered', 'if (this.deaf)', 'if (false)'],
      ['what is unread is not counted', 'return this.peer$.size;', 'return 0;'],
    ],
  ),
  ...faultsOf(
    'transports/message-connection.js',
    ['transports/memory'],
    [
      ['attachments are left out', 'bytes.set(part, offset);', ';'],
      ['no limit on sending', 'if (length > this.maxSend) {', 'if (false) {'],
      ['limitSend() raises the limit', 'this.maxSend = Math.min(this.maxSend, bytes);', 'this.maxSend = bytes;', 'short'],
      ['sending on a closed connection is silent', 'if (ended)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/xml.js',
    ['protocols/xml'],
    [
      [
        'XML: parts of a document are documents',
        'xmlns: namespaces, position: false',
        'xmlns: namespaces, position: false, fragment: true',
        'short',
      ],
      ['XML: bytes that are no text are mended', 'fatal: true', 'fatal: false'],
    ],
  ),
  ...faultsOf(
    'protocols/soap.js',
    ['protocols/xml'],
    [
      [
        'SOAP: what a WSDL imports is fetched from anywhere',
        "await ask(place, { method: 'GET', path }, limits, signal);\n        if (status !== 200)\n            throw status === 404",
        "(await Promise.all(documents.flatMap(importsOf).map((each) => fetch(each).catch(() => {}))), await ask(place, { method: 'GET', path }, limits, signal));\n        if (status !== 200)\n            throw status === 404",
      ],
    ],
  ),
  ...faultsOf(
    'protocols/xml.js',
    ['protocols/xmlrpc'],
    [
      ['XML: a DOCTYPE is taken', "parser.on('doctype', () => {", "parser.on('comment', () => {"],
      [
        'XML: elements inside each other have no limit',
        'if (this.path.length >= (this.limits.elements ?? this.limits.depth))',
        'if (false)',
      ],
      ['XML: elements are not counted', 'if (++this.counted > this.limits.values)', 'if (false)'],
      ['XML: what stands in text is not escaped', 'SPECIAL.test(text) ? text.replace(EACH, escaped) : text', 'text'],
      ['XML: the encoding that a document declares is not read', '?? declared(body) ??', '??'],
    ],
  ),
  ...faultsOf(
    'protocols/grpc-site.js',
    ['protocols/grpc'],
    [
      ['gRPC: headers behind a call may have no end', 'this.session.ping(() => (this.unanswered = false));', 'this.unanswered = false;'],
      ['gRPC: who answers pings is cut off', '(this.unanswered = false)', '{ }'],
      ['gRPC: settings, pings and resets are not counted', 'if (this.chatter >= 0 || this.session.destroyed)', 'if (true)'],
      ['gRPC: whoever asks is let in', 'return guard.knows(shown) ?', 'return true ?', 'short'],
      ['gRPC: any host is ours', 'if (judged.refusal)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/grpc-call.js',
    ['protocols/grpc'],
    [
      ['gRPC: a message may take for ever', 'if (performance.now() - (begun ?? since) <', 'if (true ||'],
      ['gRPC: a caller that goes leaves its call running', 'if (!this.done)', 'if (false)'],
      ['gRPC: the second message of a unary call is taken', 'if (this.whole)', 'if (false)'],
      ['gRPC: half a message is the end of the stream', 'if (this.frames.held > 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/grpc-frames.js',
    ['protocols/grpc'],
    [['gRPC: inflated messages have no limit', '{ maxOutputLength: limit }', '{}']],
  ),
  ...faultsOf(
    'protocols/grpc-status.js',
    ['protocols/grpc'],
    [['gRPC: declared errors arrive without their details', 'const message = error.declared ?', 'const message = false ?', 'short']],
  ),
  ...faultsOf(
    'protocols/protobuf-codec.js',
    ['protocols/grpc'],
    [
      ['protobuf: nothing is too deep', 'if (budget.depth < 0)', 'if (false)'],
      ['protobuf: fields are not counted', 'throw tooMany(budget.limits.values);\n        const tag', ';\n        const tag'],
      ['protobuf: integers beyond 2^53 are rounded', 'if (!big && !Number.isSafeInteger(value))', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/http-operation.js',
    ['protocols/http-foreign'],
    [
      ['OpenAPI: an API key goes as a bearer token', "scheme === '' ? token :", "scheme === '' ? 'Bearer ' + token :"],
      ['OpenAPI: files have no name', 'isFile ? `; filename=', 'false ? `; filename='],
      ['OpenAPI: a form may be cut by what stands in it', 'name.replaceAll(/["\\r\\n]/g, encodeURIComponent)', 'name'],
    ],
  ),
  ...faultsOf(
    'contract/from-openapi.js',
    ['protocols/http-foreign'],
    [
      [
        'OpenAPI: two secrets: whoever wants no token gets one',
        'usable.length === 0 ? [[]] :',
        "usable.length === 0 ? [[authorization('', 'Bearer')]] :",
      ],
    ],
  ),
  ...faultsOf(
    'cli/typescript.js',
    ['cli/import'],
    [
      ['import: a comment of a description may end', ".replaceAll('*/', '*\\\\/')", ''],
      ['import: every member is there', "required.includes(name) ? '' : '?'", "''"],
      ['import: what refers to itself is unknown', 'return this.named(short(plain), defs[plain], root);', "return 'unknown';"],
      ['import: 64 bits are numbers', "return 'bigint';", "return 'number';"],
    ],
  ),
  ...faultsOf(
    'protocols/soap-foreign.js',
    ['protocols/soap-foreign'],
    [
      ['WSDL: faults are of any namespace and name', 'errors.set(name, this.documentMessage(message, true));', ';'],
      ['WSDL: an attribute takes the place of an element', 'while (structure.fields.has(name))', 'while (false)'],
      ['WSDL: attributes are left out', "else if (part.name === 'attribute')", 'else if (false)'],
      ['WSDL: nobody waits for a one-way operation', 'oneway: !output }', 'oneway: false }'],
    ],
  ),
  ...faultsOf(
    'cli/forms.js',
    ['cli/describe-as'],
    [
      ['describe: streams are left out of a WSDL', 'checkDialectCalls(dialect, contract);', ''],
      ['describe: every --as is OpenRPC', 'Object.hasOwn(forms, name) ? forms[name] : undefined', 'forms.openrpc'],
    ],
  ),
  ...faultsOf(
    'protocols/connectrpc-words.js',
    ['protocols/connectrpc-strangers'],
    [
      ['Connect: a stream never ends well', 'if (!(flags & END_STREAM))', 'if (true)'],
      ['Connect: the deadline stays here', "'connect-timeout-ms': String(", "'x-timeout': String("],
      ['gRPC-Web: any content type will do', 'test(typeOf(headers)) ? undefined', 'test(typeOf(headers)) || true ? undefined'],
      ['gRPC-Web: trailers always say that all is well', 'if (Number(code) === 0)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'protocols/connectrpc-client.js',
    ['protocols/connectrpc-strangers', 'protocols/connectrpc'],
    [
      ['Connect: an answer has no limit', 'if (this.size > this.options.limits.message)', 'if (false)'],
      ['Connect: a stream that stops is whole', "if (this.state === 'reading' && !words.bare(reading.method))", 'if (false)'],
      ['Connect: a slow reader slows nobody', 'if (this.reading.waiting >= WINDOW)', 'if (false)'],
      ['Connect: HTTP/1.1 is asked for streams both ways', 'if (!duplex)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/connectrpc-line.js',
    ['protocols/connectrpc'],
    [
      ['Connect: half an answer over HTTP/2 is whole', 'if (whole && stream.rstCode === NGHTTP2_NO_ERROR)', 'if (true)'],
      ['Connect: over HTTP/2 nobody hears of a cancelled call', 'stream.close(NGHTTP2_CANCEL);', ';'],
    ],
  ),
  ...faultsOf(
    'protocols/xmlrpc-message.js',
    ['protocols/xmlrpc'],
    [
      ['XML-RPC: integers beyond 32 bits are int', 'value === (value | 0) ?', 'true ?', 'short'],
      ['XML-RPC: a dangerous key is taken', 'if (forbidden(key, value))', 'if (false)'],
      ['XML-RPC: dates are of no time zone', "zone = 'Z'", "zone = '+01:00'"],
      ['XML-RPC: doubles have exponents', 'if (!match)', 'if (true)'],
      ['XML-RPC: every fault has a third member', 'extended ? {', 'true ? {'],
    ],
  ),
  ...faultsOf(
    'protocols/soap-schema.js',
    ['protocols/soap'],
    [
      ['SOAP: an element that nobody knows is dropped', 'if (!field)', 'if (!field) continue; if (false)'],
      ['SOAP: an empty list is absent', 'if (field.list && !field.optional && !Object.hasOwn(value, field.name))', 'if (false)'],
      ['SOAP: null is not written', 'if (value === null && nullable)', 'if (false)'],
      ['SOAP: an element that comes twice counts once', 'if (!field.list) {', 'if (!field.list) { delete value[field.name];'],
    ],
  ),
  ...faultsOf(
    'protocols/soap-message.js',
    ['protocols/soap'],
    [
      ['SOAP: faults have no detail', 'const message = error.declared ?', 'const message = false ?'],
      ['SOAP: headers that must be understood are ignored', '/^(1|true)$/.test(value.trim())', 'false', 'short'],
    ],
  ),
  ...faultsOf(
    'protocols/soap.js',
    ['protocols/soap'],
    [
      ['SOAP: 1.2 is answered in 1.1', 'this.version = envelope.version;', ';'],
      ['SOAP: another contract is called all the same', 'if (told !== namespaceOf(contract))', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/varlink.js',
    ['protocols/varlink'],
    [
      ['varlink: an upgrade is taken for a call', 'if (request.upgrade === true)', 'if (false)'],
      ['varlink: a stream needs no more', 'request.more !== true', 'false'],
      ['varlink: a one-way call is answered', 'oneway === true ||', ''],
      ['varlink: a parameter that nobody knows is dropped', 'if (!field)', 'if (!field) continue; if (false)'],
      ['varlink: a subscription is not told', 'const begun = () => void this.reply(', 'const begun = () => void ('],
      ['varlink: the last answer of others is no element', 'if (Object.keys(value).length > 0)', 'if (false)'],
      ['varlink: another contract is called all the same', 'if (missing !== undefined)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/varlink-idl.js',
    ['protocols/varlink'],
    [
      ['varlink: a description may nest types at will', 'if (depth > DEPTH)', 'if (false)'],
      ['varlink: what may be left out is wanted', "(optional || shape.nullable) && text !== 'object' ?", 'false ?'],
    ],
  ),
  ...faultsOf(
    'protocols/nodeipc.js',
    ['protocols/nodeipc'],
    [
      ['node-ipc: nobody hears a broadcast', 'this.caller.subscribe(event).catch(() => { });', ';'],
      ['node-ipc: an answer has another type', 'this.end(turn, { type: name, data:', "this.end(turn, { type: name + ':ok', data:"],
      ['node-ipc: an unknown type is not answered', 'this.send(`${type.slice(0, 128)}${ERROR}`', 'void (`${type.slice(0, 128)}${ERROR}`'],
      [
        'node-ipc: what is no message ends the connection',
        "return void this.send('error', errorData(TalkwireError.from(reason)));",
        'return void this.socket.destroy();',
      ],
    ],
  ),
  ...faultsOf(
    'protocols/json-frames.js',
    ['protocols/nodeipc'],
    [
      ['a text without an end has no limit', 'if (this.size > this.limit)', 'if (false)'],
      ['texts in pieces are not joined', 'Buffer.concat(this.parts, this.size)', 'this.parts.at(-1)'],
    ],
  ),
  ...faultsOf(
    'protocols/graphql-reader.js',
    ['protocols/graphql'],
    [
      ['GraphQL: a document may call anything any number of times', 'if (calls > this.limits.batch)', 'if (false)'],
      ['GraphQL: fields of fragments are not counted', 'if (--this.left < 0)', 'if (false)'],
      ['GraphQL: one field may stand under any number of names', 'if (names.size > REPEATED)', 'if (false)'],
      ['GraphQL: documents may be nested at will', 'if (depth > this.limits.depth)', 'if (false)'],
      ['GraphQL: what is invalid is kept as valid', 'if (errors.length > 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/graphql.js',
    ['protocols/graphql'],
    [
      [
        'GraphQL: a wrong content type has no reason',
        'return sendBare(response, status, headers);',
        "return send(response, status, '', headers);",
      ],
      ['GraphQL: nobody is told where subscriptions are', 'error.message === NOT_HERE', 'false'],
      ['GraphQL: an image of any page may ask', "(site === 'cross-site' || site === 'same-site')", 'false'],
      ['GraphQL: the reason of an undeclared error is told', 'if (place.path !== undefined && cause !== undefined)', 'if (false)'],
      ['GraphQL: the connection closes before its answer', 'const paid = exchange.owe();', 'const paid = () => {};'],
    ],
  ),
  ...faultsOf(
    'protocols/graphql-socket.js',
    ['protocols/graphql'],
    [
      ['GraphQL: a WebSocket needs no token', 'if (!upgrade.knows() && (shown === undefined || !upgrade.knows(shown)))', 'if (false)'],
      ['GraphQL: a WebSocket takes any JSON', 'fromJson(bytes, this.served.options.limits)', 'JSON.parse(bytes.toString())'],
    ],
  ),
  ...faultsOf(
    'protocols/operations.js',
    ['protocols/graphql'],
    [
      [
        'GraphQL: what was left out arrives as null',
        'return optional && !shape.nullable ? undefined : (value ?? null);',
        'return value ?? null;',
      ],
      ['GraphQL: null for what may be left out is refused', 'return optional && !shape.nullable ? undefined : value;', 'return value;'],
    ],
  ),
  ...faultsOf(
    'protocols/graphql-subscribe.js',
    ['protocols/graphql'],
    [
      [
        'GraphQL: a stream that was cut has ended',
        "response.on('close', () => flow.end(ended()));",
        "response.on('close', () => flow.end());",
      ],
    ],
  ),
  ...faultsOf(
    'protocols/xmlrpc.js',
    ['protocols/xmlrpc'],
    [
      ['XML-RPC: pages may send any type', 'if (!/^\\s*(text|application)\\/xml\\s*(;|$)/i.test(type))', 'if (false)'],
      ['XML-RPC: another contract is called all the same', 'if (contract.foreign || served.contract === contract.id)', 'if (true)'],
      ['XML-RPC: a multicall has no limit', 'if (calls.length > most)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'transports/framing.js',
    ['transports/framing', 'transports/stream-connection'],
    [
      ['a body one byte short is delivered', 'if (end - body < length) {', 'if (end - body < length - 1) {', 'short'],
      ['a length in two chunks is read the wrong way round', '.readUInt32BE(0)', '.readUInt32LE(0)'],
      ['lines have no limit', 'if (this.have + stop - at > this.maxMessage)', 'if (false)'],
      ['an announced length is reserved at once', 'Math.min(length, Math.max(MIN_BODY, arrived * MAX_AMPLIFICATION))', 'length', 'short'],
      ['CR stays at the end of a line', 'if (end > start && bytes[end - 1] === CR)', 'if (false)'],
      ['a stopped reader finishes its chunk', 'if (this.stopped || this.paused)', 'if (this.paused)'],
      [
        'bytes that arrive while paused replace those before',
        'this.stash = this.stash ? Buffer.concat([this.stash, piece]) : Buffer.from(piece);',
        'this.stash = Buffer.from(piece);',
      ],
      [
        'bytes kept while paused are not copied',
        'Buffer.concat([this.stash, piece]) : Buffer.from(piece);',
        'Buffer.concat([this.stash, piece]) : piece;',
      ],
      ['borrowed bytes are given away as owned', 'this.onMessage(chunk, body, at, false);', 'this.onMessage(chunk, body, at, true);'],
      ['a last line without LF is lost', 'finish() {', 'finish() { return;'],
      ['a header block has no limit', 'if (block.length >= MAX_HEADER_BLOCK)', 'if (false)'],
      ['a body grows byte by byte', "const factor = this.framing === 'line' ? 2 : MAX_AMPLIFICATION;", 'const factor = 1;'],
      ["the header's name is case-sensitive", '/im.exec(', '/m.exec('],
      [
        'an incomplete length is not the middle of a message',
        'this.body !== undefined || this.head !== undefined',
        'this.body !== undefined',
      ],
    ],
  ),
  ...faultsOf(
    'transports/stream-connection.js',
    ['transports/stream-connection', 'transports/unix'],
    [
      ['close() drops what was sent', 'this.stream.end();', 'this.stream.destroy();', 'short'],
      ['close() forgets the messages of its own turn', 'end() {\n        this.flush();', 'end() {'],
      ['a full connection says true', 'return !this.refused;', 'return true;', 'short'],
      ['drained() is never called', 'this.sink.drained();', ';'],
      [
        'drained() is called when nobody waits',
        'if (!this.refused || this.stream.writableNeedDrain)',
        'if (this.stream.writableNeedDrain)',
      ],
      ['abort() loses its cause', 'this.cause ??= cause;', ';'],
      ['all of a turn leaves at its end', 'this.unsent >= FLUSH_MESSAGES', 'false'],
      ['messages are delivered after abort()', 'this.reader.stopped = true;\n        this.stream.destroy();', 'this.stream.destroy();'],
      ['pause() does nothing', 'this.wantsPause = true;', 'return;'],
      ['a slab is written to while the kernel reads it', 'if (this.isSocket && this.stream.writableLength === 0)', 'if (true)', 'short'],
      [
        'a chunk of tiny messages keeps everybody waiting',
        'if (this.handled >= MESSAGES_A_TURN || now - this.since > MILLISECONDS_A_TURN)',
        'if (false)',
      ],
      ['rollback() leaves attachments behind', 'if (writer.attachments.length > 0)\n            writer.attachments = [];', ';'],
      ['what was written counts as unsent', 'this.unsent = 0;\n        this.stream.write(', 'this.stream.write('],
      ['an end inside a message is a clean one', 'if (this.reader.midMessage && !this.reader.paused)', 'if (false)'],
      ['a half-closed peer cannot be answered', 'if (this.sink.ended)', 'if (false)'],
      [
        'a paused connection never closes',
        "// 'close' waits for the peer's end, and that waits behind what we have not read.\n        this.resume();",
        '',
      ],
      ['who speaks first speaks lines', "(this.reader.framing ??= 'length') === 'length'", "this.reader.framing === 'length'"],
      ['large attachments are copied', 'if (payloadStart + length - writer.position <= COPY_BELOW) {', 'if (true) {'],
      [
        'every message is a write of its own',
        'else if (writer.position >= FLUSH_AT || (this.unsent >= FLUSH_MESSAGES && !this.stream.writableNeedDrain))',
        'else if (true)',
      ],
      ['no limit on sending', 'if (length > this.maxSend) {', 'if (false) {'],
      ['the end of a connection is not told', 'this.sink.closed(', 'void (', 'short'],
    ],
  ),
  ...faultsOf(
    'transports/stream-connection.js',
    ['session/half'],
    [['a killed plain peer is not found out', 'this.stream.write(NOTHING);', ';']],
  ),
  ...faultsOf(
    'transports/socket.js',
    ['transports/unix'],
    [
      ['a refused connection has the wrong code', "ECONNREFUSED: 'PEER_NOT_FOUND'", "ECONNREFUSED: 'CONNECTION_LOST'"],
      ['a signal that aborts later ends the connection', "signal?.removeEventListener('abort', onAbort);", ''],
      ['who is not let in is let in', 'socket.destroy();\n            return;', "peer = { address: '' };"],
    ],
  ),
  ...faultsOf(
    'transports/unix.js',
    ['transports/unix'],
    [
      ['any file in the way is removed', 'if (!stat.isSocket())', 'if (false)', 'short'],
      ["a living owner's socket is taken", 'if (!(await refuses(path)))', 'if (false)'],
      ["a dead owner's socket is never taken", "resolve(reason.code === 'ECONNREFUSED')", 'resolve(false)'],
      ['the socket is open to all', 'process.umask(0o177)', 'process.umask(0)'],
      ['a long path is cut', 'if (Buffer.byteLength(path) > MAX_PATH)', 'if (false)'],
      ['anybody is let in', 'if (!trusted)', 'if (false)'],
      ['the sockets of another process are taken for ours', 'Number(LISTEN_PID) !== process.pid || ', ''],
      ['a failed listen() keeps the name', 'if (!held)\n            own.release();\n        throw reason;', 'throw reason;'],
      ['looking whether an owner lives leaves a descriptor', 'probe.destroy();', ';'],
    ],
  ),
  ...faultsOf(
    'transports/tcp.js',
    ['transports/tcp'],
    [
      ['everybody may listen to everybody', 'if (!guarded && !isLoopback(number))', 'if (false)'],
      ['the chosen port is not told', 'address.replace(/:\\d+\\/?$/,', '(() => address)(/:\\d+\\/?$/,'],
      ['every address of this machine counts as loopback', "loopback.addSubnet('127.0.0.0', 8);", "loopback.addSubnet('0.0.0.0', 0);"],
      ['the other host is not told', '`[${host}]` : host}:${remotePort}`, host }', '`[${host}]` : host}:${remotePort}` }'],
      ['a query is ignored', 'if (parsed.query.size > 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'transports/tls.js',
    ['transports/tls'],
    [
      ['any certificate of a server will do', 'rejectUnauthorized: true,', 'rejectUnauthorized: false,', 'short'],
      ['any client is let in', 'rejectUnauthorized: checksClients }', 'rejectUnauthorized: false }'],
      ['clients are not asked for a certificate', 'requestCert: checksClients,', 'requestCert: false,'],
      ['TLS 1.0 is spoken', "'TLSv1.3' : 'TLSv1.2'", "'TLSv1.3' : 'TLSv1'"],
      ['whoever leaves in the handshake is kept', '(_, socket) => socket.destroy()', '() => { }'],
      ['the public authorities open the door', 'if (checksClients && !settings.ca)', 'if (false)'],
      ['the name in the certificate is not told', "typeof name === 'string' ? { identity: name } : {}", '{}'],
    ],
  ),
  ...faultsOf(
    'registry.js',
    ['connect'],
    [['why an engine of the hub carries no calls is not said', 'if (Object.hasOwn(NO_CALLS, scheme))', 'if (false)']],
  ),
  ...faultsOf(
    'trust.js',
    ['transports/tls'],
    [['rejectUnauthorized: false is obeyed', 'if (settings?.rejectUnauthorized === false)', 'if (false)']],
  ),
  ...faultsOf(
    'trust.js',
    ['hub/drivers/mqtt', 'hub/drivers/mongodb'],
    [
      ['who is not trusted is nobody', '!isUntrusted(error.cause)', 'true'],
      ['who is not trusted is looked for in the first reason only', ' || isUntrusted(cause)', ''],
    ],
  ),
  ...faultsOf(
    'hub/open-driver.js',
    ['hub/drivers/redis'],
    [
      ['TLS is asked for in vain', 'if (settings === undefined || ', 'if (true || '],
      ['a hub trusts anybody', 'refuseBlindness(settings);', ''],
    ],
  ),
  ...faultsOf(
    'protocols/broker.js',
    ['hub/drivers/redis'],
    [['calls over a broker trust the public authorities', 'credentials: tls && { tls }', 'credentials: undefined']],
  ),
  ...faultsOf(
    'hub/drivers/nats/connection.js',
    ['hub/drivers/nats'],
    [
      ['nats: who makes a stream beside others is told that it overlaps', '=== OVERLAPS', '=== -1'],
      ['nats: an old server has replicas', 'if (replicas > 1 && level < 1)', 'if (false)'],
      ['nats: a number is localhost', '{ host, ...tls }', '{ ...tls }'],
      ['nats: the user of the credentials is lost', 'return { user, ...own, pass };', 'return { user, pass };'],
      ['nats: a password in the words of the library is none', 'const { pass = secret } = own;', 'const pass = secret;'],
      ['nats: a password in our words is none', 'password: secret = password, ', ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/connection.js',
    ['hub/drivers/nats-now'],
    [['nats: what was published is not waited for at the end', 'await asked.settled();', '']],
  ),
  ...faultsOf(
    'hub/drivers/nats/address.js',
    ['hub/drivers/nats-cluster'],
    [
      ['nats: of several servers one is asked', "?.split(',') ?? []", '?.slice(0, 0) ?? []'],
      ['nats: any number of replicas is asked for', '/^[1-5]$/', '/^\\d+$/'],
      ['nats: what is no server is one', '!servers.every((each) => each !== undefined)', 'false'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/asking.js',
    ['hub/drivers/nats-cluster'],
    [['nats: who asked while a leader was elected waits for nothing', 'again && setInterval(', 'false && setInterval(']],
  ),
  ...faultsOf(
    'hub/drivers/nats/pull.js',
    ['hub/drivers/nats-cluster'],
    [['nats: what a server that died was asked for is waited for', '++silent < SILENT', 'true']],
  ),
  ...faultsOf(
    'hub/drivers/nats/connection.js',
    ['hub/drivers/nats-cluster'],
    [
      ['nats: replicas are forgotten', 'num_replicas: replicas', 'num_replicas: 1'],
      ['nats: too few servers are no reason', 'tooFew(reason, name, replicas)', 'reason'],
      ['nats: a cluster without a majority has run it', 'OFFLINE.includes(err_code)', 'false'],
      ['nats: a conflict that is being agreed on is an error', '[10071, 10164]', '[10071]'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/topics.js',
    ['hub/drivers/nats'],
    [['nats: the first message ever is missed by who was away', "last > 0 || options.from === 'new'", 'last > 0']],
  ),
  ...faultsOf(
    'hub/drivers/nats/queues.js',
    ['hub/drivers/nats-foreign'],
    [['nats: a foreign worker finds no consumer', "const CONSUMER = 'workers';", "const CONSUMER = 'takers';"]],
  ),
  ...faultsOf(
    'hub/drivers/nats/bucket.js',
    ['hub/drivers/nats-foreign'],
    [['nats: a deletion is a value to others', "{ [OPERATION]: 'DEL' }", "{ 'Talkwire-Operation': 'DEL' }"]],
  ),
  ...faultsOf(
    'hub/drivers/nats/requests.js',
    ['hub/drivers/nats-foreign'],
    [['nats: a foreign responder is asked elsewhere', '-requests.`', '-asked.`']],
  ),
  ...faultsOf(
    'hub/drivers/nats.js',
    ['hub/drivers/nats'],
    [['nats: an old server is believed to be new', 'LATER.slice(0, level)', 'LATER']],
  ),
  ...faultsOf(
    'hub/drivers/nats/bucket.js',
    ['hub/drivers/nats-now'],
    [
      ['nats: the server does not let values expire', '[SECONDS]: String(Math.ceil(ttl / 1000)), ', ''],
      ['nats: a time to live is in whole seconds', ', [EXACTLY]: String(ttl) }', ' }'],
      ['nats: a mark of what expired is a value', 'header(OPERATION) || header(MARKER)', 'header(OPERATION)'],
      ['nats: nothing expires in a bucket of before', 'isNew || !expires ? undefined', 'true ? undefined'],
      ['nats: old values come back', 'if (config.max_msgs_per_subject !== 1)', 'if (false)'],
      ['nats: why a bucket cannot be changed is not told', "&& TalkwireError.from(reason).code !== 'UNAUTHENTICATED'", ''],
      ['nats: a deletion has a time to live that its bucket does not know', 'expires && !staying', 'expires'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/state.js',
    ['hub/drivers/nats-now'],
    [
      ['nats: who reads does not look at the clock', ' || !isOver(found.until, await kv.now())', ' || true'],
      ['nats: who finds something expired leaves it', 'await kv.remove(key, found.seq);', 'return undefined;'],
      ['nats: what expired can be compared with', ' && !known.expires', ''],
      ['nats: what expired is listed', 'until === undefined || !isOver(until, now)', 'true'],
      ['nats: who wants nothing there gives up for a mark', 'if (revision !== null)', 'if (true)'],
      ['nats: what went while we were away is not told', '!told.there.has(key)', 'false'],
      ['nats: a batch that wants nothing there gives up for a mark', 'if (seqs)', 'if (!seqs)\n return undefined;\n if (true)'],
      ['nats: a batch that was overtaken tries for ever', 'looks = true', 'looks = false'],
      ['nats: a batch says to each write what is expected', 'expects.delete(change.key);', ''],
      ['nats: of two conditions of a batch one counts', 'expect !== (expects.get(change.key) ?? expect)', 'false'],
      ['nats: a value of a batch that expires does not say so', ', writes[index].ttl !== undefined)', ', false)'],
      ['nats: of what went while we were away one is told', 'lost.map(gone).at(-1)', 'lost.slice(0, 1).map(gone).at(-1)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/batch.js',
    ['hub/drivers/nats-now'],
    [
      ['nats: a batch of any length is sent', 'if (parts.length > MOST)', 'if (false)'],
      ['nats: a batch is at one place', 'seq - parts.length + 1 + index', 'seq'],
      ['nats: a batch is many messages', "'Nats-Batch-Id': id, ", ''],
    ],
  ),
  ...faultsOf(
    'hub/drivers/nats/follow.js',
    ['hub/drivers/nats-now'],
    [
      ['nats: a list waits although there is nothing more', 'if (none)', 'if (false)'],
      ['nats: what is there is told again', 'if (seq > last)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'hub/drivers/amqp1/line.js',
    ['hub/drivers/activemq-amqp1'],
    [['amqp1: nobody says why there is no connection', "socket.on('error', (reason) => (failure ??= reason));", '']],
  ),
  ...faultsOf('hub/drivers/sqs/connection.js', ['hub/drivers/sqs'], [['sqs: whom it trusts is not heard', ", ...credentials['tls']", '']]),
  ...faultsOf(
    'transports/fifo.js',
    ['transports/fifo'],
    [
      ['a second client is let in', 'const held = claimClient(paths.claim, address);', 'const held = { release() { } };'],
      [
        'the claim of a client is never given back',
        'clearInterval(probe);\n            try {\n                held.release();',
        'clearInterval(probe);\n            try {\n',
      ],
      [
        "another client's session is joined",
        "if (reason.code === 'EAGAIN')\n            return true;",
        "if (reason.code === 'EAGAIN')\n            return false;",
        'short',
      ],
      ['pipes of anybody are opened', 'stat.isFIFO() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0', 'true'],
      ['the pipes are not made anew', '{ ending: () => this.renew() }', '{ }'],
      ['close() leaves the pipes', 'remove(this.paths.c2s);\n        remove(this.paths.s2c);\n        this.waiting', 'this.waiting'],
      ['any file in the way is removed', 'if (!stat.isFIFO() || stat.uid !== process.getuid?.())', 'if (false)'],
      ['a server that ends before it answers is waited for', 'if (isListening(output, paths))', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'transports/ring-connection.js',
    ['transports/shm'],
    [
      ['parts in any order are a message', 'before !== body.have ||', '', 'short'],
      ['parts of two messages are one', 'length !== body.length ||', ''],
      ['a part may be longer than its message', '|| before + size > length', ''],
      ['a whole message inside another is delivered', 'if (this.assembling || size < 0)', 'if (size < 0)'],
      ['the memory of an announced message is taken at once', 'Math.min(length, MAX_AMPLIFICATION * (before + size))', 'length'],
      [
        'no limit for messages in parts',
        'if (length > this.maxMessage)\n            throw tooLargeArrived(length',
        'if (false)\n            throw tooLargeArrived(length',
      ],
      ['no limit for whole messages', 'if (size > this.maxMessage)', 'if (false)'],
      [
        'the sink looks into the ring',
        'inbox.set(data.bytes.subarray(offset, offset + size));',
        'return this.sink.message(Buffer.from(data.bytes.buffer, data.bytes.byteOffset + offset, size), 0, size, false);',
        'short',
      ],
      ['drained() is forgotten', 'this.sink.drained();', ';'],
      ['whoever finds no room is not told of any', "saySleeps(this.outgoing, 'writers');", ';'],
      ['whoever sleeps does not say so', "saySleeps(this.incoming, 'readers');", ';'],
      [
        'a bell tells nobody',
        'if (!this.looking)\n            this.look();\n    }\n    /** The other side sends',
        '}\n    /** The other side sends',
      ],
      ['what was sent before the end is not read', 'if (worked || this.consumer.hasMessage)', 'if (false)'],
      [
        'the end is said before everything was sent',
        'if (this.outbox.length > 0)\n            return;\n        this.tell();',
        'this.tell();',
      ],
      ['a message cut off by the end is no loss', 'if (this.assembling && !this.deaf)', 'if (false)'],
      ['what waits is not counted', 'this.waiting += length;', ';'],
      ['limitSend() raises the limit', 'this.maxSend = Math.min(this.maxSend, bytes);', 'this.maxSend = bytes;'],
      [
        'bytes that wait are written over',
        'writer.replace(Buffer.allocUnsafeSlow(writer.initialSize));\n    }\n    /** Moves',
        ';\n    }\n    /** Moves',
      ],
      ['whoever reads is not told of what had waited', 'if (this.untold > 0)\n            this.tell();\n        if', 'if'],
      ['a little room is not used', 'this.anyRoom = true;\n        this.lookSoon();', 'this.lookSoon();'],
      ['a turn has no end where nothing is answered', 'Math.min(MOST_A_TURN, 2 * this.turn)', 'Infinity'],
      ['a turn is as long where all is answered', 'this.sent ? MESSAGES_A_TURN : full', 'full'],
      ['nobody looks at the clock', 'return this.handled < this.turn && now - this.since < MILLISECONDS_A_TURN;', 'return true;'],
    ],
  ),
  ...faultsOf(
    'transports/ring-outbox.js',
    ['transports/shm'],
    [
      ['short messages that wait are lost', 'message.copy(last.bytes, last.end, start, start + length);', ';', 'short'],
      ['a bundle has no end', 'last.end + length > BUNDLE', 'false'],
      ['a short message overtakes a long one', 'outbox.push((last =', 'outbox.unshift((last ='],
    ],
  ),
  ...faultsOf(
    'transports/ring-writer.js',
    ['transports/ring-writer'],
    [
      ['a long message is cut where the room ends', 'if (this.inRing)\n            this.leaveRing(size);\n        else', ''],
      ['what was written before is lost', 'buffer.copy(this.own, start, start, position);', ';', 'short'],
      ['the room stays taken', 'this.producer.abort();\n        this.useOwn();', 'this.useOwn();'],
      ['what is thrown away is sent', 'if (this.inRing)\n            this.producer.abort();', 'if (this.inRing) this.publish();'],
      ['long messages keep their memory', 'if (this.own.length > MAX_IDLE)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'transports/webrtc-pieces.js',
    ['transports/webrtc'],
    [
      ['WebRTC: more is sent than there is credit for', 'if (this.credit < bytes + OVERHEAD)', 'if (false)'],
      ['WebRTC: what was read grants no credit', 'this.frames.send(`credit ${this.read}`);', ';', 'short'],
      ['WebRTC: an announced message may have any length', 'if (bytes > this.maxMessage)', 'if (false)'],
      ['WebRTC: the end overtakes messages', "if (this.ending === 'asked' && this.outbox.length === 0)", "if (this.ending === 'asked')"],
    ],
  ),
  ...faultsOf(
    'transports/webrtc.js',
    ['transports/webrtc'],
    [
      ['WebRTC: any number of peers may signal', 'if (meeting >= MOST_MEETING)', 'if (false)'],
      ['WebRTC: a place among those who signal is not given back', 'void answer.settled.finally(done);', ';'],
      ['WebRTC: nobody vouches for the peer', '{ ...vouched(peer), address,', '{ address,'],
    ],
  ),
  ...faultsOf(
    'transports/webrtc-pipe.js',
    ['transports/webrtc'],
    [['WebRTC: the end of signalling says nothing', 'void this.met.alone.then(() => this.doubt());', ';']],
  ),
  ...faultsOf(
    'transports/webrtc-signals.js',
    ['transports/webrtc'],
    [['WebRTC: any number of candidates is taken', 'if (++count > MOST_SIGNALS)', 'if (false)']],
  ),
  ...faultsOf(
    'memory/producer.js',
    ['transports/ring-writer'],
    [
      ['a message that got shorter is as long as it was', 'this.size = length + RECORD_HEADER;\n    }\n    /**', '}\n    /**'],
      ['among many a claim gets shorter', 'if (this.many || !(length', 'if (!(length'],
    ],
  ),
  ...faultsOf(
    'transports/shm.js',
    ['transports/shm', 'choose'],
    [
      ['any version is spoken', 'if (version !== VERSION)', 'if (false)'],
      ['memory that can grow is mapped', '(sealsOf(fd) & SEAL.grow) === 0 ||', '', 'short'],
      ['memory of any size is mapped', 'size < LEAST_MEMORY ||', ''],
      ['a silent client is waited for', 'if (patience === undefined)', 'if (true)'],
      ['a descriptor of any form is opened', 'if (!Number.isInteger(descriptor) || descriptor < 0)', 'if (false)'],
      ['the reason of a refusal is kept', 'this.note({ error: { code, message } });', ';'],
      ['the memory is kept', 'release() {\n        this.memory?.close();', 'release() {\n'],
      ['whoever rings for one who goes falls', 'catch {\n            return;', 'catch (reason) {\n            throw reason;'],
      ['a crash is an end like any other', 'this.closing ? undefined : lost', 'undefined'],
    ],
  ),
  ...faultsOf(
    'hello.js',
    ['session/hello'],
    [['what hello agreed on holds only from the next turn on', "wire.extend('json', attachments, session.references);", ';', 'short']],
  ),
  ...faultsOf(
    'transports/mmap.js',
    ['transports/mmap'],
    [
      ['a client that left is waited for', 'Atomics.load(word, WORD.clientLeft) === 0 &&', ''],
      ['the dead are waited for', '&& isAlive(client)', ''],
      ['a client that is alive is not waited for', 'if (isTaken(page))', 'if (false)', 'short'],
      ['the rings are not made anew', 'store(words, index, 0);', ';'],
      ['the ends are not made anew', 'store(word, WORD.end.server, END.open);', ';'],
      ['files of anybody are mapped', 'stat.uid === process.getuid() && (stat.mode & 0o077) === 0', 'true'],
      ['a file with two names is mapped', 'stat.nlink === 1 &&', ''],
      ['files of another kind are taken', '|| Atomics.load(page.word, WORD.kind) === KIND)', '|| true)'],
      ['a listener that closed lets clients in', 'swap(word, WORD.state, STATE.free, STATE.busy)', 'false'],
      [
        'the death of the other side is not seen',
        'this.stopWatching = whenEnded(this.far, this.farDied);',
        'this.stopWatching = () => { };',
        'short',
      ],
      ['a death is an end like any other', 'this.farEnd === END.done ? undefined : died', 'undefined'],
      ['ref() after the end keeps the process', ' ref() {\n        if (!this.released)', ' ref() {\n        if (true)'],
    ],
  ),
  ...faultsOf('transports/patience.js', ['transports/shm'], [['whoever waits looks for ever', 'if (now < end)', 'if (true)']]),
  ...faultsOf(
    'session/session.js',
    ['session/reconnect'],
    [
      [
        'heartbeat: what came while this process stood still is not read first',
        'setTimeout(() => this.beat(period), MIN_HEARTBEAT)',
        'this.beat(period)',
      ],
    ],
  ),
  ...faultsOf(
    'transports/pipe-pair.js',
    ['transports/pipe-pair', 'transports/fifo', 'transports/spawn'],
    [
      ['pause() does not hold the pipe back', 'input.pause();', ';'],
      ['the end of one pipe is not told', "input.on('end', () => this.push(null));", ''],
      ['a pipe that is torn off is a clean end', 'input.readableEnded || this.destroy()', 'input.readableEnded || this.push(null)'],
      ['close() leaves the other pipe open', 'this.output.end(done);', 'done();'],
      ['what a child said last is lost with its stdin', 'output.writableFinished || !this.readableEnded ||', 'output.writableFinished ||'],
      ['close() of a pipe that is torn off is a loss', 'if (this.output.destroyed)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'transports/ipc.js',
    ['transports/ipc', 'transports/fork'],
    [
      ['messages of one turn overtake each other', 'this.batch.push(', 'this.batch.unshift(', 'short'],
      ['abort() delivers what was sent', "if (note.is === 'abort')\n            this.batch = [];", ''],
      ['no limit on receiving', 'if (bytes.length <= this.maxMessage)', 'if (true)'],
      ['the end of the channel is not told', 'this.mailbox.lost(child ?', 'void (child ?'],
      ['a second listener is let in', 'if (listening)\n', 'if (false)\n'],
      ['one connection is all', 'void pipe.over.then(welcome);', ''],
      ['a listener stays at the channel', "endpoint.off('internalMessage', this.onPacket);", ''],
    ],
  ),
  ...faultsOf(
    'transports/worker.js',
    ['transports/worker'],
    [
      [
        'a thread outlives its connection',
        'const timer = setTimeout(() => void this.thread.terminate(), GRACE);',
        'const timer = setTimeout(() => { }, GRACE);',
      ],
      ['a value that waits is not copied', 'copy: (value) => structuredClone(value)', 'copy: (value) => value'],
      ['the error of a thread is not told', 'this.failure = reason;', ';'],
      ['binary values weigh nothing', 'return BASE_SIZE + value.byteLength;', 'return BASE_SIZE;'],
    ],
  ),
  ...faultsOf(
    'transports/spawn.js',
    ['transports/spawn'],
    [
      ["the child's stdout is its wire's", "stdio: ['ignore', 2, how.stderr, 'pipe']", "stdio: ['ignore', 1, how.stderr, 'pipe']"],
      ['a child is told of no wire', 'env: childEnvironment(options, WIRE)', 'env: childEnvironment(options)'],
      ['lines are not what a plain child gets', "framing = 'line'", "framing = 'length'"],
    ],
  ),
  ...faultsOf(
    'transports/mailbox.js',
    ['transports/worker'],
    [
      ['backpressure is lost', 'return !this.refused;', 'return true;'],
      ['nothing is acknowledged', "this.channel.send({ is: 'acknowledgement' }, owed);", ';'],
      ['drained() is never called', 'this.sink.drained();', ';'],
      ['close() drops what waits', 'if (this.outbox.length === 0)\n                this.sendEnd();', 'this.sendEnd();'],
      ['pause() does nothing', 'this.paused = true;', ';'],
    ],
  ),
  ...faultsOf(
    'transports/child.js',
    ['transports/fork', 'transports/spawn'],
    [
      ['only the last of stderr is not kept', '.subarray(-STDERR_KEPT)', '.subarray(0)'],
      ['a child outlives us', "process.on('exit', killAll);", ''],
      ['a grandchild keeps the wire open', 'return this.abort(this.child.end);', 'return;'],
      ['close() does not wait for the exit', 'return this.done;', 'return Promise.resolve();'],
      [
        "a child's exit is not explained",
        "sink.closed(because && cause?.code !== 'PEER_EXITED' ? child.end : cause);",
        'sink.closed(cause);',
      ],
      [
        'a child that does not end is left',
        "const timer = setTimeout(() => this.send('SIGKILL'), GRACE);",
        'const timer = setTimeout(() => { }, GRACE);',
      ],
    ],
  ),
  ...faultsOf(
    'codecs/envelope.js',
    ['transports/envelope'],
    [
      ['attachments are aligned to 4', '(offset + 7) & ~7', '(offset + 3) & ~3'],
      ['attachments are not padded', 'if (gap.length > 0)', 'if (false)'],
      ['the writer keeps the attachments', 'writer.attachments = [];', ';'],
      ['bytes after the last attachment are accepted', 'if (start + offset !== end)', 'if (false)'],
      ['borrowed bytes are kept', 'if (owned && at % 8 === 0)', 'if (at % 8 === 0)', 'short'],
      ['the reserved byte may be anything', 'if (count === 0 || bytes[start + 1] !== 0)', 'if (count === 0)'],
    ],
  ),
  ...faultsOf(
    'codecs/codec.js',
    ['codecs/json', 'codecs/msgpack'],
    [
      ['a `then` that can be called passes', "(key === 'then' && typeof value === 'function')", 'false'],
      ['constructor passes', "(key === 'constructor' && value !== null)", 'false', 'short'],
      ['a shape need not fit', 'return product === length;', 'return true;'],
    ],
  ),
  ...faultsOf(
    'codecs/json-values.js',
    ['codecs/json'],
    [
      ['-0 has no sign', "Object.is(value, -0) ? '-0' : String(value)", 'String(value)'],
      ['__proto__ passes when it is no object', "else if (key === '__proto__')", 'else if (false)'],
      ['an unknown tag is data', 'throw invalid(`the tag ', 'return content; throw invalid(`the tag '],
      ['keys that look like tags are not escaped', "return key?.startsWith('$') && second === undefined ?", 'return false ?'],
      ['an attachment is used twice', 'if (used.has(index))', 'if (false)'],
      [
        'holes are null',
        'return Array.from(value, inner);\n    if (value instanceof Map)\n        return { $map',
        'return value.map(inner);\n    if (value instanceof Map)\n        return { $map',
      ],
    ],
  ),
  ...faultsOf(
    'codecs/json.js',
    ['codecs/json'],
    [
      [
        'one level too many is sent',
        'if (depth >= context.depth)\n        return false;',
        'if (depth > context.depth)\n        return false;',
      ],
      ['what is in a string counts as values', 'if (byte === QUOTE)', 'if (false)'],
      ['an escaped quote ends a string', 'if (slashes % 2 === 0)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'codecs/msgpack.js',
    ['codecs/msgpack'],
    [
      ['float 32 is read the wrong way round', 'bytes.readFloatBE(need(4))', 'bytes.readFloatLE(need(4))'],
      [
        'memory is reserved for a count that lies',
        'if (announced > end - at)',
        'new Float64Array(Math.min(announced, 1e7)); if (announced > end - at)',
        'short',
      ],
      ['256 is written in one byte', 'if (value < 0x100) {', 'if (value <= 0x100) {'],
      ['a text of 32 bytes has the wrong head', '(length < 32 ? 1', '(length <= 32 ? 1'],
      ['keys nest without limit', 'const key = readValue(depth + 1);', 'const key = readValue(1);'],
      ['times before 1970 are rounded the wrong way', 'Math.floor(time / 1000)', 'Math.trunc(time / 1000)'],
      [
        'binary is a view of the read buffer',
        'return keepBytes(bytes, from, at);',
        'return new Uint8Array(bytes.buffer, bytes.byteOffset + from, length);',
      ],
      ['bytes after the message are ignored', 'if (at !== end)', 'if (false)'],
      ['any number of values is read', 'if ((room -= count) < 0)', 'if (false)'],
      ['a key that is forbidden passes', 'if (forbidden(key, value))', 'if (false)'],
      [
        'depth is not counted',
        'function readArray(length, depth) {\n    if (depth >= context.depth)',
        'function readArray(length, depth) {\n    if (false)',
      ],
    ],
  ),
  ...faultsOf(
    'codecs/text.js',
    ['codecs/json', 'codecs/msgpack'],
    [['text that is not UTF-8 passes', 'if (!isUtf8(bytes.subarray(start, end)))', 'if (false)']],
  ),
  ...faultsOf(
    'protocols/jsonrpc.js',
    ['protocols/jsonrpc'],
    [
      ['a batch has no limit', 'if (hasMore(bytes, start, end, this.maxBatch))', 'if (false)', 'short'],
      ['a batch is answered with its first answer', 'if (--batch.open > 0 || batch.texts.length === 0)', 'if (batch.texts.length === 0)'],
      ['any version will do', "if (message['jsonrpc'] !== '2.0')", 'if (false)'],
      ['attachments before a hello', 'if (!this.context.binary)', 'if (false)'],
      ['MessagePack before a hello', 'if (!this.context.extended)', 'if (false)'],
      ['a message that cannot be sent stays half written', 'connection.rollback();', ';'],
      ['the size of what was sent is not told', 'this.sent = connection.committed;', ';'],
      ['typed arrays in a batch are lost', 'if (unused.attachments.length > 0)', 'if (false)'],
      ['too many values are parsed', 'if (json.hasMoreValues(bytes, start, end, this.context.values)) {', 'if (false) {'],
      ['a large message is kept', 'msgpack.forget();', ';'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-address.js',
    ['protocols/dbus-bus'],
    [
      ['dbus places: an empty variable is an address', 'DBUS_SESSION_BUS_ADDRESS ||', 'DBUS_SESSION_BUS_ADDRESS ??'],
      [
        'dbus places: a runtime directory is read as an address',
        'encodeURIComponent(`${XDG_RUNTIME_DIR}/bus`)',
        '`${XDG_RUNTIME_DIR}/bus`',
        'short',
      ],
      ['dbus places: the variable of the system bus is not read', 'DBUS_SYSTEM_BUS_ADDRESS || SYSTEM', 'SYSTEM'],
      ['dbus places: the runtime directory comes first', 'DBUS_SESSION_BUS_ADDRESS || (XDG', '(XDG'],
      ['dbus places: nobody says where a bus should be', "if (reason.code !== 'PEER_NOT_FOUND')", 'if (true)'],
    ],
  ),
  ...faultsOf(
    'protocols/mcp.js',
    ['protocols/mcp'],
    [
      ['mcp: events are not told on stdout', '(event, payload) => peer.onEvent(event, payload)', '() => true', 'short'],
      ['mcp: elements are not told on stdout', 'this.tell(method, params);', ';'],
      [
        'mcp: a child that dies ends no calls',
        'if (begun)\n                return options.onClosed(cause);',
        'if (begun)\n                return;',
      ],
    ],
  ),
  ...faultsOf(
    'serve-dialect.js',
    ['threats/dialects'],
    [['dialects: an authkey that nobody can prove is asked for', 'authkey === undefined || provesKey', 'true', 'short']],
  ),
  ...faultsOf(
    'protocols/varlink.js',
    ['protocols/varlink'],
    [
      ['varlink: a method without its interface has half a name', 'if (mark < 0)', 'if (false)'],
      ['varlink: a list is taken for parameters', 'if (!isRecord(request.parameters ?? {}))', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-object.js',
    ['protocols/dbus-bus'],
    [['dbus: nobody says what was meant', "own ? this.meant(of, member) : ''", "''"]],
  ),
  ...faultsOf(
    'protocols/message.js',
    ['interop/npm-clients'],
    [
      ['json-rpc: a declared error of a stranger is none', "'outcome' in data || number === DECLARED", "'outcome' in data", 'short'],
      ['json-rpc: the number of an unknown error is lost', "...(!ours && name === 'UNKNOWN' && { cause: wire })", '...{}'],
    ],
  ),
  ...faultsOf(
    'session/link.js',
    ['interop/npm-clients'],
    [
      ['json-rpc: who knows no subscriptions is not heard', "!session.strange || reason.code !== 'METHOD_NOT_FOUND'", 'true', 'short'],
      [
        'json-rpc: what is subscribed to is not healed with strangers',
        "map((event) => ask(session, 'rpc.on', event))",
        "map((event) => session.call('rpc.on', { event }))",
      ],
    ],
  ),
  ...faultsOf(
    'protocols/message.js',
    ['protocols/jsonrpc', 'protocols/values'],
    [
      ['a deadline of the past is accepted', "(typeof timeout === 'number' && timeout >= 0)", 'true'],
      [
        'a foreign error is taken for one of ours',
        "said && ('outcome' in data || number === DECLARED) ? data : undefined",
        'true ? data : undefined',
      ],
      ['an error forgets its outcome', 'outcomes.has(ours.outcome) ? ours.outcome : fallback', 'false ? ours.outcome : fallback'],
    ],
  ),
  ...faultsOf(
    'protocols/values.js',
    ['protocols/values'],
    [
      [
        'depth is not counted',
        'if (depth >= walk.depth)\n        throw tooDeep(walk.depth);\n    const inner = (item) => unpack',
        'const inner = (item) => unpack',
      ],
      ['shapes are lost', 'return shape ? { $nd: [value, shape] } : value;', 'return value;'],
    ],
  ),
  ...faultsOf(
    'session/calls.js',
    ['protocols/session', 'session/cancel', 'session/calls', 'session/reconnect', 'session/close', 'session/crossing'],
    [
      ['cancelling does not tell the peer', 'this.session.hint(Kind.cancel, id, undefined);', ';'],
      ['a lost call says it was not sent', "call.sequence > lastSent ? 'not-sent' : 'maybe-ran'", "'not-sent'", 'short'],
      ['calls that are not idempotent are repeated', "(call.idempotent || outcome === 'not-sent')", 'true'],
      ['the deadline is not sent', 'meta.timeout = timeout;', ';'],
      ['a late answer ends the connection', 'id > 0 && id <= this.lastId', 'false'],
      ["an input's end is not told", 'session.hint(Kind.end, id, undefined);', ';'],
      ['a refused call that crossed is made twice', 'if (repeat && this.isRepeatable(call))', 'if (this.isRepeatable(call))'],
      ['a call that crossed is not made again', 'if (repeat && this.isRepeatable(call))', 'if (false)'],
      ['the deadline starts anew on the next connection', 'call.deadline ??= performance.now() + timeout;', ';'],
    ],
  ),
  ...faultsOf(
    'session/stream.js',
    ['protocols/session', 'session/streams'],
    [
      ['the sender does not count its credit', 'options.credit.spend(options.send(step.value));', 'options.send(step.value);', 'short'],
      ['credit is never given back', 'this.options.grant(this.consumed);', ';'],
      ['a stopped producer is not closed', 'if (!finished)', 'if (false)'],
      ['an element without credit is accepted', 'if (this.credit <= 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'session/serving.js',
    ['protocols/session', 'session/calls', 'session/close', 'session/cancel', 'session/hello'],
    [
      [
        "a handler's error reaches the caller",
        "return new TalkwireError('INTERNAL', 'internal error', { outcome: 'ran' });",
        "return TalkwireError.from(reason, 'INTERNAL', 'ran');",
        'short',
      ],
      ['an id in flight may be used again', 'if (incoming.has(id))', 'if (false)'],
      ['calls have no limit', 'if (incoming.size >= session.limits.calls)', 'if (false)'],
      ['a closing service takes new calls', "if (session.state === 'closing')", 'if (false)'],
      ['a handler is not told to stop', 'call.abort(reason);\n        if (call.credit', 'if (call.credit'],
    ],
  ),
  ...faultsOf(
    'session/session.js',
    [
      'protocols/session',
      'session/close',
      'session/calls',
      'session/hello',
      'session/crossing',
      'session/burst',
      'session/half',
      'session/reconnect',
    ],
    [
      [
        'an unreadable request settles a call of ours',
        'if (ofResponse && id !== null && this.calls.has(id))',
        'if (id !== null && this.calls.has(id))',
      ],
      [
        'calls are left hanging when the connection ends',
        "this.calls.fail(() => reason ?? new TalkwireError('CONNECTION_CLOSED', 'the connection was closed'));",
        '',
      ],
      [
        'close() does not wait for what crosses',
        "if (!this.wire.extended || this.peerClosing || this.state === 'closed')\n            return DONE;",
        'return DONE;',
        'short',
      ],
      ['$/close is not answered', 'this.peerCloses();\n                this.sayClose();', 'this.peerCloses();'],
      ['$/close is answered every time', 'if (this.saidClose || !this.wire.extended)', 'if (!this.wire.extended)'],
      ['a peer that never ends keeps close()', 'else if (performance.now() - since >= FAREWELL)', 'else if (false)'],
      ['all sessions go in one turn', 'later(() => void this.finish());', 'void this.finish();'],
      [
        'a plain peer is looked at once',
        'this.probeTimer ??= setInterval(() => this.connection.probe?.(), PROBE);',
        'this.probeTimer ??= setInterval(() => { }, PROBE);',
      ],
      [
        'an ended session beats on',
        " || this.state === 'closed')\n            return;\n        const period",
        ')\n            return;\n        const period',
      ],
    ],
  ),
  ...faultsOf(
    'discovery/start.js',
    ['discovery/start'],
    [
      [
        'a service that is closing is not waited for',
        'found.since !== since)\n            return true;',
        'true)\n            return true;',
      ],
      [
        'everybody starts it',
        'const starter = found.claimed ? undefined : tryClaim(`${name}.start`);',
        'const starter = { release() { } };',
      ],
      ['what failed to serve is left behind', 'child.kill();', ';'],
    ],
  ),
  ...faultsOf(
    'session/references.js',
    ['session/references', 'protocols/session'],
    [
      ['any method of an object can be called', '!methodsOf(value).includes(name)', 'false'],
      ['one release of many forgets the thing', 'if (entry.count <= 0)', 'if (true)'],
      ['a reference that goes home is a new one', 'return { own: ', 'if (false) return { own: '],
    ],
  ),
  ...faultsOf(
    'session/link.js',
    ['session/connection', 'protocols/session', 'session/calls', 'session/reconnect', 'session/events', 'session/close'],
    [
      ['a client is not told of its end', 'this.end?.resolve(cause);', ';'],
      ['the end is told twice', "if (state === this.told || this.told === 'closed')", 'if (false)'],
      [
        '"open" comes before the subscriptions have healed',
        'this.adopt(session);\n                await this.heal(session);',
        "this.adopt(session);\n                this.tell('open');\n                await this.heal(session);",
      ],
      [
        'a call that waits forgets the call that it is made for',
        'const signals = [options?.signal, options?.from?.signal]',
        'const signals = [options?.signal]',
      ],
      ['a lost connection forgets its subscriptions', 'await this.heal(session);', ';'],
      [
        'a closed client connects again',
        'if (this.closed)\n            return Promise.reject',
        'if (false)\n            return Promise.reject',
      ],
    ],
  ),
  ...faultsOf(
    'memory/producer.js',
    ['memory/ring', 'memory/ring-waiting', 'memory/ring-sweep', 'memory/ring-storm'],
    [
      [
        'a full ring is written over',
        'if (((this.tail - this.head) | 0) + needed > capacity && !this.seesRoom(needed))',
        'if (false)',
        'short',
      ],
      ['a record is seen before the one behind it is cleared', 'put(this.words, (next & (this.capacity - 1)) >> 2, 0);', ';'],
      ['among many nobody says whose a claim is', 'put(words, (this.at >> 2) + 1, this.me);', ';'],
      ['a claim that is given back is read', 'put(this.words, (at >> 2) + 1, -this.me);', ';'],
      ['nobody is woken', "this.ring.wake('readers');", ';'],
      ['a message of any size is taken', '!(length >= 0 && length <= this.maxMessage) || this.closed', 'this.closed'],
      ['two claim at once', 'if (swap(header, WORD.claiming, 0, me))', 'if (true)'],
      ['a dead one keeps the right to claim', '!isGone(this.ring, other)', 'true'],
      ['records behind a dead tail are written over', 'this.tail = (this.tail + ((size + 7) & ~7)) | 0;', 'break;'],
    ],
  ),
  ...faultsOf(
    'memory/consumer.js',
    ['memory/ring', 'memory/ring-hostile', 'memory/ring-waiting', 'memory/ring-sweep', 'memory/hostile'],
    [
      ['a dead claim is waited for', 'this.dead = this.head;\n        return true;', 'return false;', 'short'],
      ["a living one's claim is passed", 'if (!isGone(', 'if (false && !isGone('],
      ['a length is believed', 'size < RECORD_HEADER || size > capacity - place', 'false'],
      ['a length near 2^31 is believed', '|| size > capacity - place', '|| place + ((size + 7) & ~7) > capacity'],
      ['what is to be skipped is read', 'if (words[(place >> 2) + 1] >= 0)', 'if (true)'],
      [
        'a message is handed over again after its handler threw',
        '// It is read, also if the handler throws.\n            this.head = next;',
        ';',
      ],
    ],
  ),
  ...faultsOf(
    'memory/broadcast-reader.js',
    ['memory/ring-broadcast', 'memory/hostile'],
    [
      ['what may be written over is handed over', 'over >= 0 && over <= capacity', 'true', 'short'],
      ['nothing counts as lost', 'this.missed += (mark - this.number) & NUMBERS;', ';'],
      ['a record of any length is read', 'size < RECORD_HEADER || size > this.end - at', 'false'],
      ['a length near 2^31 is believed', '|| size > this.end - at', '|| at + ((size + 7) & ~7) > this.end'],
    ],
  ),
  ...faultsOf(
    'memory/versions.js',
    ['memory/shared'],
    [
      ['a value is seen while it is written', 'ahead === 0 || ahead === 1 ? ', 'true ? ', 'short'],
      ['both versions are in one buffer', 'const buffer = next & 1;', 'const buffer = 0;'],
      ['a length is believed', 'if (length < 0 || length > most)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'memory/map.js',
    ['memory/shared'],
    [
      [
        'a new key comes into its place unannounced',
        'store(words, at + ENTRY.begun, (Atomics.load(words, at + ENTRY.version) + 2) | 0);',
        ';',
      ],
      [
        'an entry is seen before it is written',
        'const { words } = this;\n        // Whoever still',
        'const { words } = this; release(words, at + ENTRY.state, STATE.used);\n        // Whoever still',
        'short',
      ],
      ['all write at once', 'if (swapBig(long, WRITER_LONG, NOBODY, self()))', 'if (true)'],
      ['a dead writer keeps the others out', '!isAlive(other) && swapBig', 'false && swapBig'],
    ],
  ),
  ...faultsOf(
    'sync/file-lock.js',
    ['sync/file-lock', 'sync/compliance'],
    [
      [
        'a file lock on a file that was replaced counts',
        'if (isSame(statSync(this.path, { throwIfNoEntry: false }), fstatSync(fd)))',
        'if (true)',
        'short',
      ],
      [
        'a shared file lock is exclusive',
        "this.kind === 'flock' ? tryFlock(fd, !this.shared)",
        "this.kind === 'flock' ? tryFlock(fd, true)",
      ],
      ['a file lock that is let go of stays open', 'unlockRecordLock(fd);\n            closeSync(fd);', 'unlockRecordLock(fd);'],
      [
        'a thread waits for its own file lock',
        'return [...held].some((entry) => entry.kind === this.kind && isSame(entry.stat, stat));',
        'return false;',
      ],
    ],
  ),
  ...faultsOf(
    'sync/turns.js',
    ['sync/compliance', 'sync/file-lock'],
    [
      ['who gave up is given a file lock', 'if (this.tasks.first !== options)', 'if (false)'],
      [
        'only the first of the tasks is looked for',
        'this.tasks.resolveFirst(grant);\n            this.lookForFirst();',
        'this.tasks.resolveFirst(grant);',
      ],
      ['a file lock has no time limit', 'if (left <= 0)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'sync/lock-file-steps.js',
    ['sync/lock-file'],
    [
      [
        'a stale lock file is replaced without a second look',
        'claimed === undefined || readText(path)?.token !== dead.token',
        'claimed === undefined',
        'short',
      ],
      ['the claim of a living breaker is passed', 'if (!other || !isDead(other))', 'if (!other)'],
      ['claims on the stale file are tidied away', "(ending !== 'draft' && token === current)", 'false'],
      ['a foreign lock file is removed', 'if (readText(path)?.token === token)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'sync/lock-file-text.js',
    ['sync/lock-file'],
    [
      [
        'who is on another machine counts as dead',
        'text.host === thisMachine() && !isAlive(text)',
        '!isAlive(text) || text.host !== thisMachine()',
      ],
    ],
  ),
  ...faultsOf(
    'sync/system-v-semaphore.js',
    ['sync/semaphores', 'sync/compliance'],
    [
      ['an unfinished semaphore counts as made', '((semaphoreStatus(found)?.mode ?? 0) & UNFINISHED) === 0', 'true'],
      ['the dead keep their permits', 'changeSemaphore(this.id, -1, this.undo)', 'changeSemaphore(this.id, -1, false)'],
    ],
  ),
  ...faultsOf(
    'signals/registry.js',
    ['signals/group'],
    [
      ['a process with a re-used pid is signalled', 'member.identity.start === stat.start && ', '', 'short'],
      ['a plain pid file is always believed', 'if (ageOf(stat.start) + TOLERANCE <', 'if (Infinity <'],
      ['the pid file of a new process is removed', 'if (now.ino !== inode || now.mtimeNs !== written)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'signals/group.js',
    ['signals/group'],
    [
      ['a process that does not handle the signal is signalled', 'if (!survives(member.pid, number))', 'if (false)'],
      ['who leaves keeps its pid file', "process.off('exit', left);\n            left();", "process.off('exit', left);"],
    ],
  ),
  ...faultsOf(
    'sync/mutex.js',
    ['sync/mutex', 'sync/sweep'],
    [
      ['two have it at a time', 'free ? !swapBig(block.long, LONG.owner, NOBODY, self()) :', 'free ? false :', 'short'],
      ['a dead owner keeps it', 'if (owner === NOBODY || isAlive(owner) ||', 'if (true ||'],
      ['a living owner loses it', 'isAlive(owner) || !swapBig', 'false || !swapBig', 'short'],
      ['nobody is told of a death within', 'store(word, WORD.damaged, 1);', ';', 'short'],
      ['release() keeps it', 'swapBig(block.long, LONG.owner, self(), NOBODY);', ';'],
      ['the next task of the thread is forgotten', 'this.line.carryOn();', ';'],
      ['repaired() says nothing', 'store(this.state.block.word, WORD.damaged, 0);', ';'],
      ['blocking the thread that has it is not refused', 'if (state.held)', 'if (false)'],
    ],
  ),
  ...faultsOf('sync/fence.js', ['sync/mutex', 'sync/kinds'], [['the fence stays', '|| first()) + 1', '|| first())']]),
  ...faultsOf(
    'sync/line.js',
    ['sync/mutex', 'sync/kinds'],
    [
      ['fair is not fair', '(Atomics.load(word, WORD.flags) & FAIR) !== 0', 'false', 'short'],
      ['whoever waits is passed for ever', 'Atomics.load(word, WORD.hungry) !== 0 ||', ''],
      ['whoever gives up keeps its place', 'dequeue(block, this.place);', ';'],
    ],
  ),
  ...faultsOf(
    'sync/queue.js',
    ['sync/mutex', 'sync/kinds', 'sync/sweep', 'sync/sweep-semaphore', 'sync/sweep-condition'],
    [
      [
        'who stays is not woken once a waker died',
        'if (Atomics.load(word, WORD.waiting) === 0)\n        store',
        'if (false)\n        store',
      ],
      ['who gives up keeps what it was told', 'if (told && !looked)', 'if (false)'],
      ['who gives up can be told still', '!swap(words.word, waiterWord(place.slot) + WAITER.mode, 0, GONE)', 'isNotified(words, place)'],
      ['the last one is the first', '((a - b) | 0) < 0', '((a - b) | 0) > 0', 'short'],
      ['the dead are first for ever', 'if (who === NOBODY || isAlive(who))', 'if (true)'],
      ['one who died is notified', 'if (clearDead(words, slot) || !swap', 'if (!swap'],
      ['notify() wakes all', 'if (!all)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'memory/owner.js',
    ['sync/mutex'],
    [
      ['a zombie lives', "stat.state !== 'Z' && stat.state !== 'X' && ", ''],
      ['a pid that was given anew is the owner', ' && encode(id, stat.start) === owner', '', 'short'],
    ],
  ),
  ...faultsOf(
    'sync/rwlock.js',
    ['sync/kinds'],
    [
      [
        'a reader comes in beside a writer',
        'if (this.owner() === NOBODY)\n                    return grant',
        'if (true)\n                    return grant',
      ],
      ['a writer does not wait for readers', 'if (ownersOf(block, others).length === 0)', 'if (true)', 'short'],
      ['dead readers keep writers out', 'reap(block, others);', ';'],
      ['a dead writer is not told of', 'store(word, WORD.damaged, 1);', ';'],
      ['who upgrades waits for itself', 'const others = own ? READERS : SHARES;', 'const others = SHARES;'],
      ['a writer who gives up keeps readers out', 'giveUp: unclaim,', ''],
      ['a writer claims what one who may upgrade has', 'waits ? first : others', 'waits ? NONE : others'],
      ['one who let go becomes the writer', "this.end.abort(released('upgrade() it while it is held'));", ';'],
      ['one who let go says that the data are whole', 'if (this.isReleased)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'sync/slots.js',
    ['sync/kinds'],
    [
      ['two have the same permit', '&& swapBig(long, SLOT_LONG + slot, NOBODY, self()))', ')'],
      ['permits of the dead do not come back', 'if (!late)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'sync/slots.js',
    ['sync/inspect'],
    [['since when a part is held is not said', 'storeFloat(words.float, SLOT_SINCE', 'void (SLOT_SINCE']],
  ),
  ...faultsOf(
    'sync/barrier.js',
    ['sync/kinds'],
    [
      ['one who dies is waited for', 'if (!ownersOf(block, ALL).every(isAlive))', 'if (false)'],
      ['one who gives up is counted', 'if (arrival)\n                breakGeneration(block, arrival.generation);', '', 'short'],
      ['an arrival keeps its slot', 'if (arrival)\n                freeSlot(block, arrival.slot);', ''],
      ['a reset lets those pass who waited in vain', 'ownersOf(block, ALL).length === 0 && swap', 'swap'],
      ['the dead keep a barrier broken', 'reap(block, ALL);', ''],
    ],
  ),
  ...faultsOf('sync/condition.js', ['sync/kinds'], [["the owner's death wakes nobody", 'hasDied(mutex, deaths)', 'false']]),
  ...faultsOf(
    'sync/condition.js',
    ['sync/sweep-condition'],
    [
      ['a death that was repaired at once wakes nobody', 'deathsOf(mutex) !== before', 'false'],
      ['what a dead one was told of is lost', '|| inheritNotice(block, place)', ''],
    ],
  ),
  ...faultsOf(
    'sync/queue.js',
    ['sync/sweep-condition'],
    [
      ['who gives up keeps what it was told', 'if (told && !looked)', 'if (false)'],
      [
        'what a dead one was told of is never inherited',
        'if (who === NOBODY || !isNotified(words, { slot }) || isAlive(who))',
        'if (true)',
      ],
    ],
  ),
  ...faultsOf(
    'sync/queue.js',
    ['sync/sweep-semaphore'],
    [
      [
        'who stays is not woken once a waker died',
        'if (Atomics.load(word, WORD.waiting) === 0)\n        store',
        'if (false)\n        store',
      ],
    ],
  ),
  ...faultsOf(
    'session/descriptors.js',
    ['session/descriptors'],
    [
      ['several in one message of the channel are taken', 'if (next.cut && next.fd !== undefined)', 'if (false)', 'short'],
      ['what was skipped stays open', 'this.drop(next.fd);\n            if', 'if'],
      ['any number is believed', 'if (next.number === number && (next.fd !== undefined || next.cut))', 'if (next)'],
      ['no limit in a message', 'if (this.fresh.length >= MOST)', 'if (false)', 'short'],
      ['no limit of what is open', 'if (this.held >= this.host.descriptorLimit)', 'if (false)', 'short'],
      ['no limit when sending', 'if (++this.inMessage > MOST)', 'if (false)'],
      ['streams carry them', 'if (!this.allowed)', 'if (false)'],
      ['what is given stays open', "if (value.ownership === 'given' && !this.keeps)", 'if (false)', 'short'],
      ['what is closed still counts', 'Descriptor.received(fd, () => this.held--)', 'Descriptor.received(fd, () => { })'],
      ['what is skipped has no limit', 'skipped <= MOST_SKIPPED', 'true'],
      ['the channel stays open', 'this.channel.close();', ''],
    ],
  ),
  ...faultsOf(
    'channel.js',
    ['session/descriptors'],
    [
      [
        'any process may bring the channel',
        'session.peer.pid !== undefined && session.peer.pid === side.peer.pid && session.peer.uid === side.peer.uid',
        'true',
        'short',
      ],
      ['every wire carries them', 'if (!transport.openChannel)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'kernel/descriptor-channel.js',
    ['session/descriptors'],
    [
      ['programs that are started inherit them', 'MSG_DONTWAIT | MSG_CMSG_CLOEXEC', 'MSG_DONTWAIT', 'short'],
      ['room for several', 'const CONTROL = 20;', 'const CONTROL = 40;'],
    ],
  ),
  ...faultsOf(
    'session/serving.js',
    ['session/descriptors'],
    [
      [
        'what a failed call brought stays open',
        'this.release(call);\n        closeAll(call.descriptors);\n        if (call.answered)',
        'this.release(call);\n        if (call.answered)',
        'short',
      ],
      ['what a call brought stays open', 'this.answer(call, value);\n        closeAll(call.descriptors);', 'this.answer(call, value);'],
      [
        'what is closed before it is answered',
        'this.release(call);\n        call.answered = true;\n        if (call.id === NOBODY ||',
        'this.release(call);\n        closeAll(call.descriptors);\n        call.answered = true;\n        if (call.id === NOBODY ||',
      ],
      [
        'the result of a call that was given up stays open',
        'closeGiven(value);\n            return this.answerFailure(call, call.aborted);',
        'return this.answerFailure(call, call.aborted);',
      ],
    ],
  ),
  ...faultsOf(
    'session/calls.js',
    ['session/descriptors'],
    [
      ['a result that comes too late stays open', 'if (call === undefined || call.reader !== undefined)', 'if (false)'],
      ['a result that does not fit stays open', 'closeAll(descriptors);\n        call.reject(reason);', 'call.reject(reason);'],
      ['what is given with a call that cannot be made stays open', 'closeGiven(call.params);', ''],
    ],
  ),
  ...faultsOf(
    'transports/command-service.js',
    ['transports/file'],
    [
      [
        'a command runs before it is marked',
        'commands.set(id, isNew ? { ...command, taken: true } : answered(command, abandoned));',
        'if (!isNew) commands.set(id, answered(command, abandoned));',
      ],
      ['what another service began is run again', 'const isNew = command.taken === undefined;', 'const isNew = true;', 'short'],
      ['two serve one file', 'await lock.acquire({ timeout: CLAIM })', '{ release() { } }'],
      [
        'the sign is gone before the last answer',
        'if (!this.closing || this.running.size > 0 || this.working || !this.watch)',
        'if (!this.closing || !this.watch)',
        'short',
      ],
      ['the sign stays', 'rmSync(`${this.file.path}.server`, { force: true });', ''],
      ['the lock of the sign stays', 'this.claimed.release();', '', 'short'],
      ['nobody is told that a command was taken away', 'connection.cancel();', ';'],
      ['old answers stay', 'if (now - since < this.keep)', 'if (true)'],
      ['new commands are begun while it closes', 'if (isNew && this.closing)', 'if (false)'],
      ['any command is believed', 'const refusal = refusalOf(command, args);', 'const refusal = undefined;'],
      ['commands of connections are answered', "REFUSED.has(command) || command.startsWith('$/')", 'false'],
      [
        'an answer is forgotten when it could not be written',
        'const answers = new Map(this.answers);',
        'const answers = new Map(this.answers); this.answers.clear();',
      ],
    ],
  ),
  ...faultsOf(
    'transports/command-client.js',
    ['transports/file'],
    [
      ["a dead service's sign is believed", 'return grant === undefined;', 'return true;', 'short'],
      ["another user's sign is believed", 'checkOwner(server, stat, 0);', ''],
      ['a call that had begun is said not to have', "outcome: begun ? 'maybe-ran' : 'not-sent'", "outcome: 'not-sent'", 'short'],
      ['a call that nobody began is said to have begun', "outcome: begun ? 'maybe-ran' : 'not-sent'", "outcome: 'maybe-ran'"],
      ['what nobody waits for stays in the file', 'this.unwanted.add(uuid);', ''],
      ['an answer stays in the file', 'return commands.delete(uuid);', 'return false;', 'short'],
      ['events are asked for', "id === undefined || method === 'rpc.on'", 'id === undefined'],
      ['nobody looks who serves', 'const served = isServed(this.path);', 'const served = true;'],
    ],
  ),
  ...faultsOf(
    'transports/command-file.js',
    ['transports/file'],
    [
      ['written without the lock', 'const _held = __addDisposableResource(env_1, await this.lock.acquire(), false);', '', 'short'],
      ['written in place', 'renameSync(beside, path);', 'writeFileSync(path, text);'],
      [
        'written through a link',
        'removed(beside);\n    const fd = openSync(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);',
        'const fd = openSync(beside, O_WRONLY | O_CREAT | constants.O_TRUNC, 0o600);',
        'short',
      ],
      ['read through a link', 'O_RDONLY | O_NOFOLLOW | O_NONBLOCK', 'O_RDONLY | O_NONBLOCK'],
      ['a damaged file is emptied', 'parse(this.good ?? \'{"commands":{}}\', this.path)', 'parse(\'{"commands":{}}\', this.path)'],
      ['a damaged file is thrown away', 'renameSync(this.path, `${this.path}.damaged`);', ''],
      ['nobody hears of damage', 'this.repair.damaged(instead);', ';'],
      ["another user's file is taken", 'if (stat.uid !== process.getuid())', 'if (false)'],
      ['a file that others may write is taken', 'if ((stat.mode & forbidden) !== 0)', 'if (false)'],
      ['readable by others', 'O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600', 'O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644'],
      ['nobody tells of changes', 'quiet = onFileEvent(this.path, CHANGED, look);\n            changed();', 'changed();', 'short'],
    ],
  ),
  ...faultsOf(
    'abilities.js',
    ['transports/file'],
    [
      ['streams are bound to what cannot carry them', 'if (isStream(input) || isStream(output))', 'if (false)'],
      ['events are bound to what cannot carry them', "if (member.kind === 'event')", 'if (false)'],
      ['a key is bound to what cannot ask for it', 'if (authkey !== undefined)', 'if (false)', 'short'],
    ],
  ),
  ...faultsOf(
    'sync/order.js',
    ['sync/order'],
    [
      ['the second order is not reported', 'if (way)', 'if (false)', 'short'],
      ['an order over others is none', 'for (const held of came.keys())', 'for (const held of [from])'],
      ['what was let go of counts as held', 'task.filter(({ isHeld }) => isHeld())', 'task.filter(() => true)'],
      ['all tasks of a thread are one', 'tasks.run([], work)', 'tasks.run((globalThis.one ??= []), work)'],
      ['orders are never forgotten', 'while (count > MOST)', 'while (false)'],
    ],
  ),
  ...faultsOf(
    'sync/lock-clean.js',
    ['sync/clean'],
    [
      ['the death of an owner is forgotten', 'isIdle(words) && ', ''],
      ['an event that is set is reset', "(kind === 'event' || kind === 'once') && ", 'false && '],
      ['who waits does not count', 'waiters(words).length > 0 || ', ''],
      ['who has a part of it does not count', ' || ownersOf(words, SHARES).some(isAlive)', '', 'short'],
    ],
  ),
  ...faultsOf(
    'memory/segment.js',
    ['sync/clean'],
    [
      ['what was taken away is opened', 'fstatSync(fd).nlink > 0', 'true', 'short'],
      ['what is open is taken away', '|| !tryFlock(fd, true)', ''],
    ],
  ),
  ...faultsOf(
    'memory/segment.js',
    ['memory/killed'],
    [
      [
        'a name is there before it is said whose it is',
        'recordMaker(name, ino, persist);\n        try {\n            nameFile(fd, pathOfSegment(name));',
        'nameFile(fd, pathOfSegment(name));\n        try {\n            recordMaker(name, ino, persist);',
      ],
      ['what the dead recorded stays', 'if (!isAlive(record) && (stat', 'if (false && (stat'],
    ],
  ),
  ...faultsOf(
    'sync/lock-waits.js',
    ['sync/lock-waits', 'cli/locks'],
    [
      ['one permit that is lost is all', 'others.every((holder) => still.has(holder))', 'others.some((holder) => still.has(holder))'],
      ['one look is enough for a deadlock', 'return second.filter((wait) => known.has(keyOf(wait)));', 'return second;'],
      ['who waits for a deadlock is in it', 'const first = path.findIndex((wait) => wait.who === who);', 'const first = 0;', 'short'],
      ['who wants to write waits for nobody who reads', 'ownersOf(words, SHARES) : upgrader', '[] : upgrader'],
    ],
  ),
  ...faultsOf(
    'sync/lock-list.js',
    ['cli/locks'],
    [
      ["another user's lock is left out", 'return stat?.isFile() ? { uid: stat.uid, words: undefined } : undefined;', 'return undefined;'],
      ['a link is followed', 'constants.O_NOFOLLOW | ', ''],
      ['what is none of ours is listed', 'words?.word[WORD.kind] === kindWord(kind) ?', 'words ?'],
      ['a dead reader holds it', '.readers.filter((reader) => reader.alive)', '.readers', 'short'],
    ],
  ),
  ...faultsOf(
    'sync/lock-scan.js',
    ['sync/lock-scan'],
    [
      ['whatever begins like a lock is listed', 'words && isLock(kind, words) ?', 'words ?', 'short'],
      ['memory full of beginnings is looked at for ever', 'if (scan.places-- <= 0)', 'if (false)'],
      ['what was left out is not said', 'return end === size;', 'return true;'],
      ['memory of others is looked into', '&& readRecord(name, stat) ?', '?'],
      ['an array is looked through', 'if (from === 0 && chunk[0] === ARRAY_MAGIC)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'kernel/file-locks.js',
    ['sync/inspect', 'sync/file-lock'],
    [
      ['who waits without blocking is not seen', 'for (const file of watchesIn(info, EVENT.closed))', 'for (const file of [])'],
      ['who blocks in the kernel holds it', 'if (waits)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/versions.py',
    ['memory/shared-partners'],
    [
      ['a version is told before it is there', 'words.store(of.begun, following)', 'words.store(of.version, following)'],
      ['both versions are in one buffer', 'words.put(of.buffers[following & 1], value)', 'words.put(of.buffers[0], value)'],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_versions.h',
    ['memory/shared-c'],
    [
      ['a version is told before it is there', 'TW_STORE(*at->begun, next);', 'TW_STORE(*at->version, next);'],
      ['both versions are in one buffer', 'memcpy(at->buffers[next & 1], bytes', 'memcpy(at->buffers[0], bytes'],
      ['half a change is handed out', 'if (TW_LOAD(*at->begun) - seen > 1) return 0;', '', 'short'],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_value.h',
    ['memory/shared-c'],
    [
      ['who waits for a change is not rung', 'if (TW_LOAD(value->words->watched) != 0) tw_value_wake(value);', ''],
      ['a dead one keeps the place of the writer', 'return other != 0 && !tw_alive(other) &&', 'return 0 &&'],
      ['who died waiting keeps its place', 'tw_alive(who) || !tw_swap64(&each->who, who, 0)', '1'],
      ['who waits in C has no bell', 'TW_STORE(each->bell, (uint32_t)value->bell[0]);', ''],
      ['who waits in C does not say so', 'TW_STORE(value->words->watched, 1U);\n        return each;', 'return each;'],
      ['who waits in C keeps its place', 'if (place) TW_STORE(place->who, (int64_t)0);', ''],
      ['C waits for ever', '(left = end - tw_now(CLOCK_MONOTONIC)) > 0)', '(left = 1000) > 0)'],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_map.h',
    ['memory/shared-c'],
    [
      ['two change a map at a time', 'if (TW_LOAD(*writer) == 0 && tw_swap64(writer, 0, map->self)) return 0;', 'return 0;'],
      [
        'a key is there before its value',
        'TW_STORE(entry->begun, TW_LOAD(entry->version) + 2);',
        'TW_STORE(entry->state, (uint32_t)TW_USED);',
      ],
      ['removed entries stay removed', 'tw_tidy(map, entry);', ''],
      ['only the last removed entry is free again', 'back < map->entries; back++', 'back < 1; back++'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/broadcast.py',
    ['clients/python/tests/test_broadcast.py'],
    [['who was lapped trusts its copy', '<= _ahead(words.load(_INTENT), self._cursor) <= capacity', '<= capacity', 'short']],
  ),
  ...faultsOf(
    'clients/python/talkwire/broadcast.py',
    ['memory/broadcast-partners'],
    [
      ['what is written over is handed out', 'self._intent = following +', 'self._intent = self._intent +'],
      ['what was lost is not told', 'self._lost += mark - self._number & _NUMBERS', 'pass'],
      [
        'the tail is moved before the record is there',
        'self._put(begin, size, self._number, data)',
        'words.store(_TAIL, following); self._put(begin, size, self._number, data)',
      ],
      ['a successor begins its numbers anew', 'self._number = _number_behind(self._tail', 'self._number = 0 and _number_behind(self._tail'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/seats.py',
    ['memory/broadcast-partners'],
    [['who sleeps is not rung', 'ring(words.load(at, 8), words.load(at + _BELL))', 'pass']],
  ),
  ...faultsOf(
    'clients/python/talkwire/connection.py',
    ['clients/python/tests/test_shm.py'],
    [['a handler that comes back closes before the last word', 'if not self._aborted or self._closed_fds', 'if self._closed_fds']],
  ),
  ...faultsOf(
    'clients/python/talkwire/watchers.py',
    ['memory/shared-partners'],
    [
      ['who died waiting keeps its place', 'return not is_alive(who) and words.swap(place, who, 0, 8)', 'return False'],
      ['whoever waits has no bell', 'words.store(place + _BELL, bell)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/transports/ring_stream.py',
    ['clients/python/tests/test_shm.py'],
    [
      ['shm: parts of a message may be in any order', 'if before != self._have or length', 'if length'],
      ['shm: a part is as long as it says', 'or part > length - before or', 'or'],
      ['shm: a record without the head of a part is read', 'if part < 0:', 'if False:'],
      ['shm: a writer does not say that it waits', 'self._ring._words[_WRITERS_SLEEP] = 1', 'pass'],
      ['shm: a reader does not say that it sleeps', 'self._ring._words[_READERS_SLEEP] = 1', 'pass', 'short'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/transports/ring_stream.py',
    ['interop/python-shm'],
    [['shm: the last part of a large message is not told', 'self._tell()', 'self._tell() if self._head else None']],
  ),
  ...faultsOf(
    'clients/python/talkwire/transports/shm_wire.py',
    ['clients/python/tests/test_shm.py'],
    [
      ['shm: who is lost ended on purpose', 'if not self._far_ended:\n            raise', 'if False:\n            raise'],
      ['shm: what was sent before the end is not read', 'if count:\n', 'if count and not over:\n'],
      ['shm: the other side is not told of a refusal', 'self.line.say({"error"', '({"error"'],
      ['shm: a second hello is taken', 'raise TalkwireError("INVALID_MESSAGE", "a second hello")', 'self._far_ended = False'],
      ['shm: nobody is rung', 'if for_messages or for_room:', 'if False:', 'short'],
      ['shm: who takes a note keeps it', 'other.open()', 'pass'],
      ['shm: an end on both sides is a loss', 'if self._far_ended:\n            self._take', 'if False:\n            self._take'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/transports/fifo.py',
    ['clients/python/tests/test_transports.py'],
    [
      ['fifo: a server between two clients is nobody', 'if names.is_dead(names.look(name)):', 'if True:'],
      ['fifo: whoever ended is waited for', 'if names.is_dead(names.look(name)):', 'if False:'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/transports/shm.py',
    ['clients/python/tests/test_shm.py'],
    [
      ['shm: memory may be cut off', 'not has_fixed_size(fd) or', ''],
      ['shm: memory of any size is mapped', 'not _LEAST <= size <= _MOST or', ''],
      ['shm: any version is spoken', 'if version != _VERSION:', 'if False:'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/ring.py',
    ['clients/python/tests/test_ring.py'],
    [
      ['skipped room is read for ever', 'while skipped <= ring.capacity:', 'while True:'],
      ['what is no bytes takes room', 'data = memoryview(message).cast("B")', 'data = message'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/ring_many.py',
    ['memory/ring-partners'],
    [
      ['who died with the right to claim keeps it', 'if other != 0 and self.is_gone(other) and', 'if False and'],
      ['the right to claim is kept', 'self._words.store(_CLAIMING, 0)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/ring.py',
    ['memory/ring-partners'],
    [
      ['the claim of a dead one is waited for', 'return claims is None or claims.is_gone(', 'return claims is None and claims.is_gone('],
      ['records of the dead are written over', 'self._tail = self._pass_records() if taken < 0 else', 'self._tail ='],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/requests.py',
    ['clients/python/tests/test_hub_partners.py'],
    [
      ['python hub: a request that nobody hears waits', 'if not told["heard"]:', 'if False:', 'short'],
      ['python hub: a request has no end', 'reply = box.get(timeout=left(until))', 'reply = box.get()'],
      ['python hub: what a responder raised is its reply', 'said = reply["headers"].get(ERROR)', 'said = None'],
      ['python hub: what a responder raised by mistake is told', 'else "INTERNAL the responder failed"', 'else f"INTERNAL {error!r}"'],
      ['python hub: a responder closes before it has answered', 'self._idle.wait_for(', '(lambda idle: None)('],
      ['python hub: each of a group answers', 'wish["group"] = group', 'pass'],
      ['python hub: where a reply goes is seen', 'to = headers.pop(REPLY_TO, None)', 'to = headers.get(REPLY_TO)'],
      ['python hub: a request waits for a hub that was closed', 'box.put(error)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/base.py',
    ['clients/python/tests/test_hub.py'],
    [
      ['python hub: a hub that is away is waited for by who closes it', 'self.client._link.end_with_this()', 'pass'],
      ['python hub: a responder ends with its connection', 'if not was_lost(error):', 'if True:', 'short'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/topics.py',
    ['clients/python/tests/test_hub_partners.py'],
    [['python hub: a subscription is cut off by who closes the hub', 'base.keep(self)', 'pass', 'short']],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/state.py',
    ['clients/python/tests/test_hub_partners.py'],
    [
      ['python hub: who watches is cut off by who closes the hub', 'state._base.keep(self)', 'pass'],
      ['python hub: what is updated stays for ever', 'revision=now.revision, ttl=ttl', 'revision=now.revision'],
      [
        'python hub: some of several changes are made',
        'return None if told.get("conflict") else list(told["revisions"])',
        'return list(told.get("revisions", []))',
      ],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/results.py',
    ['clients/python/tests/test_hub_partners.py', 'clients/python/tests/test_hub.py'],
    [
      ["python hub: another job's result", 'if change.get("key") != key or', 'if', 'short'],
      ['python hub: who waits for a result ends with the connection', 'if not was_lost(error):', 'if True:'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/queues.py',
    ['clients/python/tests/test_hub_partners.py'],
    [
      ['python hub: who waits for a job is not told that it is dead', 'self._kept.failed(self.id, reason)', 'pass'],
      ['python hub: progress goes nowhere', 'self._kept.progress(self.id, value)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/remote.py',
    ['clients/python/tests/test_first_user.py'],
    [
      [
        'python: a call that is interrupted before anybody waits for it goes on',
        'for connection, call in begun:\n                    connection.cancel(call)',
        'pass',
      ],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/worker.py',
    ['clients/python/tests/test_hub_partners.py', 'clients/python/tests/test_hub.py'],
    [
      ['python hub: a job is settled twice', 'if not job.settled:\n            job.done(value)', 'job.done(value)', 'short'],
      ["python hub: nobody says that a job is another's", 'job.lost.set()', 'pass'],
      ['python hub: a worker ends with its connection', 'if was_lost(error):', 'if False:'],
      ['python hub: a worker has no pace', 'self._full - now - self._per', '0'],
      ['python hub: one job at a time', 'for _ in range(concurrency)', 'for _ in range(1)'],
      ['python hub: closing begins jobs', 'job.nack()\n            elif', 'self._work(job)\n            elif'],
      ['python hub: what was lost is begun', 'elif not job.lost.is_set():', 'else:'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/balance.py',
    ['clients/python/tests/test_hub_services.py'],
    [
      ['python hub: a service has one instance', 'return well[(self._turn - 1) % len(well)]', 'return well[0]', 'short'],
      ['python hub: who has most of our calls is asked', 'return min(well,', 'return max(well,'],
      [
        'python hub: sticky is random',
        'if self._stuck not in well:',
        'if self._stuck is None or len(well) > 1 and well.reverse() is None:',
      ],
      ['python hub: a call that may have run is made again elsewhere', '(error.outcome == NOT_SENT or repeatable)', 'True'],
      ['python hub: an idempotent call is not made elsewhere', '(error.outcome == NOT_SENT or repeatable)', 'error.outcome == NOT_SENT'],
      ['python hub: that it may have run somewhere is forgotten', 'if last is None or last.outcome == NOT_SENT:', 'if True:'],
      ['python hub: who is gone stays', 'if place.client is None or place.client.closed:', 'if place.client is None:'],
      [
        'python hub: who comes later is not heard',
        'for subscription in list(self._heard):\n            self._hear_at_all(subscription)\n\n    # -- events',
        'pass\n\n    # -- events',
      ],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/discovery.py',
    ['clients/python/tests/test_hub_services.py'],
    [
      ['python hub: who closes is registered on', 'self._base.client.call("delete", {"key": self._key})', 'pass'],
      ['python hub: another machine is this one', 'if scheme in ORDER and (near or scheme not in LOCAL)', 'if scheme in ORDER', 'short'],
      ['python hub: anything is an instance', 'or not all(isinstance(each, str) for each in addresses)', ''],
      ['python hub: who came is not told', 'if before != instance:', 'if False:'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/hub/intents.py',
    ['clients/python/tests/test_hub_services.py'],
    [
      ['python hub: a handler gets every intent', 'if sent["action"] != action or not _covers(', 'if not _covers(', 'short'],
      ['python hub: a descriptor that was not sent stays open', 'close_given(descriptor)', 'pass'],
      ['python hub: a handler elsewhere is asked', 'near = [each for each in found if each["host"] == this_host()]', 'near = found'],
      ['python hub: somebody else is chosen', 'if each["id"] == choice.id:', 'if each["id"] != choice.id:'],
      ['python hub: a handler of any address', 'return known and bool(value["address"].startswith("unix:"))', 'return known'],
      ['python hub: a handler that closed is known on', 'self._known.close()', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/transports/unix.py',
    ['clients/python/tests/test_hub_services.py'],
    [
      ["an abstract name of Python's is none of Node's", 'self._listen_twice(filled(path))', 'pass', 'short'],
      ["an abstract name of Node's is none of Python's", 'sock.connect(filled(path))', 'raise'],
    ],
  ),
  ...faultsOf(
    'hub/embedded/by-hand.js',
    ['clients/python/tests/test_hub_partners.py'],
    [
      ['a request by hand is a message', 'isRequest ? packed.REQUEST :', '', 'short'],
      ['a request by hand is always heard', 'heard: unheard.length === 0', 'heard: true'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/mutex.py',
    ['sync/pairs'],
    [
      ['a living owner loses it', 'not late or is_alive(owner) or', 'not late or'],
      ['a dead owner keeps it', 'if not late or', 'if True or'],
      ['nobody is told of a death within', 'block.store(DAMAGED, 1)', 'pass'],
      ['release() keeps it', 'self.block.swap(OWNER, self.block.me, 0, 8)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/fence.py',
    ['sync/inspect'],
    [['the label is left out', 'ctypes.memmove(block.at + LABEL, label, LABEL_BYTES)', 'pass']],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/line.py',
    ['sync/pairs'],
    [
      ['fair is not fair', 'block.load(HUNGRY) or block.load(FLAGS) & FAIR', 'block.load(HUNGRY)'],
      ['whoever gives up keeps its place', 'dequeue(block, self._place)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/slots.py',
    ['sync/pairs'],
    [
      ['permits of the dead do not come back', 'for slot in among if late else ():', 'for slot in ():'],
      ['who inherits a permit is not told', 'return Taken(slot, True)', 'return Taken(slot, False)'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/slots.py',
    ['sync/mixed'],
    [['since when a part is held is not said', 'block.float(SLOT_SINCE + 8 * taken.slot).value =', '_ =']],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/queue.py',
    ['sync/mixed'],
    [
      ['the last one is told first', 'key=lambda place: -((', 'key=lambda place: (('],
      ['notify() wakes all', 'if not everyone:', 'if False:'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/condition.py',
    ['sync/mixed'],
    [
      ["the owner's death wakes nobody", '(ownership.has_died(deaths) or inherit_notice(block, place))', 'inherit_notice(block, place)'],
      ['the mutex is not had again', 'grant = take(ownership, None)', 'grant = Grant(0, False)'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/barrier.py',
    ['sync/mixed'],
    [
      ['one who dies is waited for', 'if not all(map(is_alive, owners_of(self._block, _ALL))):', 'if False:'],
      ['one who gives up is counted', 'self._break(arrival.generation)', 'pass'],
    ],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/event.py',
    ['sync/mixed'],
    [['set() wakes nobody and says nothing', 'self._block.store(VALUE, 1)', 'pass']],
  ),
  ...faultsOf('clients/python/talkwire/sync/once.py', ['sync/mixed'], [['done twice', 'self._block.store(VALUE, 1)', 'pass']]),
  ...faultsOf(
    'clients/c/talkwire_mutex.h',
    ['sync/pairs'],
    [
      ['a living owner loses it', 'if (!late || tw_alive(owner) ||', 'if (!late ||'],
      ['a dead owner keeps it', 'if (!late || tw_alive(owner) ||', 'if (1 ||'],
      ['nobody is told of a death within', 'TW_STORE(lock->damaged, 1U);', ';'],
      ['unlocking keeps it', 'tw_swap64(&handle->lock->owner, handle->self, 0);', ';'],
      ['the label is left out', 'memcpy(handle->lock->label, handle->label, sizeof handle->label);', ';'],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_lock.h',
    ['sync/mixed'],
    [['memory of another kind stays mapped', 'if (failed && memory != MAP_FAILED) munmap(memory, bytes);', '']],
  ),
  ...faultsOf(
    'clients/c/talkwire_inspect.h',
    ['sync/pairs'],
    [['who came last is told first', 'at > 0 && (int32_t)(sequences[at - 1] - sequence) > 0', 'at > 0']],
  ),
  ...faultsOf(
    'clients/python/talkwire/sync/inspect.py',
    ['sync/pairs'],
    [['the dead are told of as living', 'return LockInfo(holder,', 'return LockInfo(holder and holder._replace(alive=True),']],
  ),
  ...faultsOf(
    'clients/c/talkwire_lock.h',
    ['sync/pairs'],
    [
      ['fair is not fair', 'TW_LOAD(lock->hungry) || (TW_LOAD(lock->flags) & TW_FAIR)', 'TW_LOAD(lock->hungry) != 0'],
      ['whoever gives up keeps its place', 'tw_dequeue(wish.place);', ';'],
      ['who inherits a permit is not told', 'if (inherited) *inherited = 1;', '(void)inherited;'],
      [
        'the first fence is no whole number',
        '(double)(int64_t)(tw_now(CLOCK_REALTIME) * 1e3)',
        '0.5 + (double)(int64_t)(tw_now(CLOCK_REALTIME) * 1e3)',
      ],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_condition.h',
    ['sync/mixed'],
    [
      ['notify() wakes all', 'if (!all) return;', '(void)all;'],
      [
        "the owner's death wakes nobody",
        'if (TW_LOAD(lock->damaged) || TW_LOAD(lock->deaths) != notice->deaths ||',
        'if (0 && notice->deaths &&',
      ],
      ['the mutex is not had again', 'int how = tw_mutex_lock(mutex, -1);', 'int how = 0;'],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_rwlock.h',
    ['sync/mixed'],
    [
      ['a writer does not wait for readers', 'if (!tw_is_taken(handle, writing->others))', 'if (1)'],
      ['nobody is told of a death within', 'TW_STORE(lock->damaged, 1U);', ';'],
      ['whoever gives up keeps the word', 'writing->claimed = 0;\n    tw_end_writing', 'return;\n    tw_end_writing'],
      ['dead readers keep writers out', 'if (late) tw_reap(handle, writing->others);', ''],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_rwlock.h',
    ['sync/sweep-rwlock'],
    [
      ['a reader keeps the word of a dead writer', 'tw_swap64(&lock->owner, handle->self, 0);\n    }', '}'],
      ['who died while it waited for readers keeps them out', 'if (!late || tw_alive(owner) ||', 'if (1 ||'],
    ],
  ),
  ...faultsOf(
    'clients/c/talkwire_lock.h',
    ['sync/sweep'],
    [['a place is left before it is forgotten', 'TW_STORE(place->sequence, 0U);\n    TW_STORE(place->who, (int64_t)0);', ';']],
  ),
  ...faultsOf(
    'clients/c/talkwire_barrier.h',
    ['sync/mixed'],
    [
      ['one who dies is waited for', 'if (dead) tw_break(barrier, generation);', '(void)generation;'],
      ['one who gives up is counted', 'if (arrival.slot >= 0) tw_break(barrier, arrival.generation);', ''],
    ],
  ),
  ...faultsOf(
    'memory/value.js',
    ['memory/shared', 'memory/hostile'],
    [
      ['a size near 2^31 is believed', 'this.size > memory.size ||', ''],
      ['who waits for a change is not rung', 'this.wake();', ';', 'short'],
      ['who waits no more is looked for with each write', 'if (ringWatchers(this.watchers))', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'memory/watchers.js',
    ['memory/shared'],
    [["the signal's end is not heard", "signal?.addEventListener('abort', abort, { once: true });", '']],
  ),
  ...faultsOf('sync/once.js', ['sync/kinds'], [['done twice', 'store(this.block.word, WORD.value, 1);', ';', 'short']]),
  ...faultsOf(
    'transports/queue-stream.js',
    ['transports/queue-stream', 'transports/mq'],
    [
      ['the pieces of a message are sent twice', 'offset += pieceSize;', 'offset += pieceSize - 1;', 'short'],
      ['close() drops what waits', "let next = { is: 'end' };", 'let next = undefined;'],
      ['an abort is not told', 'this.pair.tear();', ';'],
      [
        "the other end's abort is an end in good order",
        "return void this.destroy(new TalkwireError('CONNECTION_LOST', 'the other end aborted'));",
        'return void this.destroy();',
      ],
      ["the other process's end is swallowed", 'this.lost = cause;', ';', 'short'],
      ['who waits for room does not notice the end', 'this.blocked(cause);', ';'],
      ['what the dead have sent is dropped', 'else if (this.reading)', 'else if (this.destroy(cause))'],
      ['nothing is said when there is room', 'this.quiet = this.pair.onceRoom(go);', ';'],
      ['reading is not stopped', 'this.pair.listen(undefined);', ';'],
      ['descriptors stay', 'this.pair.close(this.lost !== undefined);', ';'],
    ],
  ),
  ...faultsOf(
    'transports/queue-hello.js',
    ['transports/mq'],
    [
      ['the dead say hello', '!isAlive(hello.owner)', 'false'],
      ['a stopped service is waited for', 'const timer = setTimeout(fail, handshake,', 'const timer = setTimeout(() => { }, handshake,'],
      [
        "the service's end before its answer is not noticed",
        'quiet = whenEnded(server,',
        'quiet = ((_owner, _ended) => () => { })(server,',
        'short',
      ],
      ['the end of a process is not watched', "stream.once('close', queueError(address, () => whenEnded(owner, ended)));", ';', 'short'],
      ['its names stay', 'offered.welcomed();', ';'],
      ['a pair that was not taken stays', 'offered?.remove();', ';'],
      ["the service's queue stays", 'removeRecorded(wire.kind, name);', ';'],
      ['a hello that finds no room is lost', 'if (!hello.send(text))', 'if (!hello.send(text) && false)'],
      ["another program's queue is taken", "cause.code !== 'ALREADY_EXISTS'", 'true'],
    ],
  ),
  ...faultsOf(
    'transports/udp-connection.js',
    ['transports/udp'],
    [
      ['what comes twice is delivered twice', '|| !this.seen.add(number)', '', 'short'],
      ['an abort is not told', 'this.tell(Packet.abort);', ';'],
      ['a close that is lost is not repeated', 'this.retry = setTimeout(() => this.sayClose(tries + 1), FIRST_RETRY * 2 ** tries);', ';'],
      ['a close is not answered', 'this.tell(Packet.closed);', ';'],
      ['who does not read is delivered to', 'if (this.paused || ', 'if ('],
      ['the sender grows without end', 'if (this.waiting + bytes.length > MOST_WAITING)', 'if (false)'],
      ['the wire has no limit', 'Math.min(maxMessage, MAX_PAYLOAD)', 'maxMessage * 2'],
    ],
  ),
  ...faultsOf(
    'transports/udp.js',
    ['transports/udp'],
    [
      ['any cookie will do', 'if (!this.cookies.isGood(cookie, from.address, from.port, id))', 'if (false)', 'short'],
      ['a short hello gets a longer answer', 'bytes.length >= HELLO_BYTES', 'true', 'short'],
      ['anybody speaks in a connection', 'if (pipe.peer.address !== nameOf(from))', 'if (false)'],
      ['a hello that is lost is not repeated', 'retry = setTimeout(say, pause);', ';'],
      ['a connection of the process before is not refused', 'else if (kind === Packet.data)', 'else if (false)'],
      ['an abort is answered', 'else if (kind === Packet.data)', 'else if (kind !== Packet.hello)'],
      ['a plain datagram is a connection that stays', 'this.plain--;', ';'],
      ['the socket stays', 'setImmediate(() => socket.close());', ';'],
    ],
  ),
  ...faultsOf(
    'transports/udp-packets.js',
    ['transports/udp'],
    [
      ['an old number counts', 'number + WINDOW <= this.highest ||', ''],
      ['a cookie is good for any sender', '.update(`${epoch} ${host} ${port} ${id}`)', '.update(`${epoch} ${id}`)'],
      ['a cookie is good for ever', 'Math.floor(performance.now() / COOKIE_LIFE) - age', '0'],
    ],
  ),
  ...faultsOf(
    'transports/udp-group.js',
    ['transports/udp'],
    [
      ['nonsense reaches the session', '|| !isNotification(bytes)', ''],
      ['everybody may read it, unasked', 'if (!options.insecure &&', 'if (false &&'],
    ],
  ),
  ...faultsOf(
    'session/lossy.js',
    ['transports/udp'],
    [
      ['nothing is repeated', 'again();', ';', 'short'],
      ['answers are forgotten', 'this.answers.set(id, { kind, value });', ';', 'short'],
    ],
  ),
  ...faultsOf(
    'session/calls.js',
    ['transports/udp'],
    [['everything is repeated', "call.idempotent || call.method.startsWith('rpc.')", 'true', 'short']],
  ),
  ...faultsOf(
    'transports/sysv.js',
    ['transports/sysv'],
    [
      ['what was read stays', 'forget(this.input);', ';', 'short'],
      ['an abort is not told', 'forget(this.output);\n        this.tell();', ';'],
      ['a queue that was taken away is empty', "return { is: 'torn' };", 'return undefined;'],
      ['who sends does not ring', 'this.pauses.reset();\n        this.tell();', 'this.pauses.reset();'],
      ['an empty piece is data', "bytes.length === 0 ? { is: 'end' }", "false ? { is: 'end' }"],
    ],
  ),
  ...faultsOf(
    'queues/system-v-queue.js',
    ['queues/system-v-queue'],
    [
      ['a late sender overtakes', 'this.senders.size === 0 && ', ''],
      ['the next one is not told', 'if (next && first === begin)', 'if (false)', 'short'],
      ['the type is forgotten', 'receiveSystemV(this.id, type)', 'receiveSystemV(this.id, 0)', 'short'],
      ['any type is sent as 1', 'sendSystemV(this.id, type, bytes)', 'sendSystemV(this.id, 1, bytes)'],
      ['a removed queue is waited for', "reason.code !== 'NOT_FOUND'", 'true'],
      ['a message too large is left to the kernel', 'if (bytes.length <= most)', 'if (true)'],
    ],
  ),
  ...faultsOf(
    'transports/mq.js',
    ['transports/mq'],
    [
      ['an abort waits behind what was sent', 'sendTo(this.output, EMPTY, TORN);', 'sendTo(this.output, EMPTY, 0);', 'short'],
      ['an abort drops nothing', 'count < this.holds &&', 'false &&'],
      ['an empty piece is data', 'if (received.length === 0)', 'if (false)'],
      ['a piece is not copied', 'Buffer.from(this.buffer.subarray(0, received.length))', 'this.buffer.subarray(0, received.length)'],
      ['others may use it', 'const OWN = 0o600;', 'const OWN = 0o666;'],
      ['one descriptor stays', 'closeSync(this.input);', ';'],
    ],
  ),
  ...faultsOf(
    'queues/posix-queue.js',
    ['queues/posix-queue'],
    [
      [
        'the priority is forgotten',
        'this.checked(data, options.priority);',
        'this.checked(data, (options = { ...options, priority: 0 }).priority);',
        'short',
      ],
      ['a late sender overtakes', 'this.senders.size > 0 ||', ''],
      ['a late receiver overtakes', 'this.receivers.size === 0 ? this.tryReceive() : undefined', 'this.tryReceive()'],
      ['who waits is not told of close()', 'for (const look of [...this.receivers, ...this.senders])', 'for (const look of [])'],
      ['a queue that nobody waits for keeps the process alive', 'reader.pause().unref();', ';', 'short'],
      ['a message too large is left to the kernel', 'if (bytes.length <= this.messageSize)', 'if (true)'],
      [
        'received bytes are written over',
        'Buffer.from(this.buffer.subarray(0, received.length))',
        'this.buffer.subarray(0, received.length)',
      ],
      ['the reader stays', 'this.reader?.destroy();', ';'],
    ],
  ),
  ...faultsOf(
    'queues/records.js',
    ['transports/mq'],
    [
      ["another program's queue is taken away", '(identity === null || kind.identityOf(name) === identity)', 'true', 'short'],
      ['the record is written too late', 'write(path, kind, null);', ';'],
      ['the dead live', '|| isAlive(ownerOf(record))', '|| true'],
      ['the living are dead', '|| isAlive(ownerOf(record))', ''],
      ['a queue that was not made is recorded', 'rmSync(path, { force: true });', ';'],
    ],
  ),
  ...faultsOf(
    'queues/readable.js',
    ['queues/posix-queue', 'transports/mq'],
    [['the second message is the end of the file', 'rewindQueue(queue);', ';', 'short']],
  ),
  ...faultsOf(
    'transports/one-client.js',
    ['transports/one-client'],
    [['who gives up at once is connected', 'await Promise.resolve();', ';']],
  ),
  ...faultsOf(
    'memory/ended.js',
    ['memory/ended'],
    [
      ['the end of a thread is not noticed', 'ended();', ';'],
      ['a pid that was given anew is watched', 'process === undefined || isAlive(owner)', 'true', 'short'],
      ['the watch does not end', 'return () => clearInterval(timer);', 'return () => { };'],
    ],
  ),
  ...faultsOf(
    'kernel/mq.js',
    ['queues/posix-queue'],
    [
      [
        'what is asked for is not what is made',
        'attributes.writeBigInt64LE(BigInt(messageSize), SIZE_AT);',
        'attributes.writeBigInt64LE(BigInt(messageSize * 2), SIZE_AT);',
      ],
      ['a wait inside the kernel', 'constants.O_RDWR | constants.O_NONBLOCK)', 'constants.O_RDWR)'],
    ],
  ),
  ...faultsOf(
    'protocols/dialect.js',
    ['protocols/http'],
    [
      [
        'a declared error loses what it is',
        'answer.error(fromWireError(value));',
        "answer.error(new TalkwireError('INTERNAL', 'x', { outcome: 'ran' }));",
        'short',
      ],
      ['the reader of a stream grants nothing', 'this.wire.tell(this.id, Kind.credit, bytes);', ''],
    ],
  ),
  ...faultsOf(
    'protocols/http-pool.js',
    ['protocols/http-pool'],
    [
      ['HTTP: every call has a connection of its own', 'this.all.size < this.most', 'true'],
      ['HTTP: a connection is not used again', 'const socket = this.idle.pop();', 'const socket = undefined;'],
      ['HTTP: what waits is forgotten when a connection is free', 'const next = this.waiting.shift();', 'const next = undefined;'],
      ['HTTP: what waits is forgotten when a connection ends', 'this.over ? undefined : this.waiting.shift()', 'undefined'],
      ['HTTP: a connection that is gone is used again', 'this.idle.splice(at, 1);', ';'],
      ['HTTP: what waits outlives the end of all', 'for (const request of this.waiting.splice(0))', 'for (const request of [])'],
    ],
  ),
  ...faultsOf(
    'protocols/http-meta.js',
    ['protocols/http'],
    [
      ['HTTP: any text is the name of a header', 'if (!NAME.test(key))', 'if (false)'],
      ['HTTP: half a character ends the call', 'text = wellFormed(value)', 'text = value'],
      ['HTTP: metadata is written as it is', 'encodeURI(text)', 'text'],
    ],
  ),
  ...faultsOf(
    'protocols/http-problem.js',
    ['protocols/graphql'],
    [['HTTP: a status of others has no meaning', "426: ['UNSUPPORTED', 'not-sent'],", '']],
  ),
  ...faultsOf(
    'protocols/grpc-server.js',
    ['protocols/grpc-web'],
    [['gRPC: nobody is told which method was meant', 'near === undefined ?', 'true ?']],
  ),
  ...faultsOf(
    'protocols/grpc-http2-client.js',
    ['protocols/grpc'],
    [['gRPC: who speaks no HTTP/2 has only ended', 'if (this.heard)', 'if (true)']],
  ),
  ...faultsOf(
    'protocols/http.js',
    ['protocols/http'],
    [
      ['HTTP: a weight of 0 is a yes', '.filter((each) => !/;\\s*q=0(\\.0*)?\\s*$/i.test(each))', ''],
      ['HTTP: nobody is told which path was meant', 'near === undefined ?', 'true ?'],
      ['HTTP: an event is nowhere', "response.setHeader('allow', 'GET');", ''],
      ['a stream has no end', "response.end(eventText('null', 'end'));", 'response.end();'],
      ['the last line of an input is dropped', 'if (last)', 'if (false)'],
      ['any content type is taken', 'if (hasBody && !isType(type, wanted))', 'if (false)'],
      ['credit without end', '() => this.call?.grant(size)', '() => this.call?.grant(size * 1000)'],
    ],
  ),
  ...faultsOf(
    'transports/http-guard.js',
    ['protocols/http', 'transports/ws'],
    [
      ['any page may call', 'if (this.origins.has(origin))', 'if (true)', 'short'],
      ['any host is ours', '!this.hosts.has(host)', 'false'],
      ['any token is the token', 'sameSecret(token, this.expected)', 'true'],
    ],
  ),
  ...faultsOf(
    'transports/ws.js',
    ['transports/ws'],
    [
      ['a page that asks a WebSocket is told nothing', '`here is a WebSocket, and nothing else: ${scheme}://…\\n`', "''"],
      ['whoever ends ends both directions', 'this.socket.ping(END);', 'this.finish();'],
      ['a send never says false', 'if (this.socket.bufferedAmount < HIGH)', 'if (true)', 'short'],
      ['nobody is told that more is taken', 'this.sink.drained();', ';'],
      ['a killed peer has closed on purpose', 'code === 1005', 'true'],
      ['JSON is binary', '!isText(bytes)', 'true'],
    ],
  ),
  ...faultsOf(
    'codecs/depth.js',
    ['threats/depth'],
    [
      ['depth: what is in a Map counts for nothing', '[...value].some((pair) => pair.some(inner))', 'false'],
      ['depth: a list without elements is a scalar', 'return depth < 2 || value.some(inner);', 'return value.some(inner);'],
    ],
  ),
  ...faultsOf('codecs/plain-json.js', ['threats/depth'], [['depth: what stands around a value counts', '1 - around', '1', 'short']]),
  ...faultsOf(
    'protocols/dialect.js',
    ['threats/depth'],
    [
      ['depth: params are let in however deep', 'const error = this.tooDeep(params);', 'const error = undefined;', 'short'],
      ['depth: we say what is too deep', 'value, meta) {\n        this.check(kind, value);', 'value, meta) {'],
      [
        'depth: we answer what is too deep',
        'send(kind, id, method, value) {\n        this.check(kind, value);',
        'send(kind, id, method, value) {',
      ],
      [
        'depth: an answer is taken however deep',
        "const error = this.tooDeep(value);\n        if (error)\n            this.error(error.withOutcome('ran'));\n        else\n            this.last",
        "const error = undefined;\n        if (error)\n            this.error(error.withOutcome('ran'));\n        else\n            this.last",
      ],
      ['depth: an error is counted with what is around its details', 'isError ? value?.data?.details : value', 'value'],
    ],
  ),
  ...faultsOf(
    'protocols/jsonrpc.js',
    ['threats/depth'],
    [
      ['depth: JSON-RPC: an error is counted with what is around its details', 'const ERROR = -1', 'const ERROR = 1'],
      ['depth: JSON-RPC: an element is counted with its notification', 'kindOf.has(method) ? 0 : 1', '1'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-values.js',
    ['threats/depth'],
    [['depth: D-Bus: a signature may have any number of arrays', "only.split('a').length <= DEEPEST", 'true']],
  ),
  ...faultsOf('protocols/varlink.js', ['threats/bytes'], [['varlink: what is refused is run', 'if (request.refusal)', 'if (false)']]),
  ...faultsOf(
    'protocols/nodeipc.js',
    ['threats/bytes'],
    [['node-ipc: nobody is told which call was refused', 'return void refuse(message.type, TalkwireError.from(reason));', 'throw reason;']],
  ),
  ...faultsOf(
    'protocols/growing.js',
    ['threats/bytes'],
    [['memory is taken for a length that was only said', 'Math.min(need, FIRST)', 'need', 'short']],
  ),
  ...faultsOf(
    'protocols/graphql-schema.js',
    ['threats/dialects'],
    [['GraphQL: what the document itself holds may lead to a prototype', 'checkJson(value, LOOKED_AT)', 'value']],
  ),
  ...faultsOf(
    'protocols/graphql-reader.js',
    ['protocols/graphql'],
    [
      ['GraphQL: a document is parsed however deep', 'if (isNested(text, BRACKETS * limits.depth))', 'if (false)'],
      ['GraphQL: brackets in texts count', "if (char === '\"')", 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/pickle.js',
    ['protocols/pymp'],
    [
      ['an exception passes anywhere', 'if (value instanceof PickledError && (!this.limits.errors || depth !== 2))', 'if (false)'],
      ['any name may be called', "throw notPlain(`a ${name.text.replace(' ', '.').slice(0, 100)}`);", 'return args;', 'short'],
      ['a shared list is counted once', 'if (this.left < 0)', 'if (false)'],
      ['a round list is followed', 'if (depth > this.depth)', 'if (false)'],
      ['dangerous keys pass', 'throw forbiddenKey(key);\n            object', ';\n            object'],
      ['negative integers are read without a sign', 'value -= 1n << BigInt(8 * size);', ';'],
      ['what is kept has no limit', 'if (this.memo.size > this.most)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/pymp-auth.js',
    ['protocols/pymp'],
    [
      ['any answer proves the key', 'const right = proves(this.key, this.challenge, response);', 'const right = true;', 'short'],
      ['only the old digest is known', "digest = 'md5', payload } = response.length === 16", "digest = 'md5', payload } = true"],
    ],
  ),
  ...faultsOf(
    'protocols/pymp.js',
    ['protocols/pymp'],
    [
      ['names of the session can be called', 'const target = methodOf(this.service, method);', 'const target = {};', 'short'],
      ["a manager's object is never let go", "await once('decref', ident).catch(() => { });", ';'],
    ],
  ),
  ...faultsOf(
    'protocols/socket-site.js',
    ['protocols/pymp'],
    [['a silent peer stays', 'setTimeout(() => socket.destroy(), patience)', 'undefined']],
  ),
  ...faultsOf(
    'protocols/socket-site.js',
    ['protocols/pymp'],
    [['answers overtake each other', 'if (this.turns[0] !== turn) {', 'if (false) {']],
  ),
  ...faultsOf(
    'protocols/dbus-line.js',
    ['protocols/dbus'],
    [["a stranger's answer counts", 'waiting.from === undefined || sender === waiting.from ||', 'true ||', 'short']],
  ),
  ...faultsOf(
    'protocols/dbus-auth.js',
    ['protocols/dbus'],
    [
      ['a claim to be somebody else is believed', "claimed === '' || uid === undefined || claimed === String(uid)", 'true', 'short'],
      ['descriptors are agreed on unasked', "phase === 'begin' && takesDescriptors", "phase === 'begin'"],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-values.js',
    ['protocols/dbus'],
    [
      ['a text may hold NUL', "|| text.includes('\\0'))", ')'],
      [
        'variants nest without end',
        'if (++this.depth > depthOf(this.limits))\n            throw deeper(this.limits);\n        const value',
        'const value',
      ],
      ['values are not counted', 'if (--this.left < 0)', 'if (false)'],
      ['a boolean is any number', 'if (value > 1)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-message.js',
    ['protocols/dbus'],
    [['the number of descriptors is not told', 'if (writer.descriptors.length > 0) {', 'if (false) {']],
  ),
  ...faultsOf(
    'cli/import.js',
    ['cli/import'],
    [['import: what stands beside a WSDL is not read', 'const options = besides(said, file, XML_IMPORT);', 'const options = undefined;']],
  ),
  ...faultsOf(
    'protocols/dbus-client.js',
    ['protocols/dbus-bus'],
    [
      ['dbus: a property whose value is not told has not changed', 'this.fetch(event, property, of);', ';'],
      ['dbus: changes of every interface are heard', "`${base},arg0='${property.interface}'`", "`${base},arg0='x'`"],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-wire.js',
    ['protocols/dbus'],
    [
      ['dbus: half a message may stay for ever', 'this.pace?.look();', ';'],
      ['any number of descriptors is held', 'if (this.held + count <= this.limits.descriptors)', 'if (true)'],
      ['copies of descriptors stay open', 'this.connection.waiting -= bytes.length;\n        fds.forEach((fd) => closeSync(fd));', ';'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus-object.js',
    ['protocols/dbus'],
    [
      ['values of other types are taken', 'if (message.signature !== inputs.signature)', 'if (false)'],
      ['descriptors of a call stay open', 'this.done = true;\n        closeAll(this.descriptors);', 'this.done = true;'],
    ],
  ),
  ...faultsOf(
    'protocols/dbus.js',
    ['protocols/dbus-bus'],
    [
      ['a name that is not ours is served under', 'if (!OWNED.has(outcome))', 'if (false)', 'short'],
      ['who calls is not asked', 'return admitPeer({', 'return ({'],
    ],
  ),
  ...faultsOf(
    'protocols/thrift-wire.js',
    ['protocols/thrift'],
    [
      ['a container may say anything', 'if (count < 0 || count * least > this.bytes.length - this.at)', 'if (false)', 'short'],
      ['the walk has no bottom', 'if (code >= Code.struct && code !== Code.uuid && depth >= mostNested(this.limits))', 'if (false)'],
      ['the walk counts nothing', 'if (count > most)', 'if (false)'],
      [
        'fields of a struct are numbered on from the one inside',
        'fields();\n        this.byte(Code.stop);\n        this.last = last;',
        'fields();\n        this.byte(Code.stop);',
      ],
      ['a frame has no limit', 'if (need > limit)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/thrift-calls.js',
    ['protocols/thrift'],
    [['a declared error is any error', 'error.declared ? operation?.errors', 'false ? operation?.errors']],
  ),
  ...faultsOf(
    'protocols/http-operation.js',
    ['protocols/http-foreign'],
    [
      ['two secrets: the short one is shown for each', 'way.length === 1 ? token : undefined', 'token', 'short'],
      [
        'two secrets: a way is gone with one of them',
        'ways.find((each) => each.every(',
        'ways.find((each) => each.length === 0 || each.some(',
      ],
      ['two secrets: who has none of them asks all the same', 'if (!tokens && ways.some(({ length }) => length === 1))', 'if (true)'],
      ['two secrets: what is missing was perhaps run', "{ outcome: 'not-sent' }", "{ outcome: 'ran' }"],
    ],
  ),
  ...faultsOf(
    'protocols/http-foreign.js',
    ['protocols/http-foreign'],
    [['two secrets: a name that nobody asks for is taken', 'checkNames(contract, tokens ?? {});', '']],
  ),
  ...faultsOf(
    'contract/from-openapi.js',
    ['protocols/http-foreign'],
    [
      ['two secrets: both go into one header', 'ways.filter((way) => clashIn(way).length === 0)', 'ways'],
      ['two secrets: a header is another one in capitals', "where === 'header' ? name.toLowerCase() : name", 'name'],
      ['two secrets: queries in one case are one', "where === 'header' ? name.toLowerCase() : name", 'name.toLowerCase()'],
    ],
  ),
  ...faultsOf(
    'bridge.js',
    ['protocols/http-foreign'],
    [
      [
        'bridge: two secrets: whoever calls is told that it showed the wrong one',
        "if (code === 'UNAUTHENTICATED' && !declared)",
        'if (false)',
      ],
    ],
  ),
  ...faultsOf(
    'browser/rtc.js',
    ['browser/browser-webrtc'],
    [
      ['TURN: a page takes any way', 'new RTCPeerConnection({ iceServers, iceTransportPolicy })', 'new RTCPeerConnection({ iceServers })'],
      ['TURN: no relay is not told by a page', "return iceTransportPolicy === 'relay'", "return false && iceTransportPolicy === 'relay'"],
    ],
  ),
  ...faultsOf(
    'browser/webrtc.js',
    ['browser/browser-webrtc'],
    [
      ['TURN: why a page could not meet is its secret', 'revealed(() => meet(signals, ctx))', 'meet(signals, ctx)'],
      ['TURN: a page that serves takes any way', 'answerPeer(openRtc(rtc), signals', 'answerPeer(openRtc({}), signals'],
    ],
  ),
  ...faultsOf(
    'transports/webrtc-node.js',
    ['transports/webrtc-turn'],
    [
      [
        'STUN: nobody is asked',
        "if (scheme.startsWith('stun'))",
        "if (scheme.startsWith('stun')) return `${scheme}:127.0.0.1:9`;\n        if (false)",
      ],
      ['TURN: any way is taken', 'iceServers: servers, iceTransportPolicy,', 'iceServers: servers,', 'short'],
      ['TURN: no relay is not told', "if (iceTransportPolicy === 'relay' && state", 'if (false && state'],
    ],
  ),
  ...faultsOf(
    'protocols/thrift-idl.js',
    ['protocols/thrift-idl'],
    [
      ['thrift file: a number may be given twice', 'if (ids.has(id))', 'if (false)', 'short'],
      ['thrift file: enums count from 1', 'let number = -1;', 'let number = 0;'],
      ['thrift file: what has no number gets one above 0', 'given ?? free--', 'given ?? -free--'],
      ['thrift file: columns count from 0', "offset - before.lastIndexOf('\\n')", "offset - before.lastIndexOf('\\n') - 1"],
      [
        'thrift file: types in each other have no bottom',
        'if (depth > DEPTH)\n            throw wrong(at, `more than ${DEPTH} types',
        'if (false)\n            throw wrong(at, `more than ${DEPTH} types',
      ],
      ['thrift file: a oneway function may have a result', 'if (oneway && output)', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/thrift-contract.js',
    ['protocols/thrift-idl', 'cli/import'],
    [
      [
        'thrift file: what a service extends is not served',
        'return [...functionsOf(files, parent.file, parent.found, seen), ...own];',
        'return own;',
        'short',
      ],
      ['thrift file: a service that extends itself is followed', 'if (seen.has(node))', 'if (false)'],
      ['thrift file: a default that was left out is not sent', "sent: need !== 'optional'", 'sent: false'],
      ['thrift file: optional defaults are filled in by who sends', "sent: need !== 'optional'", 'sent: true'],
      ['thrift file: an include is looked for beside the first only', "[beside(by.name, path), beside('', path)]", "[beside('', path)]"],
      ['thrift file: defaults are not looked at', 'for (const { initial } of this.defaults)\n            initial.make();', ';'],
      ['thrift file: defaults in a default are forgotten', 'if (initial && !Object.hasOwn(made, name))', 'if (false)'],
      [
        'thrift file: two types of one name are one',
        'for (let number = 2; this.names.has(free); number++)',
        'for (let number = 2; false; number++)',
      ],
      ['thrift file: any struct is thrown', "struct.word !== 'exception'", 'false'],
    ],
  ),
  ...faultsOf(
    'protocols/thrift-values.js',
    ['protocols/thrift-idl'],
    [
      [
        'thrift file: what was left out stays out for who reads',
        'if (initial)\n            value[name] = initial.make();',
        'if (false)\n            ;',
      ],
      ['thrift file: a number without a name is nothing', 'return words.get(number) ?? number;', 'return words.get(number);', 'short'],
      ['thrift file: an i8 is any number', 'return isWhole(value, 8) ?', 'return true ?'],
    ],
  ),
  ...[
    ['transports/http-guard.js', 'http: who has said nothing keeps a server that closes', 'silent.end();', ';'],
    ['protocols/grpc-site.js', 'grpc: who has said nothing keeps a server that closes', 'silent.end();', ';'],
    [
      'protocols/socket-site.js',
      'who has not shown who it is keeps a server that closes',
      'for (const socket of unknown.keys())\n                socket.destroy();',
      '',
    ],
    ['transports/tls.js', 'tls: who is in its handshake keeps a server that closes', 'handshakes.end(), ', ''],
  ].flatMap(([file = '', name = '', from = '', to = '']) => faultsOf(file, ['protocols/silent'], [[name, from, to]])),
  ...faultsOf(
    'cli/connecting.js',
    ['cli/import'],
    [
      ['secrets by name are not shown', '...(tokens && { tokens }),', ''],
      ['a secret that is given twice is the last one', 'if (secrets.has(scheme))', 'if (false)'],
    ],
  ),
  ...faultsOf(
    'protocols/thrift.js',
    ['protocols/thrift'],
    [
      ['of several services none is found', 'own = head.name.startsWith(', 'own = false && head.name.startsWith(', 'short'],
      ['one-way calls are answered', 'call.head.kind === Kind.oneway ? undefined :', ''],
    ],
  ),
]

// ── running ──────────────────────────────────────────────────────────────────────────────────────

/** A test file in which nothing is reported for this long hangs, which is a way of being caught. */
const SILENCE = 40_000
/** In the copy less is waited for: what a fault holds up for ever, many times, and for those behind a broker who say nothing any more. */
const SHORTER = [
  { file: 'compliance/ends.js', from: 'const WATCHDOG = 90_000;', to: 'const WATCHDOG = 6_000;' },
  { file: 'src/protocols/broker-alive.js', from: 'LOOK = 3_000;', to: 'LOOK = 1_000;' },
]
const WORKERS = 2
/** Says nothing about the tests: a fault has to leave a program that runs. */
const UNLOADABLE = 'the test does not even start'

const source = path.join(root, 'packages/talkwire')
const interpreter = python()
const args = process.argv.slice(2)
const unknown = args.find((arg) => arg.startsWith('-') && arg !== '--short' && arg !== '--texts')
if (unknown !== undefined) {
  console.error(`faults: there is no ${unknown}; take --short, --texts, or words of a row's name or file`)
  process.exit(2)
}
const words = args.filter((arg) => !arg.startsWith('-'))
const chosen = FAULTS.filter(
  ({ name, file, short }) =>
    (!args.includes('--short') || short) && (words.length === 0 || words.some((word) => `${file} ${name}`.includes(word))),
)

/** @param {string} text @param {string} from @param {string} to @param {string} where */
function replaceOnce(text, from, to, where) {
  const parts = text.split(from)
  if (parts.length !== 2) throw new Error(`${where}: the text to replace is there ${parts.length - 1} times, not once: ${from}`)
  return parts.join(to)
}

/** @param {string} dist @param {string} file */
const fileOf = (dist, file) => (file.startsWith('clients/') ? path.join(dist, '../../..', file) : path.join(dist, 'src', file))

/** @param {string} dist @param {string} test */
const testOf = (dist, test) => (test.endsWith('.py') ? fileOf(dist, test) : path.join(dist, 'test', `${test}.test.js`))

/** A copy of the built package as in the repository: tests look for docs/, spec/ and clients/ beside it. */
function copy() {
  const folder = mkdtempSync(path.join(tmpdir(), 'tw-faults-'))
  const target = path.join(folder, 'packages/talkwire')
  mkdirSync(target, { recursive: true })
  cpSync(path.join(source, 'dist'), path.join(target, 'dist'), { recursive: true })
  for (const file of ['package.json', 'test', 'src']) symlinkSync(path.join(source, file), path.join(target, file))
  cpSync(path.join(root, 'clients'), path.join(folder, 'clients'), { recursive: true, filter: (name) => !name.endsWith('__pycache__') })
  for (const name of ['.jars', '.servers', 'docs', 'node_modules', 'spec', 'package.json', '.venv'])
    if (existsSync(path.join(root, name))) symlinkSync(path.join(root, name), path.join(folder, name))
  for (const { file, from, to } of SHORTER) {
    const shortened = path.join(target, 'dist', file)
    writeFileSync(shortened, replaceOnce(readFileSync(shortened, 'utf8'), from, to, file))
  }
  return { folder, dist: path.join(target, 'dist') }
}

/**
 * Runs one test file until its first failure. Resolves with what failed, undefined when all is green.
 * @param {string} dist @param {string} test @returns {Promise<string | undefined>}
 */
function run(dist, test) {
  const folder = privateFolder()
  const isPython = test.endsWith('.py')
  const [program, ...options] = isPython
    ? [interpreter, '-u', '-m', 'pytest', '-v', '-x', '-p', 'no:cacheprovider', testOf(dist, test)]
    : [process.execPath, '--test-reporter=tap', testOf(dist, test)]
  const child = spawn(program ?? '', options, {
    cwd: path.dirname(dist),
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      ...folder.env,
      TALKWIRE_PYTHON: interpreter,
      // The copy's, where a fault may be; without a cache, which goes by the second and the size.
      PYTHONPATH: path.join(dist, '../../../clients/python'),
      PYTHONDONTWRITEBYTECODE: '1',
    },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return new Promise((resolve) => {
    /** @type {string | undefined} */
    let failure
    let text = ''
    let stderr = ''
    let reported = false
    const kill = () => {
      try {
        process.kill(-(child.pid ?? 0), 'SIGKILL')
      } catch {
        // Nobody is left.
      }
    }
    const fail = (/** @type {string} */ what) => {
      failure ??= what
      kill()
    }
    let timer = setTimeout(() => fail('hangs'), SILENCE)
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      clearTimeout(timer)
      timer = setTimeout(() => fail('hangs'), SILENCE)
      text += chunk
      reported ||= /^\s*(not )?ok \d|::\S+ (PASSED|FAILED|ERROR)/m.test(text)
      const red = /^\s*not ok \d+ - (.*)$|::(\S+) (?:FAILED|ERROR)/m.exec(text)
      if (red) fail(red[1] ?? red[2] ?? '')
      else text = text.slice(text.lastIndexOf('\n') + 1)
    })
    child.stderr.setEncoding('utf8').on('data', (chunk) => (stderr = (stderr + chunk).slice(-500)))
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      kill()
      sweep(child.pid ?? 0, folder)
      setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream.destroy()), 300)
      if (code !== 0) failure ??= reported ? `ended with ${signal ?? code} ${stderr.trim().split('\n').at(-1) ?? ''}` : UNLOADABLE
    })
    child.on('close', () => {
      folder.remove()
      resolve(failure)
    })
  })
}

/**
 * What a test that was killed left: all tests of a user share what there may be, and without room for queues every fault would
 * seem to be caught. @param {number} pid @param {ReturnType<typeof privateFolder>} folder
 */
function sweep(pid, folder) {
  for (const each of folder.left()) removeQueues(path.join(folder.env.TMPDIR, each, 'run/queues'))
  for (const [key, { what, pids, inode }] of kernelThings()) {
    if (!pids.includes(pid)) continue
    const [kind, id] = key.split(' ')
    if (inode !== undefined) rmSync(what, { force: true })
    else if (kind === 'queue') posixKind.remove(String(id).slice(1))
    else spawnSync('ipcrm', [{ msg: '-q', sem: '-s', shm: '-m' }[String(kind)] ?? '', String(id)])
  }
}

/** @template T @param {readonly T[]} items @param {(item: T, dist: string) => Promise<void>} work */
async function inParallel(items, work) {
  const waiting = [...items]
  await Promise.all(
    copies.map(async ({ dist }) => {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item, dist)
    }),
  )
}

/** @param {Fault} fault @param {string} dist */
async function plant({ name, file, from, to, tests }, dist) {
  const target = fileOf(dist, file)
  const original = readFileSync(target, 'utf8')
  writeFileSync(target, replaceOnce(original, from, to, `${file}: ${name}`))
  const began = performance.now()
  try {
    for (const test of tests) {
      const failure = await run(dist, test)
      if (failure === undefined) continue
      if (failure === UNLOADABLE) break
      console.log(`caught  ${file}: ${name}  (${test}: ${failure.slice(0, 90)}, ${Math.round((performance.now() - began) / 1000)} s)`)
      return
    }
    missed.push(`${file}: ${name}`)
    console.log(`MISSED  ${file}: ${name}  (${Math.round((performance.now() - began) / 1000)} s)`)
  } finally {
    writeFileSync(target, original)
  }
}

/** @type {string[]} */
const missed = []
/** @type {string[]} */
const red = []
const copies = Array.from({ length: WORKERS }, copy)
try {
  // Before anything is run: a text that is gone is a fault that would not be planted.
  const problems = chosen.flatMap(({ name, file, from, to, tests }) => {
    try {
      const target = fileOf(copies[0]?.dist ?? '', file)
      replaceOnce(readFileSync(target, 'utf8'), from, to, `${file}: ${name}`)
      return tests
        .filter((test) => !existsSync(testOf(copies[0]?.dist ?? '', test)))
        .map((test) => `${file}: ${name}: there is no test ${test}`)
    } catch (reason) {
      return [String(reason)]
    }
  })
  if (chosen.length === 0) problems.push(`no fault has one of these words: ${words.join(', ')}`)
  for (const problem of problems) console.log(problem)
  if (args.includes('--texts')) console.log(`${chosen.length} faults, ${problems.length} that cannot be planted`)
  else if (problems.length === 0) {
    await inParallel([...new Set(chosen.flatMap(({ tests }) => tests))], async (test, dist) => {
      // Whether a test is steady is for `npm test` to say; a fault is caught by a test that can be green.
      const first = await run(dist, test)
      if (first === undefined) return
      console.log(`red without a fault, once more: ${test}: ${first}`)
      const second = await run(dist, test)
      if (second !== undefined) red.push(`${test}: ${second}`)
    })
    if (red.length > 0) console.log(`red before any fault was planted:\n${red.join('\n')}`)
    else await inParallel(chosen, plant)
  }
  const counted = chosen.length - missed.length
  if (problems.length === 0 && red.length === 0 && !args.includes('--texts'))
    console.log(`${counted} of ${chosen.length} planted faults caught${missed.length ? `; missed:\n${missed.join('\n')}` : ''}`)
  process.exitCode = problems.length || red.length || missed.length ? 1 : 0
} finally {
  for (const { folder } of copies) rmSync(folder, { recursive: true, force: true })
}
