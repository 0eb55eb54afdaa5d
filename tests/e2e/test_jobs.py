"""Jobs over HTTP, with workers written from PROTOCOL.md: submit, positions, history, metadata, cancel, retry, credits.
S3-12 S3-14 S3-36 S3-42 S3-53 S3-54 S3-55 S3-56 S4-06 S4-64 S4-65 S4-66"""
import concurrent.futures
import json
import time
import uuid

import pytest

from jobs import LOCAL, Socket, Worker, job, jobs, name, submit, wait_job
from kervan import PATIENCE, wait_for
from peer import JOB_CANCEL, OKAY

pytestmark = pytest.mark.threads


# ---- submit ----


def test_three_in_a_row_are_one_two_three_and_all_are_done(kervan):
    """S3-14 S3-36 S3-54: unique positions, dense, and the worker does them in that order."""
    q = name()
    made = [submit(kervan, q, params={"n": n}) for n in range(3)]
    assert [m["queue_position"] for m in made] == [1, 2, 3]
    assert [m["lane_position"] for m in made] == [1, 2, 3]
    assert all(m["status"] == "queued" and m["created"] is True and m["eta_seconds"] is None for m in made)
    page = jobs(kervan, service=q)
    assert page["positions"] == "live" and [j["queue_position"] for j in page["jobs"]] == [3, 2, 1]  # newest first
    with Worker(kervan, q, 3) as w:
        leases = [w.wait_job() for _ in range(3)]
        assert [json.loads(x[4])["n"] for x in leases] == [0, 1, 2]
        assert all(job(kervan, m["jobId"])["queue_position"] == 0 for m in made)  # Y07
        for lease in leases:
            assert w.done(lease, {"ok": True})[0] == OKAY
    for m in made:
        got = wait_job(kervan, m["jobId"], "complete")
        assert got["queue_position"] is None and got["result"] == {"ok": True}
        assert [s["status"] for s in got["history"]] == ["queued", "processing", "complete"]


def test_submit_says_where_to_look(kervan):
    q = name()
    answer = kervan.post("/api/jobs", json={"service": q, "lane": "urgent", "params": {"a": [1, 2.50]}, "tags": ["x", "y"], "user": "ayşe", "tenant": "t1", "metadata": {"m": 1}, "max_attempts": 5})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/jobs/{answer.json()['jobId']}"
    got = kervan.get(answer.headers["Location"]).json()
    assert got["lane"] == "urgent" and got["params"] == {"a": [1, 2.5]} and got["tags"] == ["x", "y"]
    assert got["user"] == "ayşe" and got["tenant"] == "t1" and got["metadata"] == {"m": 1} and got["max_attempts"] == 5
    assert got["status"] == "queued" and got["queue_position"] == 1 and got["progress"] == 0
    history = kervan.get(answer.headers["Location"] + "/history").json()
    assert history["jobId"] == got["jobId"] and [s["status"] for s in history["history"]] == ["queued"]


@pytest.mark.parametrize("body, part", [
    ("", "empty"), ("[1]", "object"), ('{"service":"a"', "JSON"), ('{"service":"A!"}', "service"), ('{"service":"a","prams":{}}', "Did you mean params?"),
    ('{"service":"a","lane":"fast"}', "urgent"), ('{"service":"a","delay":-1}', "delay"), ('{"service":"a","credits":3}', "user"), ('{"service":"a","tags":["a b"]}', "tags"),
    ('{"service":"a","params":' + "[" * 60 + "]" * 60 + "}", "deep"), ('{"service":"image-process"}', ""), ('{"service":"blob-reap"}', ""),
])
def test_refused_with_words(kervan, body, part):
    answer = kervan.post("/api/jobs", data=body, headers=LOCAL)
    assert answer.status_code in (400, 403, 409), answer.text
    problem = answer.json()
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert part in problem["detail"] and problem["code"], problem


