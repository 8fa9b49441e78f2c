"""The command line, as a user has it."""

import json
import signal
import subprocess
import sys

import pytest

import talkwire


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


def test_serve_a_file_until_sigterm(tmp_path):
    file = tmp_path / "calc.py"
    file.write_text("from os.path import join\ndef add(a, b): return a + b\ndef _no(): pass\n")
    process = subprocess.Popen([sys.executable, "-m", "talkwire", "serve", str(file)], stderr=subprocess.PIPE, text=True)
    assert "calc serves unix:calc" in process.stderr.readline()
    assert cli("call", "calc", "add", "1", "2").stdout == "3\n"
    assert cli("call", "calc", "join", "a", "b").returncode == 1
    process.terminate()
    assert process.wait(10) == 0
    process.stderr.close()


def test_importing_is_quick_and_leaves_numpy_alone():
    code = "import sys, talkwire; print([m for m in ('numpy', 'asyncio', 'logging', 'subprocess') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
