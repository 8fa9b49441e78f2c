"""The asyncio front end, against itself and against the blocking one."""

import asyncio
import os
import threading

import numpy as np
import pytest

import talkwire
from conftest import Raw, request
from talkwire import Limits, TalkwireError, aio, declared_error


class Handlers:
    def __init__(self):
        self.stopped = asyncio.Event()
        self.entered = asyncio.Event()

    def add(self, a, b):
        return a + b

    async def slow(self, ctx):
        self.entered.set()
        try:
            await asyncio.sleep(30)
        finally:
            self.stopped.set()

    async def ask(self, q, ctx):
        return await ctx.caller.answer(q)

    async def count(self, n):
        for i in range(n):
            yield i

    def plain_count(self, n):
        yield from range(n)

    async def total(self, items):
        return sum([item async for item in items])

    async def chat(self, lines):
        async for line in lines:
            yield line.upper()

    async def each(self, f):
        return [await f(i) for i in range(3)]

    async def fail(self):
        raise ValueError("secret")

    async def declared(self):
        raise declared_error("Nope", 1)

    async def left(self, ctx):
        ctx.progress(1)
        return [ctx.remaining(), ctx.metadata, ctx.peer.pid is not None]

    def echo(self, x):
        return x


async def pair(**client):
    handlers = Handlers()
    service = await aio.serve("svc", handlers)
    return handlers, service, await aio.connect("svc", **client)


def run(test):
    """Runs an async test and checks that nothing of the loop is left."""

    def wrapper():
        async def whole():
            before = asyncio.all_tasks()
            await test()
            rest = asyncio.all_tasks() - before
            assert not rest, rest

        asyncio.run(whole())

    wrapper.__name__ = test.__name__
    return wrapper


async def refused(awaitable):
    with pytest.raises(TalkwireError) as caught:
        await awaitable
    return caught.value


@run
async def test_calls_both_ways():
    async def answer(q):
        return q + "!"

    _, service, c = await pair(serve={"answer": answer})
    async with service, c:
        assert await c.add(2, 5) == 7 and await c.add(a=1, b=1) == 2
        assert await c.ask("hi") == "hi!"
        assert await asyncio.gather(*(c.add(i, i) for i in range(100))) == [2 * i for i in range(100)]
        assert await c.each(lambda i: i * i) == [0, 1, 4]
        big = np.arange(500_000, dtype="f4").reshape(1000, 500)
        assert ((await c.echo(big)) == big).all()
        assert str(await refused(c.fail())) == "[INTERNAL] internal error"
        error = await refused(c.declared())
        assert (error.code, error.details, error.declared) == ("Nope", 1, True)
        assert (await refused(c.nope())).code == "METHOD_NOT_FOUND"
        assert [remote for remote in service.clients()]


@run
async def test_streams():
    _, service, c = await pair()
    async with service, c:
        assert [x async for x in await c.stream("count", 5000)] == list(range(5000))
        assert [x async for x in await c.count(3)] == [0, 1, 2]
        assert [x async for x in await c.stream("plain_count", 50)] == list(range(50))
        assert await c.total(iter(range(3000))) == sum(range(3000))

        async def lines():
            for i in range(100):
                yield f"a{i}"

        assert [x async for x in await c.stream("chat", lines())] == [f"A{i}" for i in range(100)]


@run
async def test_cancel_and_deadline_stop_the_handler():
    handlers, service, c = await pair()
    async with service, c:
        task = asyncio.ensure_future(c.slow())
        await handlers.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await handlers.stopped.wait()
        handlers.stopped.clear()
        error = await refused(c.call("slow", timeout=0.05))
        assert error.code == "DEADLINE_EXCEEDED" and error.outcome == "maybe-ran"
        await handlers.stopped.wait()
        seen = []
        left, metadata, known = await c.call("left", timeout=5, metadata={"a": "b"}, on_progress=seen.append)
        assert 4 < left <= 5 and metadata == {"a": "b"} and known and seen == [1]


@run
async def test_slow_readers_and_writers_are_bounded():
    produced = [0]

    async def flood():
        while True:
            produced[0] += 1
            yield "x" * 10_000

    gate = asyncio.Event()

    async def slow(items):
        await gate.wait()
        return len([x async for x in items])

    service = await aio.serve("svc", {"flood": flood, "slow": slow, "fence": lambda: 1})
    async with service, await aio.connect("svc") as c:
        stream = await c.stream("flood")
        await stream.__anext__()
        for _ in range(100):
            await c.fence()
        assert produced[0] <= 60
        await stream.aclose()
        sent = [0]

        def source():
            for _ in range(500):
                sent[0] += 1
                yield "x" * 10_000

        call = asyncio.ensure_future(c.slow(source()))
        for _ in range(100):
            await c.fence()
        assert sent[0] <= 60
        gate.set()
        assert await call == 500


@run
async def test_events_and_close():
    _, service, c = await pair()
    seen, enough = [], asyncio.Event()

    async def got(payload):
        seen.append(payload)
        if len(seen) == 10:
            enough.set()

    subscription = await c.on("tick", got)
    for i in range(10):
        service.emit("tick", {"i": i})
    await enough.wait()
    assert seen == [{"i": i} for i in range(10)]
    await subscription.close()
    await service.close()
    await c.wait()
    assert (await refused(c.call("add", 1, 1, timeout=0.05))).outcome == "not-sent"
    await c.close()


