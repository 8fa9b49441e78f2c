"""Shared memory and arrays of the Python client. With Node as partner: packages/talkwire/test/memory."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from talkwire import TalkwireError
from talkwire.memory import SharedArray, SharedMemory, unlink


@pytest.fixture
def name(request):
    text = f"tw-test-py{os.getpid()}-{abs(hash(request.node.name))}"
    yield text
    assert not os.path.exists(f"/dev/shm/{text}"), "the test left it behind"


def code_of(action):
    with pytest.raises(TalkwireError) as caught:
        action()
    return caught.value.code


def test_create_open_unlink(name):
    with SharedMemory.create(name, 100, content=b"hello") as memory:
        assert code_of(lambda: SharedMemory.create(name, 100)) == "ALREADY_EXISTS"
        with SharedMemory.open(name) as same:
            assert (same.size, bytes(same.buf[:6])) == (100, b"hello\0")
            same.buf[0] = 72
        assert bytes(memory.buf[:5]) == b"Hello"
        memory.unlink()
    assert code_of(lambda: SharedMemory.open(name)) == "NOT_FOUND"
    assert code_of(lambda: unlink(name)) == "NOT_FOUND"
    assert code_of(memory.unlink) == "CLOSED"
    for size in (0, -1, 1.5):
        with pytest.raises(ValueError):
            SharedMemory.create(name, size)


def test_read_only(name):
    with SharedMemory.create(name, 10) as memory, SharedMemory.open(name, read_only=True) as reader:
        memory.buf[1] = 7
        assert reader.buf[1] == 7 and reader.buf.readonly
        memory.unlink()


def test_views_outlive_close(name):
    memory = SharedMemory.create(name, 10)
    memory.unlink()
    view = memory.buf[2:4]
    view[0] = 5
    memory.close()
    memory.close()
    assert view[0] == 5


def test_links_pipes_and_folders_are_refused(name):
    path = f"/dev/shm/{name}"
    for plant, clear, expected in (
        (lambda: os.symlink("/etc/hostname", path), os.unlink, "PERMISSION_DENIED"),
        (lambda: os.mkfifo(path), os.unlink, "INVALID_MEMORY"),
        (lambda: os.mkdir(path), os.rmdir, "INVALID_MEMORY"),
    ):
        plant()
        try:
            assert code_of(lambda: SharedMemory.open(name)) == expected
            assert code_of(lambda: SharedMemory.create(name, 5)) == "ALREADY_EXISTS"
        finally:
            clear(path)


SCRIPT = """
import os, sys, time
from talkwire.memory import SharedMemory
memory = SharedMemory.create(sys.argv[1], 10)
if sys.argv[2] == "close": memory.close()
if sys.argv[2] == "fork" and os.fork(): os.kill(os.getpid(), 9)
print("made", flush=True)
time.sleep(600)
"""


def start(name, how):
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, name, how], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "made\n"
    return child


def test_a_crash_is_cleaned_up_and_the_living_are_not(name):
    child = start(name, "")
    assert code_of(lambda: SharedMemory.create(name, 10)) == "ALREADY_EXISTS"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with SharedMemory.create(name, 20) as memory:
        assert memory.size == 20
        memory.unlink()


def test_closed_by_its_maker_it_stays(name):
    child = start(name, "close")
    child.kill()
    child.wait()
    child.stdout.close()
    with SharedMemory.open(name) as memory:
        memory.unlink()


def test_a_forked_child_keeps_it_alive(name):
    # The parent, who made it, is killed; the child it forked has it still, with the parent's lock.
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, name, "fork"], stdout=subprocess.PIPE, text=True)
    child.wait()
    assert child.stdout.readline() == "made\n"
    assert code_of(lambda: SharedMemory.create(name, 10)) == "ALREADY_EXISTS"
    with SharedMemory.open(name) as memory:
        memory.unlink()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if name.encode() in file.read():
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
    child.stdout.close()


def test_arrays_with_numpy(name):
    numpy = __import__("numpy")
    with SharedArray.create(name, "f8", [2, 3]) as array:
        array.numpy[...] = numpy.arange(6).reshape(2, 3)
        with SharedArray.open(name, dtype="f8") as same:
            assert same.numpy.sum() == 15 and numpy.shares_memory(same.numpy, same.numpy)
            assert (same.shape, same.strides, same.values.tolist()) == ((2, 3), (24, 8), [0, 1, 2, 3, 4, 5])
        assert code_of(lambda: SharedArray.open(name, dtype="f4")) == "INVALID_MEMORY"
        assert not SharedArray.open(name, read_only=True).numpy.flags.writeable
        array.unlink()
    assert code_of(lambda: array.numpy) == "CLOSED"


def test_arrays_without_numpy(name):
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from talkwire.memory import SharedArray\n"
        "with SharedArray.create(sys.argv[1], 'i4', 3) as array:\n"
        "    array.values[1] = -5\n"
        "    print(array.values.tolist())\n"
        "    try: array.numpy\n"
        "    except Exception as error: print(error.code)\n"
        "    array.unlink()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[0, -5, 0]\nMISSING_PACKAGE\n", "")


def test_generations_and_seal(name):
    with SharedArray.create(name, "u1", [4]) as array, SharedArray.open(name, read_only=True) as reader:
        seen = []
        waiting = threading.Thread(target=lambda: seen.append(reader.wait(0, 20)))
        waiting.start()
        assert array.publish() == 1
        waiting.join()
        assert seen == [1] and array.wait(0) == 1
        assert code_of(lambda: reader.wait(1, 0.01)) == "DEADLINE_EXCEEDED"
        assert code_of(reader.publish) == code_of(reader.seal) == "PERMISSION_DENIED"
        array.seal()
        assert reader.sealed and reader.wait(2) == 2
        assert code_of(array.publish) == code_of(lambda: SharedArray.open(name)) == "PERMISSION_DENIED"
        assert not array.numpy.flags.writeable
        array.unlink()


@pytest.mark.parametrize("shape", [[-1], [1.5], [1] * 9, [2**53], [2**30, 2**30]])
def test_shapes_that_cannot_be(name, shape):
    with pytest.raises(ValueError):
        SharedArray.create(name, "f8", shape)
    with pytest.raises(ValueError):
        SharedArray.create(name, "f2", 1)


def test_memory_without_an_array(name):
    for size in (1, 511, 512, 5000):
        with SharedMemory.create(name, size) as memory:
            assert code_of(lambda: SharedArray.open(name)) == "INVALID_MEMORY"
            memory.unlink()
