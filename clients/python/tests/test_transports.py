"""The same service over every wire."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import talkwire
from talkwire import TalkwireError
from talkwire.transports import fifo

WORKER = """
import os, sys
def add(a, b): return a + b
def pid(): return os.getpid()
def inherited(): return sorted(os.listdir("/proc/self/fd"), key=int)
def environment(): return [k for k in os.environ if k in ("TALKWIRE_FD", "TALKWIRE_PARENT")]
def say(text): print(text, flush=True); return True
def ask(q, ctx): return ctx.caller.answer(q)
def count(n):
    for i in range(n): yield i
def _hidden(): pass
"""


@pytest.fixture
def worker(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    return path


def handlers():
    def count(n):
        yield from range(n)

    return {
        "add": lambda a, b: a + b,
        "echo": lambda x: x,
        "count": count,
        "total": lambda xs: sum(xs),
        "ask": lambda q, ctx: ctx.caller.answer(q),
        "peer": lambda ctx: ctx.peer.pid,
    }


@pytest.fixture(params=["name", "path", "abstract", "tcp", "tcp+auth", "fifo", "shm"])
def over(request, tmp_path, served):
    """(service, client) over each wire."""
    address = {
        "name": "unix:svc", "path": f"unix:{tmp_path}/s.sock", "abstract": f"unix:@tw-test-{os.getpid()}",
        "tcp": "tcp://127.0.0.1:0", "tcp+auth": "tcp://127.0.0.1:0", "fifo": f"fifo:{tmp_path}/pipe", "shm": "shm:svc",
    }[request.param]  # fmt: skip
    extra = {"authkey": b"0123456789abcdef"} if "auth" in request.param else {}
    return served(handlers(), listen=[address], client={"serve": {"answer": lambda q: q + "!"}}, **extra)


def test_everything_works_over(over):
    service, c = over
    assert c.add(2, 5) == 7
    assert c.ask("hi") == "hi!"
    assert list(c.stream("count", 1000)) == list(c.count(1000)) == list(range(1000))
    assert c.total(iter(range(1000))) == 499500
    big = np.arange(300_000, dtype="f8")
    assert (c.echo(big) == big).all()
    assert c.echo("x" * 1_000_000) == "x" * 1_000_000
    if not service.addresses[0].startswith("tcp"):
        assert c.peer.pid == os.getpid() and c.call("peer") == os.getpid()


def test_names_are_announced_and_released(runtime_dir):
    service = talkwire.serve("bank/3", handlers(), listen=["unix:bank", "tcp://127.0.0.1:0"])
    (entry,) = talkwire.names.list_services()
    assert entry["name"] == "bank" and entry["contract"] == "bank/3" and entry["addresses"] == service.addresses
    assert os.stat(f"{runtime_dir}/bank.sock").st_mode & 0o777 == 0o600
    with pytest.raises(TalkwireError, match="ADDRESS_IN_USE.*" + str(os.getpid())):
        talkwire.serve("bank", handlers())
    service.close()
    assert talkwire.names.list_services() == [] and not os.path.exists(f"{runtime_dir}/bank.sock")
    with pytest.raises(TalkwireError, match="PEER_NOT_FOUND.*was closed"):
        talkwire.connect("bank")
    with pytest.raises(TalkwireError, match="PEER_NOT_FOUND.*nothing has announced"):
        talkwire.connect("other")


def test_what_is_announced(served):
    with talkwire.serve("shop", handlers(), listen="tcp://127.0.0.1:0"):
        assert talkwire.names.list_services() == []
    with talkwire.serve("shop", handlers(), listen="tcp://127.0.0.1:0", announce=True), talkwire.connect("shop") as c:
        assert c.add(1, 1) == 2
    with talkwire.serve("shop", handlers(), listen="unix:kiosk"):
        assert [entry["name"] for entry in talkwire.names.list_services()] == ["kiosk"]


def test_open_tcp_is_refused_without_authkey():
    with pytest.raises(TalkwireError, match="PERMISSION_DENIED"):
        talkwire.serve("svc", handlers(), listen=["tcp://0.0.0.0:0"])
    talkwire.serve("svc", handlers(), listen=["tcp://0.0.0.0:0"], insecure=True).close()
    with pytest.raises(TypeError):
        talkwire.serve("svc", handlers(), listen=[])
    talkwire.serve("svc", handlers(), listen="tcp://0.0.0.0:0", authkey=b"k" * 16).close()


@pytest.mark.parametrize("key", [None, b"wrong key, wrong!"])
def test_a_wrong_authkey_is_refused(served, key):
    service, c = served(handlers(), listen=["tcp://127.0.0.1:0"], authkey=b"0123456789abcdef")
    with pytest.raises(TalkwireError) as caught:
        talkwire.connect(service.addresses[0], authkey=key)
    assert caught.value.code in ("UNAUTHENTICATED", "CONNECTION_LOST")
    assert c.add(1, 1) == 2


@pytest.mark.parametrize("address", ["unix:/" + "x" * 120, "unix:", "unix:../x", "tcp:x", "nats:x", "fifo:rel", "spawn:"])
def test_bad_addresses(address):
    with pytest.raises((ValueError, TalkwireError)):
        talkwire.connect(address)


def test_files_in_the_way_are_left_alone(runtime_dir):
    path = f"{runtime_dir}/svc.sock"
    open(path, "w").close()
    with pytest.raises(TalkwireError, match="ADDRESS_IN_USE"):
        talkwire.serve("svc", handlers())
    assert os.path.isfile(path)


def test_spawn(worker):
    with talkwire.connect(f"spawn:{sys.executable} -m talkwire serve {worker}", serve={"answer": str.upper}) as c:
        assert c.add(2, 5) == 7
        assert c.ask("hi") == "HI"
        assert list(c.stream("count", 3)) == [0, 1, 2]
        assert c.environment() == []
        pid = c.pid()
        assert pid == c.peer.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_closing_waits_for_the_child_and_not_only_for_the_end_of_the_connection(worker):
    c = talkwire.connect(f"spawn:{sys.executable} -m talkwire serve {worker}")
    connection = c._connection
    reap, gate, waits = connection._wire.on_close, threading.Event(), threading.Event()

    def reap_late():
        waits.set()
        gate.wait()
        reap()

    connection._wire.on_close = reap_late
    pid = c.pid()
    closer = threading.Thread(target=c.close)
    closer.start()
    waits.wait()
    while not connection._end_signal._locks:
        time.sleep(0)  # until close() waits
    connection._end_signal.notify()
    while not connection._end_signal._locks:
        assert closer.is_alive()
        time.sleep(0)
    gate.set()
    closer.join()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_spawned_child_prints_freely(worker, capfd):
    with talkwire.connect(f"spawn:{sys.executable} -m talkwire serve {worker}") as c:
        assert c.say("hello from the child")
    assert "hello from the child" in capfd.readouterr().out


def test_stdin_and_stdout_are_the_wire_without_a_descriptor(worker):
    command = [sys.executable, "-m", "talkwire", "serve", str(worker), "--listen", "stdio:"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = b'{"jsonrpc":"2.0","id":1,"method":"say","params":["printed"]}\n{"jsonrpc":"2.0","id":2,"method":"add","params":[2,5]}\n'
    out, err = process.communicate(lines, timeout=20)
    answers = sorted(out.splitlines())
    assert answers == [b'{"jsonrpc":"2.0","id":1,"result":true}', b'{"jsonrpc":"2.0","id":2,"result":7}']
    assert b"printed" in err and process.returncode == 0


def test_the_child_ends_when_its_parent_is_killed(worker, child):
    code = (
        "import sys, talkwire\n"
        f"c = talkwire.connect('spawn:{sys.executable} -m talkwire serve {worker}')\n"
        "print(c.pid(), flush=True)\nsys.stdin.read()"
    )
    parent = child(code, ready=False)
    pid = int(parent.stdout.readline())
    fd = os.pidfd_open(pid)
    parent.kill()
    import select

    assert select.select([fd], [], [], 10)[0], "the child outlived its parent"
    os.close(fd)


def test_a_dead_child_is_noticed(worker):
    c = talkwire.connect(f"spawn:{sys.executable} -m talkwire serve {worker}")
    os.kill(c.pid(), signal.SIGKILL)
    assert c.wait(10)
    with pytest.raises(TalkwireError) as caught:
        c.add(1, 1)
    assert caught.value.code == "CONNECTION_LOST" and caught.value.outcome == "not-sent"
    c.close()


def test_fifo_serves_one_client_after_the_other(tmp_path, served):
    service, c = served(handlers(), listen=[f"fifo:{tmp_path}/pipe"])
    with pytest.raises(TalkwireError, match="ADDRESS_IN_USE"):
        talkwire.connect(f"fifo:{tmp_path}/pipe")
    c.close()
    for _ in range(5):
        with talkwire.connect(f"fifo:{tmp_path}/pipe") as again:
            assert again.add(1, 1) == 2


@pytest.mark.parametrize("there", ["nothing", "s2c", "both"])
def test_fifo_waits_for_a_server_that_makes_its_pipes_anew(tmp_path, served, monkeypatch, there):
    path = f"{tmp_path}/pipe"
    _, c = served(handlers(), listen=[f"fifo:{path}"])
    make, between, looked = fifo._FifoListener._make, threading.Event(), threading.Event()

    def half(listener):
        os.unlink(f"{path}.c2s")
        os.unlink(f"{path}.s2c")
        for end in {"nothing": [], "s2c": ["s2c"], "both": ["s2c", "c2s"]}[there]:
            os.mkfifo(f"{path}.{end}", 0o600)
        between.set()
        assert looked.wait(10), "nobody looked again"
        make(listener)

    monkeypatch.setattr(fifo._FifoListener, "_make", half)
    closing = threading.Thread(target=c.close)
    closing.start()
    assert between.wait(10)
    closing.join()
    # It waits between two looks.
    monkeypatch.setattr(fifo, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: looked.set()))
    try:
        with talkwire.connect(f"fifo:{path}") as again:
            assert again.add(1, 1) == 2
    finally:
        looked.set()


def test_fifo_says_that_a_server_makes_no_new_pipes(tmp_path, served):
    path = f"{tmp_path}/pipe"
    _, c = served(handlers(), listen=[f"fifo:{path}"])
    c.close()
    with talkwire.connect(f"fifo:{path}"):
        pass
    claim = talkwire.names.claim(talkwire.names.path_claim_name(f"{tmp_path}/other"))
    with pytest.raises(TalkwireError, match="PEER_NOT_FOUND.*between two clients"):
        talkwire.connect(f"fifo:{tmp_path}/other", timeout=0.05)
    claim.release()
    with pytest.raises(TalkwireError, match="PEER_NOT_FOUND.*nobody serves"):
        talkwire.connect(f"fifo:{tmp_path}/other")


def test_fifo_notices_a_killed_client_and_a_killed_server(tmp_path, child):
    address = f"fifo:{tmp_path}/pipe"
    server = child(f"import talkwire; s = talkwire.serve('f', {{'add': lambda a, b: a + b}}, listen=['{address}']); print(1, flush=True); s.wait()")
    client_code = f"import sys, talkwire; c = talkwire.connect('{address}'); print(c.add(1, 1), flush=True); sys.stdin.read()"
    for _ in range(3):
        client = child(client_code)
        client.kill()
        client.wait()
    c = talkwire.connect(address)
    assert c.add(2, 2) == 4
    server.kill()
    server.wait()
    assert c.wait(10)
    c.close()
    assert [os.stat(tmp_path / f"pipe.{end}").st_mode & 0o777 for end in ("c2s", "s2c")] == [0o600, 0o600]
    with pytest.raises(TalkwireError, match="PEER_NOT_FOUND"):
        talkwire.connect(address)


def test_only_the_usual_descriptors_reach_a_grandchild(worker):
    with talkwire.connect(f"spawn:{sys.executable} -m talkwire serve {worker}") as c:
        assert c.add(1, 1) == 2
        assert len(c.inherited()) <= 12  # 0 to 2, epoll, the wire, a pipe for each of keeper, stdio and signals, the listing itself
    ours, theirs = socket.socketpair()
    code = "from talkwire.transports.stdio import adopt_parent_fd as a; import os; a(); os.execvp('ls', ['ls', '/proc/self/fd'])"
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TALKWIRE_FD": str(theirs.fileno())},
        pass_fds=[theirs.fileno()], capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    ours.close()
    theirs.close()
    assert out == ["0", "1", "2", "3"]  # 3: the directory that ls reads


def test_start_on_demand(worker):
    command = [sys.executable, "-m", "talkwire", "serve", str(worker), "--name", "lazy"]
    results = []

    def use():
        with talkwire.connect("lazy", start=command, timeout=20) as c:
            results.append((c.add(1, 2), c.pid()))

    threads = [threading.Thread(target=use) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    try:
        assert [r[0] for r in results] == [3] * 4 and len({r[1] for r in results}) == 1
    finally:
        pid = results[0][1]
        fd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        import select

        assert select.select([fd], [], [], 10)[0]
        os.close(fd)
        os.waitpid(pid, 0)


def test_a_start_that_fails_says_so():
    with pytest.raises(TalkwireError, match="START_FAILED.*ended with exit code 1"):
        talkwire.connect("lazy", start=["false"])


def test_another_user_is_refused(served, runtime_dir, tmp_path):
    if os.getuid() != 0:
        return self_check_without_root()
    service, c = served(handlers(), listen=[f"unix:@tw-uid-{os.getpid()}"])
    code = (
        "import socket,os,sys\nos.setgid(65534);os.setuid(65534)\n"
        f"s=socket.socket(socket.AF_UNIX);s.connect('\\0tw-uid-{os.getpid()}')\n"
        "s.settimeout(5)\n"
        "try:\n s.sendall(b'{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"add\",\"params\":[1,2]}\\n')\n print(s.recv(100))\n"
        "except OSError as e: print(type(e).__name__)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    assert out in ("b''", "ConnectionResetError", "BrokenPipeError")
    assert c.add(1, 1) == 2


def self_check_without_root():
    """Only root can become somebody else; then at least the rule itself is checked."""
    from talkwire.wire import Peer, check_peer

    with pytest.raises(TalkwireError, match="UNAUTHENTICATED"):
        check_peer(Peer("x", 1, os.getuid() + 1, 1))


@pytest.mark.parametrize("address", ["unix:svc", "unix:{}/s.sock", "fifo:{}/pipe"])
def test_a_service_that_drains_has_its_address_still(address, runtime_dir):
    held, entered = threading.Event(), threading.Event()

    def hold():
        entered.set()
        return held.wait()

    address = address.format(runtime_dir)
    service = talkwire.serve("svc", {"hold": hold}, listen=address)
    client = talkwire.connect(address)
    call = client.start("hold")
    entered.wait()
    closing = threading.Thread(target=service.close)
    closing.start()
    while not client._connection.peer_closing:
        time.sleep(0.001)
    with pytest.raises(TalkwireError, match="ADDRESS_IN_USE"):
        talkwire.serve("svc", handlers(), listen=address)
    held.set()
    assert call.result() is True
    client.close()
    closing.join()
    talkwire.serve("svc", handlers(), listen=address).close()


# -- who may connect


def test_allow_decides_who_may_connect(runtime_dir):
    asked = []

    def allow(peer):
        asked.append((peer.pid, peer.uid))
        return len(asked) > 1

    with talkwire.serve("svc", handlers(), allow=allow):
        with pytest.raises(TalkwireError) as caught:
            talkwire.connect("svc", reconnect=False)
        assert caught.value.outcome == "not-sent"
        with talkwire.connect("svc") as c:
            assert c.add(1, 2) == 3
    assert asked == [(os.getpid(), os.getuid())] * 2


def test_an_allow_that_fails_lets_nobody_in(caplog):
    with talkwire.serve("svc", handlers(), allow=lambda peer: 1 / 0):
        with pytest.raises(TalkwireError):
            talkwire.connect("svc", reconnect=False)
    assert "allow() failed" in caplog.text


def test_tls_that_would_check_nobody_is_refused():
    def attempt(**settings):
        return talkwire.serve("svc", handlers(), listen="tls://0.0.0.0:0", tls=talkwire.Tls(**settings))

    with pytest.raises(TypeError, match="cert=…, key=…"):
        attempt()
    with pytest.raises(TypeError, match="Tls.ca"):
        attempt(cert="c", key="k")
    with pytest.raises(TalkwireError, match="PERMISSION_DENIED"):
        attempt(cert="c", key="k", check_clients=False)
    with pytest.raises(FileNotFoundError):
        attempt(ca="a", cert="c", key="k")
