"""Peers that break the rules: a typed error or the end of their connection, never more."""

import json
import os
import random
import signal
import socket
import struct
import threading
import time

import pytest

import talkwire
from conftest import request
from talkwire import Limits, TalkwireError
from talkwire.codec_json import Reader, Writer, parse
from talkwire.framing import FrameDecoder, decode_envelope, encode_envelope, frame


def handlers():
    return {"add": lambda a, b: a + b, "echo": lambda x: x, "wait": lambda ctx: ctx.wait_cancelled(20),
            "__init__": lambda: 1}  # fmt: skip


@pytest.fixture
def service(served):
    service, c = served(handlers())
    yield service
    assert c.add(1, 1) == 2, "an honest client must not suffer"


def code_of(answer):
    return answer["error"]["code"]


def test_a_plain_peer_by_line(service, raw):
    peer = raw()
    peer.send(b'\r\n \n{"jsonrpc":"2.0","id":"a","method":"add","params":[2,5]}\r\n')
    assert peer.read_line() == {"jsonrpc": "2.0", "id": "a", "result": 7}
    peer.line(request(2, "add", {"a": 1, "b": 2}))
    assert peer.read_line()["result"] == 3
    peer.line({"jsonrpc": "2.0", "method": "add", "params": [1, 2]})
    peer.line([request(1, "add", [1, 1]), request(2, "nope"), 5, {"jsonrpc": "2.0", "method": "add", "params": [0, 0]}])
    answers = peer.read_line()
    assert [a.get("result", a.get("error", {}).get("code")) for a in answers] == [2, -32601, -32600]
    peer.line(request(None, "add", [1, 2]))
    assert peer.read_line() == {"jsonrpc": "2.0", "id": None, "result": 3}


def test_a_plain_peer_with_headers(service, raw):
    peer = raw()
    payload = json.dumps(request(1, "add", [2, 5])).encode()
    peer.send(b"content-length: %d\r\nContent-Type: x\r\n\r\n" % len(payload) + payload)
    assert peer.file.readline() == b"Content-Length: 35\r\n" and peer.file.readline() == b"\r\n"
    assert json.loads(peer.file.read(35))["result"] == 7


def test_a_plain_peer_that_ends_its_sending_gets_its_answer(service, raw):
    peer = raw()
    peer.line(request(1, "echo", ["x" * 100_000]))
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.read_line()["result"] == "x" * 100_000
    assert peer.read_line() is None


def test_half_close_waits_for_slow_calls(served, raw):
    gate, entered = threading.Event(), threading.Event()

    def slow():
        entered.set()
        gate.wait()
        return "done"

    served({"slow": slow})
    peer = raw()
    peer.line(request(1, "slow"))
    entered.wait()
    peer.sock.shutdown(socket.SHUT_WR)
    threading.Timer(0.05, gate.set).start()
    assert peer.read_line()["result"] == "done"


def test_plain_values(served, raw):
    served({"f": lambda: [{1, 2}, 2**60, -0.0, float("nan"), b"ab", {1: 2}]})
    peer = raw()
    peer.line(request(1, "f"))
    assert peer.read_line()["result"] == [[1, 2], str(2**60), 0, None, "YWI=", {"1": 2}]
    peer.line(request(2, "f", [{"$date": 1}]))
    assert code_of(peer.read_line()) == -32602


def test_a_plain_stream_without_credit(served, raw):
    def count(n):
        yield from range(n)

    served({"count": count})
    peer = raw()
    peer.line(request(7, "count", [3]))
    assert [peer.read_line()["params"] for _ in range(3)] == [{"id": 7, "value": i} for i in range(3)]
    assert peer.read_line() == {"jsonrpc": "2.0", "id": 7, "result": None}


