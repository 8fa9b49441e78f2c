"""Descriptors between two processes and within one: spec/descriptors.md."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any, Iterator

import numpy
import pytest

import talkwire
from talkwire import Descriptor, TalkwireError


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


class Files:
    def __init__(self) -> None:
        self.kept: "list[int]" = []

    def read(self, file: Descriptor) -> str:
        return os.pread(file.fileno(), 100, 0).decode()

    def open(self, path: str) -> Descriptor:
        return Descriptor.give(os.open(path, os.O_RDONLY))

    def echo(self, files: Any) -> Any:
        return files

    def keep(self, file: Descriptor) -> int:
        self.kept.append(file.take())
        return len(self.kept)

    def fail(self, file: Descriptor) -> None:
        raise ValueError("no")

    def double(self, memory: Descriptor) -> None:
        import mmap

        with mmap.mmap(memory.fileno(), 0) as view:
            array = numpy.frombuffer(view, dtype="f8")
            array *= 2
            del array

    def items(self) -> Iterator[Descriptor]:
        yield Descriptor.lend(0)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def client(files: Files, tmp_path: Path) -> Iterator[talkwire.Client]:
    address = f"unix:{tmp_path}/files.sock"
    with talkwire.serve("files", files, listen=address, descriptors=True):
        with talkwire.connect(address, descriptors=True, reconnect=False) as client:
            yield client


def test_files_both_ways_and_nothing_left(client: talkwire.Client, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("here")

    def around() -> None:
        with open(path) as file:
            assert client.read(Descriptor.lend(file)) == "here"
            assert file.read() == "here"
        assert client.read(Descriptor.give(os.open(path, os.O_RDONLY))) == "here"
        with client.open(str(path)) as received:
            assert os.pread(received.fileno(), 100, 0) == b"here"
            assert not os.get_inheritable(received.fileno())
        with pytest.raises(TalkwireError, match="INTERNAL|internal"):
            client.fail(Descriptor.lend(0))
        with pytest.raises(TalkwireError, match="METHOD_NOT_FOUND"):
            client.missing(Descriptor.lend(0))
        with pytest.raises(TypeError):
            client.echo([Descriptor.give(os.open(path, os.O_RDONLY)), object()])
        for each in client.echo([Descriptor.lend(0), Descriptor.lend(1)]):
            each.close()

    around()
    before = opened()
    for _ in range(5):
        around()
    assert opened() == before


def test_what_is_taken_stays(client: talkwire.Client, files: Files) -> None:
    assert client.keep(Descriptor.lend(0)) == 1
    os.close(files.kept.pop())


def test_memory_for_numpy(client: talkwire.Client) -> None:
    fd = os.memfd_create("numbers")
    os.ftruncate(fd, 8 * 1000)
    import mmap

    with mmap.mmap(fd, 0) as view:
        array = numpy.frombuffer(view, dtype="f8")
        array[:] = 21
        client.double(Descriptor.lend(fd))
        assert array.sum() == 42_000
        del array
    os.close(fd)


def test_a_connected_socket(client: talkwire.Client, files: Files) -> None:
    near, far = socket.socketpair()
    with near, far:
        client.keep(Descriptor.lend(far))
        other = socket.socket(fileno=files.kept.pop())
        with other:
            other.sendall(b"through")
        assert near.recv(100) == b"through"


def test_limits(client: talkwire.Client) -> None:
    with pytest.raises(TalkwireError, match="LIMIT_EXCEEDED"):
        client.echo([Descriptor.lend(0) for _ in range(17)])
    for each in client.stream("items"):
        each.close()
    held = []
    with pytest.raises(TalkwireError):
        while len(held) < 200:
            held += client.echo([Descriptor.lend(0)])
    assert len(held) == 64
    for each in held:
        each.close()


def test_refused_where_they_cannot_go(tmp_path: Path) -> None:
    with pytest.raises(TalkwireError, match="UNSUPPORTED"):
        talkwire.serve("files", Files(), listen="tcp://127.0.0.1:0", descriptors=True)
    address = f"unix:{tmp_path}/files.sock"
    with talkwire.serve("files", Files(), listen=address):
        with pytest.raises(TalkwireError, match="UNSUPPORTED"):
            talkwire.connect(address, descriptors=True)
        with talkwire.connect(address) as client, pytest.raises(TalkwireError, match="UNSUPPORTED"):
            client.read(Descriptor.lend(0))


def test_many_threads(client: talkwire.Client) -> None:
    import threading

    failures = []

    def work(text: bytes) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.flush()
            for _ in range(50):
                if client.read(Descriptor.lend(file)) != text.decode():
                    failures.append(text)

    threads = [threading.Thread(target=work, args=(struct.pack("B", 65 + n) * 10,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
