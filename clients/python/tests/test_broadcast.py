"""A broadcast ring, and waiting for a change of a value, within one process. With Node as partner: packages/talkwire/test/memory."""

import mmap
import os
import threading

import pytest

from talkwire import TalkwireError
from talkwire.bell import borrowed_bell
from talkwire.broadcast import BroadcastRing
from talkwire.owner import owner_of
from talkwire.shared_value import SharedValue, value_bytes


@pytest.fixture(autouse=True, scope="module")
def bells():
    """As many as threads wait at a time here: they stay open, which is no leak of a test."""
    with borrowed_bell(), borrowed_bell():
        pass


def code_of(action):
    with pytest.raises(TalkwireError) as caught:
        action()
    return caught.value.code


def test_limits_and_wrong_use():
    memory = mmap.mmap(-1, 8192)
    with BroadcastRing(memory, 0, 4096 + 1024) as ring:
        assert (ring.capacity, ring.max_message) == (1024, 248)
        reader, writer = ring.reader(), ring.writer()
        assert code_of(ring.writer) == "UNAVAILABLE"
        writer.write(bytes(248))
        writer.write(b"")
        assert code_of(lambda: writer.write(bytes(249))) == "MESSAGE_TOO_LARGE"
        assert [reader.read(1), reader.read(1), reader.read(0), reader.try_read()] == [bytes(248), b"", None, None]
        writer.close()
        writer.close()
        assert code_of(lambda: writer.write(b"")) == "CLOSED"
        with ring.writer() as successor:
            successor.write(b"next")
        assert next(iter(reader)) == b"next"
        reader.close()
        assert code_of(reader.try_read) == "CLOSED"
    assert code_of(lambda: BroadcastRing(_other_kind())) == "INVALID_MEMORY"
    for place in ((4,), (0, 4096 + 1000), (8192,)):
        with pytest.raises(ValueError):
            BroadcastRing(memory, *place)
    memory.close()


def _other_kind():
    memory = bytearray(8192)
    memory[:4] = (0x5452110A).to_bytes(4, "little")
    return memory


def test_a_child_has_no_end_of_its_parent():
    ring = BroadcastRing(mmap.mmap(-1, 8192))
    reader, writer = ring.reader(), ring.writer()
    child = os.fork()
    if child == 0:
        codes = [code_of(reader.try_read), code_of(lambda: writer.write(b""))]
        writer.close()
        os._exit(0 if codes == ["CLOSED", "CLOSED"] and code_of(ring.writer) == "UNAVAILABLE" else 1)
    assert os.waitpid(child, 0)[1] == 0
    writer.write(b"mine")
    assert reader.try_read() == b"mine"


def test_a_change_is_waited_for_in_time_also_without_a_place():
    memory = mmap.mmap(-1, value_bytes(8))
    value = SharedValue(memory, size=8)
    assert code_of(lambda: value.changed(0, 0.001)) == "DEADLINE_EXCEEDED"
    assert memory[64:72] == bytes(8), "the place is free again"
    # All places are those of the living.
    me = owner_of(os.getpid()).to_bytes(8, "little")
    for place in range(64, 320, 16):
        memory[place : place + 8] = me
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(value.changed(0, 60)))
    waiting.start()
    with value.writer() as writer:
        writer.write(b"there")
    waiting.join()
    assert seen == [1] and value.changed(0, 0) == 1


def test_a_reader_that_is_lapped_while_it_copies_hands_out_nothing_of_that(monkeypatch):
    with BroadcastRing(mmap.mmap(-1, 8192), 0, 4096 + 1024) as ring, ring.writer() as writer, ring.reader() as reader:
        for n in range(5):
            writer.write(bytes([n]) * 100)
        copy = ring._words.copy

        def lapped(offset, length):
            monkeypatch.setattr(ring._words, "copy", copy)
            first = copy(offset, length // 2)
            for n in range(5, 25):
                writer.write(bytes([n]) * 100)
            return first + copy(offset + length // 2, length - length // 2)

        monkeypatch.setattr(ring._words, "copy", lapped)
        assert reader.try_read() == bytes([24]) * 100
        assert reader.lost == 24
        writer.write(b"next")
        assert reader.try_read() == b"next" and reader.try_read() is None
