"""Large messages own their memory, and give it on to the next when nobody looks at it any more."""

import tracemalloc

import numpy
import pytest

from talkwire.framing import FrameDecoder
from talkwire.landing import Landing, _spares

MIB = 1 << 20


@pytest.fixture(autouse=True)
def no_spares():
    _spares.clear()
    yield
    _spares.clear()


def land(value, size=MIB):
    landing = Landing(size)
    landing.room(0)[:] = bytes([value]) * size
    return landing.finish()


def test_memory_in_use_is_never_used_again():
    held = [land(value) for value in range(6)]
    assert [bytes(view) for view in held] == [bytes([value]) * MIB for value in range(6)]


def test_a_part_of_a_message_holds_all_of_it():
    part = land(1)[10:20]
    for value in range(2, 6):
        land(value)
    assert bytes(part) == b"\x01" * 10


def test_memory_that_nobody_looks_at_is_used_again():
    first = land(1)
    memory = first.obj
    del first
    assert land(2).obj is memory


def test_a_larger_message_finds_its_room():
    land(1)
    landing = Landing(2 * MIB)
    assert len(landing.room(0)) == 2 * MIB
    landing.room(0)[:] = b"x" * (2 * MIB)
    assert bytes(landing.finish()) == b"x" * (2 * MIB)


def test_a_smaller_message_does_not_take_what_follows_it():
    land(1, 2 * MIB)
    landing = Landing(MIB)
    assert len(landing) == len(landing.room(0)) == MIB
    assert len(landing.finish()) == MIB


def test_a_huge_message_is_not_kept():
    land(1, 17 * MIB)
    assert not _spares


def test_growing_keeps_what_has_arrived():
    decoder = FrameDecoder(1 << 26)
    body = bytes(range(256)) * (5 * MIB // 256)
    found = decoder.feed((len(body)).to_bytes(4, "big") + body[:1000])
    for at in range(1000, len(body), 99_991):
        found += decoder.feed(body[at : at + 99_991])
    assert found == [body]


def test_an_array_is_not_copied_on_its_way_in(served):
    _, client = served({"total": lambda array: float(array.sum())})
    array = numpy.ones(MIB)
    client.total(array)
    tracemalloc.start()  # does not see the landing itself, which is no heap memory
    try:
        assert client.total(array) == MIB
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_arrays_that_a_handler_keeps_stay_as_they_are(served):
    kept = []
    _, client = served({"keep": lambda array: kept.append(array)})
    for value in range(6):
        client.keep(numpy.full(MIB // 8, float(value)))
    assert [array.min() for array in kept] == [array.max() for array in kept] == [0, 1, 2, 3, 4, 5]
