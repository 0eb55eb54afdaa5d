"""The example clients against a real kervan: PROTOCOL.md in Python, proto/jobs_client.h in C."""
import contextlib
import datetime
import itertools
import json
import shutil
import signal
import socket
import threading
import time

import pytest

from clients import BareWorker, Program, client
from kervan import PATIENCE, Kervan, free_port, wait_for
from pictures import noise_png

services = (f"svc-{i}" for i in itertools.count())  # a queue of each test's own


@pytest.fixture
def run(kervan):
    started = []

    def start(language, what, *args):
        started.append(Program(kervan, language, what, *args))
        return started[-1]

    yield start
    for p in started:
        if p.process.poll() is None:
            p.process.kill()
            p.process.wait()


@pytest.fixture
def c(kervan):
    with client.Client("tests", f"ipc://{kervan.data}/run/broker.sock") as c:
        yield c


@pytest.fixture(params=["c", "python"])
def language(request):
    return request.param


def follow_ids(program):
    return [e["id"] for e in program.json_lines()]


def events_of(program, job, kind=None):
    return [e for e in program.json_lines() if e.get("jobId") == job and (kind is None or e["type"] == kind)]


# ---- the way of a job ----


def test_three_in_quick_succession(run, language):
    """S3-36 S3-54: positions 1, 2, 3, and all are processed."""
    service = next(services)
    follow = run(language, "follow", 0)
    submit = run(language, "submit", service, '{"ms":60}', '{"ms":60}', '{"ms":60}')
    wait_for("three to be taken", lambda: len(submit.lines) >= 3)
    taken = [line.split() for line in submit.lines[:3]]
    assert [(t[1], t[3]) for t in taken] == [("queued", "1"), ("queued", "2"), ("queued", "3")]
    ids = [t[0] for t in taken]
    worker = run(language, "worker", service)
    submit.finish(0)
    rows = submit.json_lines()
    assert [(r["jobId"], r["status"], r["result"], r["attempts"]) for r in rows] == [(i, "complete", {"slept": 60}, 1) for i in ids]
    for i in ids:
        wait_for(f"the end of {i} in the events", lambda i=i: events_of(follow, i, "job.complete"))
    seen = [e["jobId"] for e in follow.json_lines() if e["type"] == "job.processing" and e["jobId"] in ids]
    assert seen == ids
    worker.end()
    follow.end()


def test_positions_fall_while_waiting(run, c):
    """S3-36: who waits is told, down to 0."""
    service = next(services)
    jobs = [c.submit(service, {"ms": ms})["job"] for ms in (300, 300, 2000)]  # the last one until it is told: at most 4 times a second
    told = []
    worker = run("c", "worker", service)
    assert c.wait(jobs[2], on_position=told.append)["status"] == "complete"
    positions = [t["queue_position"] for t in told]
    assert positions[-1] == 0 and positions == sorted(positions, reverse=True) and positions[0] <= 3
    assert [p["status"] for p in c.positions(jobs)] == [None, None, None]
    worker.end()


@pytest.mark.parametrize("other", ["c", "python"])
def test_killed_worker(run, c, language, other):
    """S4-142 (X06): a worker that dies is noticed by its silence; another one does its job."""
    service = next(services)
    first = run(language, "worker", service)
    job = c.submit(service, {"ms": 600}, backoff_ms=1)["job"]
    first.wait_line("begun")
    first.process.kill()
    second = run(other, "worker", service)
    row = c.wait(job)
    assert row["status"] == "complete" and row["attempts"] == 2
    assert [h["status"] for h in row["history"]] == ["queued", "processing", "queued", "processing", "complete"]
    second.end()


def test_stopped_worker_gives_back(run, c, language):
    """SIGTERM: what is in hand is finished, nothing new is begun, nothing is lost."""
    service = next(services)
    worker = run(language, "worker", service)
    jobs = [c.submit(service, {"ms": 400})["job"] for _ in range(3)]
    worker.wait_line("begun")
    worker.end()
    rows = [c.get(j) for j in jobs]
    assert rows[0]["status"] == "complete" and rows[2]["status"] == "queued"
    heir = run(language, "worker", service)
    assert [c.wait(j)["attempts"] for j in jobs] == [1, 1, 1]
    heir.end()