def test_params_of_64_kib_are_taken_and_no_more(kervan):
    """The limit is the payload's, beside metadata and options."""
    q = name()
    text = "x" * (65536 - 2)
    made = submit(kervan, q, params=text, metadata={"note": "y" * 16000}, tags=["a" * 60] * 8, tenant="t" * 64)
    assert job(kervan, made["jobId"])["params"] == text
    with Worker(kervan, q) as w:
        assert json.loads(w.wait_job()[4]) == text
    for body, says in (({"params": text + "x"}, "params: at most 65536 bytes"), ({"params": "x" * 200_000}, "body: at most 98304 bytes")):
        big = kervan.post("/api/jobs", json={"service": q, **body}, headers={"Accept-Language": "en"})
        assert big.status_code == 413 and big.json()["code"] == "body_too_large" and says in big.json()["detail"], big.text
    assert jobs(kervan, service=q)["jobs"][0]["jobId"] == made["jobId"]


def test_a_deadline_that_has_passed_is_a_bad_parameter(kervan):
    """Not a gateway timeout: sending it again would not help."""
    q = name()
    for deadline in ("2020-01-01T00:00:00Z", int(time.time() * 1000) - 5):
        problem = submit(kervan, q, 400, {"Accept-Language": "en"}, deadline=deadline)
        assert problem["code"] == "bad_parameter" and "deadline: is in the past" in problem["detail"]
    # one that was taken in time is found again by its key, however late
    made = submit(kervan, q, headers={"Idempotency-Key": q}, deadline=int(time.time() * 1000) + 300, params=1)
    wait_job(kervan, made["jobId"], "error")
    assert submit(kervan, q, headers={"Idempotency-Key": q}, deadline=int(time.time() * 1000) - 1, params=1)["jobId"] == made["jobId"]


def test_the_largest_id_of_a_client_is_listed(kervan):
    q = name()
    made = [submit(kervan, q, jobId=i)["jobId"] for i in ("7zzzzzzzzzzzy", "7zzzzzzzzzzzz")]
    assert [j["jobId"] for j in jobs(kervan, service=q)["jobs"]] == made[::-1]
    assert [j["jobId"] for j in jobs(kervan, service=q, before=made[1])["jobs"]] == made[:1]
    for i in made:
        kervan.post(f"/api/jobs/{i}/cancel")


def test_the_same_id_meets_its_own_row(kervan):
    q, own = name(), submit(kervan, name())["jobId"]
    fresh = own[:-2] + ("zz" if own[-2:] != "zz" else "yy")
    first = submit(kervan, q, jobId=fresh, params={"n": 1})
    again = submit(kervan, q, jobId=fresh, params={"n": 1})
    assert first["created"] is True and again["created"] is False and again["jobId"] == first["jobId"] == fresh
    other = kervan.post("/api/jobs", json={"service": q, "jobId": fresh, "params": {"n": 2}})
    assert other.status_code == 409 and other.json()["code"] == "conflict"


def test_idempotency_key_also_after_the_end(kervan):
    q, key = name(), {"Idempotency-Key": f"order-{uuid.uuid4()}"}
    first = submit(kervan, q, headers=key, params={"n": 1})
    assert submit(kervan, q, headers=key, params={"n": 1})["jobId"] == first["jobId"]
    with Worker(kervan, q) as w:
        w.done(w.wait_job())
    wait_job(kervan, first["jobId"], "complete")
    again = submit(kervan, q, headers=key, params={"n": 1})
    assert again["jobId"] == first["jobId"] and again["created"] is False and again["status"] == "complete" and again["queue_position"] is None
    assert submit(kervan, q, headers={"Idempotency-Key": "another"}, params={"n": 1})["jobId"] != first["jobId"]
    assert kervan.post("/api/jobs", json={"service": q, "params": {"n": 2}}, headers=key).status_code == 409
    assert len(jobs(kervan, service=q)["jobs"]) == 2


def test_many_clients_at_once_get_dense_places(kervan):
    """S3-38 S4-06: 100 submits from 20 connections; the places are 1 to 100."""
    q = name()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        ids = list(pool.map(lambda n: submit(kervan, q, params={"n": n})["jobId"], range(100)))
    page = jobs(kervan, service=q, limit=200)
    assert sorted(j["queue_position"] for j in page["jobs"]) == list(range(1, 101))
    assert {j["jobId"] for j in page["jobs"]} == set(ids)


# ---- reading ----


