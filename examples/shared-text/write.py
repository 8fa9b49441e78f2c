"""Shows the text that a board has, and writes another one over it: python3 write.py board "some text"."""

import sys

from talkwire.memory import SharedArray

with SharedArray.open(sys.argv[1], dtype="u1") as board:
    old = bytes(board.values[1 : 1 + board.values[0]])
    print("it said:", old.decode("utf-8"))
    new = sys.argv[2].encode("utf-8")[:255]
    board.values[1 : 1 + len(new)] = new
    board.values[0] = len(new)
    board.publish()
