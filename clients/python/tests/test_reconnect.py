"""A client whose service goes and comes back."""

import asyncio
import os
import signal
import threading
import time

import pytest

import talkwire
from talkwire import Limits, Reconnect, TalkwireError, aio

QUICK = Reconnect(initial=0.005, longest=0.02, give_up=0.1)

SERVER = """
import sys, threading, talkwire
def hang(ctx):
    ctx.caller.entered()
    threading.Event().wait()
once = len(sys.argv) > 1
service = talkwire.serve("svc", {
    "pid": lambda: __import__("os").getpid(),
    "hang": (lambda: "done") if once else hang,
    "tell": lambda event: service.emit(event, __import__("os").getpid()),
    "fence": lambda: 1,
})
print("serves", flush=True)
service.wait()
"""


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def failure(function, *args, **named):
    with pytest.raises(TalkwireError) as caught:
        function(*args, **named)
    return caught.value


@pytest.fixture
def client():
    opened = []

    def connect(**options):
        opened.append(talkwire.connect("svc", **options))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def test_a_call_waits_for_the_service_to_be_back(child, client):
    first = child(SERVER)
    c = client()
    assert c.pid() == first.pid
    kill(first)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(c.pid()))
    waiting.start()
    second = child(SERVER)
    waiting.join()
    assert answers == [second.pid] and not c.closed


def test_what_was_in_flight_is_made_again_only_if_it_is_idempotent(child, client):
    first = child(SERVER)
    entered = threading.Semaphore(0)
    c = client(serve={"entered": entered.release})
    once = c.start("hang")
    answers = []
    again = threading.Thread(target=lambda: answers.append(c.call("hang", idempotent=True)))
    plain = threading.Thread(target=lambda: answers.append(failure(c.hang)))
    again.start()
    plain.start()
    for _ in range(3):
        assert entered.acquire(timeout=20)
    kill(first)
    plain.join()
    assert (answers[0].code, answers[0].outcome) == ("CONNECTION_LOST", "maybe-ran")
    assert failure(once.result).outcome == "maybe-ran"
    child(SERVER, "once")
    again.join()
    assert answers[1] == "done"


def test_subscriptions_heal_without_a_call(child, client):
    first = child(SERVER)
    c = client()
    seen, arrived = [], threading.Semaphore(0)
    subscription = c.on("tick", lambda pid: (seen.append(pid), arrived.release()))
    c.tell("tick")
    assert arrived.acquire(timeout=20)
    kill(first)
    second = child(SERVER)
    while not c._connection.is_open:
        time.sleep(0.001)
    with talkwire.connect("svc") as other:
        other.tell("tick")
    assert arrived.acquire(timeout=20) and seen == [first.pid, second.pid]
    subscription.close()
    c.tell("tick")
    c.fence()
    assert len(seen) == 2


def test_a_service_that_restarts_costs_its_clients_no_error(client):
    """Calls that cross with the close are refused as not sent, and made again."""
    running = talkwire.serve("svc", {"add": lambda a, b: a + b})
    c = client()
    sums, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            sums.append(c.add(2, 5))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for _ in range(5):
        goal = len(sums) + 20
        while len(sums) < goal:
            time.sleep(0.001)
        running.close()
        running = talkwire.serve("svc", {"add": lambda a, b: a + b})
    stop.set()
    for caller in callers:
        caller.join()
    running.close()
    assert set(sums) == {7}


def test_nobody_comes_back(client):
    service = talkwire.serve("svc", {"add": lambda a, b: a + b})
    c = client(reconnect=QUICK)
    service.close()
    error = failure(c.add, 1, 2)
    assert (error.code, error.outcome) == ("PEER_NOT_FOUND", "not-sent")
    with talkwire.serve("svc", {"add": lambda a, b: a + b}):
        assert c.add(1, 2) == 3, "a later call tries anew"


def test_a_deadline_ends_the_waiting(client):
    service = talkwire.serve("svc", {"add": lambda a, b: a + b})
    c = client()
    service.close()
    error = failure(c.call, "add", 1, 2, timeout=0.05)
    assert (error.code, error.outcome) == ("DEADLINE_EXCEEDED", "not-sent")


def test_close_ends_the_waiting(client):
    service = talkwire.serve("svc", {"add": lambda a, b: a + b})
    c = client()
    service.close()
    errors = []
    waiting = threading.Thread(target=lambda: errors.append(failure(c.add, 1, 2)))
    waiting.start()
    while c._link._attempt is None:
        time.sleep(0.001)
    c.close()
    waiting.join()
    assert (errors[0].code, errors[0].outcome) == ("CONNECTION_CLOSED", "not-sent")
    assert failure(c.add, 1, 2).code == "CONNECTION_CLOSED" and c.closed