def test_failing_job(run, c, language):
    """Attempts, then a dead letter, then RETRY as a new job."""
    service = next(services)
    worker = run(language, "worker", service)
    job = c.submit(service, {"ms": -1}, max_attempts=2, backoff_ms=1)["job"]
    row = c.wait(job)
    assert (row["status"], row["error"], row["attempts"]) == ("error", "attempts_exhausted", 2)
    assert row["error_detail"] == "bad_parameter: ms is negative"
    again = c.retry(job)
    assert again["created"] and again["job"] != job
    assert c.wait(again["job"])["retry_of"] == client.id_text(job)
    assert c.retry(job) == {**c.retry(job), "job": again["job"], "created": False}  # done again once
    worker.end()


# ---- cancel ----


def test_cancel(run, c, language):
    """A running job's worker hears of it within a heartbeat; a waiting one ends at once."""
    service = next(services)
    worker = run(language, "worker", service)
    running = c.submit(service, {"ms": 60000})["job"]
    worker.wait_line("begun")
    waiting = c.submit(service, {"ms": 60000})["job"]
    assert c.cancel(waiting) == "queued"
    asked = time.monotonic()
    assert c.cancel(running) == "processing"
    worker.wait_line(client.id_text(running), "cancelled")
    assert time.monotonic() - asked < PATIENCE / 4  # pushed, long before the minute it works; a slow disk commits it first
    assert any("cancel heard" in line for line in worker.lines)
    assert c.get(running)["status"] == c.get(waiting)["status"] == "cancelled"
    assert c.cancel(running) == "cancelled"
    done = c.submit(service, {"ms": 0})["job"]  # its place is free again
    assert c.wait(done)["status"] == "complete"
    with pytest.raises(client.KervanError) as e:
        c.cancel(done)
    assert e.value.number == client.CONFLICT
    with pytest.raises(client.KervanError) as e:
        c.cancel(client.new_id())
    assert e.value.number == client.NOT_FOUND
    worker.end()


def test_submit_says_that_a_job_is_not_complete(run, c, language):
    """Whatever its params say."""
    submit = run(language, "submit", next(services), '{"status":"complete"}')
    c.cancel(client.id_number(submit.wait_line("queued").split()[0]))
    submit.finish(1)


def test_cancelled_picture_stops(kervan, c):
    """The image worker's child is killed within a heartbeat."""
    before = set(kervan.grandchildren())
    taken = kervan.upload(noise_png(3500, 3500), "big.png")
    assert taken.status_code == 201, taken.text
    media = taken.json()

    def the_job():
        answer = kervan.get("/api/jobs", params={"service": "image-process", "status": "processing"})
        assert answer.status_code == 200, answer.text
        found = answer.json()["jobs"]
        return found[0]["jobId"] if found else None

    job = wait_for("the picture to be processed", the_job)
    wait_for("a child that does it", lambda: set(kervan.grandchildren()) - before)
    asked = time.monotonic()
    assert c.cancel(client.id_number(job)) == "processing"
    wait_for("the child to be gone", lambda: not set(kervan.grandchildren()) - before)
    assert time.monotonic() - asked < PATIENCE / 4
    assert kervan.media(media["id"])["status"] == "FAILED"


# ---- leases ----


def test_late_answer_is_refused(kervan, c):
    """S4-142: what is said under an old token changes nothing, and is counted."""
    service = next(services)
    worker = BareWorker(kervan, service)
    job = c.submit(service, None)["job"]
    lease = wait_for("the job", lambda: worker.jobs and worker.jobs[0])
    assert lease["job"] == job and lease["attempt"] == 1 and lease["params"] == "null"
    assert worker.say("JOB_PROGRESS", lease, progress=40)["id"] == job
    c.cancel(job)
    wait_for("JOB_CANCEL", lambda: worker.cancels)
    late = kervan.metric("kervan_late_answers_total")
    assert worker.refused("JOB_DONE", lease, result="1") == client.STALE_LEASE
    assert worker.refused("JOB_PROGRESS", lease, progress=50) == client.STALE_LEASE
    assert worker.refused("JOB_DONE", {**lease, "epoch": 1 << 40}, result="1") == client.STALE_LEASE
    assert kervan.metric("kervan_late_answers_total") >= late + 2
    row = c.get(job)
    assert row["status"] == "cancelled" and row["result"] is None
    # said twice, the second is answered as the first
    job = c.submit(service, None)["job"]
    lease = wait_for("the next job", lambda: next((j for j in worker.jobs if j["job"] == job), None))
    assert worker.refused("JOB_DONE", lease, result="{") == client.BAD_MESSAGE
    assert worker.say("JOB_DONE", lease, result="{}")["id"] == worker.say("JOB_DONE", lease, result="{}")["id"] == job
    worker.session.close()


