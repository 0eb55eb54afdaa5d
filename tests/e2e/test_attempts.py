"""What counts as an attempt of a job, why each one failed, and how far it was: over HTTP, with workers written from PROTOCOL.md.
S3-18 S3-19"""
import datetime

import pytest

from jobs import Worker, job, jobs, name, submit, wait_job
from kervan import wait_for
from peer import JOB_FAIL, OKAY

pytestmark = pytest.mark.threads


def ms(text):
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def fail(w, lease, number, detail, retry=True):
    answer = w.ask(JOB_FAIL, [lease[0], lease[1], lease[2], number, detail, retry])
    assert answer[0] == OKAY, answer


def back(k, job_id):
    return wait_for(f"{job_id} to wait", lambda: (lambda j: j if j["status"] == "queued" else None)(job(k, job_id)))


def test_a_lease_given_back_is_no_attempt(kervan):
    """A worker that leaves costs the job nothing: neither an attempt nor a longer backoff, and max_attempts is what was submitted."""
    q = name()
    made = submit(kervan, q, max_attempts=3)["jobId"]
    for n in range(1, 5):
        with Worker(kervan, q) as w:
            lease = w.wait_job()
            assert lease[2] == n  # a token is never used twice
            got = job(kervan, made)
            assert (got["attempts"], got["max_attempts"]) == (1, 3)
        got = back(kervan, made)
        assert (got["attempts"], got["max_attempts"], got["not_before"]) == (0, 3, None)
    assert jobs(kervan, service=q)["jobs"][0]["attempts"] == 0
    with Worker(kervan, q) as w:
        fail(w, w.wait_job(), 13, "disk 7 on fire")
        got = back(kervan, made)
        assert (got["attempts"], got["max_attempts"]) == (1, 3)
        assert 400 <= ms(got["not_before"]) - ms(got["updated_at"]) <= 1000  # the first failure, not the fifth
    steps = [(s["status"], s["attempt"], s.get("reason")) for s in got["history"]]
    assert steps[:5] == [("queued", 0, None), ("processing", 1, None), ("queued", 0, "worker left"), ("processing", 1, None), ("queued", 0, "worker left")]
    assert steps[-1] == ("queued", 1, "failed, to be tried again")


def test_a_worker_that_crashes_politely_is_slowed_down(kervan):
    """The first give-backs are followed by the next lease at once; then each waits a second. The count outlives the broker."""
    q = name()
    made = submit(kervan, q)["jobId"]
    for _ in range(10):
        with Worker(kervan, q) as w:
            w.wait_job()
        assert back(kervan, made)["not_before"] is None
    kervan.kill("broker")
    with Worker(kervan, q) as w:
        assert w.wait_job()[2] == 11
    got = back(kervan, made)
    waits_until = ms(got["not_before"])
    assert waits_until - ms(got["updated_at"]) <= 1000 and (got["attempts"], got["max_attempts"]) == (0, 3)
    with Worker(kervan, q) as w:
        assert w.done(w.wait_job())[0] == OKAY
    got = wait_job(kervan, made, "complete")
    assert got["attempts"] == 1 and ms(got["history"][-2]["at"]) >= waits_until


def test_the_history_says_why_each_attempt_failed(kervan):
    q = name()
    made = submit(kervan, q, max_attempts=2, backoff=0.01)["jobId"]
    long = "ö" * 200  # 400 bytes
    with Worker(kervan, q) as w:
        lease = w.wait_job()
        w.offer(0)
        fail(w, lease, 13, "disk 7 on fire")
        got = back(kervan, made)
        assert got["error"] is None and got["error_detail"] is None
        w.offer(1)
        fail(w, w.wait_job(), 64, long)
        got = wait_job(kervan, made, "error")
        first, last = [s for s in got["history"] if "error" in s]
        assert got["error"] == "attempts_exhausted" and got["error_detail"].endswith(": " + long)
        assert (first["status"], first["attempt"], first["reason"], first["error_detail"]) == ("queued", 1, "failed, to be tried again", "disk 7 on fire")
        assert (last["status"], last["attempt"], last["reason"], last["error_detail"]) == ("error", 2, "failed", "ö" * 128)
        assert got["error_detail"].startswith(last["error"] + ": ") and first["error"] != last["error"]
        assert kervan.get(f"/api/jobs/{made}/history").json()["history"] == got["history"]
        # not to be tried again
        once = submit(kervan, q)["jobId"]
        fail(w, w.wait_job(), 13, "no", retry=False)
        got = wait_job(kervan, once, "error")
        assert {k: got["history"][-1][k] for k in ("reason", "error", "error_detail")} == {"reason": "failed, not to be tried again", "error": got["error"], "error_detail": "no"}


def test_progress_stays_where_a_job_ended(kervan):
    """S3-18: what a page read again shows is what was known."""
    q = name()
    with Worker(kervan, q) as w:
        for how, end, kept in (("cancel", "cancelled", 60), ("fail", "error", 60), ("done", "complete", 100)):
            made = submit(kervan, q, max_attempts=1)["jobId"]
            lease = w.wait_job()
            assert w.progress(lease, 60)[0] == OKAY
            if how == "cancel":
                assert kervan.post(f"/api/jobs/{made}/cancel").status_code == 200
            elif how == "fail":
                fail(w, lease, 13, "no")
            else:
                assert w.done(lease)[0] == OKAY
            assert wait_job(kervan, made, end)["progress"] == kept
        made = submit(kervan, q, max_attempts=2)["jobId"]
        lease = w.wait_job()
        assert w.progress(lease, 60)[0] == OKAY
        w.offer(0)
        fail(w, lease, 13, "no")
        assert back(kervan, made)["progress"] == 0  # the next attempt begins anew
