"""Names of queues and the 1,024 places for them, JOB_MAX_ATTEMPTS, dead letters done again, what refusals say, times of limited tenants."""
import os
import subprocess
import uuid

import pytest

from kervan import BINARY, PATIENCE, wait_for
from peer import CANCEL, ERROR, JOB_DONE, JOB_FAIL, OKAY, READY, SUBMIT, SUBMIT_OK, Peer, id_text
from pictures import jpeg

pytestmark = pytest.mark.threads

QUEUE_SET, CANCEL_OK = 0x50, 0x15
BAD_PARAMETER, BUSY = 13, 63


def name():
    return f"q-{uuid.uuid4().hex[:10]}"


def submit(k, service, expect=202, **options):
    answer = k.post("/api/jobs", json={"service": service, **options})
    assert answer.status_code == expect, answer.text
    return answer.json()


def job(k, job_id):
    return k.get(f"/api/jobs/{job_id}").json()


def queues(k):
    return {q["service"]: q for q in k.get("/api/admin/queues").json()["queues"]}


def ctl(k, *words):
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(k.data), "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([str(BINARY), "ctl", *words], env=env, capture_output=True, text=True, timeout=PATIENCE * 2, check=False)


class Worker(Peer):
    def __init__(self, k, service, credit=1):
        super().__init__(k, "worker")
        assert self.ask(READY, [service, credit])[0] == OKAY

    def fail(self, retry=False):
        lease = self.wait_job()
        return self.ask(JOB_FAIL, [*lease[:3], 66, "it broke", retry])

    def done(self):
        lease = self.wait_job()
        return self.ask(JOB_DONE, [*lease[:3], "{}"])


# ---- names and places ----


def test_names_of_services(kervan):
    with Peer(kervan, "worker") as p:
        for bad in ("BAD", "A B", "çok", 'a"b', "a\nb c", "", "a_b"):
            code, fields = p.ask(READY, [bad, 1])
            assert code == ERROR and fields[0] == BAD_PARAMETER and "[a-z0-9-]" in fields[1], (bad, fields)
            code, fields = p.ask(QUEUE_SET, [bad, "", False, 1])
            assert code == ERROR and fields[0] == BAD_PARAMETER, (bad, fields)
        assert not set(queues(kervan)) & {"BAD", "A B", "çok", 'a"b', "a\nb c", ""}


def fill(p, n):
    """A job in each of so many queues."""
    made = []
    for i in range(n):
        made.append(p.new_id())
        code, fields = p.ask(SUBMIT, [made[-1], f"{name()}-{i}", 1, "{}"])
        assert code == SUBMIT_OK, fields
    return made


def test_places_are_used_again(fresh):
    k = fresh()
    with Peer(k) as p:
        made = fill(p, 1023)
        last = submit(k, "last")
        refused = k.post("/api/jobs", json={"service": "one-more"})
        assert refused.status_code == 503 and refused.json()["code"] == "busy", refused.text
        assert int(refused.headers["Retry-After"]) >= 1 and "1,024 queues are in use" in refused.json()["detail"]
        code, fields = p.ask(READY, ["one-more", 1])
        assert code == ERROR and fields[0] == BUSY and "1,024" in fields[1] and fields[2] > 0
        assert "all 1,024 queues are in use" in ctl(k, "doctor").stdout
        submit(k, "last")  # a queue that is there
        for j in made:
            assert p.ask(CANCEL, [j])[0] == CANCEL_OK
        assert "in use" not in ctl(k, "doctor").stdout
        for i in range(1023):  # all places but one, with other names
            code, fields = p.ask(SUBMIT, [p.new_id(), f"again-{i}", 1, "{}"])
            assert code == SUBMIT_OK, fields
        assert job(k, last["jobId"])["queue_position"] == 1
        assert k.post("/api/jobs", json={"service": "one-more"}).status_code == 503


def test_resume_leaves_nothing(kervan):
    q = name()
    assert ctl(kervan, "pause", q).returncode == 0
    assert queues(kervan)[q]["paused"]
    assert ctl(kervan, "resume", q).returncode == 0
    assert q not in queues(kervan)
    assert q not in ctl(kervan, "limits").stdout


# ---- attempts ----