def test_frozen_worker(run, c, language):
    """Silent for three beats, its job goes to another; when it wakes, it is told, and ends nothing."""
    service = next(services)
    frozen = run(language, "worker", service)
    job = c.submit(service, {"ms": 800}, backoff_ms=1)["job"]
    frozen.wait_line("begun")
    frozen.process.send_signal(signal.SIGSTOP)
    other = run("c", "worker", service)
    row = c.wait(job)
    frozen.process.send_signal(signal.SIGCONT)
    assert row["status"] == "complete" and row["attempts"] == 2
    after = c.submit(service, {"ms": 0})["job"]
    assert c.wait(after)["status"] == "complete"
    assert [h["status"] for h in c.get(job)["history"]].count("complete") == 1
    wait_for("the frozen one to be done with it", lambda: any("cancelled" in x or "done" in x for x in frozen.lines))
    frozen.end()
    other.end()


# ---- restarts ----


@pytest.mark.parametrize("kills", [3])
def test_broker_killed_in_mid_flight(kervan, run, c, language, kills):
    """kill -9 of the broker: nothing lost, no live job run twice, no event missed or doubled."""
    service = next(services)
    follow = run(language, "follow", 0)
    workers = [run(language, "worker", service, 2), run("c", "worker", service, 2)]
    jobs = [c.job(service, {"ms": 100 + 37 * i % 900}) for i in range(60)]
    answers = []

    def submit():
        for j in jobs:
            answers.append(c.ask("SUBMIT", timeout=PATIENCE, **j))
            time.sleep(0.05)

    thread = threading.Thread(target=submit)
    thread.start()
    for _ in range(kills):
        wait_for("some to be under way", lambda n=len(answers): len(answers) > n + 5 or len(answers) == len(jobs))
        kervan.kill("broker")
    thread.join(PATIENCE)
    assert [a["job"] for a in answers] == [j["job"] for j in jobs]
    for j in jobs:
        row = c.wait(j["job"])
        # A lease whose JOB was not sent yet when the broker died costs an attempt; the job was not begun then.
        assert row["status"] == "complete" and [h["status"] for h in row["history"]].count("complete") == 1, row["history"]
    assert c.ask("SUBMIT", **jobs[0]) == {**answers[0], "created": False, "status": "complete", "queue_position": -1, "lane_position": -1}
    last = client.id_text(jobs[-1]["job"])
    wait_for("all in the events", lambda: all(events_of(follow, client.id_text(j["job"]), "job.complete") for j in jobs))
    assert events_of(follow, last)
    ids = follow_ids(follow)
    assert ids == list(range(1, len(ids) + 1))
    begun = [line.split()[0] for w in workers for line in w.lines if line.endswith("begun\n")]
    assert sorted(begun) == sorted(client.id_text(j["job"]) for j in jobs)
    for p in (*workers, follow):
        p.end()


# ---- options ----


def test_unique_key_delay_deadline(run, c):
    service = next(services)
    first = c.submit(service, 1, unique_key="report-7")
    second = c.submit(service, 2, unique_key="report-7")
    assert first["created"] and not second["created"] and second["job"] == first["job"]
    assert c.cancel(first["job"]) == "queued"
    third = c.submit(service, 3, unique_key="report-7")
    assert third["created"]
    c.cancel(third["job"])
    delayed = c.submit(service, {"ms": 0}, delay_ms=700)
    assert delayed["queue_position"] == -1
    late = c.submit(service, {"ms": 0}, deadline_ms=int(time.time() * 1000) + 300)["job"]
    assert c.wait(late)["error"] == "job_deadline"
    worker = run("python", "worker", service)
    row = c.wait(delayed["job"])
    at = {h["status"]: datetime.datetime.fromisoformat(h["at"]) for h in row["history"]}
    assert row["status"] == "complete" and (at["processing"] - at["queued"]).total_seconds() >= 0.7
    worker.end()


