"""`shm:` in Python alone; with TypeScript: packages/talkwire/test/interop/python-shm.test.ts."""

import asyncio
import json
import os
import socket
import struct
import threading
import time

import pytest

import talkwire
from conftest import request
from talkwire import Limits, TalkwireError, aio
from talkwire.atomics import atomics
from talkwire.memory import SharedMemory
from talkwire.ring import Ring
from talkwire.transports.ring_stream import Incoming
from talkwire.transports.shm_line import Line
from talkwire.transports.shm_wire import ShmWire
from talkwire.wire import Peer

CAPACITY = 64 * 1024
_PART = struct.Struct("<II")


def eventually(holds, what):
    """A condition that others bring about; a loaded machine may take its time."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def notes_in(data):
    while data:
        size = int.from_bytes(data[:4], "big")
        yield data[4 : 4 + size]
        data = data[4 + size :]


class Stranger:
    """A client that has its memory to itself, and writes what it likes."""

    def __init__(self, path, note=None, capacity=CAPACITY):
        half = 4096 + capacity
        self.memory = SharedMemory.anonymous(2 * half)
        self.ring, self.back = Ring(self.memory.buf, 0, half), Ring(self.memory.buf, half, half)
        self.producer, self.consumer = self.ring.producer(), self.back.consumer()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.say(note or {"shm": 1, "descriptor": self.memory.fd})

    def say(self, note):
        text = note if isinstance(note, bytes) else json.dumps(note).encode()
        try:
            self.sock.sendall(struct.pack(">I", len(text)) + text)
        except BrokenPipeError:
            pass  # what was said before was enough

    def bell(self):
        self.say(b"")

    def part(self, length, before, size, fill=b"a"):
        """As spec/shm.md has it."""
        self.record(_PART.pack(length & 0xFFFFFFFF, before) + fill * size)

    def record(self, data):
        place = self.producer._claim(8 + len(data))
        self.ring._bytes[place + 8 : place + 8 + len(data)] = data
        self.producer._publish(place, 8 + len(data))

    def message(self, message):
        text = json.dumps(message).encode()
        self.record(_PART.pack(len(text), 0) + text)
        self.bell()

    def read(self):
        """The next part, with what stands before it. Wakes whoever waits for room, as spec/shm.md has it."""
        eventually(lambda: self.consumer._is_ready(), "the next part")
        place, size = self.consumer._look()
        part = bytes(self.back._bytes[place + 8 : place + size])
        self.consumer._pass(size)
        atomics().fence()
        if self.back._words[48] == 1:
            self.back._words[48] = 0
            self.bell()
        return part

    def answer(self):
        """The next message, which is in one part."""
        return json.loads(self.read()[8:])

    def ended(self):
        """Reads on to the end of the socket; what was said there."""
        data = b""
        while True:
            try:
                piece = self.sock.recv(4096)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return [json.loads(note) for note in notes_in(data) if note]
            data += piece

    def close(self):
        self.sock.close()
        for each in (self.producer, self.consumer, self.ring, self.back, self.memory):
            each.close()


@pytest.fixture
def strangers():
    made = []

    def stranger(service, note=None, **options):
        path = f"{talkwire.names.runtime_dir()}/{service.addresses[0][4:]}.shm"
        made.append(Stranger(path, note, **options))
        return made[-1]

    yield stranger
    for each in made:
        each.close()


class InLoop:
    """A service of asyncio on a thread of its own, with the face of the blocking one."""

    def __init__(self, handlers, limits):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._service = self._run(aio.serve("svc", handlers, listen="shm:svc", limits=limits))
        self.addresses = self._service.addresses

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def _connections(self):
        return self._service._connections

    def close(self):
        self._run(self._service.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(params=["threads", "asyncio"])
def serving(request):
    made = []

    def start(handlers=None, limits=None):
        handlers = handlers or {"add": lambda a, b: a + b}
        made.append(
            InLoop(handlers, limits) if request.param == "asyncio"
            else talkwire.serve("svc", handlers, listen="shm:svc", limits=limits)
        )  # fmt: skip
        return made[-1]

    yield start
    for service in made:
        service.close()


def connection_of(service):
    eventually(lambda: len(service._connections) == 1, "the connection")
    return next(iter(service._connections))


def still_serves():
    with talkwire.connect("shm:svc") as client:
        assert client.add(2, 5) == 7


def test_whoever_says_nonsense_is_told_why(serving, strangers, tmp_path):
    service = serving()
    plain = open(tmp_path / "plain", "w+b")
    plain.truncate(2 * (4096 + CAPACITY))
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 2 * (4096 + CAPACITY))
    small = SharedMemory.anonymous(4096)
    odd = SharedMemory.anonymous(2 * (4096 + CAPACITY) + 8)
    for note, code in [
        ({"shm": 2, "descriptor": 3}, "UNSUPPORTED"), ({"shm": 1, "descriptor": -1}, "INVALID_MESSAGE"),
        ({"shm": 1, "descriptor": "../../1/fd/3"}, "INVALID_MESSAGE"), ({"shm": 1, "descriptor": True}, "INVALID_MESSAGE"),
        ({"shm": 1}, "INVALID_MESSAGE"), ({"shm": 1, "descriptor": 1_000_000}, "PERMISSION_DENIED"),
        ({"shm": 1, "descriptor": plain.fileno()}, "INVALID_MEMORY"), ({"shm": 1, "descriptor": unsealed}, "INVALID_MEMORY"),
        ({"shm": 1, "descriptor": small.fd}, "INVALID_MEMORY"), ({"shm": 1, "descriptor": odd.fd}, "INVALID_MEMORY"),
    ]:  # fmt: skip
        assert [heard["error"]["code"] for heard in strangers(service, note).ended()] == [code], note
    for nonsense in (b"[]", b"7", b"null", b"{", b"x" * 5000):
        strangers(service, nonsense).ended()
    again = strangers(service)
    connection = connection_of(service)
    again.say({"shm": 1, "descriptor": again.memory.fd})
    again.ended()
    eventually(lambda: connection.ended is not None, "the end")
    assert connection.ended.code == "INVALID_MESSAGE"
    plain.close()
    os.close(unsealed)
    small.close()
    odd.close()
    still_serves()


def test_whoever_says_nothing_is_not_waited_for(serving, strangers):
    service = serving(limits=Limits(handshake=0.05))
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(f"{talkwire.names.runtime_dir()}/svc.shm")
    assert silent.recv(1) == b""
    silent.close()
    assert strangers(service).ended() == []


@pytest.mark.parametrize("parts", [
    [(100, 0, 50), (100, 40, 60)], [(100, 0, 50), (90, 50, 40)], [(100, 50, 50)], [(100, 0, 50), (100, 50, 60)],
    [(100, 0, 50), (10, 0, 10)], [(100, 0, 0)], [(100, 0, 50), (100, 50, 0)], [(50, 0, 60)],
])  # fmt: skip
def test_parts_that_do_not_fit_together_end_the_connection(serving, strangers, parts):
    service = serving()
    stranger = strangers(service)
    connection = connection_of(service)
    for part in parts:
        stranger.part(*part)
    stranger.bell()
    stranger.ended()
    eventually(lambda: connection.ended is not None, "the end")
    assert connection.ended.code == "INVALID_MESSAGE"
    still_serves()


@pytest.mark.parametrize("length", [1_000_001, 0xFFFFFFFF, -5])
def test_what_is_announced_as_too_large_ends_the_connection(serving, strangers, length):
    service = serving(limits=Limits(max_message=1_000_000))
    stranger = strangers(service)
    connection = connection_of(service)
    stranger.part(length, 0, 50)
    stranger.bell()
    stranger.ended()
    eventually(lambda: connection.ended is not None, "the end")
    assert connection.ended.code == "MESSAGE_TOO_LARGE"
    still_serves()


def test_a_large_message_takes_memory_as_it_comes(serving, strangers):
    service = serving()
    stranger = strangers(service)
    connection = connection_of(service)
    stranger.part(1 << 26, 0, 1000)
    stranger.bell()
    eventually(lambda: connection.decoder.pending, "the part")
    assert len(connection.decoder._big or b"") <= 128 * 1004


@pytest.mark.parametrize("word, value", [(0, -1), (0, 1_000_000), (0, 7), (0, 12)])
def test_a_ring_that_makes_no_sense_ends_the_connection(serving, strangers, word, value):
    service = serving()
    stranger = strangers(service)
    connection = connection_of(service)
    eventually(lambda: connection._wire._incoming is not None, "the memory")
    stranger.ring._data[word] = value
    stranger.bell()
    stranger.ended()
    eventually(lambda: connection.ended is not None, "the end")
    assert connection.ended.code == ("INVALID_MESSAGE" if value == 12 else "INVALID_MEMORY")
    still_serves()


def test_a_head_that_makes_no_sense_ends_the_connection(serving, strangers):
    service = serving()
    stranger = strangers(service)
    connection = connection_of(service)
    eventually(lambda: connection._wire._outgoing is not None, "the memory")
    stranger.back._words[32] = 4096
    stranger.message(request(1, "add", [2, 5]))
    stranger.ended()
    eventually(lambda: connection.ended is not None, "the end")
    still_serves()


def test_what_a_record_says_of_itself_is_read_once():
    memory = SharedMemory.anonymous(4096 + CAPACITY)
    ring = Ring(memory.buf)
    with ring.producer() as producer:
        producer.try_write(_PART.pack(100, 0) + b"a" * 100)
        producer.try_write(_PART.pack(1, 0) + b"b")
    incoming = Incoming(ring)
    first = bytearray(54)
    assert incoming.read_into(memoryview(first)) == 54
    ring._data[0], ring._data[2], ring._data[3] = 1 << 20, 1 << 20, 7
    rest = bytearray(200)
    assert incoming.read_into(memoryview(rest)) == 50 + 5
    assert first == b"\0\0\0d" + b"a" * 50 and rest[:55] == b"a" * 50 + b"\0\0\0\1b"
    incoming.close()
    memory.close()


def test_a_slow_reader_holds_its_writer_up_and_gets_all(serving, strangers):
    blob = bytes(range(256)).hex() * 200
    service = serving({"add": lambda a, b: a + b, "blob": lambda: blob})
    stranger = strangers(service, capacity=1024)
    stranger.message(request(1, "blob", []))
    connection = connection_of(service)
    eventually(lambda: stranger.back._words[48] == 1, "it waits for room")
    assert connection.ended is None
    still_serves()
    got, whole = b"", None
    while whole is None or len(got) < whole:
        part = stranger.read()
        length, before = _PART.unpack_from(part)
        assert before == len(got) and (whole is None or whole == length)
        got, whole = got + part[8:], length
    assert json.loads(got)["result"] == blob


def test_a_plain_peer_that_ends_its_sending_gets_its_answers(serving, strangers):
    entered, gate = threading.Event(), threading.Event()

    def slow():
        entered.set()
        gate.wait()
        return "answered"

    async def slow_in_loop():
        entered.set()
        await asyncio.get_running_loop().run_in_executor(None, gate.wait)
        return "answered"

    service = serving()
    table = (service._service if isinstance(service, InLoop) else service)._methods
    table.update(talkwire.methods.method_table({"slow": slow_in_loop if isinstance(service, InLoop) else slow}))
    stranger = strangers(service)
    stranger.message(request(7, "slow", []))
    entered.wait()
    connection = connection_of(service)
    stranger.say({"end": True})
    eventually(lambda: connection._half_closed, "its end is heard")
    gate.set()
    assert stranger.answer() == {"jsonrpc": "2.0", "id": 7, "result": "answered"}
    assert stranger.ended() == [{"end": True}]


def test_a_handler_that_comes_back_at_the_end_does_not_cut_off_the_last_word(strangers):
    entered, gate, closed = threading.Event(), threading.Event(), threading.Event()

    def slow():
        entered.set()
        gate.wait()

    with talkwire.serve("svc", {"slow": slow}, listen="shm:svc") as service:
        stranger = strangers(service)
        stranger.message(request(7, "slow", []))
        entered.wait()
        connection = connection_of(service)
        after_reading, close, abort = connection._after_reading, connection._close_fds, connection._wire.abort

        def after_reading_late(me):
            eventually(lambda: connection.ended is not None, "the end")
            after_reading(me)

        def close_and_tell():
            close()
            closed.set()

        def abort_late():
            assert closed.wait(20)
            abort()

        connection._after_reading, connection._close_fds = after_reading_late, close_and_tell
        connection._wire.abort = abort_late
        stranger.say({"end": True})
        eventually(lambda: connection._half_closed, "its end is heard")
        gate.set()
        assert stranger.answer() == {"jsonrpc": "2.0", "id": 7, "result": None}
        assert stranger.ended() == [{"end": True}]


def test_an_end_without_a_last_word_is_a_loss(serving, strangers):
    service = serving()
    stranger = strangers(service)
    connection = connection_of(service)
    stranger.part(100, 0, 50)
    stranger.bell()
    eventually(lambda: connection.decoder.pending, "the part")
    stranger.say({"end": True})
    stranger.ended()
    eventually(lambda: connection.ended is not None, "the end")
    assert connection.ended.code == "CONNECTION_LOST"
    other = strangers(service)
    connection = connection_of(service)
    other.sock.shutdown(socket.SHUT_RDWR)
    eventually(lambda: connection.ended is not None, "the end")
    assert connection.ended.code == "CONNECTION_LOST"


@pytest.mark.parametrize("front", ["threads", "asyncio"])
def test_who_is_refused_hears_the_reason(runtime_dir, front):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{runtime_dir}/other.shm")
    listener.listen()

    def refuse():
        peer, _ = listener.accept()
        text = json.dumps({"error": {"code": "UNSUPPORTED", "message": "shm: version 9 is spoken here"}}).encode()
        peer.sendall(struct.pack(">I", len(text)) + text)
        peer.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(TalkwireError, match="UNSUPPORTED.*version 9"):
        talkwire.connect("shm:other") if front == "threads" else asyncio.run(aio.connect("shm:other"))
    thread.join()
    listener.close()


def test_who_waits_sleeps_and_is_woken(serving):
    service = serving()
    with talkwire.connect("shm:svc") as client:
        assert client.add(2, 5) == 7
        near, far = client._connection, connection_of(service)
        ends = [each._wire._incoming._ring for each in (near, far)]
        eventually(lambda: near._parked and all(ring._words[49] == 1 for ring in ends), "both ends sleep")
        if not isinstance(service, InLoop):
            eventually(lambda: far._parked and not near._keeper._watched, "nothing ticks")
        assert client.add(3, 5) == 8


def test_a_flood_of_calls_and_large_messages_both_ways(serving):
    service = serving({"add": lambda a, b: a + b, "echo": lambda value: value})
    texts = [str(n) * 200_000 for n in range(6)]
    with talkwire.connect("shm:svc") as client:
        calls = [client.start("echo", text) for text in texts]
        small = [client.start("add", n, 1) for n in range(500)]
        assert [call.result() for call in calls] == texts
        assert [call.result() for call in small] == list(range(1, 501))

        async def in_loop():
            async with await aio.connect("shm:svc") as other:
                got = await asyncio.gather(*(other.echo(text) for text in texts), *(other.add(n, 1) for n in range(500)))
                assert got == texts + list(range(1, 501))

        asyncio.run(in_loop())
    del service


def test_names_paths_and_what_is_announced(runtime_dir, tmp_path):
    with talkwire.serve("bank/2", {"add": lambda a, b: a + b}, listen=["shm:bank", "unix:bank"]) as service:
        (entry,) = talkwire.names.list_services()
        assert entry["addresses"] == service.addresses == ["shm:bank", "unix:bank"]
        assert os.stat(f"{runtime_dir}/bank.shm").st_mode & 0o777 == 0o600
        with talkwire.connect("bank/2") as client:
            assert client.peer.address == "shm:bank" and client.peer.pid == os.getpid() and client.add(1, 1) == 2
        with pytest.raises(TalkwireError, match="ADDRESS_IN_USE"):
            talkwire.serve("other", {}, listen="shm:bank")
    assert not os.path.exists(f"{runtime_dir}/bank.shm")
    for address in ("shm:", "shm:../x", "shm:a b", "shm:" + "x" * 65):
        with pytest.raises(TalkwireError, match="INVALID_ADDRESS"):
            talkwire.connect(address)
    for address in (f"shm:{tmp_path}/bank.sock", f"shm:@tw-shm-{os.getpid()}"):
        with talkwire.serve("bank", {"add": lambda a, b: a + b}, listen=address), talkwire.connect(address, framing="line") as client:
            assert client.add(1, 1) == 2


def test_where_it_cannot_be_it_says_what_to_take(monkeypatch):
    def refused(code, fix):
        for attempt in (lambda: talkwire.serve("svc", {}, listen="shm:svc"), lambda: talkwire.connect("shm:svc")):
            with pytest.raises(TalkwireError, match=f"{code}.*{fix}"):
                attempt()

    with monkeypatch.context() as patch:
        patch.setattr("platform.machine", lambda: "aarch64")
        refused("UNSUPPORTED", "take unix:")
    with monkeypatch.context() as patch:
        patch.setattr("talkwire.atomics._atomics", None)
        patch.setattr("ctypes.CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
        refused("MISSING_PACKAGE", "install libatomic1")


@pytest.fixture
def wires():
    """Both ends, without a session."""
    near, far = socket.socketpair()
    memory = SharedMemory.anonymous(2 * (4096 + CAPACITY))
    ends = [ShmWire(Line(near), Peer("shm:x")), ShmWire(Line(far), Peer("shm:x"))]
    ends[1].begin(SharedMemory.attach(f"/proc/self/fd/{memory.fd}"), "server")
    ends[0].begin(memory, "client")
    yield ends
    for end in ends:
        end.close()


def received(wire):
    buffer = bytearray(1 << 20)
    return bytes(buffer[: wire.receive(memoryview(buffer))])


def test_what_was_sent_before_the_end_is_read_before_it(wires):
    near, far = wires
    assert far.send([b"\0\0\0\3", b"abc"]) == []
    far.end_sending()
    assert not near.hung_up() and near.pending
    assert [received(near), received(near)] == [b"\0\0\0\3abc", b""]


def test_whoever_takes_a_bell_tells_who_else_waits(wires):
    near, far = wires
    rest = near.send([b"\0\2\0\0", bytes(1 << 17)])
    assert rest and not near.wait_writable(0)
    received(far)
    with pytest.raises(BlockingIOError):
        received(near)
    assert near.wait_writable(0)
    # And the other way round: who looks for room takes the bell that tells of a message.
    assert far.send([b"\0\0\0\1", b"a"]) == []
    while rest:
        rest = near.send(rest)
        if rest:
            received(far)
    assert near.wait_readable(0)
    assert received(near) == b"\0\0\0\1a"
