"""Locks within one process: threads, forks, signals, its end. Between processes: packages/talkwire/test/sync."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone

import pytest

from talkwire import atomics
from talkwire.bell import borrowed_bell
from talkwire.errors import TalkwireError
from talkwire.sync import Barrier, Condition, Event, Mutex, Once, RwLock, Semaphore
from talkwire.sync.layout import LABEL, LABEL_BYTES, PLACES, SINCE, WHO
from talkwire.sync.place import Block

NAMES = iter(range(1000))


@pytest.fixture
def name():
    name = f"py{os.getpid()}-{next(NAMES)}"
    yield name
    for kind in (Mutex, Semaphore, RwLock, Condition, Barrier, Event, Once):
        try:
            kind.unlink(name)
        except TalkwireError as error:
            assert error.code == "NOT_FOUND"


@pytest.fixture(scope="module", autouse=True)
def bells():
    """As many as threads wait at a time here: they stay open, which is no leak of a test."""
    with contextlib.ExitStack() as borrowed:
        for _ in range(8):
            borrowed.enter_context(borrowed_bell())


def names_of(name):
    return [file for file in os.listdir("/dev/shm") if file.endswith(f"-{name}")]


def run(code, *args):
    return subprocess.Popen([sys.executable, "-c", code, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def code_of(action):
    with pytest.raises(TalkwireError) as caught:
        action()
    return caught.value.code


def in_threads(count, work):
    failures = []

    def run_it():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run_it) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_that_share_a_mutex_take_turns(name):
    mutex = Mutex(name)
    numbers = [0, 0]

    def work():
        for _ in range(200):
            with mutex:
                numbers[0] += 1
                numbers[1] += 1
                assert numbers[0] == numbers[1]

    in_threads(6, work)
    assert numbers == [1200, 1200]
    mutex.close()


def test_threads_that_share_a_semaphore_have_a_permit_each(name):
    semaphore = Semaphore(name, 2)
    within = Semaphore(name + "w", 2)  # would have no third one

    def work():
        for _ in range(100):
            with semaphore as permit:
                assert permit.fence > 0
                assert within.try_acquire()
                within.release()

    in_threads(5, work)
    assert semaphore.available == 2
    assert code_of(semaphore.release) == "CLOSED"
    semaphore.close()
    within.close()


def test_threads_meet_at_a_barrier(name):
    barrier = Barrier(name, 4)
    in_threads(4, lambda: [barrier.wait(20) for _ in range(50)])
    assert not barrier.is_broken
    barrier.close()


def test_a_condition_of_threads(name):
    mutex, changed = Mutex(name), Condition(name)
    entries, taken = [], []

    def take():
        with mutex:
            while not entries:
                changed.wait(mutex, 20)
            taken.append(entries.pop())

    takers = [threading.Thread(target=take) for _ in range(3)]
    for taker in takers:
        taker.start()
    for entry in range(3):
        with mutex:
            entries.append(entry)
            changed.notify()
    for taker in takers:
        taker.join()
    assert sorted(taken) == [0, 1, 2]
    mutex.close()
    changed.close()


def test_the_last_one_takes_the_name_away(name):
    one, other = Mutex(name), Mutex(name)
    one.close()
    one.close()
    assert names_of(name) != []
    other.close()
    assert names_of(name) == []
    Event(name).close()
    Once(name).close()
    Semaphore(name, 0, signalling=True).close()
    assert len(names_of(name)) == 3


def test_the_end_of_the_process_takes_the_name_away_too(name):
    code = "import sys; from talkwire.sync import *; kept = [Mutex(sys.argv[1]), Barrier(sys.argv[1], 2), Condition(sys.argv[1])]"
    assert run(code, name).wait(20) == 0
    assert names_of(name) == []


def test_what_is_closed_is_of_no_use(name):
    mutex, semaphore, event = Mutex(name), Semaphore(name, 1), Event(name)
    for lock in (mutex, semaphore, event):
        lock.close()
    for action in (mutex.acquire, mutex.try_acquire, semaphore.acquire, event.set, event.wait):
        assert code_of(action) == "CLOSED"


def test_a_forked_child_has_nothing(name):
    mutex, semaphore = Mutex(name), Semaphore(name, 1)
    with mutex, semaphore:
        child = os.fork()
        if child == 0:
            try:
                codes = [code_of(mutex.acquire), code_of(semaphore.try_acquire)]
                mutex.release()
                semaphore.release()
                mutex.close()
                own = Mutex(name)
                codes.append("busy" if own.try_acquire() is None else "had")
                os._exit(0 if codes == ["CLOSED", "CLOSED", "busy"] else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert mutex.try_acquire() is None
        assert semaphore.available == 0
    mutex.close()
    semaphore.close()


WAITS = """
import sys, threading
from talkwire.sync import *
name, how = sys.argv[1:]
waits = {"mutex": lambda: Mutex(name).acquire(), "event": lambda: Event(name).wait(), "barrier": lambda: Barrier(name, 2).wait()}
if how.startswith("thread "):
    threading.Thread(target=waits[how[7:]], daemon=True).start()
    sys.stdin.readline()