@run
async def test_a_call_that_crosses_with_close_is_refused_until_the_peer_says_that_none_follows():
    service = await aio.serve("svc", {"quick": lambda: 1})
    peer = Raw(os.path.join(os.environ["TALKWIRE_RUNTIME_DIR"], "svc.sock"))

    def by_hand():
        peer.hello()
        hand_shaken.set()
        answers = [peer.read_frame()]
        for id in (2, 3):
            peer.frame(request(id, "quick"))
            answers.append(peer.read_frame())
        peer.frame({"jsonrpc": "2.0", "method": "$/close", "params": {}})
        return answers, peer.read_frame()

    hand_shaken = threading.Event()
    talking = asyncio.get_running_loop().run_in_executor(None, by_hand)
    await asyncio.get_running_loop().run_in_executor(None, hand_shaken.wait)
    closing = asyncio.ensure_future(service.close())
    (said, *refusals), end = await talking
    peer.close()
    await closing
    assert said["method"] == "$/close" and end is None
    assert [(r["id"], r["error"]["code"], r["error"]["data"]["outcome"]) for r in refusals] == [
        (2, -32005, "not-sent"),
        (3, -32005, "not-sent"),
    ]


@run
async def test_close_drains():
    gate, entered = asyncio.Event(), asyncio.Event()

    async def work():
        entered.set()
        await gate.wait()
        return "finished"

    service = await aio.serve("svc", {"work": work})
    c = await aio.connect("svc")
    call = asyncio.ensure_future(c.work())
    await entered.wait()
    closing = asyncio.ensure_future(service.close())
    await asyncio.sleep(0)
    gate.set()
    assert await call == "finished"
    await closing
    await c.close()


@run
async def test_tcp_with_authkey():
    key = b"0123456789abcdef"
    async with await aio.serve("svc", Handlers(), listen=["tcp://127.0.0.1:0"], authkey=key) as service:
        async with await aio.connect(service.addresses[0], authkey=key) as c:
            assert await c.add(1, 1) == 2
        with pytest.raises(TalkwireError):
            await aio.connect(service.addresses[0], authkey=b"another key here")


def test_fifo_in_a_loop(tmp_path):
    @run
    async def go():
        async with await aio.serve("svc", Handlers(), listen=[f"fifo:{tmp_path}/p"]) as service:
            for _ in range(3):
                async with await aio.connect(service.addresses[0]) as c:
                    assert await c.add(1, 1) == 2

    go()


@run
async def test_a_blocking_client_of_an_async_service():
    service = await aio.serve("svc", Handlers())

    def use():
        with talkwire.connect("svc", serve={"answer": str.upper}) as c:
            return [c.add(2, 5), c.ask("x"), list(c.stream("count", 10)), c.total(iter([1, 2]))]

    assert await asyncio.get_running_loop().run_in_executor(None, use) == [7, "X", list(range(10)), 3]
    await service.close()


def test_an_async_client_of_a_blocking_service(served):
    def ask(ctx):
        return ctx.caller.answer(3)

    served({"add": lambda a, b: a + b, "ask": ask})

    @run
    async def go():
        async def answer(n):
            return n * 2

        async with await aio.connect("svc", serve={"answer": answer}) as c:
            assert await c.add(2, 5) == 7 and await c.ask() == 6

    go()


@run
async def test_a_silent_peer_is_cut():
    service = await aio.serve("svc", {}, limits=Limits(handshake=0.1))
    reader, writer = await asyncio.open_unix_connection(path=service._listeners[0]._path)
    assert await reader.read() == b""
    writer.close()
    await service.close()


@run
async def test_a_flood_of_tiny_messages_leaves_the_loop_to_others():
    _, service, c = await pair()
    reader, writer = await asyncio.open_unix_connection(path=service._listeners[0]._path)
    writer.write(b'{"jsonrpc":"2.0","method":"add","params":[1,1]}\n' * 20_000)
    assert await c.add(1, 1) == 2
    writer.write(b'{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}\n')
    assert b'"result":3' in await reader.readline()
    writer.close()
    await c.close()
    await service.close()


def test_spawn_from_a_loop(tmp_path):
    worker = tmp_path / "w.py"
    worker.write_text("def add(a, b): return a + b\n")

    @run
    async def go():
        import sys

        async with await aio.connect(f"spawn:{sys.executable} -m talkwire serve {worker}") as c:
            assert await c.add(1, 2) == 3

    go()
    assert threading.active_count() < 20


def test_closing_a_service_ends_its_streams():
    async def endless():
        yield 1
        await asyncio.Event().wait()

    async def main():
        service = await aio.serve("svc", {"endless": endless})
        async with await aio.connect("svc") as client:
            stream = await client.stream("endless")
            assert await stream.__anext__() == 1
            await service.close()
            with pytest.raises(TalkwireError, match="UNAVAILABLE"):
                await stream.__anext__()

    asyncio.run(main())