@pytest.mark.parametrize(
    "text, code",
    [
        (b"{", -32700), (b'{"a":NaN}', -32700), (b"\xff", None), (b'{"x":"\xff"}', -32700), (b"[]", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"add"}', -32600), (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"add"}', -32600), (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b"[" + b"[" * 100_000, -32007), (b"[" * 100 + b"]" * 100, -32600), (b"9" * 100, None),
        (b'{"x":' + b"9" * 10_000 + b"}", -32700),
    ],
    ids=lambda v: repr(v)[:16],
)  # fmt: skip
def test_broken_messages(service, raw, text, code):
    peer = raw()
    peer.send(text + b"\n")
    if code is None:  # not even a framing
        assert b"INVALID_MESSAGE" in peer.file.read()
        return
    answer = peer.read_line()
    assert code_of(answer[0] if isinstance(answer, list) else answer) == code
    peer.line(request(9, "add", [1, 1]))
    assert peer.read_line()["result"] == 2


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("full", [False, True])
def test_depth_and_keys(service, raw, full):
    peer = raw()
    if full:
        peer.hello()
    ask = lambda id, value: (peer.frame(request(id, "echo", value)), peer.read_frame())[1]
    assert "result" in ask(2, nested(63))  # the scalar is at depth 64
    assert code_of(ask(3, nested(64))) == -32007
    assert code_of(ask(4, nested(900))) == -32007
    assert code_of(ask(5, [{"a": {"__proto__": 1}}])) == -32008
    peer.frame(b'{"jsonrpc":"2.0","id":6,"method":"echo","params":[{"\\u005f_proto__":{}}]}')
    assert code_of(peer.read_frame()) == -32008
    assert code_of(ask(7, [{"constructor": {}}])) == -32008
    assert ask(8, [{"constructor": 1}])["result"] == {"constructor": 1}
    assert code_of(ask(9, {"__proto__": 1})) == -32008


@pytest.mark.parametrize("value", [
    {"$what": 1}, {"$date": "x"}, {"$date": 1e300}, {"$bigint": 5}, {"$bigint": "1x"}, {"$bigint": "9" * 5000},
    {"$map": [[1]]}, {"$map": {}}, {"$map": [[{}, 1]]}, {"$set": 1}, {"$bin": [0]}, {"$bin": []}, {"$ref": ["x"]},
    {"$own": 99}, {"$number": "1"}, {"$undefined": 1}, {"$ref": [1, [2]]}, {"$": 1}, {"\\u0024date": None},
], ids=repr)  # fmt: skip
def test_malformed_tags(service, raw, value):
    peer = raw()
    peer.hello()
    peer.frame(json.dumps(request(2, "echo", [value])).replace("\\\\u", "\\u").encode())
    assert code_of(peer.read_frame()) == -32700
    peer.frame(request(3, "add", [1, 1]))
    assert peer.read_frame()["result"] == 2


def test_a_batch_bomb(service, raw):
    peer = raw()
    peer.line([request(i, "add", [1, 1]) for i in range(101)])
    assert code_of(peer.read_line()) == -32002
    peer.line([{"jsonrpc": "2.0", "method": "add", "params": [1, 1]}] * 200_000)
    assert code_of(peer.read_line()) == -32002
    peer.line([request(i, "add", [i, 1]) for i in range(100)])
    assert len(peer.read_line()) == 100


@pytest.mark.parametrize("head", [struct.pack(">I", 0x04000001), b"Content-Length: 67108865\r\n\r\n", struct.pack(">I", 0x08FFFFFF)])
def test_too_large_is_refused_before_the_body(service, raw, head):
    peer = raw()
    peer.send(head)
    rest = peer.file.read()
    assert b"-32006" in rest and b'"id":null' in rest


def test_a_line_that_never_ends(served, raw):
    served(handlers(), limits=Limits(max_message=100_000))
    peer = raw()
    with pytest.raises(OSError):
        peer.send(b'{"x":"')
        for _ in range(100):
            peer.send(b"y" * 100_000)


def test_an_announced_length_takes_no_memory(service):
    decoder = FrameDecoder(1 << 26)
    decoder.feed(struct.pack(">I", 1 << 26) + b"x" * 100)
    assert len(decoder._big) <= 64 * 1024
    while decoder._big_got < 1 << 20:
        decoder.feed(b"x" * 1000)
        assert len(decoder._big) <= max(64 * 1024, 128 * decoder._big_got)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\xc1", b"\x94"])
