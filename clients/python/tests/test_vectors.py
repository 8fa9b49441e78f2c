"""spec/vectors/*.json: what every client must read and write alike.

A vector has `codec: "json"`, `payload_text` or `payload_hex`, and `message`: the
decoded message with values that JSON lacks written as in spec/wire.md § 5 (a
Map as {"$map": …} and so on), or `error`: the name of the refusal.
"""

import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from talkwire import Map, TalkwireError
from talkwire.codec_json import EPOCH, Reader, parse
from talkwire.framing import decode_envelope

FOLDER = Path(__file__).parents[3] / "spec" / "vectors"


class Ref:
    """Stands for a reference that arrived."""

    def __init__(self, number, methods):
        self.number, self.methods = number, methods


class Own:
    def __init__(self, number):
        self.number = number


def load():
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        content = json.loads(path.read_text())
        entries = content.get("vectors", []) if isinstance(content, dict) else content
        found += [entry for entry in entries if isinstance(entry, dict) and entry.get("codec") == "json"]
    return found


def decode(vector):
    text = vector.get("payload_text")
    payload = text.encode() if text is not None else bytes.fromhex(vector["payload_hex"])
    attachments = None
    view = memoryview(bytearray(payload))
    if payload[:1] == b"\xc1":
        view, attachments = decode_envelope(view)
    message, _ = parse(view)
    reader = Reader(64, True, attachments, Ref, Own)
    for member in ("params", "result", "error"):
        if member in message:
            message[member] = reader.read(message[member])
    reader.finish()
    return message


def written(value):
    """A decoded value in the notation of § 5, arrays as {"$bin": [hex, dtype, shape?]}."""
    if isinstance(value, Map) or (isinstance(value, dict) and any(type(key) is not str for key in value)):
        return {"$map": [[written(k), written(v)] for k, v in value.items()]}
    if isinstance(value, dict):
        plain = {key: written(content) for key, content in value.items()}
        (key, *more) = plain or [""]
        return {"$" + key: plain[key]} if key.startswith("$") and not more else plain
    if isinstance(value, (list, tuple)):
        return [written(entry) for entry in value]
    if isinstance(value, set):
        return {"$set": sorted((written(entry) for entry in value), key=repr)}
    if isinstance(value, datetime):
        return {"$date": (value - EPOCH).total_seconds() * 1000}
    if isinstance(value, bytes):
        return {"$bin": [value.hex()]}
    if isinstance(value, np.ndarray):
        return {"$bin": [value.tobytes().hex(), value.dtype.str.lstrip("<|"), list(value.shape)]}
    if isinstance(value, Ref):
        return {"$ref": [value.number] if value.methods is None else [value.number, value.methods]}
    if isinstance(value, Own):
        return {"$own": value.number}
    if isinstance(value, float) and (not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0)):
        return {"$number": {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0.0": "-0"}[str(value)]}
    return value


def test_the_folder_is_where_it_is_looked_for():
    assert FOLDER.is_dir()


def test_vectors():
    wrong = []
    for vector in load():
        try:
            check(vector)
        except Exception as error:
            wrong.append(f"{vector.get('name')}: {error!r}")
    assert not wrong, "\n".join(wrong)


def check(vector):
    if "error" in vector and "message" not in vector:
        with pytest.raises(TalkwireError) as caught:
            decode(vector)
        assert caught.value.code == vector["error"]
    else:
        assert written(decode(vector)) == vector["message"]


def test_the_reader_of_vectors_reads():
    """Holds before there are any: one of each notation."""
    value = [{"$map": [["a", 1]]}, {"$date": 1.5}, {"$number": "NaN"}, {"$set": [1]}, {"$$x": 1}, {"$ref": [1]}, {"$own": 2}]
    message = {"jsonrpc": "2.0", "id": 1, "method": "f", "params": value}
    check({"codec": "json", "payload_text": json.dumps(message), "message": message})
    check({"codec": "json", "payload_text": json.dumps({**message, "params": [{"$no": 1}]}), "error": "INVALID_MESSAGE"})
