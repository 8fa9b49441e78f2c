"""Names and entries, when somebody else has put files there."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

import talkwire
from talkwire import TalkwireError, names
from talkwire.starting import find_or_start


def entry(name, /, **changes):
    whole = {"talkwire": 1, "name": name, "state": "serving", "contract": None, "hash": None, "addresses": ["unix:x"],
             "pid": os.getpid(), "start": None, "boot": None, "pidns": names._pidns(), "language": "python", "since": 1}  # fmt: skip
    return json.dumps({**whole, **changes}).encode()


def reason(name):
    with pytest.raises(TalkwireError) as caught:
        names.find(name)
    assert caught.value.code == "PEER_NOT_FOUND"
    return caught.value.text


def fifo(path):
    os.mkfifo(path)


def link(path):
    os.symlink("/dev/zero", path)


def directory(path):
    os.mkdir(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


def huge(path):
    with open(path, "wb") as file:
        file.truncate(2**33)


def somebody_elses(path):
    with open(path, "wb") as file:
        file.write(entry("bank"))
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    else:  # only root can give a file away; then at least it is none
        os.truncate(path, 0)


@pytest.mark.parametrize("make", [fifo, link, directory, unix_socket, huge, somebody_elses])
def test_what_is_no_file_of_ours_is_ignored_and_never_blocks(make, runtime_dir):
    make(f"{runtime_dir}/bank.1.json")
    assert "nothing has announced" in reason("bank") and names.list_services() == []
    with talkwire.serve("bank", {"add": lambda a, b: a + b}), talkwire.connect("bank") as bank:
        assert bank.add(2, 5) == 7
        assert os.path.lexists(f"{runtime_dir}/bank.2.json"), "the number of what is there is not used again"


@pytest.mark.parametrize("content", [
    b"", b"{", b"null", b"[]", b'"x"', b"\0" * 1000, b"[" * 50_000, b"\xff", b'{"talkwire":1}', entry("other"), entry("bank") + b" " * 65_536,
    *(entry("bank", **changes) for changes in (
        {"pid": "1"}, {"pid": -1}, {"pid": 1.5}, {"pid": True}, {"pid": 2**60}, {"addresses": "unix:x"}, {"addresses": [1]},
        {"addresses": ["unix:x"] * 101}, {"addresses": ["x" * 4097]}, {"state": "x"}, {"talkwire": 2}, {"since": None},
        {"boot": 5}, {"language": {}}, {"name": "../x"},
    )),
], ids=lambda content: content[-40:].decode("ascii", "replace"))  # fmt: skip
def test_a_file_that_is_no_entry_is_dead(content, runtime_dir):
    with open(f"{runtime_dir}/bank.1.json", "wb") as file:
        file.write(content)
    assert "nothing has announced" in reason("bank") and names.list_services() == []
    held = names.claim("bank")
    assert [file for file in os.listdir(runtime_dir) if file.startswith("bank")] == ["bank.2.json"]
    held.release()


def test_file_names_that_are_nearly_those_of_entries(runtime_dir):
    for ending in ("0.json", "01.json", "1.json.bak", "-1.json", "1e3.json", "9999999999999999.json", "x.1.json"):
        with open(f"{runtime_dir}/bank.{ending}", "wb") as file:
            file.write(entry("bank"))
    held = names.claim("bank")
    held.announce(["unix:bank"])
    assert names.find("bank")["addresses"] == ["unix:bank"]
    held.release()


def test_the_highest_number_leaves_no_place(runtime_dir):
    path = f"{runtime_dir}/bank.999999999999999.json"
    with open(path, "wb") as file:
        file.write(entry("bank", state="released"))
    with pytest.raises(TalkwireError, match="ADDRESS_IN_USE.*remove the file") as caught:
        names.claim("bank")
    assert path in caught.value.text


def test_claims_of_paths_are_no_services(runtime_dir):
    with talkwire.serve("bank", {"f": print}, listen=f"unix:{runtime_dir}/b.sock", announce=True):
        assert [found["name"] for found in names.list_services()] == ["bank"]


# -- starting on demand


def test_the_last_words_of_a_command_that_does_not_serve(runtime_dir):
    code = "import sys; sys.stderr.write('x' * 10000 + 'the disk is full\\n'); sys.exit(3)"
    with pytest.raises(TalkwireError) as caught:
        talkwire.connect("bank", start=[sys.executable, "-c", code])
    assert caught.value.code == "START_FAILED" and "exit code 3: xxx" in caught.value.text
    assert "the disk is full before it served 'bank'" in caught.value.text and len(caught.value.text) < 4400
    assert os.stat(f"{runtime_dir}/bank.log").st_mode & 0o777 == 0o600
    with pytest.raises(TalkwireError, match="START_FAILED.*signal 9"):
        talkwire.connect("bank", start=[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(TalkwireError, match="START_FAILED.*could not be started"):
        talkwire.connect("bank", start=["/no/such/program"])


def test_a_log_that_leads_elsewhere_is_not_written(runtime_dir, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, f"{runtime_dir}/bank.log")
    with pytest.raises(OSError):
        talkwire.connect("bank", start=[sys.executable, "-c", "raise SystemExit(1)"])
    assert victim.read_text() == "precious"


def test_a_service_that_is_starting_is_waited_for_even_without_a_command(child):
    code = """