def test_max_attempts_of_the_configuration(fresh):
    k = fresh(JOB_MAX_ATTEMPTS="7")
    assert job(k, submit(k, "ai")["jobId"])["max_attempts"] == 7
    assert job(k, submit(k, "ai", max_attempts=2)["jobId"])["max_attempts"] == 2
    submit(k, "ai", expect=400, max_attempts=0)
    submit(k, "ai", expect=400, max_attempts=101)
    with Peer(k) as p:
        short = p.new_id()
        assert p.ask(SUBMIT, [short, "ai", 1, "{}"])[0] == SUBMIT_OK  # fields left out
        assert job(k, id_text(short))["max_attempts"] == 7


# ---- dead letters ----


def dead(k, q):
    return [j["jobId"] for j in k.get("/api/jobs", params={"service": q, "status": "error"}).json()["jobs"]]


def test_what_is_done_again_is_no_dead_letter(kervan):
    q = name()
    with Worker(kervan, q) as w:
        first = submit(kervan, q)["jobId"]
        w.fail()
        wait_for("the dead letter", lambda: dead(kervan, q) == [first])
        again = kervan.post(f"/api/jobs/{first}/retry").json()
        assert again["created"] and dead(kervan, q) == []
        assert queues(kervan)[q]["dead_letters"] == 0
        twice = kervan.post(f"/api/jobs/{first}/retry").json()
        assert twice["jobId"] == again["jobId"] and not twice["created"]
        w.fail()
        wait_for("its own dead letter", lambda: dead(kervan, q) == [again["jobId"]])
        assert kervan.post(f"/api/jobs/{first}/retry").json()["jobId"] == again["jobId"]
        assert kervan.post(f"/api/jobs/{again['jobId']}/retry").json()["created"]
        w.done()
        wait_for("no dead letter", lambda: dead(kervan, q) == [])


def test_a_picture_is_done_again(kervan):
    """RETRY of its dead letter is what POST /api/media/:id/retry does."""
    media = kervan.upload(jpeg(900, 700)[:-4000], "yarim.jpg", "again").json()
    assert kervan.wait_status(media["id"], "FAILED", "READY")["status"] == "FAILED"
    (job_id,) = dead(kervan, "image-process")
    shown = ctl(kervan, "retry", job_id)
    assert shown.returncode == 0 and "done again as job" in shown.stdout, shown
    new = job(kervan, job_id)["retried_by"]
    assert job(kervan, new)["retry_of"] == job_id
    wait_for("the second failure", lambda: dead(kervan, "image-process") == [new])
    assert kervan.media(media["id"])["status"] == "FAILED"
    assert kervan.delete(f"/api/media/{media['id']}").status_code in (200, 204)
    refused = kervan.post(f"/api/jobs/{new}/retry")
    assert refused.status_code == 409 and "its media was deleted" in refused.json()["detail"]


# ---- refusals ----


def test_refusals_name_the_state(kervan):
    q = name()
    with Worker(kervan, q) as w:
        done = submit(kervan, q)["jobId"]
        w.done()
        wait_for("its end", lambda: job(kervan, done)["status"] == "complete")
        refused = kervan.post(f"/api/jobs/{done}/cancel")
        assert refused.status_code == 409 and "the job is complete" in refused.json()["detail"]
        assert "the job is complete" in kervan.post(f"/api/jobs/{done}/retry").json()["detail"]
        got = ctl(kervan, "promote", done)
        assert got.returncode != 0 and "complete" in got.stdout + got.stderr, got
    running = submit(kervan, name())["jobId"]
    for i in range(6):
        answer = kervan.session.patch(kervan.url(f"/api/jobs/{running}/metadata"), json={f"k{i}": "x" * 15000}, timeout=PATIENCE)
    assert answer.status_code == 400 and "65536 bytes" in answer.json()["detail"], answer.text


# ---- times ----


def test_times_of_a_limited_tenant(kervan):
    q = name()
    with Worker(kervan, q, credit=50) as w:
        submit(kervan, q)
        w.done()
        assert ctl(kervan, "limit", q, "tenant=u", "rate=10").returncode == 0
        made = [submit(kervan, q, tenant="u")["jobId"] for _ in range(14)]
        low, high = job(kervan, made[-1])["eta_seconds"]
        assert 70 <= low <= 79 and 78 <= high <= 90, (low, high)
        free = submit(kervan, q, tenant="v")
        assert job(kervan, free["jobId"])["status"] == "processing"