def test_credits(run, c):
    """Y14 Y15: held with the job, spent with its end, refunded otherwise."""
    service, user = next(services), "ayse"
    transaction = client.new_id()
    granted = c.credit("grant", user, 10, transaction)
    assert granted == c.credit("grant", user, 10, transaction)  # the same once more is the same
    spent, refunded = (c.submit(service, {"ms": 0}, user=user, credits=4)["job"] for _ in range(2))
    with pytest.raises(client.KervanError) as e:
        c.submit(service, {"ms": 0}, user=user, credits=4)
    assert e.value.number == 26  # NO_CREDIT
    assert c.cancel(refunded) == "queued"
    worker = run("c", "worker", service)
    assert c.wait(spent)["status"] == "complete"
    account = c.credit("grant", user, 1)
    assert (account["available"], account["held"], account["spent"]) == (7, 0, 4)
    worker.end()


def test_batch_metadata_and_bad_ones(c):
    service = next(services)
    jobs = [c.job(service, i, tags=["b"]) for i in range(4)]
    jobs[1]["service"] = "No Service"
    results = c.submit_batch(jobs)
    assert [(r[0], r[1], r[3]) for r in results] == [(j["job"], 13 if i == 1 else 0, i != 1) for i, j in enumerate(jobs)]
    again = c.submit_batch(jobs)
    assert [r[3] for r in again] == [False] * 4
    job = jobs[0]["job"]
    merged, version = c.metadata(job, {"a": {"x": 1}, "list": [1]})
    assert version == 1
    merged, version = c.metadata(job, {"a": {"y": None}, "list": [2]}, version=1)
    assert merged == {"a": {"x": 1, "y": None}, "list": [2]} and version == 2
    with pytest.raises(client.KervanError) as e:
        c.metadata(job, {"z": 1}, version=1)
    assert e.value.number == client.CONFLICT
    for j in jobs:
        if j["service"] == service:
            c.cancel(j["job"])


def test_replay(c):
    """EVENTS_GET: from inside a commit, in pages, and beyond the end."""
    service = next(services)
    c.submit_batch([c.job(service, i) for i in range(50)])
    newest, mine = None, 0
    ids = []
    while newest != mine:
        page = c.ask("EVENTS_GET", after=mine, limit=7)
        events = json.loads(page["events"])
        assert page["prev"] == mine and page["first"] == mine + 1
        assert [e["id"] for e in events] == list(range(mine + 1, page["last"] + 1))
        ids += [e["id"] for e in events]
        newest, mine = mine if page["last"] == mine else None, page["last"]
    assert ids == list(range(1, mine + 1))
    inside = c.ask("EVENTS_GET", after=mine - 20)
    assert [e["id"] for e in json.loads(inside["events"])] == list(range(mine - 19, mine + 1)) and inside["prev"] == mine - 20
    with pytest.raises(client.KervanError) as e:
        c.ask("EVENTS_GET", after=mine + 1000)
    assert e.value.number == client.NOT_FOUND


def test_from_now_on_is_not_from_when_the_session_began(kervan, c):
    """Else who was told to resync and follows from now might be told so again, for ever."""
    old, new = c.submit(next(services))["job"], []
    seen = []

    def stop():  # asked once it stands, and then each half second
        new.append(c.submit(next(services))["job"])
        return len(seen) > 0

    for event in c.follow(None, f"ipc://{kervan.data}/run/events.sock", stop):
        seen.append(event)
        if event["type"] == "job.queued" and client.id_number(event["jobId"]) in new:
            break
    assert client.id_text(old) not in [e.get("jobId") for e in seen]
    for job in (old, *new):
        c.cancel(job)


@pytest.mark.parametrize("away", ["POSITION", "JOB_GET"])
def test_waiting_outlives_a_broker_that_is_away(c, monkeypatch, away):
    """For longer than one question may take; the wait has a time of its own."""
    job, asked = c.submit(next(services))["job"], []
    real = c.session.ask

    def silent_at_first(name, fields, timeout=30.0):
        if name != away or asked:
            return real(name, fields, timeout)
        asked.append(name)
        future = client.concurrent.futures.Future()
        future.set_exception(client.KervanError(client.BROKER_AWAY, "no answer in time"))
        return future

    c.cancel(job)
    monkeypatch.setattr(c.session, "ask", silent_at_first)
    assert c.wait(job, timeout=PATIENCE)["status"] == "cancelled"
    assert asked