def test_lists_filter_and_page(kervan):
    q = name()
    for n in range(5):
        submit(kervan, q, lane="background" if n % 2 else "normal", tags=["odd"] if n % 2 else ["even"], user=f"u{n % 2}", tenant=f"t{n}")
    assert len(jobs(kervan, service=q)["jobs"]) == 5
    assert len(jobs(kervan, service=q, lane="background")["jobs"]) == 2
    assert len(jobs(kervan, service=q, tag="even")["jobs"]) == 3
    assert len(jobs(kervan, service=q, user="u1")["jobs"]) == 2
    assert len(jobs(kervan, service=q, tenant="t3")["jobs"]) == 1
    assert len(jobs(kervan, service=q, status="unfinished")["jobs"]) == 5
    assert jobs(kervan, service=q, status="error")["jobs"] == []
    seen, before = [], None
    while True:
        page = jobs(kervan, service=q, limit=2, **({"before": before} if before else {}))
        seen += [j["jobId"] for j in page["jobs"]]
        before = page["next"]
        if not before:
            break
    assert len(seen) == 5 == len(set(seen)) and seen == sorted(seen, reverse=True)
    for bad in ({"limit": 0}, {"limit": 201}, {"status": "done"}, {"lane": "x"}, {"before": "!"}, {"service": "A"}):
        assert kervan.get("/api/jobs", params=bad).status_code == 400
    assert kervan.get("/api/jobs/0000000000001").status_code == 404
    assert kervan.get("/api/jobs/x").status_code == 400


def test_delayed_has_no_place(kervan):
    q = name()
    made = submit(kervan, q, delay=3600)
    assert made["queue_position"] is None and made["status"] == "queued"
    got = job(kervan, made["jobId"])
    assert got["queue_position"] is None and got["not_before"]
    assert submit(kervan, q)["queue_position"] == 1


# ---- changes ----


