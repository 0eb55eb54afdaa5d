"""Jobs, live: positions pushed to those who watch, over WebSocket and SSE, also over a restart of the broker.
S3-10 S3-11 S3-12 S3-13 S3-39 S3-40 S3-41"""
import json
import os
import signal
import time

import pytest

from jobs import Socket, Worker, job, jobs, name, submit, wait_job
from kervan import PATIENCE, wait_for

pytestmark = pytest.mark.threads


def test_positions_are_pushed_to_those_who_watch(kervan):
    """S3-11 S3-13: begun and completed jobs move the others up, without asking."""
    q = name()
    a, b, c = (submit(kervan, q)["jobId"] for _ in range(3))
    with Socket(kervan, "?types=none") as s, Socket(kervan, "?types=none") as quiet:
        s.say({"watch": [b, c]})
        assert s.position(b, 2)["status"] == "queued" and s.position(c, 3)
        with Worker(kervan, q) as w:
            lease = w.wait_job()  # a begins
            assert s.position(b, 1) and s.position(c, 2)
            s.say({"unwatch": [c]})
            w.done(lease)
            lease = w.wait_job()  # b begins
            assert s.position(b, 0)["status"] == "processing"
            w.done(lease)
            last = s.until(lambda m: m["type"] == "job.position" and m["jobId"] == b and m["queue_position"] is None)
            assert last["status"] == "complete"
            w.offer(0)
        assert not [m for m in s.heard if m["type"] == "job.position" and m["jobId"] == a]
        s.say({"watch": [a]})  # over already: said once
        assert s.until(lambda m: m.get("jobId") == a)["status"] == "complete"
        s.say({"watch": ["0000000000001"]})
        assert s.until(lambda m: m.get("jobId") == "0000000000001")["status"] is None
        quiet.say("what?")
        quiet.until(lambda m: m["type"] == "error")
        assert not [m for m in quiet.heard if m["type"] == "job.position"]


def test_what_clients_say_is_judged(kervan):
    with Socket(kervan, "?types=none") as s:
        for bad, code in (("[]", "bad_request"), ({"wach": []}, "bad_parameter"), ({"watch": ["x"]}, "bad_id"), ({"watch": 1}, "bad_parameter")):
            s.say(bad)
            assert s.until(lambda m: m["type"] == "error")["code"] == code
        s.say({"watch": [f"{n:013d}" for n in range(1, 1002)]})  # digits are base32, too
        assert s.until(lambda m: m["type"] == "error")["code"] == "bad_parameter"  # more than 1000
    assert kervan.get("/api/events", params={"watch": "x"}).status_code == 400
    assert kervan.get("/api/events", params={"user": "x" * 65}).status_code == 400


def test_positions_over_sse(kervan):
    q = name()
    a, b = submit(kervan, q)["jobId"], submit(kervan, q)["jobId"]
    with kervan.session.get(kervan.url("/api/events"), params={"types": "none", "watch": f"{a},{b}"}, stream=True, timeout=PATIENCE) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        seen = {}

        def next_position():
            for line in lines:
                if line == "event: job.position":
                    return json.loads(next(lines).removeprefix("data: "))
            raise AssertionError("the stream ended")

        while seen != {a: 1, b: 2}:
            p = next_position()
            seen[p["jobId"]] = p["queue_position"]
        with Worker(kervan, q) as w:
            lease = w.wait_job()
            while seen != {a: 0, b: 1}:
                p = next_position()
                seen[p["jobId"]] = p["queue_position"]
            w.done(lease)


def test_watching_survives_the_broker(fresh):
    """S3-12 S3-15 S3-18 S3-41 S3-55: positions are right after a restart of the broker, and go on being pushed; nothing is lost."""
    k = fresh()
    q = name()
    made = [submit(k, q)["jobId"] for _ in range(3)]
    with Socket(k, "?types=none") as s:
        s.say({"watch": made})
        s.position(made[2], 3)
        k.kill("broker")
        wait_for("positions again", lambda: [j["queue_position"] for j in jobs(k, service=q)["jobs"]] == [3, 2, 1])
        with Worker(k, q) as w:
            lease = w.wait_job()
            s.position(made[2], 2)
            w.done(lease)
        assert wait_job(k, made[0], "complete")


def test_without_a_broker_positions_are_unknown_not_absent(fresh):
    k = fresh()
    q = name()
    one = submit(k, q)["jobId"]
    pid = k.children()["broker"]
    os.kill(pid, signal.SIGSTOP)
    try:
        page = wait_for("unavailable", lambda: (lambda p: p if p["positions"] == "unavailable" else None)(jobs(k, service=q)))
        assert [j["queue_position"] for j in page["jobs"]] == [None]
        got = job(k, one)
        assert got["positions"] == "unavailable" and got["queue_position"] is None and got["status"] == "queued"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("the position", lambda: job(k, one)["queue_position"] == 1)


def test_ping_every_15_s(kervan):
    """Who hears nothing for longer has a dead connection; its id is from where to go on."""
    submit(kervan, name())
    begun = time.monotonic()
    sse = kervan.session.get(kervan.url("/api/events"), stream=True, timeout=PATIENCE).iter_lines(decode_unicode=True)
    with Socket(kervan) as s:
        ping = s.until(lambda m: m["type"] == "ping")
        assert time.monotonic() - begun >= 14 and set(ping) == {"type", "last"} and ping["last"] > 0
    assert next(line for line in sse if line.startswith(":")) == ": ping"
    assert time.monotonic() - begun >= 14 and next(sse) == f"id: {ping['last']}"
