"""Services by name and intents, between Python and Node, as processes of their own."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

import talkwire
from hub_partner import refused, running_partner
from talkwire import Descriptor
from talkwire.hub import open_hub

INSTANCE = Path(__file__).parents[3] / "packages/talkwire/dist/test/hub/fixtures/instance.js"
NAMES = (f"bank-{os.getpid()}-{n}" for n in range(1000))


@pytest.fixture(scope="module")
def node():
    with running_partner() as partner:
        yield partner


@pytest.fixture
def hub(node):
    with open_hub(node.address) as opened:
        yield opened


@pytest.fixture
def python(child, node):
    """python(name, who) serves as a process of its own, and is registered."""

    def start(name, who):
        code = f"""
import os, signal, talkwire
from talkwire.hub import open_hub
handlers = {{"who": lambda: "{who}", "single": lambda: "{who}", "end": lambda: os.kill(os.getpid(), signal.SIGKILL)}}
with talkwire.serve("{name}/1", handlers, listen="unix:@{name}-{who}") as service, open_hub("{node.address}") as hub:
    with hub.register(service, {{"who": "{who}"}}):
        print("ready", flush=True)
        input()
"""
        return child(code)

    return start


@pytest.fixture
def node_instance(node):
    """node_instance(name, who): the same in Node."""
    started = []

    def start(name, who):
        words = [shutil.which("node"), str(INSTANCE), node.address, name, who, "30000"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == f"ready {who}\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


# -- services


def test_services_of_both_languages_are_found_shared_and_left_out_when_killed(node, hub, python, node_instance):
    name = next(NAMES)
    snake, _ = python(name, "python"), node_instance(name, "node")
    known = hub.instances(name)
    assert sorted(each.metadata["who"] for each in known) == ["node", "python"]
    assert {each["id"]: each["pid"] for each in node("instances", name=name)} == {each.id: each.pid for each in known}
    assert snake.pid in {each.pid for each in known}
    node("connect", name=name)
    with talkwire.connect(f"{name}/1", hub=hub) as bank:
        assert sorted({bank.who() for _ in range(4)}) == ["node", "python"]
        assert sorted({node("call", name=name, method="who") for _ in range(4)}) == ["node", "python"]
        snake.kill()
        snake.wait()
        # Also what is not idempotent: it was not sent to who is gone.
        assert {bank.single() for _ in range(4)} == {"node"}
        assert {node("call", name=name, method="who") for _ in range(4)} == {"node"}
        python(name, "cobra")
        while bank.who() != "cobra":
            pass
        bank.notify("single")
    node("close", name=name)


def test_what_may_have_run_is_not_made_again_elsewhere_and_an_idempotent_call_is(hub, python, node_instance):
    name = next(NAMES)
    python(name, "python"), node_instance(name, "node")
    with talkwire.connect(name, hub=hub, balance="sticky") as bank:
        first = bank.call("who")
        assert {bank.call("who") for _ in range(4)} == {first}
        refused(r"CONNECTION_\w+", "maybe-ran", lambda: bank.call("end"))
        second = bank.call("who")
        assert second != first
        # Tried where nobody is any more, too, which is not the whole truth.
        refused(r"CONNECTION_\w+", "maybe-ran", lambda: bank.call("end", idempotent=True))
        refused(r"PEER_NOT_FOUND|CONNECTION_\w+", "not-sent", lambda: bank.call("who"))


def test_an_idempotent_call_is_made_at_another_one(hub, python):
    name = next(NAMES)
    mortal = python(name, "mortal")
    with talkwire.serve(name, {"end": lambda: "not me"}, listen=f"unix:@{name}-one") as one, hub.register(one):
        with talkwire.connect(name, hub=hub) as bank:
            assert [bank.call("end", idempotent=True) for _ in range(2)] == ["not me", "not me"]
    assert mortal.wait() == -9


def test_who_has_fewest_of_our_calls_is_asked(hub):
    name = next(NAMES)
    both, go = threading.Barrier(3), threading.Event()

    def at(who):
        def single():
            both.wait(20)
            return who

        return talkwire.serve(name, {"single": single}, listen=f"unix:@{name}-{who}")

    answers = []
    with at("one") as one, at("two") as two, hub.register(one), hub.register(two):
        with talkwire.connect(name, hub=hub, balance="least-pending") as bank:
            asking = [threading.Thread(target=lambda: answers.append(bank.single()), daemon=True) for _ in range(2)]
            for each in asking:
                each.start()
            both.wait(20)
            for each in asking:
                each.join()
            assert sorted(answers) == ["one", "two"]
            with pytest.raises(TypeError, match="balance is one of"):
                talkwire.connect(name, hub=hub, balance="random")


def test_streams_and_events_come_from_the_instances_also_from_later_ones(hub):
    name = next(NAMES)
    heard, come = [], threading.Semaphore(0)

    def count(n):
        yield from range(n)

    def serve(who):
        return talkwire.serve(name, {"count": count, "total": lambda numbers: sum(numbers)}, listen=f"unix:@{name}-{who}")

    def news(payload):
        heard.append(payload)
        come.release()

    with serve("one") as one, hub.register(one), talkwire.connect(name, hub=hub) as bank:
        assert list(bank.count(3)) == [0, 1, 2]
        assert bank.total(iter(range(4))) == 6
        assert bank.start("count", 2) is not None
        with bank.on("news", news):
            one.emit("news", 1)
            assert come.acquire(timeout=20)
            with serve("two") as two, hub.register(two):
                while not two._subscribers.get("news"):
                    pass
                two.emit("news", 2)
                assert come.acquire(timeout=20)
            with serve("two") as two, hub.register(two):
                while not two._subscribers.get("news"):
                    pass
                two.emit("news", 3)
                assert come.acquire(timeout=20)
        assert heard == [1, 2, 3]


def test_nobody_is_there_and_what_others_wrote_is_no_instance(hub):
    name = next(NAMES)
    error = refused("PEER_NOT_FOUND", "not-sent", lambda: talkwire.connect(name, hub=hub))
    assert "hub.register()" in error.text
    half = {"id": "half", "name": name, "host": "h"}
    for value in (None, "x", 7, [], half, {**half, "addresses": 7}, {**half, "addresses": [7]}):
        hub.state("services").set(f"{name}.{len(str(value))}", value)
    hub.state("services").set(f"{name}.far", {**half, "addresses": ["unix:@nowhere", "xyz:9"]})
    assert [each.metadata for each in hub.instances(name)] == [{}]
    assert "hub.register()" in refused("PEER_NOT_FOUND", "not-sent", lambda: talkwire.connect(name, hub=hub)).text
    with pytest.raises(TypeError, match="is an address"):
        talkwire.connect("unix:@x", hub=hub)
    with talkwire.serve(name, {"who": lambda: 1}, listen=f"unix:@{name}") as one:
        known = hub.register(one)
        with talkwire.connect(name, hub=hub) as bank:
            assert bank.who() == 1
            known.close()
            while len(hub.instances(name)) > 1:
                pass
        assert bank.closed and bank.wait(0)
        refused("CONNECTION_CLOSED", "not-sent", lambda: bank.who())


# -- intents


def test_an_image_of_node_comes_to_python_as_a_descriptor(node, hub, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    intent = {"action": "share", "type": "image/png"}
    refused("NOT_FOUND", "not-sent", lambda: node("send", **intent))

    def handle(intent):
        if intent.data == "refuse":
            raise talkwire.declared_error("TOO_BIG", text="not that much")
        head = intent.descriptor and os.read(intent.descriptor.fileno(), 4).decode("latin-1")
        return {"type": intent.type, "data": intent.data, "segment": intent.segment, "head": head, "pid": intent.peer.pid}

    with hub.intents.handle("share", handle, type="image/*", label="Python"):
        told = node("send", **intent, data={"to": "ada"}, segment="memory", path=str(image))
        assert told == {"type": "image/png", "data": {"to": "ada"}, "segment": "memory", "head": "\x89PNG", "pid": node.pid}
        assert node("send", **intent)["head"] is None
        refused("TOO_BIG", "ran", lambda: node("send", **intent, data="refuse"))
        refused("NOT_FOUND", "not-sent", lambda: node("send", action="share", type="text/plain"))
    refused("NOT_FOUND", "not-sent", lambda: node("send", **intent))


def test_an_image_of_python_goes_to_node_and_of_several_one_is_chosen(node, hub, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    send = hub.intents.send
    assert "nobody handles open of image/png" in refused("NOT_FOUND", "not-sent", lambda: send("open", "image/png")).text
    node("handle", action="open", type="image/*", label="Node")
    with open(image, "rb") as file:
        told = send("open", "image/png", {"to": "ada"}, segment="memory", descriptor=Descriptor.lend(file))
        assert told["head"] == "\x89PNG" and not file.closed
    assert (told["type"], told["data"], told["segment"], told["pid"]) == ("image/png", {"to": "ada"}, "memory", os.getpid())
    # What nobody takes is closed all the same.
    given = os.open(image, os.O_RDONLY)
    refused("NOT_FOUND", "not-sent", lambda: send("open", "text/plain", descriptor=Descriptor.give(given)))
    with pytest.raises(OSError):
        os.fstat(given)
    with hub.intents.handle("open", lambda intent: "Python", label="Python") as handling:
        assert sorted(each.label for each in hub.intents.handlers("open", "image/png")) == ["Node", "Python"]
        assert [(each.label, each.id) for each in hub.intents.handlers("open", "text/plain")] == [("Python", handling.id)]
        assert "Node" in refused("ALREADY_EXISTS", "not-sent", lambda: send("open", "image/png")).text
        choose = lambda handlers: next(each for each in handlers if each.label == "Python")  # noqa: E731
        assert send("open", "image/png", choose=choose) == "Python"
        assert node("send", action="open", type="image/png", choose="Python") == "Python"
        refused("CANCELLED", "maybe-ran", lambda: send("open", "image/png", choose=lambda handlers: None))
        with pytest.raises(TypeError, match="type of media"):
            send("open", "png")
    node("close", name="Node")


def test_a_handler_without_descriptors_says_so_and_one_elsewhere_is_not_asked(hub):
    known = {"id": "1", "action": "print", "type": "*/*", "label": "Plain"}
    with talkwire.serve("intent/1", {"handle": lambda intent: intent["data"]}, listen=f"unix:@{next(NAMES)}") as plain:
        here = {**known, "host": hub_host(hub), "address": plain.addresses[0]}
        hub.state("intents").set("print.1", here)
        assert hub.intents.send("print", "a/b", 7) == 7
        with open(os.devnull) as file:
            error = refused(
                "UNSUPPORTED", "not-sent", lambda: hub.intents.send("print", "a/b", descriptor=Descriptor.lend(file))
            )
        assert "takes no descriptors" in error.text
        hub.state("intents").set("print.1", {**here, "host": "far/-"})
        assert "another machine (far/-)" in refused("UNSUPPORTED", "not-sent", lambda: hub.intents.send("print", "a/b")).text
        for value in (None, 7, {**here, "address": "tcp://127.0.0.1:1"}, {**here, "label": 7}):
            hub.state("intents").set("print.1", value)
            refused("NOT_FOUND", "not-sent", lambda: hub.intents.send("print", "a/b"))


def hub_host(hub):
    with talkwire.serve("svc", {"x": print}, listen=f"unix:@{next(NAMES)}") as service, hub.register(service):
        return hub.instances("svc")[0].host


def test_what_is_no_intent_is_refused(hub):
    with hub.intents.handle("print", lambda intent: 1, label="Python"):
        (address,) = [each.value["address"] for each in hub.state("intents").entries("print.") if each.value["label"] == "Python"]
        with talkwire.connect(address) as plain:
            for wrong in (7, {}, {"action": "print", "type": "png"}, {"action": "print", "type": "a/b", "segment": 7}):
                refused("INVALID_INPUT", "ran|not-sent", lambda: plain.call("handle", wrong))
            refused("NOT_FOUND", "ran", lambda: plain.call("handle", {"action": "open", "type": "a/b"}))


# -- abstract names, which Node 20 fills up with zeros


def test_an_abstract_name_is_the_same_for_both_languages(node):
    name = next(NAMES)
    with talkwire.serve(name, {"who": lambda: "python"}, listen=f"unix:@{name}-one"):
        with talkwire.connect(f"unix:@{name}-one") as exact:
            assert exact.who() == "python"
        assert node("dial", address=f"unix:@{name}-one", method="who") == "python"
        refused("ADDRESS_IN_USE", "not-sent", lambda: talkwire.serve(name, {}, listen=f"unix:@{name}-one"))
    node("serve", name=name, who="node")
    with talkwire.connect(f"unix:@{name}-node") as client:
        assert client.who() == "node"
    node("close", name="node")
    refused("PEER_NOT_FOUND", "not-sent", lambda: talkwire.connect(f"unix:@{name}-node"))
    refused("PEER_NOT_FOUND", "not-sent", lambda: talkwire.connect(f"unix:@{name}-one"))
