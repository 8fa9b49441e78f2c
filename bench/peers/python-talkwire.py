"""The functions that python-talkwire.mjs calls."""


def add(a, b):
    return a + b


def sum(array):
    return float(array.sum())