else:
    try:
        waits[how]()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def waiter(how, name):
    """A process that waits, once it does."""
    child = run(WAITS, name, how)
    offset = 96  # the first waiter's owner word: spec/sync.md, section 3
    kind = how.split()[-1]
    while True:
        try:
            with open(f"/dev/shm/talkwire-{os.getuid()}-{kind}-{name}", "rb") as file:
                if int.from_bytes(file.read(offset + 8)[offset:], "little") >> 42 == child.pid:
                    return child
        except FileNotFoundError:
            pass
        assert child.poll() is None


@pytest.mark.parametrize("how", ["mutex", "event", "barrier"])
def test_ctrl_c_ends_a_wait_and_leaves_no_place_behind(name, how):
    mutex = Mutex(name)
    mutex.acquire()
    child = waiter(how, name)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=20)[0] == "interrupted\n"
    if how != "barrier":
        with open(f"/dev/shm/talkwire-{os.getuid()}-{how}-{name}", "rb") as file:
            assert file.read(1024)[96:104] == bytes(8)
    mutex.release()
    mutex.close()


def test_ctrl_c_right_after_a_place_was_claimed_leaves_it_free(name, monkeypatch):
    """Before anybody has learned of the claim: the worst moment that there is."""
    held = Mutex(name, fair=True)
    held.acquire()
    swap = Block.swap

    def interrupted(block, offset, before, after, size=4):
        if swap(block, offset, before, after, size) and offset - WHO in PLACES and after == block.me:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(Block, "swap", interrupted)
    with pytest.raises(KeyboardInterrupt):
        held.acquire(timeout=20)
    monkeypatch.undo()
    assert all(held._block.load(place + WHO, 8) == 0 for place in PLACES)
    held.release()
    held.close()


@pytest.mark.parametrize("how", ["mutex", "event", "barrier"])
def test_a_thread_that_waits_does_not_hold_up_the_end_of_the_process(name, how):
    mutex = Mutex(name)
    mutex.acquire()
    child = waiter(f"thread {how}", name)
    child.stdin.close()
    assert child.wait(20) == 0
    mutex.release()
    mutex.close()


