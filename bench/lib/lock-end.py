"""multiprocessing.Lock, as lock-end.mjs has ours: lock-end.py PROCESSES MILLISECONDS. Prints how often each had it."""

import json
import multiprocessing
import sys
import time


def run(lock, counter, milliseconds, start, results):
    start.wait()
    count = 0
    end = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < end:
        for _ in range(64):
            with lock:
                counter.value += 1
        count += 64
    results.put(count)


if __name__ == "__main__":
    processes, milliseconds = int(sys.argv[1]), float(sys.argv[2])
    context = multiprocessing.get_context("fork")
    lock, counter = context.Lock(), context.Value("d", 0, lock=False)
    start, results = context.Barrier(processes), context.Queue()
    ends = [context.Process(target=run, args=(lock, counter, milliseconds, start, results)) for _ in range(processes)]
    for end in ends:
        end.start()
    counts = [results.get() for _ in ends]
    for end in ends:
        end.join()
    if counter.value != sum(counts):
        raise SystemExit(f"{counter.value} additions were counted of {sum(counts)}")
    print(json.dumps({"counts": counts, "milliseconds": milliseconds}))
