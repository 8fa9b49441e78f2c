"""A Node process with a hub of its own: hub_partner.mjs."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import talkwire


class Partner:
    def __init__(self, process):
        self._process = process
        self.pid = process.pid
        self._told()

    def __call__(self, what, **wish):
        """Has it do something, and returns its answer. Raises what it was told instead, as a TalkwireError."""
        self._process.stdin.write(json.dumps({"do": what, **wish}) + "\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self):
        told = json.loads(self._process.stdout.readline())
        if "value" in told:
            return told["value"]
        raise talkwire.TalkwireError(told.get("code") or "UNKNOWN", told["text"], outcome=told.get("outcome"))


@contextmanager
def running_partner():
    folder = tempfile.mkdtemp(prefix="tw-")
    process = subprocess.Popen(
        [shutil.which("node"), str(Path(__file__).with_name("hub_partner.mjs"))],
        env={**os.environ, "TALKWIRE_RUNTIME_DIR": folder},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        partner = Partner(process)
        partner.address = f"hub:unix:{folder}/svc.sock"
        yield partner
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder)


def refused(code, outcome, action):
    """The error that it raises, which has this code and outcome (patterns)."""
    with pytest.raises(talkwire.TalkwireError) as caught:
        action()
    error = caught.value
    assert re.fullmatch(code, error.code) and re.fullmatch(outcome, error.outcome), (error, error.outcome)
    return error
