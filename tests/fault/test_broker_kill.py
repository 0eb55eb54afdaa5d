"""kill -9 of broker, worker and gateway at random moments under load: no acknowledged job is lost or runs twice, each ends once, money balances.

KV_CYCLES and KV_SEED for longer and other runs. S3-12 S4-148 S3-14 S3-24 S4-71 S4-75 S4-76 S4-77 Y06 Y14"""
import http.client
import json
import os
import random
import threading
import time

import pytest

from kervan import wait_for
from parts import Listener, Parts, check_database, check_heard, check_histories, check_money, grant_at, worker_log
from peer import id_text
from stubborn import ERRORS, Ids, Refused, Stubborn, id_number

CYCLES = int(os.environ.get("KV_CYCLES", "200"))
SEED = int(os.environ.get("KV_SEED", "20261122"))
WORKERS = ("w1", "w2")
USERS = ("ayse", "bora", "cem", "poor")
PARKED = 40


def job_options(rng, name):
    """Params, options; most jobs hold credits."""
    do = rng.choices(("done", "progress", "fail", "retry", "ignore"), (60, 12, 10, 16, 2))[0]
    params = {"do": do, "attempts": rng.randrange(2, 4), "ms": rng.choice((0, 0, 0, 5, 30, 400)), "of": name}
    user = rng.choice(USERS)
    credits = rng.randrange(1, 5) if rng.random() < 0.8 else 0
    return params, {"user": user, "credits": credits, "tenant": rng.choice(("", "t1", "t2")), "lane": rng.randrange(3), "backoff_ms": 50, "max": rng.choice((3, 100))}


class Client(threading.Thread):
    """Submits until told to stop, and then until its last one is answered."""

    def __init__(self, parts, seed, name):
        super().__init__(daemon=True, name=name)
        self.parts, self.rng, self.name_, self.ids = parts, random.Random(seed), name, Ids()
        self.acknowledged, self.poor, self.cancelled = {}, set(), set()  # job -> params
        self.over, self.error = False, None

    def run(self):
        try:
            while not self.over:
                self.one()
                time.sleep(self.rng.uniform(0.002, 0.02))
        except BaseException as e:  # noqa: BLE001: shown by the test
            self.error = e


class ZmqClient(Client):
    def run(self):
        self.peer = Stubborn(self.parts.broker, "client", self.name_)
        super().run()
        self.peer.close()

    def submit(self, job, params, o):
        text = json.dumps(params)
        fields = [job, "work", o["lane"], text, o["tenant"], o["max"], 0, "", o["backoff_ms"], 200, 0, "", 0, o["user"], o["credits"], "test"]
        try:
            got = self.peer.call("SUBMIT", fields)
        except Refused as e:
            assert e.number == ERRORS["NO_CREDIT"] or e.number == ERRORS["BUSY"], e
            if e.number == ERRORS["NO_CREDIT"]:
                self.poor.add(job)
            return False
        assert got[0] == job
        self.acknowledged[job] = params
        return True

    def one(self):
        if self.rng.random() < 0.1:
            self.credit()
        job = self.ids.make()
        params, o = job_options(self.rng, self.name_)
        if not self.submit(job, params, o):
            return
        if self.rng.random() < 0.05:
            self.poor.discard(job)
            assert self.submit(job, params, o), "a job that was acknowledged is met again"
        if self.rng.random() < 0.06:
            self.cancel(job)

    def cancel(self, job):
        try:
            if self.peer.call("CANCEL", [job])[0] == job:
                self.cancelled.add(job)
        except Refused as e:
            assert e.number in (ERRORS["CONFLICT"], ERRORS["BUSY"]), e

    def credit(self):
        """A reserve without a job, settled one way or the other."""
        t = self.ids.make()
        try:
            assert self.peer.call("CREDIT", [t, 1, self.rng.choice(USERS), 2, "alone"])[1] == "held"
        except Refused as e:
            assert e.number == ERRORS["NO_CREDIT"], e
            return
        what = self.rng.choice((2, 3))
        assert self.peer.call("CREDIT", [t, what, "", 0, ""])[1] == ("spent" if what == 2 else "refunded")