def test_a_busy_broker_ends_no_follower(kervan, c, monkeypatch):
    """Only NOT_FOUND does: the log is there, and goes on."""
    job, asked = c.submit(next(services))["job"], []
    real = c.session.ask

    def refused_at_first(name, fields, timeout=30.0):
        if name != "EVENTS_GET" or asked:
            return real(name, fields, timeout)
        asked.append(name)
        future = client.concurrent.futures.Future()
        future.set_exception(client.KervanError(63, "busy", 2500))  # longer than a page may take
        return future

    monkeypatch.setattr(c.session, "ask", refused_at_first)
    events = c.follow(0, f"ipc://{kervan.data}/run/events.sock")
    assert next(e for e in events if e.get("jobId") == client.id_text(job))["type"] == "job.queued"
    assert asked
    events.close()
    c.cancel(job)


# ---- what a program hands in may be anything ----


def handle_oddly(job):
    """Ends that are no JOB_DONE or JOB_FAIL as they stand."""
    if job.params == "long":
        return "a" * 70000
    if job.params == "nan":
        return float("nan")
    if job.params == "detail":
        raise client.Worker.Failed("ş" * 600)
    if job.params == "number":
        raise client.Worker.Failed("why", number=70000)
    if job.params == "surrogate":
        raise ValueError("no \udcff.txt")
    return "read"


@pytest.mark.parametrize(
    "params, detail",
    [
        ('"long"', "JOB_DONE was refused: 80: result: is over its limit of 65536"),
        ('"nan"', "JOB_DONE was refused: 80: result is not valid JSON"),
        ('"detail"', "ş" * 512),
        ('"number"', "JOB_FAIL was refused: 80: number: is over its limit of 65535"),
        ('"surrogate"', "ValueError: no ?.txt"),
    ],
    ids=lambda text: text.strip('"')[:9],
)
def test_python_worker_ends_every_job(kervan, c, params, detail):
    """Whatever the handler does, the job ends and the worker goes on."""
    service = next(services)
    worker = client.Worker(service, handle_oddly, broker=f"ipc://{kervan.data}/run/broker.sock")
    try:
        odd = c.ask("SUBMIT", job=client.new_id(), service=service, params=params)["job"]
        row = c.wait(odd, timeout=PATIENCE)
        assert row["status"] == "error" and row["error_detail"].startswith(detail)
        assert c.wait(c.submit(service, 1)["job"], timeout=PATIENCE)["result"] == "read"
    finally:
        worker.stop(1.0)


def test_python_worker_survives_params(kervan, c):
    """JSON that Python cannot read: the job ends, and the next one is done."""
    service = next(services)
    worker = client.Worker(service, handle_oddly, broker=f"ipc://{kervan.data}/run/broker.sock")
    try:
        odd = c.ask("SUBMIT", job=client.new_id(), service=service, params="1" * 5000)["job"]
        assert c.wait(c.submit(service, 1)["job"], timeout=PATIENCE)["result"] == "read"
        assert '"status":"error"' in c.ask("JOB_GET", job=odd)["json"]
    finally:
        worker.stop(1.0)


@pytest.mark.parametrize("added", [b"\xc0", b"\x81\x01\x02", b"\x81\x91\x01\x02", b"\xa2\xff\xfe", b"\xc7\x03\xff\x01\x02\x03"],
                         ids=["nil", "numbers as keys", "an array as key", "no UTF-8", "no time"])
def test_python_client_skips_what_it_does_not_know(added):
    """Fields of a newer broker, of whatever type: PROTOCOL.md, "Versions live together"."""
    head, body = client.frames("OKAY", {"id": 9}, 5)
    assert body[0] == 0x91
    assert client.parse([head, b"\x92" + body[1:] + added]) == ("OKAY", 5, {"id": 9})
    for broken in (body + added, b"\x93" + body[1:] + added, b"\x91" + added, b"\xdc\x00\x41" + body[1:] + added * 64):
        assert client.parse([head, broken]) is None


