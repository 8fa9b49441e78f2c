"""The Python process: serves "lab", and calls the TypeScript process, which it knows by name only: "desk"."""

import sys
import threading
import time

import talkwire
from talkwire import TalkwireError

try:
    import numpy
except ImportError:
    numpy = None


def say(text):
    sys.stdout.write(f"{text}\n")  # in one piece, whichever thread says it
    sys.stdout.flush()


class Lab:
    def mean(self, numbers):
        return sum(numbers) / len(numbers)

    def primes(self):
        found = []
        try:
            number = 2
            while True:
                if all(number % prime for prime in found):
                    found.append(number)
                    yield number
                number += 1
        finally:
            say("the stream of primes was closed by its reader")

    def integrate(self, f, steps):
        return sum(f((i + 0.5) / steps) for i in range(steps)) / steps

    def total(self, values):
        return float(sum(values))

    def numpy(self):
        return numpy and numpy.__version__

    def eigenvalues(self, matrix):
        return numpy.linalg.eigvalsh(matrix)

    def think(self, about, ctx):
        left = ctx.remaining()
        say(f"thinks about {about}, " + ("for as long as it takes" if left is None else f"and has {left:.1f} s"))
        ctx.progress("thinking")
        if ctx.wait_cancelled(10):
            say(f"stopped thinking about {about}")
            ctx.raise_if_cancelled()


def find(name):
    """A client of whoever serves this name, as soon as somebody does."""
    while True:
        try:
            return talkwire.connect(name)
        except TalkwireError as error:
            if error.code != "PEER_NOT_FOUND":
                raise
            time.sleep(0.02)


def call_desk():
    with find("desk/1") as desk:
        say('found "desk" by name')
        sold = threading.Event()
        desk.on("sold", lambda what: (say(f"heard that {what['count']} {what['item']} were sold"), sold.set()))
        say(f"price of 4 tea in TypeScript: {desk.price(item='tea', count=4)}")
        sold.wait(5)
        say(f"a stream from TypeScript: {' '.join(map(str, desk.stream('countdown', {'from': 3})))}")
        attempt("price of 4.5 tea", desk.price, item="tea", count=4.5)
        attempt("price of gold", desk.price, item="gold", count=1)
        attempt("gave a call 250 ms", desk.call, "brew", timeout=0.25)
        desk.yourTurn()


def attempt(what, function, *args, **named):
    try:
        function(*args, **named)
    except TalkwireError as error:
        declared = f", declared, {error.details}" if error.declared else ""
        say(f"{what}: {error.code}, outcome {error.outcome}{declared}")


with talkwire.serve("lab/1", Lab()) as service:
    say('serves "lab"')
    if sys.argv[1:] != ["again"]:
        call_desk()
    service.wait()
