"""The hub's patterns between a Python process and one of Node."""

import threading
import time

import pytest

import talkwire
from hub_partner import refused, running_partner
from talkwire.hub import open_hub
from talkwire.hub.worker import Worker


@pytest.fixture(scope="module")
def node():
    with running_partner() as partner:
        yield partner


@pytest.fixture
def hub(node):
    with open_hub(node.address) as opened:
        yield opened


# -- request and reply


def test_node_answers_what_python_asks(node, hub):
    double = hub.topic("double")
    refused("PEER_NOT_FOUND", "not-sent", lambda: double.request(21))
    node("respond", topic="double")
    assert double.request(21) == {"twice": 42}
    assert hub.topic("*").request(4, to="double", headers={"from": "ada"}) == {"twice": 8}
    error = refused("TOO_BIG", "ran", lambda: double.request("refuse"))
    assert error.text == "not that much"
    assert "secret" not in str(refused("INTERNAL", "ran", lambda: double.request("break")))
    node("close", name="double")


def test_python_answers_what_node_asks(node, hub):
    seen = []

    def half(message):
        seen.append((message.topic, dict(message.headers)))
        if message.data == "refuse":
            raise talkwire.TalkwireError("TOO_BIG", "not that much\nof it")
        return message.data / message.data / 2

    with hub.topic("half.*").respond(half, group="halves"):
        assert node("request", topic="half.a", data=5) == 0.5
        assert "not that much of it" in refused("TOO_BIG", "ran", lambda: node("request", topic="half.a", data="refuse")).text
        assert "division" not in refused("INTERNAL", "ran", lambda: node("request", topic="half.a", data=0)).text
        # What cannot be sent is no reply either.
        assert refused("INTERNAL", "ran", lambda: node("request", topic="half.a", data="x"))
    assert seen == [("half.a", {})] * 4
    refused("PEER_NOT_FOUND", "not-sent", lambda: node("request", topic="half.a", data=5))


def test_all_who_respond_are_heard(node, hub):
    who = hub.topic("who")
    with who.respond(lambda message: "python"), who.respond(lambda message: "snake"):
        assert sorted(node("gather", topic="who", data=1, count=2)) == ["python", "snake"]
        node("respond", topic="who")
        assert sorted(map(str, who.gather(1, count=3))) == ["python", "snake", "{'twice': 2}"]
        node("close", name="who")
        # It is over after its time, however many there were.
        assert sorted(who.gather(1, timeout=0.2)) in (["python", "snake"], ["python"], ["snake"], [])
        with pytest.raises(TypeError, match="timeout or count"):
            who.gather(1)


def test_of_a_group_one_answers(node, hub):
    seen = []
    with hub.topic("one").respond(seen.append, group="g"), hub.topic("one").respond(seen.append, group="g"):
        for n in range(4):
            assert node("request", topic="one", data=n) is None
    assert [message.data for message in seen] == [0, 1, 2, 3]


def test_closing_waits_for_what_has_begun(node, hub):
    begun, go, order = threading.Event(), threading.Event(), []

    def slow(message):
        begun.set()
        assert go.wait(20)
        order.append("answered")
        return message.data

    responder = hub.topic("slow").respond(slow)
    asking = threading.Thread(target=lambda: order.append(hub.topic("slow").request("a")), daemon=True)
    asking.start()
    assert begun.wait(20)

    def close():
        responder.close()
        order.append("closed")

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(0.05)  # it would have come back by now
    go.set()
    closing.join()
    asking.join()
    assert order[0] == "answered" and sorted(order) == ["a", "answered", "closed"]


def test_nobody_answers_in_time(node, hub):
    go = threading.Event()
    with hub.topic("late").respond(lambda message: go.wait(20)):
        refused("DEADLINE_EXCEEDED", "maybe-ran", lambda: hub.topic("late").request(1, timeout=0.05))
        go.set()


def test_a_request_is_over_when_the_hub_is_closed(node):
    begun, go = threading.Event(), threading.Event()
    errors = []

    def wait(message):
        begun.set()
        return go.wait(20)

    with open_hub(node.address) as other, other.topic("closing").respond(wait):
        asker = open_hub(node.address)

        def ask():
            try:
                asker.topic("closing").request(1)
            except talkwire.TalkwireError as error:
                errors.append((error.code, error.outcome))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        assert begun.wait(20)
        asker.close()
        asking.join()
        go.set()
    assert errors == [("CONNECTION_CLOSED", "maybe-ran")]


# -- results


def test_node_works_for_python(node, hub):
    sums = hub.queue("sums", results=60)
    node("work", queue="sums")
    id = sums.push([1, 2])
    steps = sums.follow(id)
    for step in (1, 2):
        assert next(steps) == step
        node("go")
    assert list(steps) == []
    assert sums.result(id, timeout=20) == [2, 3]
    node("close", name="sums")
    idle = hub.queue("idle", results=60)
    waits = idle.push([1])
    hub.state("results").set(f"idle.{waits}0", {"state": "done", "value": "another's"})
    refused("DEADLINE_EXCEEDED", "maybe-ran", lambda: idle.result(waits, timeout=0.05))
    with pytest.raises(TypeError, match="results=seconds"):
        hub.queue("idle").result(waits)
    assert idle.purge() == 1


