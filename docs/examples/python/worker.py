#!/usr/bin/env python3
"""A worker: sleeps as many milliseconds as its params say, {"ms": 500}, and reports how far it is.

    worker.py SERVICE [THREADS]

Runs until SIGTERM. KERVAN_DATA (or KERVAN_BROKER) says where the broker is."""
import signal
import sys
import threading

from kervan import Worker, id_text

STEP_MS, REPORT_STEPS = 20, 10


def say(job, what):
    print(f"{id_text(job.id)} {what}\n", end="", flush=True)  # one write: there are threads


def work(job):
    ms = (job.params or {}).get("ms", 0)
    say(job, "begun")
    if ms < 0:
        raise Worker.Failed("ms is negative", retry=True, number=13)
    for step in range(ms // STEP_MS):
        if step % REPORT_STEPS == 0:
            job.progress(100 * step * STEP_MS / ms)
        if job.wait_cancelled(STEP_MS / 1000):
            say(job, "cancelled")
            return None
    say(job, "done")
    return {"slept": ms}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    worker = Worker(sys.argv[1], work, int(sys.argv[2]) if len(sys.argv) > 2 else 1, "worker.py", on_cancel=lambda job: say(job, "cancel heard"))
    stopped.wait()
    worker.stop()


main()
