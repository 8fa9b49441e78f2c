"""Rings in Python alone; with the other languages: packages/talkwire/test/memory/ring-partners.test.ts."""

import mmap

import pytest

from talkwire import TalkwireError
from talkwire.ring import Ring


@pytest.fixture(params=["one", "many"])
def producers(request):
    return request.param


def test_what_is_no_bytes_takes_no_room(producers):
    with Ring(mmap.mmap(-1, 8192), producers=producers) as ring, ring.producer() as producer, ring.consumer() as consumer:
        with pytest.raises(TypeError):
            producer.try_write("text")
        assert producer.try_write(b"bytes") and consumer.try_read() == b"bytes"


def test_a_ring_of_nothing_but_skipped_room_is_broken():
    with Ring(mmap.mmap(-1, 8192)) as ring, ring.consumer() as consumer:
        for place in range(0, ring.capacity, 8):
            ring._data[place // 4], ring._data[place // 4 + 1] = 8, -1
        with pytest.raises(TalkwireError, match="INVALID_MEMORY"):
            consumer.try_read()


@pytest.mark.parametrize("place", [(4,), (0, 100), (0, 4096 + 1023)])
def test_places_and_kinds(producers, place):
    memory = mmap.mmap(-1, 8192)
    with pytest.raises(ValueError):
        Ring(memory, *place, producers=producers)
    Ring(memory, producers=producers).close()
    with pytest.raises(TalkwireError, match="INVALID_MEMORY"):
        Ring(memory, producers="one" if producers == "many" else "many")