def test_python_works_for_node(node, hub):
    go, said = threading.Event(), []

    def work(job):
        job.progress("half")
        assert go.wait(20)
        if job.data == "bad":
            raise ValueError("no such address")
        if job.data == "worse":
            return job.dead("not for us")
        return None if job.data == "none" else {"said": job.data}

    with hub.queue("says", results=60, attempts=1).consume(work, said.append):
        id = node("push", queue="says", data="a")
        assert node("follow", queue="says", id=id) == "half"
        go.set()
        assert node("rest", id=id) == []
        assert node("result", queue="says", id=id) == {"said": "a"}
        assert node("result", queue="says", id=node("push", queue="says", data="none")) is None
        for data, reason in (("bad", "no such address"), ("worse", "not for us")):
            bad = node("push", queue="says", data=data)
            assert reason in refused("NOT_FOUND", "ran", lambda: node("result", queue="says", id=bad)).text
    assert [str(error) for error in said] == ["no such address"]
    assert hub.queue("says").counts() == {"ready": 0, "delayed": 0, "taken": 0, "dead": 2}


def test_several_at_once_and_no_more_than_so_many_in_so_long(node, hub):
    together, errors = threading.Barrier(3), []
    many = hub.queue("many", results=60)
    with many.consume(lambda job: together.wait(20), errors.append, concurrency=3):
        ids = many.push_all([1, 2, 3])
        assert sorted(many.result(id) for id in ids) == [0, 1, 2]
    before, begun = time.monotonic(), []
    with many.consume(lambda job: begun.append(time.monotonic()), errors.append, concurrency=2, rate=(1, 0.2)):
        for id in many.push_all([1, 2, 3]):
            many.result(id)
    assert max(begun) - before >= 0.4
    assert errors == []
    with pytest.raises(TypeError, match="rate"):
        many.consume(print, rate=(0, 1))


def test_closing_begins_no_job_that_waits_for_its_turn(hub):
    daily, begun = hub.queue("daily"), []
    daily.push_all([1, 2])
    with daily.consume(lambda job: begun.append(job.data), concurrency=2, rate=(1, 86_400)):
        while daily.counts() != {"ready": 0, "delayed": 0, "taken": 1, "dead": 0}:
            pass
    assert len(begun) == 1
    assert daily.counts() == {"ready": 1, "delayed": 0, "taken": 0, "dead": 0}


def test_a_job_that_was_lost_while_it_waited_for_its_turn_is_not_begun(hub):
    late, taken, begun = hub.queue("late", visibility=0.1), [], []
    take = late.take

    def seen(*args, **named):
        jobs = take(*args, **named)
        taken.extend(jobs)
        return jobs

    class Turn:
        def turn(self, closing):
            (job,) = taken
            job._client.call("ack", {"queue": "late", "receipt": job._receipt})
            return job.lost.wait(20)

    late.take = seen
    late.push(1)
    with Worker(late, begun.append, None, 1, Turn()):
        while not (taken and taken[0].lost.is_set()):
            time.sleep(0.01)
    assert begun == []


def test_a_job_that_was_settled_or_lost_does_not_end_its_worker(node, hub):
    taken, lost = [], threading.Event()

    def work(job):
        taken.append(job)
        if job.data == "mine":
            job.ack()  # and not twice
        if job.data == "lost":
            hub.topic("x").publish(1)
            job._client.call("ack", {"queue": "odd", "receipt": job._receipt})
            assert job.lost.wait(20)
            lost.set()

    odd, said = hub.queue("odd", visibility=0.1), []
    with odd.consume(work, said.append) as worker:
        for data in ("mine", "lost", "last"):
            odd.push(data)
        assert lost.wait(20)
        while len(taken) < 3:
            assert worker.error is None
            time.sleep(0.01)
    assert [error.code for error in said] == ["NOT_FOUND"]
    assert sum(odd.counts().values()) == 0


# -- state


def test_several_changes_or_none(node, hub):
    stock = hub.state("stock")
    tea, coffee = stock.batch([{"set": "tea", "value": 1, "absent": True}, {"set": "coffee", "value": 2, "ttl": 60}])
    assert stock.get("tea").revision == tea and tea != coffee
    assert stock.batch([{"set": "tea", "value": 9}, {"delete": "coffee", "revision": tea}]) is None
    assert stock.get("tea").value == 1
    assert stock.batch([{"set": "tea", "value": 9, "revision": tea}, {"delete": "coffee"}]) is not None
    assert [(each.key, each.value) for each in stock.entries()] == [("tea", 9)]
    for _ in range(2):
        assert stock.update("milk", lambda value: 3, ttl=0.05) == 3
    while stock.get("milk") is not None:
        pass


def test_what_is_listened_to_ends_with_the_hub(node):
    hub = open_hub(node.address)
    here = [hub.topic("quiet").subscribe(), hub.state("quiet").watch()]
    ends = []
    reading = [threading.Thread(target=lambda each=each: ends.append(list(each)), daemon=True) for each in here]
    for each in reading:
        each.start()
    hub.close()
    for each in reading:
        each.join()
    assert ends == [[], []]
