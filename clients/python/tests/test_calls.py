"""Calls, both directions, over real sockets."""

import os
import threading
import time
from datetime import datetime, timezone

import numpy as np
import pytest

import talkwire
from conftest import request
from talkwire import TalkwireError, declared_error
from talkwire.connection import Connection
from talkwire.methods import Method
from talkwire.session import Incoming


def refused(function, *args, **named):
    with pytest.raises(TalkwireError) as caught:
        function(*args, **named)
    return caught.value


class Calc:
    def add(self, a, b=1):
        return a + b

    def echo(self, value):
        return value

    def _private(self):
        return "secret"


def test_object_dict_and_module_as_handlers(served):
    _, c = served(Calc())
    assert c.add(2, 5) == 7
    assert c.add(a=2, b=5) == 7
    assert c.add(2) == 3
    assert refused(c.call, "_private").code == "METHOD_NOT_FOUND"
    assert refused(c.call, "__init__").code == "METHOD_NOT_FOUND"
    assert refused(c.add, 1, 2, 3).code == "INVALID_INPUT"
    assert refused(c.call, "add").code == "INVALID_INPUT"


def test_a_plain_object_travels_by_name(served):
    _, c = served({"one": lambda account: account, "spread": lambda **kw: kw, "whole": lambda d: d})
    assert c.one({"account": "a"}) == "a"
    assert c.spread({"x": 1, "y": 2}) == {"x": 1, "y": 2}
    assert c.whole({"x": 1}) == {"x": 1}
    assert c.whole({1: 2}) == {1: 2}


VALUES = [
    None, True, "ü\ud800", [], {}, [1, [2, [3]]], 2**53 - 1, 2**53, -(2**80), 1.5, float("inf"), -0.0,
    datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc), datetime(1900, 1, 1, tzinfo=timezone.utc),
    {1, 2}, {1: "a"}, talkwire.Map(a=1), {"$x": 1}, {"$$x": 1}, {"$": 1, "b": 2}, {"a": [{1, 2}]}, b"bytes", b"",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v)[:20])
def test_values_survive(served, value):
    _, c = served(Calc())
    result = c.echo([value])[0]
    assert result == value and type(result) is type(value)
    assert str(result) == str(value)


def test_nan_survives(served):
    _, c = served(Calc())
    assert np.isnan(c.echo(float("nan")))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(0,), (5,), (2, 3), (2, 0, 3), (), (1, 2, 3, 4)])
def test_arrays_survive(served, dtype, shape):
    _, c = served(Calc())
    array = np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)
    result = c.echo(array)
    assert isinstance(result, np.ndarray) and result.dtype == array.dtype and result.shape == shape
    assert (result == array).all()


def test_a_large_array_is_a_writable_view(served):
    _, c = served({"f": lambda x: [x.flags.writeable, x.base is not None, float(x.sum())], "echo": lambda x: x})
    big = np.ones((1024, 1024))
    assert c.f(big) == [True, True, 1048576.0]
    assert (c.echo(big[:, ::2]) == big[:, ::2]).all()
    assert (c.echo(big.astype(">f8")) == big).all()


def test_several_arrays_in_one_message(served):
    _, c = served(Calc())
    out = c.echo({"a": np.arange(3), "b": [np.zeros(0), b"xyz"], "c": memoryview(b"12345678").cast("d")})
    assert out["a"].tolist() == [0, 1, 2] and out["b"][0].size == 0 and out["b"][1] == b"xyz"
    assert out["c"].dtype == "f8"


@pytest.mark.parametrize("value", [object(), int, datetime.now(), np.array([True]), 1j])
def test_what_cannot_travel_is_a_type_error(served, value):
    _, c = served(Calc())
    with pytest.raises(TypeError):
        c.echo(value)
    assert c.add(1) == 2


def test_cycles_depth_and_forbidden_keys_are_refused_by_the_sender(served):
    _, c = served(Calc())
    cycle = []
    cycle.append(cycle)
    assert refused(c.echo, cycle).code == "TOO_DEEP"
    assert refused(c.echo, [{"__proto__": 1}]).code == "FORBIDDEN_KEY"
    assert refused(c.echo, [{"constructor": {}}]).code == "FORBIDDEN_KEY"
    assert c.echo([{"constructor": 1}]) == [{"constructor": 1}]