def test_what_waiting_cannot_mend_is_told_at_once(client):
    service = talkwire.serve("svc", {"add": lambda a, b: a + b}, authkey=b"k" * 16)
    c = client(authkey=b"k" * 16)
    service.close()
    with talkwire.serve("svc", {"add": lambda a, b: a + b}, authkey=b"x" * 16):
        assert failure(c.add, 1, 2).code == "UNAUTHENTICATED"


def test_a_subscription_starts_no_service(client, tmp_path):
    file = tmp_path / "svc.py"
    file.write_text("import os\ndef pid(): return os.getpid()\n")
    c = client(start=[__import__("sys").executable, "-m", "talkwire", "serve", str(file)], reconnect=QUICK)
    c.on("tick", print)
    first = c.pid()
    os.kill(first, signal.SIGTERM)
    assert c.wait(20) and c.closed, "healing was given up"
    second = c.pid()
    assert second != first, "a call starts it"
    entry = talkwire.names.find("svc")
    c.close()
    os.kill(second, signal.SIGTERM)
    while not talkwire.names.is_dead({**entry, "state": "serving"}):
        time.sleep(0.001)


def test_streams_end_with_their_connection(client):
    service = talkwire.serve("svc", {"count": lambda: iter(range(10**9))}, limits=Limits(window=1024))
    c = client()
    stream = c.stream("count")
    assert next(stream) == 0
    for remote in service.clients():
        remote._connection.abort()
    with pytest.raises(TalkwireError) as caught:
        for _ in stream:
            pass
    assert caught.value.outcome == "maybe-ran"
    assert next(c.stream("count")) == 0
    service.close()


def test_a_child_process_is_not_started_again():
    c = talkwire.connect(f"spawn:{__import__('sys').executable} -c pass", hello=False)
    assert c.wait(20) and c.closed
    assert failure(c.add).outcome == "not-sent"
    c.close()


def test_reconnecting_can_be_turned_off(client):
    service = talkwire.serve("svc", {"add": lambda a, b: a + b})
    c = client(reconnect=False)
    service.close()
    assert c.wait(20) and failure(c.add, 1, 2).outcome == "not-sent"


# -- asyncio


def test_asyncio_clients_do_the_same(child):
    async def main():
        first = child(SERVER)
        entered = asyncio.Semaphore(0)
        async with await aio.connect("svc", serve={"entered": entered.release}) as c:
            seen = asyncio.Queue()
            await c.on("tick", seen.put_nowait)
            await c.tell("tick")
            assert await seen.get() == first.pid
            again = asyncio.ensure_future(c.call("hang", idempotent=True))
            plain = asyncio.ensure_future(c.hang())
            await entered.acquire()
            await entered.acquire()
            kill(first)
            with pytest.raises(TalkwireError) as caught:
                await plain
            assert (caught.value.code, caught.value.outcome) == ("CONNECTION_LOST", "maybe-ran")
            waiting = asyncio.ensure_future(c.pid())
            second = await asyncio.get_running_loop().run_in_executor(None, child, SERVER, "once")
            assert await waiting == second.pid and await again == "done"
            await c.tell("tick")
            assert await seen.get() == second.pid

    asyncio.run(main())


def test_asyncio_waiting_has_its_ends():
    async def main():
        service = await aio.serve("svc", {"add": lambda a, b: a + b})
        c = await aio.connect("svc")
        quick = await aio.connect("svc", reconnect=QUICK)
        await service.close()
        for call, code in ((c.call("add", 1, 2, timeout=0.05), "DEADLINE_EXCEEDED"), (quick.add(1, 2), "PEER_NOT_FOUND")):
            with pytest.raises(TalkwireError) as caught:
                await call
            assert (caught.value.code, caught.value.outcome) == (code, "not-sent")
        waiting = asyncio.ensure_future(c.add(1, 2))
        await asyncio.sleep(0)
        await c.close()
        with pytest.raises(TalkwireError) as caught:
            await waiting
        assert (caught.value.code, caught.value.outcome) == ("CONNECTION_CLOSED", "not-sent")
        await c.wait()
        async with await aio.serve("svc", {"add": lambda a, b: a + b}):
            assert await quick.add(1, 2) == 3
            await quick.close()

    asyncio.run(main())
