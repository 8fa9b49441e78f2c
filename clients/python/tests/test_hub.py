"""The hub from Python: its own hub process of Node, and messages from one language to the other."""

import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

import talkwire
from talkwire.hub import Hub, open_hub

MAIN = Path(__file__).parents[3] / "packages/talkwire/dist/src/cli/main.js"
HUB = ["--hub", "hub:svc"]


@contextmanager
def running_hub(name):
    process = subprocess.Popen(
        [shutil.which("node"), str(MAIN), "hub", name, "--memory", "--keep", "log.>", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert json.loads(process.stdout.readline())["name"] == name
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def hub_process(runtime_dir):
    with running_hub("svc") as process:
        yield process


@pytest.fixture
def hub(hub_process):
    with open_hub("hub:svc") as opened:
        yield opened


def node(*words):
    """The command line of Node, as another process."""
    return subprocess.run([shutil.which("node"), str(MAIN), *words, *HUB], check=True, capture_output=True, text=True).stdout


def test_a_message_of_node_and_one_of_python(hub):
    with hub.topic("orders.*").subscribe() as orders:
        node("pub", "orders.eu", '{"id": 7}', "--header", "from=ada")
        first = next(orders)
        assert (first.topic, first.data, first.headers, first.lost) == ("orders.eu", {"id": 7}, {"from": "ada"}, 0)
        hub.topic("orders.*").publish(b"\x00\xff", to="orders.us")
        assert next(orders).data == b"\x00\xff"
    hub.topic("lamp").publish("on", retain=True)
    assert json.loads(node("sub", "lamp", "--count", "1"))["data"] == "on"


def test_what_is_kept_is_replayed(hub):
    for n in range(3):
        hub.topic("log.a").publish(n)
    with hub.topic("log.>").subscribe("all") as kept:
        first = next(kept)
        assert [first.data, next(kept).data, next(kept).data] == [0, 1, 2]
    with hub.topic("log.a").subscribe(after=first.position) as later:
        assert next(later).data == 1
    assert isinstance(first.time, datetime)
    with hub.topic("log.a").subscribe(first.time) as since:
        assert next(since).data == 0


def test_a_job_of_node_done_by_python_and_the_other_way(hub):
    mail = hub.queue("mail", attempts=2, backoff=0.001)
    done, errors, over = [], [], threading.Event()

    def work(job):
        if job.data == "bad":
            raise ValueError("no such address")
        done.append((job.data, job.attempt))
        over.set()

    with mail.consume(work, errors.append) as worker:
        node("queue", "push", "mail", '{"to": "ada"}')
        assert over.wait(20)
        bad = mail.push("bad")
        while mail.counts()["dead"] == 0:
            assert not worker.closed.is_set(), worker.error
    assert done == [({"to": "ada"}, 1)]
    assert [str(error) for error in errors] == ["no such address"] * 2
    (letter,) = mail.dead_letters()
    assert (letter["id"], letter["reason"], letter["attempts"]) == (bad, "no such address", 2)
    assert mail.revive([bad]) == 1
    (job,) = mail.take()
    job.ack()
    with pytest.raises(talkwire.TalkwireError, match="NOT_FOUND"):
        job.ack()
    mail.push("later", priority=1)
    mail.push("soon", priority=9)
    assert [json.loads(line)["data"] for line in node("queue", "take", "mail", "--count", "2").splitlines()] == ["soon", "later"]
    assert mail.push("once", key="k") == mail.push("again", key="k")
    assert mail.purge() == 1


def test_state_with_revisions(hub):
    sessions = hub.state("sessions")
    revision = sessions.set("ada", {"cart": 3}, absent=True)
    assert sessions.set("ada", 0, absent=True) is None
    assert json.loads(node("state", "get", "sessions", "ada")) == {"cart": 3}
    assert sessions.get("ada").revision == revision
    threads = [
        threading.Thread(target=lambda: sessions.update("n", lambda value: (value or 0) + 1), daemon=True) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions.get("n").value == 8
    with sessions.watch() as watch:
        assert {next(watch).key, next(watch).key} == {"ada", "n"}
        assert sessions.delete("ada", revision)
        assert next(watch) == ("ada", None, None)
    assert [each.key for each in sessions.entries()] == ["n"]
    assert sessions.get("ada") is None


def test_a_lease_keeps_node_out_and_is_lost_when_somebody_takes_it(hub):
    lease = hub.lease("nightly", label="python")
    with lease.acquire() as grant:
        assert lease.try_acquire() is None
        (holder,) = json.loads(node("lease", "nightly", "--json"))["holders"]
        assert (holder["token"], holder["label"]) == (grant.token, "python")
        with pytest.raises(talkwire.TalkwireError, match="DEADLINE_EXCEEDED"):
            lease.acquire(timeout=0.05)
    short = hub.lease("short", ttl=0.1).acquire()
    with talkwire.connect("svc") as other:
        other.call("release", {"name": "short", "token": short.token})
    assert short.lost.wait(20)
    assert short.release() is False
    assert hub.lease("nightly").acquire().token > grant.token
    assert hub.counter("hits").add(2) == hub.counter("hits").get() == 2


def test_what_is_no_hub_is_said(hub_process):
    with pytest.raises(talkwire.TalkwireError, match="INVALID_ADDRESS"):
        open_hub("nats://127.0.0.1")
    with open_hub("hub:svc") as hub:
        assert hub.status()["durability"] == "memory"
        with pytest.raises(talkwire.TalkwireError, match="INVALID_INPUT"):
            hub.topic("a b").publish(1)


def test_responders_workers_and_who_waits_for_a_result_go_on_with_a_hub_that_was_started_anew(runtime_dir):
    results, asked = [], []
    # By its path: one that is known by its name would be started by who misses it, where npm's `talkwire` is in PATH.
    with running_hub("svc") as process, open_hub(f"hub:unix:{runtime_dir}/svc.sock") as hub:
        said = hub.queue("says", results=60)
        hub.topic("double").respond(lambda message: asked.append(hub) or message.data * 2)
        said.consume(lambda job: job.data, concurrency=4)
        assert said.result(said.push(0)) == 0
        waiting = threading.Thread(target=lambda: results.append(said.result("1000000001")), daemon=True)
        waiting.start()
        process.kill()
        process.wait()
        with running_hub("svc"):
            while asked == []:
                try:
                    assert hub.topic("double").request(21) == 42
                except talkwire.TalkwireError as error:
                    assert error.code == "PEER_NOT_FOUND" or error.outcome == "maybe-ran", error
            assert said.result(said.push("again")) == "again"
            hub.state("results").set("says.1000000001", {"state": "done", "value": 7})
            waiting.join()
            hub.close()
    assert results == [7]


def test_a_hub_is_closed_although_it_does_not_come_back(runtime_dir):
    with running_hub("svc") as process:
        hub = Hub(talkwire.connect("svc", reconnect=talkwire.Reconnect(give_up=1e6)))
        hub.queue("mail").consume(print)
        process.kill()
        process.wait()
        while not hub._client._link._wanted:
            time.sleep(0.001)  # until the worker waits for it
        hub.close()