def test_declared_errors_cross_and_others_do_not(served, caplog):
    def close():
        raise declared_error("AccountClosed", {"since": "May"}, "it is closed")

    def crash():
        raise ValueError("the password is 1234")

    def undeclared():
        raise TalkwireError("SOMETHING", "secret")

    _, c = served({"close": close, "crash": crash, "undeclared": undeclared, "bad": lambda: object()})
    error = refused(c.call, "close")
    assert (error.code, error.details, error.declared, error.outcome) == ("AccountClosed", {"since": "May"}, True, "ran")
    assert str(error) == "[AccountClosed] it is closed"
    for name in ("crash", "undeclared"):
        error = refused(c.call, name)
        assert str(error) == "[INTERNAL] internal error" and error.details is None and error.outcome == "ran"
    assert refused(c.bad).code == "INVALID_OUTPUT"
    assert "1234" in caplog.text


def test_both_directions_and_nesting(served):
    def countdown(n, ctx):
        return [n] + (ctx.caller.countdown(n - 1) if n else [])

    _, c = served({"countdown": countdown}, client={"serve": {"countdown": countdown}})
    assert c.countdown(9) == list(range(9, -1, -1))


def test_the_service_calls_its_clients(served):
    service, c = served(Calc(), client={"serve": {"who": lambda: "client"}})
    assert [remote.who() for remote in service.clients()] == ["client"]


def test_a_blocked_handler_does_not_stop_others(served):
    gate, entered = threading.Event(), threading.Event()

    def block():
        entered.set()
        gate.wait()
        return "late"

    _, c = served({"block": block, "add": lambda a, b: a + b})
    call = c.start("block")
    entered.wait()
    assert [c.add(i, i) for i in range(50)] == [2 * i for i in range(50)]
    assert not call.done()
    gate.set()
    assert call.result() == "late"