def test_metadata_merges_and_versions(kervan):
    """S3-56: concurrent updates lose no field."""
    q = name()
    path = f"/api/jobs/{submit(kervan, q, metadata={'a': {'x': 1}, 'l': [1]})['jobId']}/metadata"

    def patch(body, **kw):
        return kervan.session.patch(kervan.url(path), json=body, timeout=PATIENCE, **kw)

    answer = patch({"a": {"y": None}, "l": [2, 3]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"] == {"a": {"x": 1, "y": None}, "l": [2, 3]}
    version = answer.json()["version"]
    assert answer.headers["ETag"] == f'"{version}"'
    assert patch({"b": 1}, headers={"If-Match": f'"{version}"'}).status_code == 200
    assert patch({"b": 2}, headers={"If-Match": '""'}).status_code == 400  # a condition, though it names no version
    stale = patch({"b": 2}, headers={"If-Match": f'"{version}"'})
    assert stale.status_code == 409 and stale.json()["code"] == "conflict"
    assert patch({"b": 2}, params={"version": version}).status_code == 409
    now = version + 1
    for condition in ({"params": {"version": version}, "headers": {"If-Match": f'"{now}"'}}, {"params": {"version": now}, "headers": {"If-Match": f'"{version}"'}},
                      {"params": {"version": version}, "headers": {"If-Match": "*"}}):
        assert patch({"b": 2}, **condition).status_code in (400, 409), condition  # none of two conditions is passed over
    assert patch({}, params={"version": now}, headers={"If-Match": f'"{now}"'}).status_code == 200
    for version in ("-1", "x"):
        assert patch({}, params={"version": version}).status_code == 400
    for body in ("[]", "{", '"x"'):
        assert kervan.session.patch(kervan.url(path), data=body, timeout=PATIENCE).status_code == 400
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(a.status_code == 200 for a in pool.map(lambda n: patch({"f": {f"k{n}": n}}), range(40)))
    assert job(kervan, path.split("/")[3])["metadata"]["f"] == {f"k{n}": n for n in range(40)}


def test_the_first_metadata_of_a_job(kervan):
    """S3-56: who found none writes only while there is none."""
    new = submit(kervan, name())["jobId"]
    version = job(kervan, new)["metadata_version"]
    assert version == 0

    def patch(n):
        return kervan.session.patch(kervan.url(f"/api/jobs/{new}/metadata"), json={"by": n}, headers={"If-Match": f'"{version}"'}, timeout=PATIENCE)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sorted(a.status_code for a in pool.map(patch, range(4))) == [200, 409, 409, 409]


def test_cancel_waiting_and_running(kervan):
    """S4-66: both at once, and the running one's worker is told."""
    q = name()
    waiting, running = submit(kervan, q, delay=600)["jobId"], submit(kervan, q)["jobId"]
    with Worker(kervan, q) as w:
        lease = w.wait_job()
        wait_job(kervan, running, "processing")
        answer = kervan.post(f"/api/jobs/{running}/cancel")
        assert answer.status_code == 200 and answer.json() == {"jobId": running, "status": "cancelled", "was": "processing"}
        told = wait_for("JOB_CANCEL", lambda: w.take(1))
        assert told[0] == JOB_CANCEL and told[2][0] == lease[0]
    answer = kervan.post(f"/api/jobs/{waiting}/cancel")
    assert answer.json()["was"] == "queued"
    assert job(kervan, waiting)["status"] == job(kervan, running)["status"] == "cancelled"
    assert job(kervan, waiting)["queue_position"] is None
    assert kervan.post(f"/api/jobs/{waiting}/cancel").json()["was"] == "cancelled"
    assert kervan.post("/api/jobs/0000000000001/cancel").status_code == 404


def test_failed_is_done_again_as_a_new_job(kervan):
    """S3-19 S3-34 S4-57: what a job came to is kept; a retry is a new job that knows of the old one."""
    q = name()
    first = submit(kervan, q, params={"n": 7}, max_attempts=1)["jobId"]
    with Worker(kervan, q) as w:
        assert w.progress(w_lease := w.wait_job(), 40, {"step": "half"})[0] == OKAY
        assert job(kervan, first)["progress"] == 40 and job(kervan, first)["metadata"] == {"step": "half"}
        w.fail(w_lease)
        got = wait_job(kervan, first, "error")
        assert got["error"] and got["error_detail"] == "it broke"
        assert kervan.post(f"/api/jobs/{first}/cancel").status_code == 409
        answer = kervan.post(f"/api/jobs/{first}/retry")
        assert answer.status_code == 202, answer.text
        again = answer.json()["jobId"]
        assert answer.headers["Location"] == f"/api/jobs/{again}" and again != first
        lease = w.wait_job()
        assert json.loads(lease[4]) == {"n": 7}
        assert kervan.post(f"/api/jobs/{again}/retry").status_code == 409  # it is under way
        w.done(lease, {"fine": 1})
    got = wait_job(kervan, again, "complete")
    assert got["retry_of"] == first and job(kervan, first)["retried_by"] == again


# ---- credits, notifications ----


def test_credits_and_refusal(kervan):
    user = name()
    assert kervan.get(f"/api/credits/{user}").json() | {"transactions": []} == {"user": user, "granted": 0, "available": 0, "held": 0, "spent": 0, "transactions": [], "next": None}
    answer = kervan.post("/api/jobs", json={"service": name(), "user": user, "credits": 5})
    assert answer.status_code == 402 and answer.json()["code"] == "no_credit"


def test_notifications_until_seen(kervan):
    q, user = name(), name()
    with Worker(kervan, q) as w, Socket(kervan, f"?types=notification&user={user}") as mine, Socket(kervan, "?types=notification&user=somebody-else") as other:
        submit(kervan, q, user=user)
        w.done(w.wait_job())
        heard = mine.until(lambda m: m["type"] == "notification.created")
        assert heard["user"] == user
        got = wait_for("the notification", lambda: kervan.get("/api/notifications", params={"user": user}).json()["notifications"])
        assert got[0]["kind"] == "job.complete"
        assert kervan.post("/api/notifications/seen", json={"user": user, "id": got[0]["id"]}).status_code == 204
        assert kervan.get("/api/notifications", params={"user": user}).json()["notifications"] == []
        mine.until(lambda m: m["type"] == "notification.seen")
        assert not [m for m in other.heard if m["type"].startswith("notification")]
    assert kervan.get("/api/notifications").status_code == 400
    assert kervan.post("/api/notifications/seen", json={"usr": user}).status_code == 400