import sys, talkwire
held = talkwire.names.claim("bank")
print("claimed", flush=True)
sys.stdin.readline()
held.announce(["unix:elsewhere"])
print("announced", flush=True)
sys.stdin.read()
"""
    process = child(code)
    assert "is starting" in reason("bank")
    process.stdin.write("\n")
    process.stdin.flush()
    assert find_or_start("bank", None)["addresses"] == ["unix:elsewhere"]


def test_a_service_that_is_killed_while_it_starts_is_told(child):
    process = child("import sys, talkwire\nheld = talkwire.names.claim('bank')\nprint('claimed', flush=True)\nsys.stdin.read()")
    process.kill()
    process.wait()
    with pytest.raises(TalkwireError, match="PEER_NOT_FOUND.*was announced by process .* which is dead"):
        find_or_start("bank", None)


def test_a_service_that_is_closing_is_waited_for_and_started_again(child, tmp_path):
    """Its entry is there, but nobody listens: the new one may only start when the old one has gone."""
    code = """
import sys, threading, talkwire
gate, held = threading.Event(), threading.Event()
def hold():
    held.set()
    return gate.wait()
service = talkwire.serve("bank", {"hold": hold, "old": lambda: True})
client = talkwire.connect("bank")
call = client.start("hold")
held.wait()  # a call that comes after the close keeps nobody from closing
print("serves", flush=True)
sys.stdin.readline()
closing = threading.Thread(target=service.close, args=(3600,))
closing.start()
while not client._connection.peer_closing: pass
print("closes", flush=True)
sys.stdin.readline()
gate.set()
call.result()
client.close()
closing.join()
"""
    process = child(code)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "closes\n"
    file = tmp_path / "bank.py"
    file.write_text("def new(): return 'new'\n")
    waiting = subprocess.Popen(
        [sys.executable, "-c", CONNECT, sys.executable, str(file)], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert waiting.stdout.readline() == "waits\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert waiting.communicate(timeout=20)[0] == "new\n"
    started = names.find("bank")
    os.kill(started["pid"], 15)
    while not names.is_dead({**started, "state": "serving"}):
        time.sleep(0.001)


CONNECT = """
import sys, talkwire
from talkwire import client, starting
await_gone = starting.await_gone
def tell(entry):
    print("waits", flush=True)
    return await_gone(entry)
client.await_gone = tell
with talkwire.connect("bank", start=[sys.argv[1], "-m", "talkwire", "serve", sys.argv[2]]) as bank:
    print(bank.new())
"""


def test_a_service_ends_even_if_its_directory_was_removed(monkeypatch, tmp_path):
    monkeypatch.setenv("TALKWIRE_RUNTIME_DIR", str(tmp_path / "run"))
    service = talkwire.serve("bank", {"f": print})
    shutil.rmtree(tmp_path / "run")
    service.close()
    assert service.wait(0)