class HttpClient(Client):
    def run(self):
        self.http = None
        super().run()

    def ask(self, body, headers):
        """One try: (status, body), or None when the gateway went away."""
        try:
            if self.http is None:
                self.http = http.client.HTTPConnection("127.0.0.1", self.parts.port, timeout=15)
            self.http.request("POST", "/api/jobs", body, {"Content-Type": "application/json", **headers})
            answer = self.http.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self.http = None
            time.sleep(0.02)
            return None

    def submit(self, body, headers):
        """Until it is acknowledged or refused for good: its id, or None."""
        end = time.monotonic() + 60
        while True:
            got = self.ask(body, headers)
            if got and got[0] == 202:
                return id_number(got[1]["jobId"])
            if got and got[0] == 402:
                return None
            assert got is None or got[0] in (503, 504), got
            assert time.monotonic() < end, "a submit was not answered"

    def one(self):
        params, o = job_options(self.rng, self.name_)
        own, headers = self.ids.make(), {}
        body = {"service": "work", "params": params, "user": o["user"], "credits": o["credits"], "tenant": o["tenant"], "backoff": 0.05, "backoff_max": 0.2, "max_attempts": o["max"],
                "lane": ("urgent", "normal", "background")[o["lane"]]}  # fmt: skip
        keyed = self.rng.random() < 0.5
        if keyed:
            headers["Idempotency-Key"] = f"{self.name_}-{own}"
        else:
            body["jobId"] = id_text(own)
        text = json.dumps(body)
        job = self.submit(text, headers)
        if job is None:
            if not keyed:
                self.poor.add(own)
            return
        assert keyed or job == own
        self.acknowledged[job] = params
        if self.rng.random() < 0.1:
            assert self.submit(text, headers) == job, "a repeat meets the first one"


class Asker(Client):
    """Fills a queue that nobody serves, and asks where its jobs stand: unique, dense, and each lane in the order it was filled, over all restarts."""

    def run(self):
        self.peer = Stubborn(self.parts.broker, "client", self.name_)
        self.lanes, self.asked = [[], [], []], 0
        super().run()
        self.positions()
        self.peer.close()

    def one(self):
        if sum(map(len, self.lanes)) < PARKED:
            job, lane = self.ids.make(), self.rng.randrange(3)
            self.peer.call("SUBMIT", [job, "parked", lane, '{"do":"done"}'])
            self.lanes[lane].append(job)
            self.acknowledged[job] = {"do": "done"}
        self.positions()

    def positions(self):
        """Job -> position."""
        jobs = [j for lane in self.lanes for j in lane]
        got = {id_number(p["jobId"]): p for p in json.loads(self.peer.call("POSITION", [b"".join(j.to_bytes(8, "big") for j in jobs)])[0])}
        assert {p["status"] for p in got.values()} == {"queued"}, got
        assert sorted(p["queue_position"] for p in got.values()) == list(range(1, len(jobs) + 1))
        for lane in self.lanes:
            assert [got[j]["lane_position"] for j in lane] == list(range(1, len(lane) + 1))
            assert sorted(lane, key=lambda j: got[j]["queue_position"]) == lane
        self.asked += 1
        return {j: p["queue_position"] for j, p in got.items()}


def read_worker(parts, worker):
    """Its leases [job, begin, end or None, token], and what it did: job -> token done, jobs failed, naps."""
    deaths = [t for t, name in parts.killed if name == worker]
    open_, leases, done, failed, naps = {}, [], {}, set(), []
    for at, what, key in worker_log(parts.log(f"{worker}.jobs")):
        if what == "gap":
            naps.append((at - key[0] * 1_000_000, at))
        elif what == "lease":
            open_[key] = at
        elif what in ("over", "back") and key in open_:
            leases.append((key[0], open_.pop(key), at, key[1:]))
        elif what == "done":
            done[key[0]] = key[1:]
        elif what == "failed":
            failed.add(key[0])
    for key, at in open_.items():
        leases.append((key[0], at, next((t for t in deaths if t > at), None), key[1:]))
    return leases, done, failed, naps


def check_runs(parts, workers):
    """No job in two live hands; what was acknowledged to a worker is what the row says. The number of jobs begun."""
    leases, rows = {}, {r[0]: r[1:] for r in parts.rows("SELECT id, state, result FROM job")}
    naps = []
    for worker in workers:
        held, done, failed, slept = read_worker(parts, worker)
        naps += slept
        for job, begin, end, token in held:
            leases.setdefault(job, []).append((begin, end, token, worker))
        for job, token in done.items():
            assert rows[job][0] == 2 and json.loads(rows[job][1])["token"] == list(token), (job, rows[job], token)
        assert {rows[job][0] for job in failed} <= {3}
    for job, all_ in leases.items():
        all_.sort()
        for (begin, end, token, worker), after in zip(all_, all_[1:]):
            slept = any(a <= after[0] and b >= begin for a, b in naps)  # then it was silent, and not alive
            assert slept or (end is not None and end <= after[0]), f"{id_text(job)} was given to {after[3]} {after[2]} while {worker} {token} had it"
    for job, (state, result) in rows.items():  # who ended it had been given it
        assert state != 2 or json.loads(result)["token"] in [list(token) for _, _, token, _ in leases[job]], job
    return len(leases)