def test_many_threads_share_a_client(served):
    _, c = served({"add": lambda a, b: a + b})
    wrong = []

    def work(k):
        for i in range(200):
            if c.add(k, i) != k + i:
                wrong.append((k, i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_an_end_is_told_to_each_call_before_a_wait_for_it_is_over(served):
    """Who looks between the end and the word to its own call heard of a limit of time that it never had."""
    ending, looked = threading.Event(), threading.Event()
    _, c = served({"work": lambda ctx: ctx.wait_cancelled(20)})
    call = c.start("work")
    connection = c._connection
    settle, held = connection.settle, connection._ending

    def settle_late(*args):
        ending.set()
        looked.wait()
        settle(*args)

    class Watched:
        def __enter__(self):
            if ending.is_set():
                looked.set()
            held.__enter__()

        def __exit__(self, *exc):
            held.__exit__(*exc)

    connection.settle, connection._ending = settle_late, Watched()
    aborting = threading.Thread(target=c.abort)
    aborting.start()
    ending.wait()
    try:
        error = refused(lambda: call.result(30))
    finally:
        looked.set()
        aborting.join()
    assert error.code == "CONNECTION_CLOSED" and error.outcome == "maybe-ran"


def test_cancel_reaches_the_handler(served):
    seen, entered = [], threading.Event()
    done = threading.Event()

    def work(ctx):
        entered.set()
        seen.append(ctx.wait_cancelled(20))
        done.set()

    _, c = served({"work": work})
    call = c.start("work")
    entered.wait()
    call.cancel()
    error = refused(call.result)
    assert error.code == "CANCELLED" and error.outcome == "maybe-ran"
    assert done.wait(5) and seen == [True]


def test_cancel_reaches_a_handler_that_never_waits(served):
    entered, done = threading.Event(), threading.Event()

    def spin(ctx):
        entered.set()
        while not ctx.cancelled():
            pass
        done.set()

    _, c = served({"spin": spin})
    call = c.start("spin")
    entered.wait()
    call.cancel()
    assert done.wait(10)


def test_cancel_passes_through_nested_calls(served):
    entered, stopped = threading.Event(), threading.Event()

    def inner(ctx):
        entered.set()
        ctx.wait_cancelled(20)
        stopped.set()

    _, c = served({"outer": lambda ctx: ctx.caller.inner()}, client={"serve": {"inner": inner}})
    call = c.start("outer")
    assert entered.wait(5)
    call.cancel()
    assert stopped.wait(5)


def test_deadline_travels_and_ends_the_call(served):
    def left(ctx):
        return ctx.remaining()

    def nested(ctx):
        return ctx.caller.left()

    _, c = served({"left": left, "nested": nested, "slow": lambda ctx: ctx.wait_cancelled(20)},
                  client={"serve": {"left": left}})
    assert c.left() is None
    assert 4 < c.call("left", timeout=5) <= 5
    assert 0 < c.call("nested", timeout=5) < 5
    began = time.monotonic()
    error = refused(c.call, "slow", timeout=0.05)
    assert error.code == "DEADLINE_EXCEEDED" and error.outcome == "maybe-ran" and time.monotonic() - began < 2


def test_metadata_and_progress(served):
    def work(ctx):
        for i in range(3):
            ctx.progress({"at": i})
        return ctx.metadata

    seen, all_seen = [], threading.Event()

    def progress(value):
        seen.append(value["at"])
        if len(seen) == 3:
            all_seen.set()

    _, c = served({"work": work})
    assert c.call("work", metadata={"traceparent": "00-1"}, on_progress=progress) == {"traceparent": "00-1"}
    assert all_seen.wait(5) and seen == [0, 1, 2]


def test_references_both_ways_and_release(served):
    kept = []

    class Counter:
        def __init__(self):
            self.n = 0

        def up(self, by):
            self.n += by
            return self.n

    def each(f):
        return [f(i) for i in range(3)]

    def same(f):
        return f

    _, c = served({"each": each, "counter": lambda: talkwire.ref(Counter()), "keep": lambda f: kept.append(f), "same": same})
    assert c.each(lambda i: i * i) == [0, 1, 4]
    counter = c.counter()
    assert counter.up(2) == 2 and counter.up(3) == 5
    with pytest.raises(AttributeError):
        counter.down
    counter.close()
    assert refused(counter.up, 1).code == "METHOD_NOT_FOUND"

    def mine():
        return 1

    assert c.same(mine) is mine
    c.keep(mine)
    assert kept[0]() == 1


def test_a_collected_reference_is_released(served):
    service, c = served({"take": lambda f: None, "make": lambda: (lambda: 1), "ping": lambda: 0})
    (remote,) = service.clients()
    reference = c.make()
    exported = remote._connection.references._exported
    assert len(exported) == 1
    gone = threading.Event()
    watch = remote._connection.references.released
    remote._connection.references.released = lambda n, k: (watch(n, k), gone.set())
    del reference
    assert gone.wait(5) and not exported


def test_events(served):
    service, c = served(Calc())
    seen, enough = [], threading.Event()

    def got(payload):
        seen.append(payload)
        if len(seen) == 100:
            enough.set()

    subscription = c.on("tick", got)
    service.emit("other", 1)
    for i in range(98):
        service.emit("tick", [i])
    service.emit("tick", {"by": "name"})
    service.emit("tick")
    assert enough.wait(5)
    assert seen == [[i] for i in range(98)] + [{"by": "name"}, None]
    subscription.close()
    assert not service._subscribers


def test_a_call_that_crosses_with_close_is_refused_until_the_peer_says_that_none_follows(served, raw):
    service, _ = served({"quick": lambda: 1})
    peer = raw()
    peer.hello()
    closer = threading.Thread(target=service.close)
    closer.start()
    assert peer.read_frame()["method"] == "$/close"
    for id in (2, 3):
        peer.frame(request(id, "quick"))
        answer = peer.read_frame()
        assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["outcome"]) == (id, -32005, "not-sent")
    peer.frame({"jsonrpc": "2.0", "method": "$/close", "params": {}})
    assert peer.read_frame() is None
    peer.close()
    closer.join()


def test_a_service_that_closes_while_it_answers_hello_says_so(raw, monkeypatch):
    answered, overtakes = threading.Event(), threading.Event()

    class Watched:
        def __init__(self):
            self.lock = threading.Lock()

        def __enter__(self):
            if not self.lock.acquire(False):
                overtakes.set()
                self.lock.acquire()

        def __exit__(self, *exc):
            self.lock.release()

    reply, stop_streams = Connection._reply, Connection.stop_streams

    def reply_late(self, id, value, batch):
        reply(self, id, value, batch)
        if type(value) is dict and "wire" in value:
            answered.set()
            overtakes.wait()

    def stop_and_tell(self):
        overtakes.set()
        stop_streams(self)

    monkeypatch.setattr(Connection, "_new_lock", lambda self: Watched())
    monkeypatch.setattr(Connection, "_reply", reply_late)
    monkeypatch.setattr(Connection, "stop_streams", stop_and_tell)
    service = talkwire.serve("svc", {"quick": lambda: 1})
    peer = raw()
    peer.hello()
    answered.wait()
    closer = threading.Thread(target=service.close)
    closer.start()
    assert peer.read_frame()["method"] == "$/close"
    peer.close()
    closer.join()


def test_close_drains(served):
    entered, gate = threading.Event(), threading.Event()

    def work():
        entered.set()
        gate.wait()
        return "finished"

    service, c = served({"work": work}, client={"reconnect": False})
    call = c.start("work")
    entered.wait()
    closer = threading.Thread(target=service.close)
    closer.start()
    while not c._connection.peer_closing:
        c._connection.wait(lambda: c._connection.peer_closing, c._connection._end_signal, 0.01)
    error = refused(c.work)
    assert error.code == "UNAVAILABLE" and error.outcome == "not-sent"
    gate.set()
    assert call.result() == "finished"
    closer.join()
    assert refused(c.work).outcome == "not-sent"


def test_contract_versions(served):
    talk = talkwire.serve("bank/2", Calc())
    try:
        with talkwire.connect("bank/2") as c, talkwire.connect("bank") as d:
            assert c.add(1) == d.add(1) == 2
        assert refused(talkwire.connect, "bank/1").code == "CONTRACT_MISMATCH"
    finally:
        talk.close()


def test_discover(served):
    def deposit(account: str, amount: int = 1) -> float:
        """Puts money there."""

    def watch():
        yield 1

    _, c = served({"deposit": deposit, "watch": watch})
    document = c.call("rpc.discover")
    first, second = document["methods"]
    assert document["openrpc"].startswith("1.") and first["name"] == "deposit" and first["summary"] == "Puts money there."
    assert [(p["name"], p["required"]) for p in first["params"]] == [("account", True), ("amount", False)]
    assert second["x-stream"] is True


def test_reserved_method_names_are_refused():
    for name in ("rpc.x", "$/x", "#1"):
        with pytest.raises(ValueError):
            talkwire.serve("svc", {name: print})


def test_fork_leaves_the_parents_connection_alone(served):
    _, c = served(Calc())
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            c.add(1)
        except TalkwireError as error:
            os.write(write, error.code.encode())
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 100) == b"CONNECTION_LOST"
    os.close(read)
    os.waitpid(pid, 0)
    assert c.add(1) == 2