def test_inspect(name):
    mutex, semaphore, rwlock = Mutex(name, label="the ledger, ü"), Semaphore(name, 2), RwLock(name, label="prices")
    assert mutex.inspect() == (None, [], False, 0)
    assert rwlock.inspect() == (None, [], False, 0, [])
    assert semaphore.inspect() == ([], [], 2, 0)
    before = datetime.now(timezone.utc)
    grant = mutex.acquire()
    semaphore.acquire()
    rwlock.acquire_read()
    holder = mutex.inspect().holder
    permits, readers = semaphore.inspect().holders, rwlock.inspect().readers
    assert holder.label == "the ledger, ü" and mutex.inspect().fence == grant.fence
    for party in (holder, *permits, *readers):
        assert party.pid == os.getpid() and party.alive and "pytest" in party.command
        assert before - timedelta(milliseconds=1) <= party.since <= datetime.now(timezone.utc) + timedelta(milliseconds=1)
    assert (len(permits), semaphore.inspect().available, len(readers)) == (1, 1, 1)
    rwlock.release_read()
    rwlock.acquire_write()
    assert rwlock.inspect().holder.label == "prices"
    rwlock.release_write()
    mutex.release()
    with Mutex(name) as _:
        assert mutex.inspect().holder.label == "", "the label before is not its own"
    semaphore.release()
    assert Event(name).inspect() == (False, [])
    assert Condition(name).inspect() == ([],)
    assert Barrier(name, 3).inspect() == (3, [], False)
    assert Once(name).inspect() == (None, [], False, 0, False)
    signals = Semaphore(name + "-signals", 3, signalling=True)
    assert signals.inspect() == ([], [], 3, 0)
    Semaphore.unlink(name + "-signals")


def test_who_waits_is_told_in_order_and_the_dead_are_told_of(name):
    code = "import sys; from talkwire.sync import Mutex; m = Mutex(sys.argv[1], label='child'); print('ready', flush=True); m.acquire(); print('got', flush=True); sys.stdin.read()"
    mutex = Mutex(name)
    mutex.acquire()
    children = []
    for count in (1, 2):
        children.append(run(code, name))
        while len(mutex.inspect().waiters) < count:
            pass
    first, second = children
    info = mutex.inspect()
    assert [waiter.pid for waiter in info.waiters] == [first.pid, second.pid]
    assert info.waiters[0].since <= info.waiters[1].since and "Mutex" in info.waiters[0].command
    second.kill()
    second.wait()
    assert [waiter.pid for waiter in mutex.inspect().waiters] == [first.pid]
    mutex.release()
    assert [first.stdout.readline() for _ in range(2)] == ["ready\n", "got\n"]
    assert mutex.inspect().holder[:1] == (first.pid,) and mutex.inspect().holder.label == "child"
    first.kill()
    first.wait()
    info = mutex.inspect()
    assert (info.holder.alive, info.holder.command, info.abandoned) == (False, "", True)
    mutex.acquire()
    mutex.repaired()
    mutex.release()


def test_what_the_memory_says_is_not_believed(name):
    mutex = Mutex(name)
    with mutex:
        for since in (float("nan"), float("inf"), -1e300):
            mutex._block.float(SINCE).value = since
            assert mutex.inspect().holder.since is None
        ctypes.memset(mutex._block.at + LABEL, 255, LABEL_BYTES)
        assert len(mutex.inspect().holder.label) == LABEL_BYTES


def test_wrong_arguments(name):
    for label in ("x" * 33, "ü" * 17, "a\0b"):
        for kind in (Mutex, RwLock):
            with pytest.raises(ValueError):
                kind(name, label=label)
    for action in (
        lambda: Semaphore(name, 0),
        lambda: Semaphore(name, 129),
        lambda: Semaphore(name, -1, signalling=True),
        lambda: Barrier(name, 0),
        lambda: Barrier(name, 65),
    ):
        with pytest.raises(ValueError):
            action()
    with pytest.raises(TypeError):
        Semaphore(name, 1).post()
    assert code_of(lambda: Mutex("a/b")) == "INVALID_ADDRESS"


def test_without_libatomic(name, monkeypatch):
    def missing(_):
        raise OSError("no such file")

    monkeypatch.setattr(atomics, "_atomics", None)
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert code_of(lambda: Mutex(name)) == "MISSING_PACKAGE"