def check_notifications(parts, log):
    """The notifier, killed as well: each end of a job with a user is told once."""
    ends = {i: e["user"] for i, e in log.items() if e["type"] in ("job.complete", "job.error", "job.cancelled") and e.get("user")}
    assert dict(parts.rows("SELECT id, user FROM notification")) == ends


@pytest.fixture
def parts():
    made = Parts({"broker": ["broker"], "gateway": ["gateway"], "notifier": ["worker", "notifier"]}, {"STUCK_AFTER": "2"})
    for w in WORKERS:
        made.serve(w, 8, "work")
    yield made
    made.remove()


def disturb(parts, rng, clients):
    """The cycles. A twelfth of them kills again before the victim is up."""
    for _ in range(CYCLES):
        time.sleep(rng.uniform(0.0, 0.2))
        victims = rng.choices((["broker"], ["gateway"], ["w1"], ["w2"], ["notifier"], ["broker", "w1"], ["broker", "gateway"], list(parts.processes)), (45, 16, 10, 10, 4, 5, 5, 5))[0]
        parts.kill(*victims)
        early = rng.random() < 1 / 12
        for name in sorted(victims, key=lambda n: n != "broker"):
            parts.start(name, wait=not early)
        for c in clients:
            assert c.error is None, repr(c.error)


def finish(clients):
    for c in clients:
        c.over = True
    for c in clients:
        c.join(90)
        if c.error:
            raise c.error
        assert not c.is_alive(), f"{c.name} still waits"


def serve_parked(parts, asker):
    """One worker, one job at a time: they begin in the order their positions said."""
    asker.peer = Stubborn(parts.broker, "client", "asker2")
    said = asker.positions()
    parts.serve("w3", 1, "parked")
    parts.start("w3")
    parts.wait_finished("parked")
    begun = [key[0] for _, what, key in worker_log(parts.log("w3.jobs")) if what == "lease"]
    assert begun == sorted(said, key=said.get)
    asker.peer.close()


def test_two_hundred_kills(parts):
    rng = random.Random(SEED)
    for name in parts.commands:
        parts.start(name)
    grant_at(parts.broker, poor=30, **dict.fromkeys(USERS[:3], 1_000_000))
    clients = [ZmqClient(parts, SEED + 1, "z1"), ZmqClient(parts, SEED + 2, "z2"), HttpClient(parts, SEED + 3, "h1"), HttpClient(parts, SEED + 4, "h2"), Asker(parts, SEED + 5, "asker")]
    listener = Listener(parts.events)
    for c in clients:
        c.start()
    disturb(parts, rng, clients)
    finish(clients)
    parts.check_alive()
    parts.wait_finished("work")
    serve_parked(parts, clients[-1])
    wait_for("the notifier", lambda: parts.rows("SELECT (SELECT count(*) FROM notification) = (SELECT count(*) FROM job_option WHERE user IS NOT NULL)")[0][0])
    heard = listener.close()
    parts.stop("gateway", "notifier", "w1", "w2", "w3", "broker")

    check_database(parts)
    log = check_histories(parts)
    check_money(parts)
    taken = check_runs(parts, (*WORKERS, "w3"))
    check_notifications(parts, log)
    rows = {r[0]: r[1:] for r in parts.rows("SELECT id, state, params FROM job")}
    for c in clients:
        for job, params in c.acknowledged.items():
            assert job in rows and rows[job][0] >= 2 and json.loads(rows[job][1]) == params, (c.name, job)
        assert not c.poor & rows.keys(), "a job that was refused for want of credit is there"
        for job in getattr(c, "cancelled", ()):
            assert rows[job][0] == 4, job
    acknowledged = set().union(*(c.acknowledged for c in clients))
    assert rows.keys() == acknowledged, "every submit was answered, so nothing else can be there"
    check_heard(heard, log)
    states = [s for s, _ in rows.values()]
    print(f"seed {SEED}: {CYCLES} kills, {len(rows)} jobs ({states.count(2)} complete, {states.count(3)} error, {states.count(4)} cancelled), {taken} begun, {len(log)} events, "
          f"{len(heard)} heard, positions asked {clients[-1].asked} times")  # fmt: skip
    assert len(rows) > CYCLES * 2 and {2, 3, 4} <= set(states)