def test_a_handler_that_exits_or_returns_an_iterator(served):
    def leave():
        raise SystemExit(3)

    def leave_with(ctx):
        raise SystemExit(3)

    _, c = served({"leave": leave, "leave_with": leave_with, "numbers": lambda n: iter(range(n))})
    assert refused(c.leave).code == "INTERNAL" and refused(c.leave_with).code == "INTERNAL"
    assert list(c.stream("numbers", 2000)) == list(range(2000))


def test_a_call_that_ends_late_is_an_error_either_way(served):
    def late(ctx):
        ctx.wait_cancelled(20)
        return "too late"

    _, c = served({"late": late})
    for _ in range(20):
        assert refused(c.call, "late", timeout=0.01).code == "DEADLINE_EXCEEDED"


# -- one deadline, several timers


@pytest.mark.parametrize("left, told", [(0.005, "DEADLINE_EXCEEDED"), (60, "INTERNAL")])
def test_an_inner_deadline_that_was_inherited_is_the_deadline(left, told):
    call = Incoming(None, 1, Method("f", print), None)
    call.deadline = time.monotonic() + left
    assert call._public(TalkwireError("DEADLINE_EXCEEDED", "the inner call took longer than we had")).code == told


def test_a_deadline_is_never_told_shorter_than_it_is(served, raw):
    service, _ = served({})
    peer = raw()
    peer.hello()
    peer.frame(request(2, "nothing"))
    peer.read_frame()  # now the service knows for sure that hello is over
    for remote in service.clients():
        remote.start("f", timeout=0.0105).cancel()
    assert peer.read_frame()["meta"]["timeout"] == 11
