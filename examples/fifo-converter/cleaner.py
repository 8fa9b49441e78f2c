"""An old text cleaner that knows nothing of Talkwire. Each text that it reads from stdin or writes to stdout is
framed as `X`, four digits with the length in bytes, and the text in UTF-8: X0005hello."""

import re
import sys

QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: "-", 0x2026: "...", 0xA0: " "}


def clean(text):
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text.translate(QUOTES))
    return re.sub(r"\s+", " ", text).strip()


while True:
    header = sys.stdin.buffer.read(5)
    if not header:
        break
    if header[:1] != b"X" or not header[1:].isdigit():
        sys.exit(f"cleaner: no frame begins with {header!r}")
    body = sys.stdin.buffer.read(int(header[1:]))
    answer = clean(body.decode("utf-8")).encode("utf-8")
    sys.stdout.buffer.write(b"X%04d%s" % (len(answer), answer))
    sys.stdout.buffer.flush()
