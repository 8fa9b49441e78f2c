"""The command line, as a user has it."""

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest

import talkwire
from talkwire import Map
from talkwire.cli.output import to_line, to_text


def cli(*args, **options):
    return subprocess.run([sys.executable, "-m", "talkwire", *args], capture_output=True, text=True, timeout=20, **options)


@pytest.fixture
def service(served):
    def count(n):
        """Counts."""
        yield from range(n)

    def fail():
        raise talkwire.declared_error("Nope", {"why": 1}, "no")

    handlers = {"add": lambda a, b: a + b, "echo": lambda x: x, "count": count, "fail": fail,
                "wait": lambda ctx: ctx.wait_cancelled(20)}  # fmt: skip
    return served(handlers)[0]


def test_call(service):
    assert cli("call", "svc", "add", "2", "5").stdout == "7\n"
    assert cli("call", "svc", "add", "a=2", "b=5").stdout == "7\n"
    assert json.loads(cli("call", "svc", "echo", '{"a":[1,2]}').stdout) == {"a": [1, 2]}
    assert cli("call", "svc", "echo", "a word", "--json").stdout == '"a word"\n'
    assert cli("call", "svc", "echo", "-", "--json", input="[1,2]").stdout == "[1,2]\n"
    assert cli("call", "svc", "count", "3").stdout == "0\n1\n2\n"
    assert cli("call", service.addresses[0], "add", "1", "1").stdout == "2\n"


def test_exit_codes(service):
    done = cli("call", "svc", "fail")
    assert done.returncode == 1 and "[Nope] no" in done.stderr
    assert cli("call", "svc", "nope").returncode == 1
    assert cli("call", "nobody", "add").returncode == 3
    assert cli("call").returncode == 2
    assert cli("call", "svc", "add", "1", "b=1").returncode == 2
    assert cli("call", "bad:address", "x").returncode == 2
    assert cli("serve", "no-such-file.py").returncode == 2


def test_ls_and_describe(service):
    assert "svc" in cli("ls").stdout and json.loads(cli("ls", "--json").stdout)[0]["name"] == "svc"
    assert "count(n)  -> stream  Counts." in cli("describe", "svc").stdout
    assert json.loads(cli("describe", "svc", "--json").stdout)["openrpc"]


def test_ctrl_c_cancels(service):
    process = subprocess.Popen([sys.executable, "-m", "talkwire", "call", "svc", "wait"], stderr=subprocess.PIPE)
    while not any(connection.calls_in for connection in list(service._connections)):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.stderr.close()


def test_watch(service):
    process = subprocess.Popen([sys.executable, "-m", "talkwire", "watch", "svc", "tick"], stdout=subprocess.PIPE, text=True)
    while "tick" not in service._subscribers:
        assert process.poll() is None
    service.emit("tick", {"n": 1})
    assert process.stdout.readline() == '{"n":1}\n'
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.stdout.close()


