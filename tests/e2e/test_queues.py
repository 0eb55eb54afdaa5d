"""Queues over HTTP: counts, times, errors, limits, pause and drain, dead letters. S4-96 S4-98 S4-101"""
import json
import uuid

import pytest
import websocket

from clients import client
from jobs import Socket, Worker, job, name, queue, submit, wait_job
from kervan import PATIENCE, wait_for
from pictures import noise_png

pytestmark = pytest.mark.threads


def test_queues_tell_counts_times_and_errors(kervan):
    """S4-96 S4-98 S4-99 S4-100 S4-101"""
    q = name()
    for lane in ("urgent", "normal", "background", "background"):
        submit(kervan, q, lane=lane, max_attempts=1)
    got = queue(kervan, q)
    assert got["lanes"] == {"urgent": 1, "normal": 1, "background": 2} and got["waiting"] == 4 and got["workers"] == 0
    assert got["health"] == "no_workers" and got["remedy"]
    with Worker(kervan, q) as w:
        w.done(w.wait_job())
        w.fail(w.wait_job())
        w.wait_job()
        got = wait_for("the counts", lambda: (lambda x: x if x["counts"]["error"] == 1 and x["running"] == 1 else None)(queue(kervan, q)))
        assert got["workers"] == 1 and got["waiting"] == 1 and got["counts"]["complete"] == 1
        got = wait_for("the rates", lambda: (lambda x: x if x["error_rate"] == 0.5 else None)(queue(kervan, q)))  # measured in slots of seconds
        assert got["wait_ms"]["n"] >= 2 and got["service_ms"]["p50"] >= 0
        assert got["dead_letters"] == 1


def test_pause_resume_drain_and_limits(kervan):
    q, key = name(), {"Idempotency-Key": f"order-{uuid.uuid4()}"}
    ended = submit(kervan, q, headers=key)["jobId"]
    with Worker(kervan, q) as w:
        w.done(w.wait_job())
    wait_job(kervan, ended, "complete")
    first = submit(kervan, q)["jobId"]

    def steer(action, expect=200):
        answer = kervan.post(f"/api/admin/queues/{q}/{action}")
        assert answer.status_code == expect, answer.text
        return answer.json()

    assert steer("pause") == {"service": q, "paused": True}
    with Worker(kervan, q) as w:
        assert w.take(0.5) is None or not w.jobs
        assert queue(kervan, q)["paused"] is True and job(kervan, first)["status"] == "queued"
        assert submit(kervan, q)["queue_position"] == 2  # submits go on
        assert steer("drain") == {"service": q, "draining": True}
        refused = kervan.post("/api/jobs", json={"service": q})
        assert refused.status_code == 503 and refused.json()["code"] == "queue_draining" and int(refused.headers["Retry-After"]) >= 1
        again = submit(kervan, q, headers=key)
        assert again["jobId"] == ended and again["created"] is False and again["status"] == "complete", "a repeat is no new job"
        assert steer("resume") == {"service": q, "paused": False, "draining": False}
        w.done(w.wait_job())
        w.done(w.wait_job())
    answer = kervan.session.patch(kervan.url(f"/api/admin/queues/{q}"), json={"concurrency": 2, "max_waiting": 3, "overflow": "reject"}, timeout=PATIENCE)
    assert answer.status_code == 200 and answer.json()["concurrency"] == 2
    for _ in range(3):
        submit(kervan, q)
    full = kervan.post("/api/jobs", json={"service": q})
    assert full.status_code == 429 and full.json()["code"] == "queue_full"
    assert int(full.headers["Retry-After"]) >= 1 and full.headers["RateLimit"].startswith('"queue";r=0;t=')
    assert full.json()["detail"] == "The queue is full. Try again as Retry-After says.", "said once"
    for bad in ({}, {"concurency": 1}, {"weight": 3}, {"overflow": "drop"}):
        assert kervan.session.patch(kervan.url(f"/api/admin/queues/{q}"), json=bad, timeout=PATIENCE).status_code == 400
    assert kervan.post("/api/admin/queues/NO/pause").status_code == 400


def test_settings_of_a_queue_in_one_request(kervan):
    """S4-123: 10 a minute for each user; and draining, which `resume` is not the only end of."""
    q = name()
    submit(kervan, q, tenant="ayse")

    def patch(expect=200, **settings):
        answer = kervan.session.patch(kervan.url(f"/api/admin/queues/{q}"), json=settings, timeout=PATIENCE)
        assert answer.status_code == expect, answer.text
        return answer.json()

    assert patch(rate_per_minute=600, draining=True) == {"service": q, "rate_per_minute": 600, "draining": True}
    assert kervan.post("/api/jobs", json={"service": q}).json()["code"] == "queue_draining"
    assert queue(kervan, q)["draining"] is True and queue(kervan, q)["limits"]["rate_per_minute"] == 600
    patch(draining=False)
    submit(kervan, q, tenant="veli")
    patch(tenant="*", rate_per_minute=10, weight=2)
    assert "(rate_per_minute: " in patch(400, rate_per_minute=2**32)["detail"]
    assert "(draining: true or false)" in patch(400, draining="yes")["detail"]
    with Worker(kervan, q) as w:
        w.done(w.wait_job())
        w.done(w.wait_job())
        ids = [submit(kervan, q, tenant="ali")["jobId"] for _ in range(3)]
        w.done(w.wait_job())  # a sixth of the rate may begin at once: one; the next 6 s later
        wait_job(kervan, ids[0], "complete")
        assert w.take(0.5) is None
        assert job(kervan, ids[1])["status"] == "queued"