def test_other_protocols(service, raw, first):
    peer = raw()
    peer.send(first)
    assert b"INVALID_MESSAGE" in peer.file.read()


def test_truncated(service, raw):
    for data in (b"\x00\x00", b"\x00\x00\x00\x10abc", b'{"jsonrpc', b"Content-Length: 5\r\n\r\nab", b""):
        peer = raw()
        peer.send(data)
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.file.read() == b""


def test_slow_loris(served, raw):
    served(handlers(), limits=Limits(handshake=0.2))
    silent, dripping = raw(), raw()
    dripping.send(b"\x00")
    began = time.monotonic()
    assert silent.file.read() == b"" and dripping.file.read() == b""
    assert time.monotonic() - began < 5


def test_many_tiny_frames(service, raw):
    peer = raw()
    count = 20_000
    sender = threading.Thread(target=peer.send, args=(b'{"jsonrpc":"2.0","method":"add","params":[1,1]}\n' * count,))
    sender.start()
    peer2 = raw()
    peer2.line(request(1, "add", [1, 1]))
    assert peer2.read_line()["result"] == 2
    sender.join()
    peer.line(request(2, "add", [2, 2]))
    assert peer.read_line()["result"] == 4


def test_duplicate_and_foreign_ids(served, raw):
    served(handlers())
    plain = raw()
    plain.line(request(1, "wait"))
    plain.line(request(1, "add", [1, 1]))
    assert code_of(plain.read_line()) == -32600
    for breaking in (request(2, "add", [1, 1]), {"jsonrpc": "2.0", "id": 99, "result": 1}, request("x", "add", [1, 1])):
        peer = raw()
        peer.hello()
        peer.frame(request(2, "wait"))
        peer.frame(breaking)
        assert peer.read_frame() is None


def test_unknown_control_messages_are_ignored(service, raw):
    peer = raw()
    peer.hello()
    for method in ("$/item", "$/input", "$/end", "$/credit", "$/inputCredit", "$/cancelRequest", "$/progress", "$/release",
                   "$/lost", "$/pong", "$/else"):  # fmt: skip
        for params in ({}, {"id": 5, "value": 1, "bytes": -1, "token": [], "refs": [[1]], "event": 1}, [], [1], {"id": {}}):
            peer.frame({"jsonrpc": "2.0", "method": method, "params": params})
    peer.frame({"jsonrpc": "2.0", "method": "$/ping", "params": {}})
    assert peer.read_frame()["method"] == "$/pong"


def test_input_beyond_the_credit_ends_the_connection(served, raw):
    gate = threading.Event()
    served({"slow": lambda items: gate.wait(20)})
    peer = raw()
    peer.hello()
    peer.frame(request(2, "slow", [], meta={"input": True}))
    try:
        with pytest.raises(OSError):
            for _ in range(100):
                peer.frame({"jsonrpc": "2.0", "method": "$/input", "params": {"id": 2, "value": "x" * 100_000}})
    finally:
        gate.set()


def test_auth_comes_first(served, raw):
    served(handlers(), authkey=b"0123456789abcdef")[1]
    for first in (request(1, "add", [1, 1]), [request(1, "add", [1, 1])], {"jsonrpc": "2.0", "method": "add", "params": [1, 1]},
                  request(1, "rpc.hello", {"wire": 1}), request(1, "rpc.auth", {"proof": "00"}), request(1, "rpc.auth", [])):
        peer = raw()
        peer.line(first)
        assert code_of(peer.read_line()) == -32003
        assert peer.read_line() is None


def test_an_auth_proof_works_once(served, raw):
    from talkwire.auth import ClientAuth

    served(handlers(), authkey=b"0123456789abcdef")
    auth = ClientAuth(b"0123456789abcdef")
    peer = raw()
    peer.line(request(1, "rpc.auth", auth.first()))
    proof = auth.second(peer.read_line()["result"])
    peer.line(request(2, "rpc.auth", proof))
    assert peer.read_line()["result"] is True
    peer.line(request(3, "add", [1, 1]))
    assert peer.read_line()["result"] == 2
    again = raw()
    again.line(request(1, "rpc.auth", auth.first()))
    again.read_line()
    again.line(request(2, "rpc.auth", proof))
    assert code_of(again.read_line()) == -32003


