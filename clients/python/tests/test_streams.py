"""Streams: credits, slow readers, cancellation."""

import threading
import tracemalloc

import pytest

import talkwire
from talkwire import Limits, TalkwireError


def test_a_slow_reader_slows_the_writer(served):
    produced = [0]

    def flood():
        while True:
            produced[0] += 1
            yield "x" * 10_000

    service, c = served({"flood": flood})
    with c.stream("flood") as stream:
        for _ in range(20):
            next(stream)
        (connection,) = service._connections
        (call,) = connection.calls_in.values()
        connection._out_lock.acquire()
        connection._out_lock.release()
        # the writer stops by credit: at most the window (524,288 bytes) and one item beyond what was taken
        assert produced[0] <= 20 + 2 * 53 + 2
        before = produced[0]
        for _ in range(500):
            next(stream)
        assert before + 500 >= produced[0] - 110


def test_a_slow_handler_slows_the_sender(served):
    gate, entered, sent = threading.Event(), threading.Event(), [0]

    def source():
        for i in range(2000):
            sent[0] += 1
            yield "x" * 10_000

    def slow(items):
        entered.set()
        gate.wait()
        return sum(len(item) for item in items)

    _, c = served({"slow": slow, "fence": lambda: 1})
    call = c.start("slow", source())
    entered.wait()
    for _ in range(20):
        c.fence()
    assert sent[0] <= 60
    gate.set()
    assert call.result() == 20_000_000


def test_streams_do_not_pile_up_in_memory(served):
    def blocks():
        for _ in range(400):
            yield b"x" * 262_144

    _, c = served({"blocks": blocks, "size": lambda items: sum(len(i) for i in items)})
    tracemalloc.start()
    total = sum(len(block) for block in c.stream("blocks"))
    assert total == 400 * 262_144
    assert c.size(blocks()) == 400 * 262_144
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * 1024 * 1024


def test_closing_a_stream_stops_the_generator(served):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    _, c = served({"endless": endless})
    with c.stream("endless") as stream:
        assert next(stream) == 1
    assert closed.wait(5)
    stream = c.stream("endless")
    next(stream)
    closed.clear()
    del stream
    assert closed.wait(5)


def test_errors_in_streams(served):
    def fails():
        yield 1
        raise talkwire.declared_error("Broken", 7)

    _, c = served({"fails": fails, "eat": lambda items: list(items)})
    got = []
    with pytest.raises(TalkwireError) as caught:
        for item in c.stream("fails"):
            got.append(item)
    assert got == [1] and caught.value.code == "Broken" and caught.value.details == 7

    def source():
        yield 1
        raise KeyError("mine")

    with pytest.raises(KeyError):
        c.eat(source())
    assert c.eat(iter([1, 2])) == [1, 2]


def test_the_answer_may_come_before_the_input_ends(served):
    closed = []

    def source():
        try:
            while True:
                yield "x" * 1000
        finally:
            closed.append(True)

    _, c = served({"first": lambda items: next(items)})
    assert c.first(source()) == "x" * 1000
    assert closed == [True]


def test_items_and_details_may_be_as_deep_as_results(served):
    def nested(depth):
        value = 1
        for _ in range(depth):
            value = [value]
        return value

    def deep():
        yield nested(63)
        raise talkwire.declared_error("Deep", nested(63))

    _, c = served({"deep": deep, "eat": lambda items: list(items) == [nested(63)], "give": lambda: nested(63)})
    stream = c.deep()
    assert next(stream) == nested(63) == c.give()
    with pytest.raises(TalkwireError) as caught:
        next(stream)
    assert caught.value.code == "Deep" and caught.value.details == nested(63)
    assert c.eat(iter([nested(63)])) is True
    with pytest.raises(TalkwireError, match="TOO_DEEP"):
        c.eat(iter([nested(64)]))


def test_both_ways_at_once(served):
    def chat(lines):
        for line in lines:
            yield line.upper()

    _, c = served({"chat": chat})
    assert list(c.stream("chat", (str(i) + "a" for i in range(3000)))) == [str(i) + "A" for i in range(3000)]


def test_a_lock_step_dialogue(served):
    def chat(lines):
        for line in lines:
            yield line + 1

    answers, said = [0], threading.Semaphore(1)

    def mine():
        for _ in range(100):
            said.acquire()
            yield answers[-1]

    _, c = served({"chat": chat})
    for answer in c.stream("chat", mine()):
        answers.append(answer)
        said.release()
    assert answers == list(range(101))


def test_deadline_of_a_stream(served):
    def slow(ctx):
        yield 1
        ctx.wait_cancelled(20)

    _, c = served({"slow": slow})
    stream = c.stream("slow", timeout=0.1)
    assert next(stream) == 1
    with pytest.raises(TalkwireError, match="DEADLINE_EXCEEDED"):
        next(stream)


def test_the_number_of_streams_is_limited(served):
    def wait(ctx):
        ctx.wait_cancelled(20)
        yield 1

    _, c = served({"wait": wait}, limits=Limits(max_streams=3))
    streams = [c.stream("wait") for _ in range(3)]
    with pytest.raises(TalkwireError, match="LIMIT_EXCEEDED"):
        next(c.stream("wait"))
    for stream in streams:
        stream.close()


def test_a_slow_subscriber_loses_events_and_is_told(served, raw):
    service, _ = served({}, limits=Limits(max_queue=1_000_000))
    peer = raw()
    peer.hello()
    peer.frame({"jsonrpc": "2.0", "id": 2, "method": "rpc.on", "params": {"event": "e"}})
    assert peer.read_frame()["result"] is True
    for i in range(300):
        service.emit("e", "x" * 50_000)
    seen = lost = 0
    for _ in range(1):
        message = peer.read_frame()
        seen += message["method"] == "e"
    service.emit("e", "fence")
    while True:
        message = peer.read_frame()
        if message["method"] == "$/lost":
            lost += message["params"]["count"]
        elif message["params"] == ["fence"]:
            break
        else:
            seen += 1
        if lost == 0 and seen + 0 < 300 and len(message["params"][0:1]) and seen % 10 == 0:
            service.emit("e", "fence")
    assert lost > 0 and seen + lost >= 300


def test_closing_a_service_ends_its_streams(served):
    stopped = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            stopped.set()

    service, c = served({"endless": endless})
    stream = c.stream("endless")
    assert next(stream) == 1
    service.close()
    assert stopped.is_set()
    with pytest.raises(TalkwireError, match="UNAVAILABLE"):
        for _ in stream:
            pass


def test_a_caller_that_closes_lets_its_stream_arrive(served):
    """Only whoever closes ends its own streams; the other side finishes what it was asked for."""
    _, c = served({"count": lambda: iter(range(2000))})
    stream = c.stream("count")
    c.close()
    assert list(stream) == list(range(2000))
