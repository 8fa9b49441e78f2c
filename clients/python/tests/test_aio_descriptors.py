"""Descriptors in an event loop, with the blocking side and with another event loop: spec/descriptors.md."""

import asyncio
import os
from contextlib import asynccontextmanager

import pytest

import talkwire
from talkwire import Descriptor, TalkwireError, aio


def opened():
    return len(os.listdir("/proc/self/fd"))


class Files:
    """What both kinds of service serve."""

    def __init__(self):
        self.kept = []

    def read(self, file):
        return os.pread(file.fileno(), 100, 0).decode()

    def open(self, path):
        return Descriptor.give(os.open(path, os.O_RDONLY))

    def echo(self, files):
        return files

    def keep(self, file):
        self.kept.append(file.take())

    def fail(self, file):
        raise ValueError("no")


class AsyncFiles(Files):
    def __init__(self):
        super().__init__()
        self.entered = asyncio.Event()
        self.left = asyncio.Event()

    async def hold(self, file):
        """Has it in its hand until it is cancelled."""
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()

    async def late(self, path):
        """Does not listen to its cancellation, and gives what nobody waits for."""
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        self.left.set()
        return Descriptor.give(os.open(path, os.O_RDONLY))


@asynccontextmanager
async def serving(kind, address):
    if kind == "threads":
        files = Files()
        service = await asyncio.to_thread(talkwire.serve, "files", files, listen=address, descriptors=True)
        try:
            yield files
        finally:
            await asyncio.to_thread(service.close)
    else:
        files = AsyncFiles()
        async with await aio.serve("files", files, listen=address, descriptors=True):
            yield files


async def until(holds):
    while not holds():
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_both_ways_and_nothing_left(kind, tmp_path):
    path = tmp_path / "text"
    path.write_text("here")

    async def around(client):
        with open(path) as file:
            assert await client.read(Descriptor.lend(file)) == "here"
        assert await client.read(Descriptor.give(os.open(path, os.O_RDONLY))) == "here"
        with await client.open(str(path)) as received:
            assert os.pread(received.fileno(), 100, 0) == b"here"
            assert not os.get_inheritable(received.fileno())
        for failing in (client.fail, client.missing):
            with pytest.raises(TalkwireError):
                await failing(Descriptor.lend(0))
        with pytest.raises(TypeError):
            await client.echo([Descriptor.give(os.open(path, os.O_RDONLY)), object()])
        for each in await client.echo([Descriptor.lend(0), Descriptor.lend(1)]):
            each.close()

    async def main():
        address = f"unix:{tmp_path}/files.sock"
        async with serving(kind, address) as files, await aio.connect(address, descriptors=True, reconnect=False) as client:
            await around(client)
            before = opened()
            for _ in range(5):
                await around(client)
            assert opened() == before
            await client.keep(Descriptor.lend(0))
            os.close(files.kept.pop())

    asyncio.run(main())


def test_a_blocking_client_of_a_service_in_a_loop(tmp_path):
    address = f"unix:{tmp_path}/files.sock"

    def use():
        with talkwire.connect(address, descriptors=True, reconnect=False) as client:
            with open(__file__) as file:
                assert client.read(Descriptor.lend(file)).startswith('"""Descriptors')
            with client.open(__file__) as received:
                assert os.pread(received.fileno(), 3, 0) == b'"""'

    async def main():
        async with serving("loop", address):
            await asyncio.to_thread(use)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancel", "abort"])
@pytest.mark.parametrize("what", ["hold", "late"])
def test_nothing_is_left_of_a_call_that_nobody_waits_for(how, what, tmp_path):
    async def main():
        address = f"unix:{tmp_path}/files.sock"
        async with serving("loop", address) as files:
            before = opened()
            client = await aio.connect(address, descriptors=True, reconnect=False)
            given = os.open(__file__, os.O_RDONLY)
            argument = Descriptor.give(given) if what == "hold" else __file__
            if what == "late":
                os.close(given)
            call = asyncio.ensure_future(client.call(what, argument))
            await files.entered.wait()
            if how == "cancel":
                call.cancel()
            if how == "abort":
                client.abort()
            with pytest.raises((asyncio.CancelledError, TalkwireError)):
                await call
            await files.left.wait()
            await client.close()
            await asyncio.wait_for(until(lambda: opened() == before), 30)

    asyncio.run(main())


def test_limits_hold_and_end_the_connection(tmp_path):
    async def main():
        address = f"unix:{tmp_path}/files.sock"
        async with serving("loop", address):
            client = await aio.connect(address, descriptors=True, reconnect=False)
            with pytest.raises(TalkwireError, match="LIMIT_EXCEEDED"):
                await client.echo([Descriptor.lend(0) for _ in range(17)])
            held = []
            with pytest.raises(TalkwireError):
                while len(held) < 200:
                    held += await client.echo([Descriptor.lend(0)])
            assert len(held) == 64
            for each in held:
                each.close()
            await client.close()

    asyncio.run(main())


def test_refused_where_they_cannot_go(tmp_path):
    async def main():
        with pytest.raises(TalkwireError, match="UNSUPPORTED"):
            await aio.serve("files", Files(), listen="tcp://127.0.0.1:0", descriptors=True)
        address = f"unix:{tmp_path}/files.sock"
        async with await aio.serve("files", Files(), listen=address):
            with pytest.raises(TalkwireError, match="UNSUPPORTED"):
                await aio.connect(address, descriptors=True)
            async with await aio.connect(address) as client:
                with pytest.raises(TalkwireError, match="UNSUPPORTED"):
                    await client.read(Descriptor.lend(0))

    asyncio.run(main())
