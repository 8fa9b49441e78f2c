"""Arrays on a machine without NumPy."""

import subprocess
import sys

CODE = """
import sys
sys.modules["numpy"] = None   # importing it fails from now on
import array, talkwire
with talkwire.serve("svc", {"echo": lambda x: x}), talkwire.connect("svc") as c:
    flat = c.echo(array.array("d", [1.5, 2.5]))
    assert type(flat) is memoryview and flat.format == "d" and flat.tolist() == [1.5, 2.5]
    grid = c.echo(memoryview(bytes(range(6))).cast("B", (2, 3)))
    assert grid.shape == (2, 3) and grid.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert c.echo(bytearray(b"xyz")) == b"xyz" and type(c.echo(b"")) is bytes
    assert c.echo(array.array("h")).tolist() == []
    big = c.echo(memoryview(bytes(1_000_000)).cast("q"))
    assert big.nbytes == 1_000_000 and not big.readonly
print("fine")
"""


def test_arrays_without_numpy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=20)
    assert done.stdout == "fine\n", done.stderr
