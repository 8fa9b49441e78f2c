"""The README's examples run."""

import re
import subprocess
import sys
from contextlib import nullcontext

import pytest

from conftest import HERE
from test_hub import running_hub

BLOCKS = re.findall(r"```python\n(.*?)```", (HERE.parent / "README.md").read_text(), re.S)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_example(code):
    # One that its first user started would outlive the test.
    with running_hub("hub") if "open_hub()" in code else nullcontext():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for expected in re.findall(r"\)\s+# (\[.*\]|\d[\d ]*)$", code, re.M):
        assert expected in done.stdout
