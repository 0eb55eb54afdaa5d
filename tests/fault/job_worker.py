"""A worker that does what the params of its jobs say, and writes down what it was told: killed at will by the tests.

    job_worker.py ENDPOINT NAME CREDIT LOG SERVICE...

A line of the log: nanoseconds (monotonic), what, job, epoch, attempt.
  start pid | lease | over: it is no longer ours (acknowledged, stale, cancelled) | done, failed: acknowledged | gap: we slept, milliseconds
"""
import json
import os
import sys
import time

from stubborn import ERRORS, Stubborn


class Worker(Stubborn):
    def __init__(self, endpoint, name, credit, log, services):
        super().__init__(endpoint, "worker", name)
        self.credit, self.services = credit, services
        self.log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.held = {}  # job -> (epoch, attempt)
        self.plan = []  # (when, what to do)
        self.log("start", os.getpid())

    def log(self, *words):
        os.write(self.log_fd, f"{time.monotonic_ns()} {' '.join(map(str, words))}\n".encode())

    def let_go(self, job, token):
        if self.held.get(job) == token:
            self.log("over", job, *token)
            del self.held[job]
            self.busy = len(self.held)

    # ---- what the broker says ----
    def on_session(self):
        for job, token in self.held.items():
            self.ask("LEASE_HELD", [job, *token], lambda name, f, job=job, token=token: name == "ERROR" and f[0] == ERRORS["STALE_LEASE"] and self.let_go(job, token))
        for service in self.services:
            self.ask("READY", [service, self.credit], lambda name, f: None)

    def on_message(self, name, fields):
        if name == "JOB_CANCEL":
            self.let_go(fields[0], tuple(fields[1:3]))
        if name != "JOB":
            return
        job, token, what = fields[0], tuple(fields[1:3]), json.loads(fields[4])
        if self.held.get(job) == token:
            return
        self.log("lease", job, *token)
        self.held[job] = token
        self.busy = len(self.held)
        self.plan.append((time.monotonic() + what.get("ms", 0) / 1000, lambda: self.work(job, token, what)))

    # ---- what it does ----
    def work(self, job, token, what):
        if self.held.get(job) != token:
            return
        do = what["do"]
        if do == "ignore":
            return
        if do == "progress":
            self.ask("JOB_PROGRESS", [job, *token, 50, json.dumps({"by": self.name})], lambda name, f: None)
        if do == "fail":
            self.end("JOB_FAIL", job, token, [66, "as asked", False])
        elif do == "retry" and token[1] < what["attempts"]:
            self.end("JOB_FAIL", job, token, [66, "as asked, again", True])
        else:
            self.end("JOB_DONE", job, token, [json.dumps({"token": list(token)})])

    def end(self, name, job, token, more):
        def answered(kind, fields):
            if kind == "ERROR" and fields[0] != ERRORS["STALE_LEASE"]:
                again = time.monotonic() + max(fields[2] if len(fields) > 2 else 0, 50) / 1000
                self.plan.append((again, lambda: self.held.get(job) == token and self.end(name, job, token, more)))
                return
            if kind == "OKAY" and not (name == "JOB_FAIL" and more[2]):
                self.log("done" if name == "JOB_DONE" else "failed", job, *token)
            self.let_go(job, token)

        if name == "JOB_FAIL" and more[2]:
            self.log("back", job, *token)  # another may get it before we hear the answer
        self.ask(name, [job, *token, *more], answered)

    def run(self):
        before = time.monotonic()
        while True:
            now = time.monotonic()
            if now - before > 1.5:
                self.log("gap", int((now - before) * 1000))
            before = now
            due = [what for when, what in self.plan if when <= now]
            self.plan = [p for p in self.plan if p[0] > now]
            for what in due:
                what()
            soonest = min((when for when, _ in self.plan), default=now + 0.1)
            self.pump(max(0.0, min(soonest - time.monotonic(), 0.1)))


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:]).run()