@pytest.fixture
def serving(tmp_path):
    """serving(source, *options) -> a process that serves; killed afterwards."""
    started = []

    def start(source, *options, file="calc.py"):
        (tmp_path / file).write_text(source)
        process = subprocess.Popen(
            [sys.executable, "-m", "talkwire", "serve", str(tmp_path / file), *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


CALC = "from os.path import join\ndef add(a, b): return a + b\ndef _no(): pass\n"


def test_watching_goes_on_when_the_service_is_back():
    source = "import talkwire\nservice = talkwire.serve('svc', {'tick': lambda: service.emit('tick', 1)})\nprint('up', flush=True)\nservice.wait()\n"
    first = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "up\n"
    watching = subprocess.Popen([sys.executable, "-m", "talkwire", "watch", "svc", "tick"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def heard():
        while not talkwire.names.list_services():
            time.sleep(0.001)
        with talkwire.connect("svc") as other:
            while True:  # it may not have subscribed yet
                other.tick()
                if select.select([watching.stdout], [], [], 0.02)[0]:
                    return watching.stdout.readline()

    assert heard() == "1\n"
    first.kill()
    first.communicate()
    with talkwire.serve("svc", {"tick": lambda: service.emit("tick", 2)}) as service:
        while not service._subscribers.get("tick"):
            time.sleep(0.001)
        service.emit("tick", 2)
        line = watching.stdout.readline()
        while line == "1\n":  # said more than once above
            line = watching.stdout.readline()
        assert line == "2\n"
    assert watching.wait(20) == 3
    assert "[CONNECTION_CLOSED] the service is gone" in watching.communicate()[1]


def test_serve_a_file_until_sigterm(serving):
    process = serving(CALC)
    assert process.stderr.readline() == "calc serves unix:calc\n"
    assert cli("call", "calc", "add", "1", "2").stdout == "3\n"
    assert cli("call", "calc", "join", "a", "b").returncode == 1
    process.terminate()
    assert process.wait(10) == 0


def test_serve_on_several_addresses(serving, runtime_dir):
    process = serving(CALC, "--name", "wide", "--listen", "tcp://127.0.0.1:0", "--listen", f"unix:{runtime_dir}/w.sock")
    tcp, unix = process.stderr.readline(), process.stderr.readline()
    assert tcp.startswith("wide serves tcp://127.0.0.1:") and unix == f"wide serves unix:{runtime_dir}/w.sock\n"
    for target in ("wide", tcp.split()[-1], unix.split()[-1]):
        assert cli("call", target, "add", "1", "2").stdout == "3\n"


def test_serve_tells_programs_in_json(serving):
    process = serving("print('hello')\n" + CALC, "--json")
    assert process.stdout.readline() == "hello\n"
    assert json.loads(process.stdout.readline()) == {"name": "calc", "addresses": ["unix:calc"], "pid": process.pid}


def test_serve_one_export(serving):
    source = CALC + "class S:\n  def __init__(self): self.n = 0\n  def up(self): self.n += 1; return self.n\ncounter = S()\n"
    process = serving(source, "--export", "counter")
    process.stderr.readline()
    assert [cli("call", "calc", "up").stdout for _ in range(2)] == ["1\n", "2\n"]
    assert cli("call", "calc", "add", "1", "2").returncode == 1
    process.terminate()
    assert process.wait(10) == 0
    serving(source, "--export", "add").stderr.readline()
    assert cli("call", "calc", "add", "1", "2").stdout == "3\n"


@pytest.mark.parametrize("source, options, told", [
    (CALC, ["--export", "_no"], "it has join, add"),
    (CALC, ["--export", "nothing"], "it has join, add"),
    ("class S:\n  def up(self): pass\n", ["--export", "S"], "nothing to serve named S"),
    ("x = 1\n", ["--export", "x"], ""),
    ("x = 1\n", [], "no public functions"),
    (CALC, ["--name", "../x"], "INVALID_ADDRESS"),
    (CALC, ["--authkey-file", "/no/such/file"], "cannot read the key"),
])  # fmt: skip
def test_serve_says_what_is_wrong(serving, source, options, told):
    process = serving(source, *options)
    text = process.communicate(timeout=20)[1]
    assert process.returncode == 2 and told in text, text


def test_serve_with_a_key(serving, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"a secret of some length\n")
    key.chmod(0o600)
    process = serving(CALC, "--listen", "tcp://0.0.0.0:0", "--authkey-file", str(key))
    address = process.stderr.readline().split()[-1].replace("0.0.0.0", "127.0.0.1")
    assert cli("call", address, "add", "1", "2", "--authkey-file", str(key)).stdout == "3\n"
    refused = cli("call", address, "add", "1", "2", "--json")
    assert refused.returncode == 3 and json.loads(refused.stderr)["error"]["code"] == "UNAUTHENTICATED"
    key.chmod(0o644)
    assert "chmod 600" in cli("call", address, "add", "1", "2", "--authkey-file", str(key)).stderr
    key.chmod(0o600)
    key.write_bytes(b"short\n")
    assert cli("call", address, "add", "1", "2", "--authkey-file", str(key)).returncode == 2


def test_serve_beyond_this_machine(serving):
    process = serving(CALC, "--listen", "tcp://0.0.0.0:0", "--json")
    error = json.loads(process.communicate(timeout=20)[1])["error"]
    assert process.returncode == 1 and error["code"] == "PERMISSION_DENIED" and "--insecure" in error["message"]
    assert " serves tcp://" in serving(CALC, "--listen", "tcp://0.0.0.0:0", "--insecure").stderr.readline()


def test_the_first_signal_drains_and_the_second_ends_at_once(serving):
    process = serving("import threading\ndef hold():\n  print('holding', flush=True)\n  threading.Event().wait()\n")
    process.stderr.readline()
    held = subprocess.Popen([sys.executable, "-m", "talkwire", "call", "calc", "hold"], stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holding\n"
    process.terminate()
    while os.path.exists(os.path.join(os.environ["TALKWIRE_RUNTIME_DIR"], "calc.sock")):
        assert process.poll() is None
        time.sleep(0.001)
    process.terminate()
    assert process.wait(10) == 143
    assert "[CONNECTION_" in held.communicate(timeout=10)[1] and held.returncode == 1


def test_a_stream_as_argument(serving):
    serving("def total(numbers): return sum(numbers)\ndef none(): yield from ()\n").stderr.readline()
    assert cli("call", "calc", "total", "--stream", "1", "2", "-", input="3\n\n4\n").stdout == "10\n"
    assert cli("call", "calc", "none").stdout == ""


def test_options_of_a_call(serving):
    serving("def work(ctx, timeout=0):\n  ctx.progress(0.5)\n  return [ctx.metadata, ctx.remaining() is not None, timeout]\n").stderr.readline()
    done = cli("call", "calc", "work", "timeout=7", "--timeout", "5000", "--metadata", "trace=a=b", "--progress", "--json")
    assert (done.stdout, done.stderr) == ('[{"trace":"a=b"},true,7]\n', '{"progress":0.5}\n')
    for wrong in (["--timeout", "soon"], ["--timeout", "-1"], ["--metadata", "x"], ["[1"], ["a=1", "a=2"], ["-", "-"]):
        assert cli("call", "calc", "work", *wrong).returncode == 2


def test_printing():
    assert to_line([math.nan, -math.inf, {1, }, b"\x01", datetime(2020, 1, 1, tzinfo=timezone.utc), print, Map([(1, 2)])]) == (
        '["NaN","-Infinity",[1],[1],"2020-01-01T00:00:00+00:00","[function]",[[1,2]]]'
    )
    assert to_line("\x9b31m\u202e\ud800") == '"\\u009b31m\\u202e\\ud800"'
    assert to_text({"a": [1, 2], "b": {}}) == '{ "a": [1, 2], "b": {} }'
    assert to_text({"a": "x" * 60, "b": "y" * 60}).count("\n") == 3


def test_importing_is_quick_and_leaves_numpy_alone():
    code = "import sys, talkwire; print([m for m in ('numpy', 'asyncio', 'logging', 'subprocess') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
