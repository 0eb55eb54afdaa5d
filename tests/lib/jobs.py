"""Jobs over HTTP, and workers written from PROTOCOL.md."""
import json
import time
import uuid

import websocket

from kervan import PATIENCE, wait_for
from peer import JOB_DONE, JOB_FAIL, JOB_PROGRESS, OKAY, READY, Peer

LOCAL = {"Content-Type": "application/json"}


def submit(k, service, expect=202, headers=None, **options):
    answer = k.post("/api/jobs", data=json.dumps({"service": service, **options}), headers={**LOCAL, **(headers or {})})
    assert answer.status_code == expect, answer.text
    return answer.json()


def job(k, job_id):
    answer = k.get(f"/api/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_job(k, job_id, status):
    return wait_for(f"{job_id} to be {status}", lambda: (lambda j: j if j["status"] == status else None)(job(k, job_id)))


def jobs(k, **params):
    answer = k.get("/api/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def queue(k, service):
    answer = k.get("/api/admin/queues")
    assert answer.status_code == 200, answer.text
    found = [q for q in answer.json()["queues"] if q["service"] == service]
    return found[0] if found else None


def name():
    return f"q-{uuid.uuid4().hex[:10]}"


class Worker(Peer):
    """Takes jobs of one queue; the test says what becomes of each."""

    def __init__(self, k, service, credit=1):
        super().__init__(k, "worker")
        self.service = service
        self.offer(credit)

    def offer(self, credit):
        assert self.ask(READY, [self.service, credit])[0] == OKAY

    def done(self, lease, result=None):
        return self.ask(JOB_DONE, [lease[0], lease[1], lease[2], json.dumps(result or {})])

    def fail(self, lease, retry=False, detail="it broke"):
        return self.ask(JOB_FAIL, [lease[0], lease[1], lease[2], 66, detail, retry])

    def progress(self, lease, percent, patch=None):
        return self.ask(JOB_PROGRESS, [lease[0], lease[1], lease[2], percent, json.dumps(patch) if patch else ""])


class Socket:
    """A WebSocket client that remembers what it heard."""

    def __init__(self, k, query=""):
        self.ws = websocket.create_connection(f"ws://127.0.0.1:{k.port}/api/ws{query}", timeout=PATIENCE)
        self.heard = []
        self.until(lambda m: m["type"] == "hello")

    def say(self, message):
        self.ws.send(message if isinstance(message, str) else json.dumps(message))

    def until(self, what, timeout=PATIENCE):
        end = time.monotonic() + timeout
        self.ws.settimeout(timeout)
        while time.monotonic() < end:
            message = json.loads(self.ws.recv())
            self.heard.append(message)
            if what(message):
                return message
        raise AssertionError(f"not heard: {self.heard[-5:]}")

    def position(self, job_id, place):
        return self.until(lambda m: m["type"] == "job.position" and m["jobId"] == job_id and m["queue_position"] == place)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ws.close()