def test_python_worker_loses_no_patch(kervan, c, monkeypatch):
    """One that was refused for a moment is said again before the job ends, and before a newer one."""
    service, refused = next(services), []

    def handler(job):
        for n in range(3):
            job.progress(10 * n, {"n": n, f"k{n}": True})

    worker = client.Worker(service, handler, broker=f"ipc://{kervan.data}/run/broker.sock")
    real = worker.session.ask

    def full_at_first(name, fields, timeout=30.0):
        if name != "JOB_PROGRESS" or refused:
            return real(name, fields, timeout)
        refused.append(name)
        future = client.concurrent.futures.Future()
        future.set_exception(client.KervanError(60, "the disk is full", 50))
        return future

    monkeypatch.setattr(worker.session, "ask", full_at_first)
    try:
        row = c.wait(c.submit(service)["job"], timeout=PATIENCE)
        assert refused and row["status"] == "complete"
        assert row["metadata"] == {"n": 2, "k0": True, "k1": True, "k2": True}
    finally:
        worker.stop(1.0)


@pytest.mark.parametrize("bad", [object(), 1 << 70, "\udcff"], ids=["object", "number", "surrogate"])
def test_python_client_refuses_what_cannot_be_packed(c, bad):
    """Whoever asks is told; the session of the others goes on."""
    service = next(services)
    with pytest.raises((TypeError, OverflowError, ValueError)):
        c.session.ask("SUBMIT", {**c.job(service), "tenant": bad}).result(PATIENCE)
    c.cancel(c.submit(service)["job"])


# ---- endpoints ----


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as s:
        s.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1"))])
def test_tcp_on_the_loopback(language, host):
    env = {"KERVAN_BROKER": f"tcp://{host}:{free_port()}", "KERVAN_EVENTS": f"tcp://{host}:{free_port()}"}
    with Kervan(env) as k:
        with k.get("/api/events", headers={"Accept": "text/event-stream"}, stream=True) as live:
            job = k.post("/api/jobs", json={"service": "nobody"}).json()["jobId"]
            assert any(job in line.decode() for line in live.iter_lines())
        worker = Program(k, language, "worker", "over-tcp")
        submit = Program(k, language, "submit", "over-tcp", '{"ms":20}')
        submit.finish(0)
        worker.end()


@pytest.mark.parametrize("longer", [0, 1])
def test_a_web_page_cannot_speak_to_the_broker(longer):
    """ZMTP 1 begins with the length of a frame: a request of HTTP is frames to it, and messages may stand in its body."""
    def frame(data, flags):
        return (bytes([len(data) + 1]) if len(data) < 254 else b"\xff" + (len(data) + 1).to_bytes(8, "big")) + bytes([flags]) + data

    def message(name, fields, request):
        head, body = client.frames(name, fields, request)
        return frame(head, 1) + frame(body, 0)

    port = free_port()
    body = b"\x01" * (600 + longer) + b"\x01\x00"  # empty frames, wherever the last one of the head ends
    body += message("HELLO", {"role": "client", "name": "page", "instance": 7, "version": "1"}, 1)
    body += message("SUBMIT", {"job": client.new_id(), "service": "from-a-page", "params": "{}"}, 2)
    with Kervan({"KERVAN_BROKER": f"tcp://127.0.0.1:{port}"}) as k, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as s:
        with contextlib.suppress(ConnectionError):
            s.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            said = s.recv(64)
            # a greeting that was on its way goes out, but not the length and name of ZMTP 1
            assert said in (b"", b"\xff" + bytes(7) + b"\x01\x7f") and s.recv(64) == b""
        assert k.get("/api/jobs?service=from-a-page").json()["jobs"] == []


@pytest.mark.parametrize("variable", ["KERVAN_BROKER", "KERVAN_EVENTS"])
@pytest.mark.parametrize("address", ["0.0.0.0", "*", "192.0.2.7", "[::]", "localhost"])
def test_tcp_elsewhere_is_refused(variable, address):
    k = Kervan({variable: f"tcp://{address}:{free_port()}"})
    try:
        k.start(wait=False)
        assert k.process.wait(PATIENCE) != 0
        k.reader.join(5)
        said = "\n".join(k.lines)
        assert f"{variable}: " in said and "127.0.0.1" in said
        assert address != "localhost" or "[::1]" in said
    finally:
        if k.process.poll() is None:
            k.kill_all()
        shutil.rmtree(k.data, ignore_errors=True)
