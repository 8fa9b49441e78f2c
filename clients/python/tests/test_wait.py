"""service.wait() in the main thread."""

import os
import signal
import threading

import pytest

import talkwire

# The kernel may hand a signal of the process to any thread; here it is a certain one that is not the main thread.
HANDED_TO_ANOTHER = """
import os, signal, sys, threading
import talkwire
service = talkwire.serve("svc", {})
def stop(number, frame):
    threading.Thread(target=service.close, daemon=True).start()
if sys.argv[1] == "SIGTERM":
    signal.signal(signal.SIGTERM, stop)
def asleep():
    with open(f"/proc/self/task/{os.getpid()}/stat") as file:
        state = file.read().rpartition(")")[2].split()[0]
    return state == "S" and sys._current_frames()[threading.main_thread().ident].f_code.co_name == "wait"
def hand():
    while not asleep():
        pass
    signal.pthread_kill(threading.get_ident(), getattr(signal, sys.argv[1]))
threading.Thread(target=hand, daemon=True).start()
try:
    print(service.wait(), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    service.close()
"""


@pytest.mark.parametrize("name, said", [("SIGTERM", "True"), ("SIGINT", "interrupted")])
def test_a_signal_that_another_thread_was_handed_is_handled_at_once(child, name, said):
    process = child(HANDED_TO_ANOTHER, name, ready=False)
    assert process.stdout.readline() == said + "\n"
    assert process.wait() == 0


def test_a_timeout_passes_and_leaves_nothing_open():
    service = talkwire.serve("svc", {})
    before = len(os.listdir("/proc/self/fd"))
    assert service.wait(0.01) is False
    assert len(os.listdir("/proc/self/fd")) == before
    assert signal.set_wakeup_fd(-1) == -1
    threading.Thread(target=service.close).start()
    assert service.wait() is True


def test_whoever_is_woken_by_signals_already_keeps_that():
    service = talkwire.serve("svc", {})
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    try:
        assert service.wait(0.01) is False
        assert signal.set_wakeup_fd(-1) == write
    finally:
        os.close(read)
        os.close(write)
        service.close()


def test_ctrl_c_in_the_middle_of_sending_does_not_keep_close_waiting(served):
    _, client = served({"echo": lambda value: value})
    wire = client._connection._wire
    send = wire.send

    def interrupted(parts):
        send(parts)
        raise KeyboardInterrupt

    wire.send = interrupted
    with pytest.raises(KeyboardInterrupt):
        client.echo(1)
    assert client._connection.ended.code == "CONNECTION_LOST"
    client.close()
