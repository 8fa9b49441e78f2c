"""Two pipes, two processes: whatever one writes to its stdout, the other reads from its stdin. Knows nothing of Talkwire."""

import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
bob_reads, ann_writes = os.pipe()
ann_reads, bob_writes = os.pipe()
ann = subprocess.Popen(["node", "ann.mjs"], stdin=ann_reads, stdout=ann_writes, cwd=here)
bob = subprocess.Popen([sys.executable, "bob.py"], stdin=bob_reads, stdout=bob_writes, cwd=here)
for descriptor in (ann_reads, ann_writes, bob_reads, bob_writes):
    os.close(descriptor)
sys.exit(ann.wait() or bob.wait())