def test_a_job_that_does_another_one_again(kervan):
    q = name()
    first = submit(kervan, q)["jobId"]
    assert kervan.post(f"/api/jobs/{first}/cancel").status_code == 200
    again = submit(kervan, q, retry_of=first)["jobId"]
    assert job(kervan, again)["retry_of"] == first
    refused = kervan.post("/api/jobs", json={"service": q, "retry_of": "no id"})
    assert refused.status_code == 400 and "retry_of" in refused.json()["detail"]


def test_admin_routes_are_for_this_machine(kervan):
    """S4-97 S4-125"""
    for headers in ({"X-Forwarded-For": "10.0.0.1"}, {"Forwarded": "for=10.0.0.1"}, {"Host": "kervan.example.org"}):
        for method, path in (("GET", "/api/admin/queues"), ("POST", "/api/admin/queues/x/pause"), ("PATCH", "/api/admin/queues/x")):
            answer = kervan.session.request(method, kervan.url(path), headers=headers, timeout=PATIENCE)
            assert answer.status_code == 403 and answer.json()["error"] == "Forbidden", answer.text
            assert "kervan ctl" in answer.json()["detail"]
    assert kervan.get("/api/v1/admin/queues/").status_code == 200


def test_queues_are_pushed_each_second(kervan):
    q = name()
    with Socket(kervan, "?types=none") as s:
        s.say({"queues": True})
        s.until(lambda m: m["type"] == "queues")
        submit(kervan, q)
        s.until(lambda m: m["type"] == "queues" and any(x["service"] == q and x["waiting"] == 1 for x in m["queues"]))
    ws = websocket.create_connection(f"ws://127.0.0.1:{kervan.port}/api/ws?types=none", header={"X-Forwarded-For": "10.0.0.1"}, timeout=PATIENCE)
    ws.send(json.dumps({"queues": True}))
    while (m := json.loads(ws.recv()))["type"] != "error":
        assert m["type"] in ("hello", "ping")
    assert m["code"] == "Forbidden"
    ws.close()


def test_dead_letters_are_shown_after_a_restart_too(fresh):
    k = fresh()
    q = name()
    submit(k, q, max_attempts=1)
    with Worker(k, q) as w:
        w.fail(w.wait_job())
    wait_for("the dead letter", lambda: (queue(k, q) or {}).get("dead_letters") == 1)
    k.kill("broker")
    wait_for("the dead letter after a restart", lambda: k.get("/api/admin/queues").status_code == 200 and (queue(k, q) or {}).get("dead_letters") == 1)


def test_dead_letters_of_a_queue_that_made_room(fresh):
    """It is forgotten only where there are more queues than one page has."""
    k = fresh()
    with Worker(k, "forgotten") as w:
        submit(k, "forgotten")
        w.fail(w.wait_job())
    with client.Client("many", f"ipc://{k.data}/run/broker.sock") as c:
        for begin in (0, 600):
            c.submit_batch([c.job(f"live-{begin + n}", delay_ms=600_000) for n in range(600)])
    seen, after = [], None
    while not seen or after is not None:
        page = k.get("/api/admin/queues", params={"after": after} if after else {}).json()
        seen, after = seen + page["queues"], page["next"]
    names = [q["service"] for q in seen]
    assert len(names) == len(set(names)) > 1024
    dead = {"service": "forgotten", "dead_letters": 1}
    assert dead in seen
    assert k.get("/api/admin/queues?service=forgotten").json()["queues"] == [dead]
    assert k.get("/api/admin/queues?service=never").json()["queues"] == []


def test_as_many_and_as_long_tags_as_promised(kervan):
    tags = [f"{n}" * 64 for n in range(8)]
    assert job(kervan, submit(kervan, "tagged", tags=tags)["jobId"])["tags"] == tags
    assert kervan.get("/api/jobs", params={"tag": tags[7]}).json()["jobs"][0]["tags"] == tags
    assert kervan.post("/api/jobs", json={"service": "tagged", "tags": [*tags, "a"]}).status_code == 400


def test_a_picture_tells_its_job(kervan):
    media = kervan.upload(noise_png(900, 700), "yer.png").json()
    assert media["status"] == "PENDING" and media["jobId"]
    assert job(kervan, media["jobId"])["service"] == "image-process"
    assert kervan.wait_ready(media["id"])["jobId"] is None