def test_calls_in_flight_are_limited(served, raw):
    served(handlers(), limits=Limits(max_calls=5))
    peer = raw()
    for i in range(1, 7):
        peer.line(request(i, "wait"))
    answer = peer.read_line()
    assert code_of(answer) == -32002
    for i in range(1, 7):
        peer.line({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": i}})


def test_connections_are_limited(served, raw):
    served(handlers(), limits=Limits(max_connections=2))
    one, two = raw(), raw()
    one.line(request(1, "add", [1, 1]))
    assert one.read_line()["result"] == 2
    assert two.read_line() is None


def test_kill_9_in_the_middle_of_a_call(child):
    server = child(
        "import talkwire, threading\n"
        "def work(ctx):\n    ctx.caller.started()\n    threading.Event().wait()\n"
        "s = talkwire.serve('svc', {'work': work, 'add': lambda a, b: a + b})\nprint(1, flush=True)\ns.wait()"
    )
    started = threading.Event()
    c = talkwire.connect("svc", serve={"started": started.set}, reconnect=False)
    calls = [c.start("work") for _ in range(3)]
    assert started.wait(5)
    os.kill(server.pid, signal.SIGKILL)
    for call in calls:
        with pytest.raises(TalkwireError) as caught:
            call.result(10)
        assert caught.value.code == "CONNECTION_LOST" and caught.value.outcome == "maybe-ran"
    with pytest.raises(TalkwireError) as caught:
        c.add(1, 1)
    assert caught.value.outcome == "not-sent"
    c.close()


def test_a_killed_client_cancels_its_calls(served, child):
    entered, cancelled = threading.Event(), threading.Event()

    def work(ctx):
        entered.set()
        if ctx.wait_cancelled(20):
            cancelled.set()

    served({"work": work})
    client = child("import talkwire, sys\nc = talkwire.connect('svc')\nprint(1, flush=True)\nc.work()")
    assert entered.wait(5)
    client.kill()
    assert cancelled.wait(5)


def test_heartbeat_ends_a_silent_peer(served, raw):
    served(handlers(), limits=Limits(heartbeat=100))
    peer = raw()
    peer.hello()
    assert peer.read_frame()["method"] == "$/ping"
    assert peer.read_frame() is None


def test_who_stood_still_asks_before_it_gives_a_peer_up(served, monkeypatch):
    _, c = served(handlers(), client={"limits": Limits(heartbeat=3_600_000)})
    connection = c._connection
    connection._heard -= 10_000
    connection._beat()
    assert c.add(1, 1) == 2
    monkeypatch.setattr(connection, "_notify", lambda *_: None)  # the ping would be answered
    for _ in range(4):
        connection._heard -= 10_000
        connection._beat()
    assert connection.ended is None
    connection._heard -= 10_000
    connection._beat()
    assert connection.ended.text == "the peer is silent"


def test_heartbeat_keeps_a_living_peer(served):
    _, c = served({"wait": lambda ctx: ctx.wait_cancelled(0.5)}, limits=Limits(heartbeat=100), client={"limits": Limits(heartbeat=100)})
    assert c.call("wait") is False


CLAIM = """
import sys
from talkwire import names, TalkwireError
sys.stdin.readline()
try:
    held = names.claim("bank")
    print("won", flush=True)
except TalkwireError as error:
    print(error.code, flush=True)
sys.stdin.readline()
"""


def test_twenty_claim_a_dead_ones_name_and_one_wins(child):
    for round in range(2):
        owner = child("from talkwire import names; names.claim('bank'); print(1, flush=True); input()")
        owner.kill()
        owner.wait()
        children = [child(CLAIM, ready=False) for _ in range(20)]
        for process in children:
            process.stdin.write("\n")
            process.stdin.flush()
        results = sorted(process.stdout.readline().strip() for process in children)
        assert results == ["ADDRESS_IN_USE"] * 19 + ["won"]
        for process in children:
            process.stdin.close()
            process.wait()


def test_the_runtime_directory_must_be_private(runtime_dir):
    from talkwire import names

    os.chmod(runtime_dir, 0o755)
    with pytest.raises(TalkwireError, match="PERMISSION_DENIED"):
        names.runtime_dir()
    os.chmod(runtime_dir, 0o700)
    names.runtime_dir()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\0b", "x" * 65, ".x", "a.json", "a.sock", "a\n", "ü"])
def test_bad_names(name):
    from talkwire import names

    with pytest.raises(TalkwireError, match="INVALID_ADDRESS"):
        names.claim(name)


def test_fuzz_framing():
    rng = random.Random(1)
    for i in range(12_000):
        decoder = FrameDecoder(5000, rng.choice([None, "length", "header", "line"]))
        data = rng.randbytes(rng.randrange(40)) if i % 3 else mutate(rng, sample(rng))
        try:
            while data:
                cut = rng.randrange(1, len(data) + 1)
                decoder.feed(data[:cut])
                data = data[cut:]
        except TalkwireError as error:
            assert error.code in ("INVALID_MESSAGE", "MESSAGE_TOO_LARGE")


def sample(rng):
    payload = json.dumps(rng.choice(SAMPLES)).encode()
    return b"".join(frame(rng.choice(["length", "header", "line"]), payload) for _ in range(2))


SAMPLES = [
    {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [{"$map": [[1, {"$set": [1, 2]}]]}]},
    {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [{"$bin": [0, "f8", [1]]}, {"$date": 1}, {"$bigint": "12"}]},
    {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [{"$$x": 1}, {"$number": "NaN"}, {"$ref": [1, ["a"]]}, {"$own": 1}]},
]


def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(4)):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def test_fuzz_decoding():
    rng = random.Random(2)
    for i in range(15_000):
        data = mutate(rng, json.dumps(rng.choice(SAMPLES)).encode()) if i % 4 else rng.randbytes(rng.randrange(60))
        try:
            message, _ = parse(data)
            Reader(64, True, [memoryview(bytearray(8))], lambda n, m: None, lambda n: n).read(message)
        except TalkwireError as error:
            assert error.code in ("INVALID_MESSAGE", "TOO_DEEP", "FORBIDDEN_KEY")


def test_fuzz_envelopes():
    rng = random.Random(3)
    for _ in range(8_000):
        parts, size = encode_envelope(b'{"a":1}', [memoryview(rng.randbytes(rng.randrange(20))) for _ in range(rng.randrange(1, 4))])
        whole = b"".join(bytes(part) for part in parts)
        assert len(whole) == size
        data = mutate(rng, whole)[: rng.randrange(size) if rng.random() < 0.3 else size]
        try:
            decode_envelope(memoryview(data))
        except TalkwireError as error:
            assert error.code == "INVALID_MESSAGE"


def test_fuzz_a_living_server(service, raw):
    rng = random.Random(4)
    for _ in range(150):
        peer = raw()
        try:
            for _ in range(5):
                peer.frame(mutate(rng, json.dumps(rng.choice(SAMPLES)).encode()))
        except OSError:
            pass  # it ended the connection: that is its right
        peer.close()


def test_round_trip_of_random_values():
    rng = random.Random(5)

    def value(depth):
        kind = rng.randrange(12 if depth < 4 else 8)
        simple = [None, True, rng.randrange(-(2**70), 2**70), rng.random() * 1e6, -0.0, "x$", rng.randrange(9), float("inf")]
        if kind < 8:
            return simple[kind]
        if kind == 8:
            return [value(depth + 1) for _ in range(rng.randrange(12))]
        if kind == 9:
            return {rng.choice(["$a", "b", "$$", "constructor"]): value(9) for _ in range(rng.randrange(3))}
        if kind == 10:
            return {rng.randrange(5) for _ in range(3)}
        return {rng.randrange(5): value(depth + 1) for _ in range(1, 3)}

    for _ in range(3000):
        before = value(0)
        message, walk = parse(Writer(64, False).text(before).encode())
        after = Reader(64, True).read(message) if walk else message
        assert repr(after) == repr(before)
