"""`array-end.py NAME` serves what bench/arrays.mjs calls."""

import sys

import numpy

import talkwire
from talkwire.memory import SharedArray

held = []


def open_array(name):
    held[:] = [SharedArray.open(name)]
    return held[0].numpy.size


talkwire.serve(
    sys.argv[1],
    {
        "add": lambda a, b: a + b,
        "open": open_array,
        "last": lambda: float(held[0].numpy[-1]),
        "sum": lambda: float(held[0].numpy.sum()),
        "sum_of": lambda values: float(numpy.asarray(values).sum()),
    },
)
print("ready", flush=True)
sys.stdin.read()
