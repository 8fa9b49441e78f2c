"""Bob, in Python: greets first, and can be greeted meanwhile."""

import talkwire


def greet(name):
    return f"Hello {name}, I am Bob"


with talkwire.connect("stdio:", serve={"greet": greet}) as ann:
    print("Bob is told:", ann.greet("Bob"))
