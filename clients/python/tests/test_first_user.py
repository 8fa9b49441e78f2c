"""What somebody meets who gets something wrong."""

import asyncio
import signal
import subprocess
import sys
import time

import pytest

import talkwire
from talkwire import TalkwireError, aio


def add(a, b):
    return a + b


@pytest.mark.parametrize("method, told", [
    ("substract", "did you mean \"subtract\"?"), ("subtract_", "did you mean \"subtract\"?"), ("unrelated", "no method 'unrelated'"),
    ("s", "no method 's'"), ("x" * 500, "no method"),
])  # fmt: skip
def test_a_mistyped_method(served, method, told):
    _, c = served({"subtract": lambda a, b: a - b, "add": add})
    with pytest.raises(TalkwireError) as caught:
        c.call(method, 1, 2)
    assert caught.value.code == "METHOD_NOT_FOUND" and caught.value.text.endswith(told) or "x" * 100 in caught.value.text


@pytest.mark.parametrize("handlers", [add, "add", {"add": 5}, int])
def test_what_are_no_handlers(handlers):
    with pytest.raises(TypeError, match="handler"):
        talkwire.serve("svc", handlers)
    with pytest.raises(TypeError, match="handler"):
        asyncio.run(aio.serve("svc", handlers))


def test_what_is_no_target():
    for target in (5, [], [1], None):
        with pytest.raises(TypeError, match="a name, an address, or a command"):
            talkwire.connect(target)
        with pytest.raises(TypeError, match="a name, an address, or a command"):
            asyncio.run(aio.connect(target))


def test_a_command_as_a_list(tmp_path):
    file = tmp_path / "my worker's.py"
    file.write_text("import sys\ndef args(): return sys.argv[1:]\n")
    with talkwire.connect([sys.executable, "-m", "talkwire", "serve", str(file)]) as c:
        assert c.args()[-1] == str(file)


def test_other_wrong_types(served):
    _, c = served({"add": add})
    with pytest.raises(TypeError, match="takes a function"):
        c.on("tick", 5)
    with pytest.raises(TypeError, match="authkey is bytes"):
        talkwire.connect("svc", authkey="a secret of some length")
    with pytest.raises(TypeError, match="by position or by name"):
        c.add(1, b=2)
    assert repr(c) == "<Client of unix:svc>"


def test_ctrl_c_ends_a_call_and_cancels_it(served):
    service, _ = served({"wait": lambda ctx: ctx.wait_cancelled(20)})
    code = "import talkwire\nc = talkwire.connect('svc')\ntry: c.call('wait')\nexcept KeyboardInterrupt: print('interrupted', flush=True)\nc.close()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while not any(connection.calls_in for connection in list(service._connections)):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted\n" and process.returncode == 0


def test_ctrl_c_between_the_sending_and_the_waiting_cancels_the_call(served):
    service, _ = served({"wait": lambda ctx: ctx.wait_cancelled(60)})
    with talkwire.connect("svc") as c:

        def interrupted(*_):
            while not any(connection.calls_in for connection in list(service._connections)):
                time.sleep(0.002)
            raise KeyboardInterrupt

        c._connection.result = interrupted
        with pytest.raises(KeyboardInterrupt):
            c.call("wait")
        del c._connection.result
        assert not c._connection.calls_out
        give_up = time.monotonic() + 20
        while any(connection.calls_in for connection in list(service._connections)):
            assert time.monotonic() < give_up
            time.sleep(0.002)
