"""Notifications: the end of a user's job reaches the user, once, and stays until it is seen."""
import json
import os
import signal
import threading

import pytest
import websocket

from clients import BareWorker, client
from kervan import PATIENCE, wait_for


@pytest.fixture
def c(kervan):
    with client.Client("tests", f"ipc://{kervan.data}/run/broker.sock") as c:
        yield c


class Listener:
    """A user's WebSocket, read by a thread; comes back where it was when it is cut off."""

    def __init__(self, kervan, user, after=None):
        self.kervan, self.user, self.last, self.told, self.closed = kervan, user, after, [], False
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.ready.wait(PATIENCE)

    def run(self):
        while not self.closed:
            try:
                query = f"?user={self.user}&types=notification" + (f"&after={self.last}" if self.last is not None else "")
                self.socket = websocket.create_connection(f"ws://127.0.0.1:{self.kervan.port}/api/ws{query}", timeout=PATIENCE)
                while True:
                    m = json.loads(self.socket.recv())
                    if m["type"] == "hello" and self.last is None:
                        self.last = m["last"]
                    self.ready.set()
                    if "id" in m:
                        self.last = m["id"]
                        self.told.append(m)
            except (OSError, ValueError, websocket.WebSocketException):
                pass

    def close(self):
        self.closed = True
        self.socket.close()
        self.thread.join(5)

    def created(self):
        return [m for m in list(self.told) if m["type"] == "notification.created"]


def unseen(kervan, user):
    """All pages, newest first."""
    found, before = [], None
    while True:
        answer = kervan.get("/api/notifications", params={"user": user, **({"before": before} if before else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["notifications"]
        before = page["next"]
        if not before:
            return found


def jobs_of(notifications):
    return [n["body"]["jobId"] for n in notifications]


def test_end_of_a_job_is_told(kervan, c):
    """S3-27: over the API and on the user's WebSocket, not on another's."""
    ayse, other = Listener(kervan, "ayse"), Listener(kervan, "mehmet")
    worker = BareWorker(kervan, "told")
    job = c.submit("told", None, user="ayse")["job"]
    lease = wait_for("the job", lambda: worker.jobs and worker.jobs[0])
    worker.say("JOB_DONE", lease, result='{"pages":3}')
    n = wait_for("a notification", lambda: unseen(kervan, "ayse"))[0]
    assert n["kind"] == "job.complete" and n["body"]["jobId"] == client.id_text(job) and n["body"]["service"] == "told"
    event = wait_for("it on the WebSocket", ayse.created)[0]
    assert event["user"] == "ayse" and event["notification"] == n
    failed = c.submit("told", None, user="ayse", max_attempts=1)["job"]
    lease = wait_for("the next job", lambda: next((j for j in worker.jobs if j["job"] == failed), None))
    worker.say("JOB_FAIL", lease, number=68, detail="İşlem zaman aşımına uğradı. Lütfen tekrar deneyin.")
    wait_for("two notifications", lambda: len(unseen(kervan, "ayse")) == 2)
    n = unseen(kervan, "ayse")[0]  # S3-57: the right message
    assert n["kind"] == "job.error" and n["body"]["error"] == "job_timeout"
    assert n["body"]["error_detail"] == "İşlem zaman aşımına uğradı. Lütfen tekrar deneyin."
    assert unseen(kervan, "mehmet") == [] and other.created() == []
    worker.session.close()
    ayse.close()
    other.close()


def test_stuck_job_is_told(fresh):
    """S3-27 S3-29 S3-51 S3-58: a live worker without progress; the job ends, its user is told why."""
    k = fresh(STUCK_AFTER="1")
    with client.Client("tests", f"ipc://{k.data}/run/broker.sock") as c:
        worker = BareWorker(k, "stuck")
        job = c.submit("stuck", None, user="ayse")["job"]
        assert c.wait(job)["error"] == "stuck"
        n = wait_for("a notification", lambda: unseen(k, "ayse"))[0]
        assert n["kind"] == "job.error" and n["body"]["error"] == "stuck"
        assert n["body"]["error_detail"] == "İşlem zaman aşımına uğradı (Stuck Job Guard). Lütfen tekrar deneyin."
        wait_for("its worker to be told", lambda: worker.cancels)
        ended = k.get(f"/api/jobs/{client.id_text(job)}").json()
        assert ended["updated_at"] == ended["history"][-1]["at"] > ended["history"][-2]["at"]
        worker.session.close()


def test_each_once_over_kills(kervan, c):
    """S3-27: the notifier's process, and once the broker, die again and again; nobody is told twice or not at all."""
    user, jobs, over = "once", [], threading.Event()
    listener = Listener(kervan, user)

    def make_ends():
        while not over.is_set() or len(jobs) < 120:
            job = c.job("never-worked", len(jobs), user=user)
            c.ask("SUBMIT", **job)
            c.ask("CANCEL", job=job["job"])
            jobs.append(client.id_text(job["job"]))

    thread = threading.Thread(target=make_ends)
    thread.start()
    for i in range(5):
        had = len(unseen(kervan, user))
        wait_for("more to be told", lambda had=had: len(unseen(kervan, user)) > had)
        pid = kervan.children()["broker" if i == 2 else "worker"]
        os.kill(pid, signal.SIGKILL)
        wait_for("a successor", lambda pid=pid: pid not in kervan.children().values() and {"broker", "worker"} <= set(kervan.children()))
    over.set()
    thread.join(PATIENCE)
    wait_for("all to be told", lambda: len(unseen(kervan, user)) >= len(jobs))
    wait_for("all on the WebSocket", lambda: len(listener.created()) >= len(jobs))
    after = c.submit("never-worked", None, user=user)["job"]  # what is told after it would have been told by now
    c.cancel(after)
    jobs.append(client.id_text(after))
    wait_for("the last one", lambda: listener.created()[-1]["notification"]["body"]["jobId"] == jobs[-1])
    assert jobs_of(reversed(unseen(kervan, user))) == jobs
    assert [m["notification"]["body"]["jobId"] for m in listener.created()] == jobs
    listener.close()


def test_kept_until_seen(fresh):
    """Over a restart of everything; then up to one, then all."""
    k = fresh()
    broker = f"ipc://{k.data}/run/broker.sock"
    with client.Client("tests", broker) as c:
        jobs = [client.id_text(c.submit("s", i, user="ayse")["job"]) for i in range(4)]
        for j in jobs:
            c.cancel(client.id_number(j))
        wait_for("four notifications", lambda: len(unseen(k, "ayse")) == 4)
    k.stop()
    k.start()
    kept = unseen(k, "ayse")
    assert jobs_of(reversed(kept)) == jobs
    listener = Listener(k, "ayse")
    assert k.post("/api/notifications/seen", json={"user": "ayse", "id": kept[2]["id"]}).status_code == 204
    assert jobs_of(reversed(unseen(k, "ayse"))) == jobs[2:]
    assert k.post("/api/notifications/seen", json={"user": "mehmet"}).status_code == 204
    assert len(unseen(k, "ayse")) == 2
    assert k.post("/api/notifications/seen", json={"user": "ayse"}).status_code == 204
    assert unseen(k, "ayse") == []
    seen = wait_for("both on the WebSocket", lambda: [m for m in listener.told if m["type"] == "notification.seen"][1:2])[0]
    assert seen["upto"] == kept[0]["id"]
    listener.close()
