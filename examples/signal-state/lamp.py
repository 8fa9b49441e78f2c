"""A lamp that shows whether the printer is up. Knows nothing of Talkwire: a file with its pid, and two signals."""

import os
import signal
import sys

directory = sys.argv[1]
# First the handlers: of a signal that nobody handles, the process would die.
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"the lamp is on\n"))
signal.signal(signal.SIGUSR2, lambda *_: os.write(1, b"the lamp is off\n"))
os.makedirs(directory, mode=0o700, exist_ok=True)
open(os.path.join(directory, str(os.getpid())), "w").close()
os.write(1, b"the lamp is there\n")
while True:
    signal.pause()
