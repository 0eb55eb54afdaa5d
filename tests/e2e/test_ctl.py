"""The commands of `kervan ctl`, with real processes."""
import json
import os
import sqlite3
import subprocess
import time

import pytest
from ctl import as_json, as_json_of, connect, ctl, good, queue
from kervan import BINARY, PATIENCE, Kervan, wait_for
from peer import ERROR, JOB_DONE, JOB_FAIL, OKAY, READY, SUBMIT, SUBMIT_OK, Peer, id_text

pytestmark = pytest.mark.threads


def test_help_lists_all_and_each_says_its_usage(kervan):
    rows = as_json(kervan, "help")
    names = {row["name"] for row in rows}
    assert names >= set("help queues jobs job workers leases pause resume drain limit retry cancel promote purge dead events stats top maintain backup doctor version quit".split())
    text = good(kervan, "help")
    for row in rows:
        assert row["name"] in text and row["help"] in text
        assert row["help"] in good(kervan, "help", row["name"])
    assert good(kervan, "version").startswith("kervan ")


@pytest.fixture(scope="module")
def ai(kervan, peer):
    """A queue that is known and in which nothing waits."""
    good(kervan, "cancel", peer.submit("ai"))
    return "ai"


@pytest.mark.parametrize("command", ["queues", "jobs", "workers", "leases", "dead", "stats", "top", "version", "help", "tenants ai", "limit ai", "maintain", "events limit=1"])
@pytest.mark.usefixtures("ai")
def test_every_look_in_text_and_json(kervan, command):
    text = good(kervan, *command.split())
    assert "\x1b" not in text and "OK" not in text.splitlines()
    out = good(kervan, "-j", *command.split())
    for line in out.splitlines():  # events: an object a line
        json.loads(line)
    assert ctl(kervan, *command.split(), "-j").returncode == 0


@pytest.mark.parametrize("params", ['{"id":12345678901234567890}', "[1e999]", '"\\ud800"', '"\\u0000x"'], ids=["id", "number", "surrogate", "nul"])
def test_a_job_whose_json_is_odd(kervan, peer, params):
    """Whatever a client or worker sent, as long as it is JSON, is shown as it is, and hides no other job."""
    number = peer.new_id()
    assert peer.ask(SUBMIT, [number, "odd", 1, params, "", 3, 0, "", 0, 0, 0, "", 0, "", 0, "", '{"nul":"\\u0000"}'])[0] == SUBMIT_OK
    job = id_text(number)
    assert params in good(kervan, "job", job)
    assert f'"params":{params},' in good(kervan, "-j", "job", job)
    assert job in good(kervan, "jobs", "service=odd")
    with Peer(kervan, "worker", "odd-one") as w:
        w.ask(READY, ["odd", 1])
        assert w.ask(JOB_DONE, [*w.wait_job()[:3], params])[0] == OKAY
    assert good(kervan, "job", job).count(params) == 2
    assert f'"result":{params},' in good(kervan, "-j", "job", job)


def test_a_job_from_queue_to_history(kervan, peer):
    job = peer.submit("story", {"page": 1}, lane=2, tenant="acme", user="ayse", tags="red,blue")
    for words in (["service=story"], ["tenant=acme"], ["user=ayse"], ["tag=blue"], ["lane=background", "service=story"], ["state=queued", "user=ayse"], ["state=unfinished", "user=ayse"]):
        assert [j["jobId"] for j in as_json(kervan, "jobs", *words)["jobs"]] == [job], words
        assert job in good(kervan, "jobs", *words)
    assert as_json(kervan, "jobs", "user=ayse", "state=error")["jobs"] == []
    shown = as_json(kervan, "job", job)
    assert shown["queue_position"] == 1 and shown["params"] == {"page": 1} and shown["status"] == "queued" and shown["history"]
    q = queue(kervan, "story")
    assert q["waiting"] == 1 and q["lanes"]["background"] == 1 and q["health"] == "no_workers"
    # promoted: another lane; done: its history has every step
    good(kervan, "promote", job)
    assert as_json(kervan, "job", job)["lane"] == "urgent"
    with Peer(kervan, "worker", "storyteller") as w:
        w.ask(READY, ["story", 1])
        lease = w.wait_job()
        assert [x["jobId"] for x in as_json(kervan, "leases", "story")["leases"]] == [job]
        assert "storyteller" in good(kervan, "workers", "story") and "storyteller" in good(kervan, "leases")
        assert as_json(kervan, "job", job)["queue_position"] == 0
        assert w.ask(JOB_DONE, [*lease[:3], '{"pages":1}'])[0] == OKAY
    shown = as_json(kervan, "job", job)
    assert shown["status"] == "complete" and shown["queue_position"] is None and len(shown["history"]) >= 4
    text = good(kervan, "job", job)
    assert "complete" in text and "storyteller" in text and "TIME" in text


def test_dead_letter_retried(kervan, peer):
    job = peer.submit("fragile", max_attempts=1)
    with Peer(kervan, "worker", "clumsy") as w:
        w.ask(READY, ["fragile", 1])
        lease = w.wait_job()
        w.ask(JOB_FAIL, [*lease[:3], 66, "it \x1b[2J broke", False])
        assert [j["jobId"] for j in as_json(kervan, "dead", "fragile")["jobs"]] == [job]
        text = good(kervan, "dead")
        assert job in text and "\x1b" not in text
        assert queue(kervan, "fragile")["dead"] == 1
        assert "queue fragile: 1 dead letter." in ctl(kervan, "doctor").stdout
        again = as_json(kervan, "retry", job)
        assert again["created"] and again["jobId"] != job
        second = w.wait_job()
        w.ask(JOB_DONE, [*second[:3], "{}"])
        assert as_json(kervan, "dead", "fragile")["jobs"] == []
        peer.submit("fragile", max_attempts=1)
        lease = w.wait_job()
        w.ask(JOB_FAIL, [*lease[:3], 66, "again", False])
    assert as_json(kervan, "job", again["jobId"])["retry_of"] == job
    assert ctl(kervan, "retry", again["jobId"]).returncode == 1  # it is complete
    asked = ctl(kervan, "purge", "fragile", "dead")
    assert asked.returncode == 1 and "yes-1" in asked.stderr
    assert "1 job\n" == good(kervan, "--yes", "purge", "fragile", "dead")
    assert as_json(kervan, "dead", "fragile")["jobs"] == []


def test_cancel(kervan, peer):
    job = peer.submit("doomed")
    assert as_json(kervan, "cancel", job) == {"was": "queued"}
    assert as_json(kervan, "job", job)["status"] == "cancelled"
    got = ctl(kervan, "cancel", "0000000000001")
    assert got.returncode == 1 and got.stderr.startswith("kervan ctl: ")


def test_pause_resume_drain(kervan, peer):
    good(kervan, "pause", "river")
    job = peer.submit("river")
    with Peer(kervan, "worker", "fisher") as w:
        w.ask(READY, ["river", 4])
        assert queue(kervan, "river")["paused"]
        sick = ctl(kervan, "doctor")
        assert sick.returncode == 1 and "queue river: paused" in sick.stdout and "resume" in sick.stdout
        assert subprocess.run([str(BINARY), "doctor"], env={"PATH": os.environ["PATH"], "KERVAN_DATA": str(kervan.data), "ASAN_OPTIONS": "detect_leaks=0"}, capture_output=True, timeout=PATIENCE, check=False).returncode == 1
        assert as_json_of(ctl(kervan, "-j", "doctor"))["healthy"] is False
        good(kervan, "resume", "river")
        lease = w.wait_job()
        w.ask(JOB_DONE, [*lease[:3], "{}"])
    assert as_json(kervan, "job", job)["status"] == "complete"
    good(kervan, "drain", "river")
    code, answer = peer.ask(0x10, [peer.new_id(), "river", 1, "{}"])
    assert code == ERROR and answer[0] == 28
    good(kervan, "resume", "river")
    peer.submit("river")
    # steering is written down with who did it
    assert any(o["line"] == "pause river" and o["uid"] == os.getuid() for o in kervan.events("admin_command"))


def test_limits(kervan):
    good(kervan, "limit", "lake", "rate=10", "concurrency=2", "max-waiting=5", "overflow=evict")
    good(kervan, "limit", "lake", "tenant=acme", "weight=3", "concurrency=1")
    limits = queue(kervan, "lake")["limits"]
    assert limits == {"concurrency": 2, "rate_per_minute": 10, "max_waiting": 5, "overflow": "evict"}
    assert "acme" in good(kervan, "limit", "lake")
    for words in (["rate=x"], ["rate=-1"], ["overflow=maybe"], ["weight=0"], ["weight=101"], ["color=red"], ["rate=1", "rate=2"]):
        got = ctl(kervan, "limit", "lake", *words)
        assert got.returncode == 2 and got.stdout == "", (words, got)
    assert ctl(kervan, "limit", "../lake", "rate=1").returncode == 2


def test_maintenance_on_demand(kervan):
    """S3-28 (Y02): not only every 30 s."""
    before = as_json(kervan, "stats")["kervan_maintenance_total"]
    assert as_json(kervan, "maintain") == {"ended": 0}
    assert as_json(kervan, "stats")["kervan_maintenance_total"] > before


def test_purge_wants_a_second_word(kervan, peer):
    good(kervan, "pause", "pond")
    for _ in range(12):
        peer.submit("pond")
    peer.submit("pond", delay_ms=3600000)
    asked = ctl(kervan, "purge", "pond", "waiting")
    assert asked.returncode == 1 and "yes-13" in asked.stderr
    assert ctl(kervan, "purge", "pond", "waiting", "yes-3").returncode == 1
    assert ctl(kervan, "purge", "pond", "all").returncode == 2
    assert queue(kervan, "pond")["waiting"] == 12
    assert "13 jobs" in good(kervan, "purge", "pond", "waiting", "yes-13")
    assert queue(kervan, "pond")["waiting"] == 0
    assert "0 jobs" in good(kervan, "purge", "pond", "waiting")


def test_events_are_shown_and_followed(kervan, peer):
    job = peer.submit("news")
    shown = [json.loads(line) for line in good(kervan, "-j", "events", "limit=200").splitlines()]
    ids = [e["id"] for e in shown]
    assert ids == sorted(ids) and any(e.get("jobId") == job for e in shown)
    after = [json.loads(line) for line in good(kervan, "-j", "events", f"after={ids[-2]}").splitlines()]
    assert [e["id"] for e in after][:1] == [ids[-1]]
    s = connect(kervan)
    s.sendall(f"events after={ids[-1]} follow\n".encode())
    second = peer.submit("news")
    got = b""
    while second.encode() not in got:
        got += s.recv(65536)
    s.sendall(b"\nversion\n")  # a line ends it, and the session goes on
    while got.count(b"\nOK\n") < 2:
        got += s.recv(65536)
    s.close()
    newest = shown[-1]["id"] + 10**6
    got = ctl(kervan, "events", f"after={newest}")
    assert got.returncode == 1 and "after=0" in got.stderr


def test_lines_from_stdin(kervan):
    got = ctl(kervan, stdin="version\n# a comment\n\nqueues\nquit\nbogus\n")
    assert got.returncode == 0 and "kervan" in got.stdout and "SERVICE" in got.stdout
    got = ctl(kervan, stdin="bogus\nversion\n")
    assert got.returncode == 2 and "bogus" in got.stderr and "kervan" in got.stdout


def poll(k, **params):
    return k.get("/api/events", params=params, headers={"Accept": "application/json"}).json()


def test_backup(kervan, peer, tmp_path):
    job = peer.submit("kept", {"x": 1})
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(kervan.data), "ASAN_OPTIONS": "detect_leaks=0"}
    got = subprocess.run([str(BINARY), "ctl", "backup", "copy one.db"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert got.returncode == 0, got
    copy = tmp_path / "copy one.db"
    assert copy.stat().st_mode & 0o777 == 0o600 and [p.name for p in tmp_path.iterdir()] == ["copy one.db"]
    db = sqlite3.connect(copy)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*) FROM service WHERE name = 'kept'").fetchone() == (1,)
    db.close()
    # Options stand anywhere.
    other = subprocess.run([str(BINARY), "ctl", "backup", "-j", "--yes", "two.db"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert other.returncode == 0 and (tmp_path / "two.db").exists(), other
    again = ctl(kervan, "backup", str(copy))
    assert again.returncode == 1 and "exists" in again.stderr
    nowhere = ctl(kervan, "backup", str(tmp_path / "no/such/folder.db"))
    assert nowhere.returncode == 1 and "No such file or directory" in nowhere.stderr
    peer.submit("after-the-backup")
    seen = poll(kervan)["last"]
    restored = Kervan()
    (restored.data / "kervan.db").write_bytes(copy.read_bytes())
    with restored:
        assert as_json(restored, "job", job)["params"] == {"x": 1}
        with Peer(restored) as other:
            for _ in range(20):  # as many events as the follower knew, and more
                other.submit("restored")
        assert poll(restored, after=seen)["resync"] is True


def test_events_where_fewer_are_kept_than_shown(tmp_path):
    """After a restore, or where the older ones were pruned."""
    with Kervan() as k, Peer(k) as p:
        jobs = [p.submit("few") for _ in range(3)]
        good(k, "backup", str(tmp_path / "copy.db"))
    restored = Kervan()
    (restored.data / "kervan.db").write_bytes((tmp_path / "copy.db").read_bytes())
    with restored:
        shown = [json.loads(line) for line in good(restored, "-j", "events").splitlines()]
        assert [e["jobId"] for e in shown if e["type"] == "job.queued"] == jobs


# ---- a broker that hangs ----


def test_news_that_take_long_are_waited_for(kervan, peer):
    """Nothing for longer than ctl waits in silence: the broker answers others meanwhile."""
    last = as_json(kervan, "events", "limit=1")["id"]
    process = subprocess.Popen([str(BINARY), "ctl", "-j", "events", f"after={last}", "limit=1", "follow"], env={"PATH": os.environ["PATH"], "KERVAN_DATA": str(kervan.data), "ASAN_OPTIONS": "detect_leaks=0"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(7)
    peer.submit("news")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and json.loads(out)["id"] == last + 1 and err == ""


# ---- exit status and errors ----


@pytest.mark.parametrize("line", ["bogus", "job", "pause a b", "jobs foo=1", "job nope", "help bogus", "jobs limit=0", "jobs limit=1000001", "jobs service=T!", "jobs status=maybe", "jobs status=error state=error", "events limit=0", "retry", "retry service=x 0123456789abc", "limit ai weight=3", "limit ai tenant=a max-waiting=3", "limit ai weight=0 tenant=a", "purge ai all", "queues ../x", "grant ayse 5", "grant ayse 0 key=a", "grant ayse -5 key=a", "grant ayse 1.5 key=a", "grant ayse 1000000001 key=a", "grant ayse 5 key=", "credits"])
@pytest.mark.usefixtures("ai")
def test_wrong_usage_ends_with_2(kervan, line):
    got = ctl(kervan, *line.split())
    assert got.returncode == 2 and got.stdout == "" and got.stderr.startswith("kervan ctl: "), got
    as_it_is = ctl(kervan, "-j", *line.split())
    error = as_json_of(as_it_is)
    assert as_it_is.returncode == 2 and as_it_is.stderr == "" and set(error) == {"error", "detail"}
    assert error["detail"] in got.stderr


def test_words_of_the_command_not_of_the_message(kervan, ai):
    assert "weight= needs tenant=NAME" in ctl(kervan, "limit", ai, "weight=3").stderr
    assert "1 to 1000000" in ctl(kervan, "jobs", "limit=0").stderr
    assert as_json(kervan, "jobs", "status=cancelled", f"service={ai}") == as_json(kervan, "jobs", "state=cancelled", f"service={ai}")


@pytest.mark.parametrize("line", ["queues nope", "tenants nope", "workers nope", "leases nope", "limit nope", "dead nope", "top nope", "resume nope", "purge nope waiting", "purge nope dead", "jobs service=nope", "retry service=nope"])
@pytest.mark.usefixtures("ai")
def test_a_queue_that_is_not_there(kervan, line):
    got = ctl(kervan, *line.split())
    assert got.returncode == 1 and 'no queue named "nope"' in got.stderr and got.stdout == "", got
    got = ctl(kervan, "-j", *line.split())
    assert got.returncode == 1 and as_json_of(got)["error"] == "not_found" and got.stderr == ""


def test_steering_before_the_first_job_says_so(kervan):
    assert "new queue" in good(kervan, "pause", "early-bird")
    assert "new queue" not in good(kervan, "resume", "early-bird")


# ---- doctor ----


def test_doctor_in_words(fresh):
    k = fresh()
    with Peer(k) as p, Peer(k, "worker", "slow") as w:
        good(k, "pause", "rest")
        got = ctl(k, "doctor")
        assert got.returncode == 0 and "note     queue rest: paused, 0 waiting" in got.stdout
        w.ask(READY, ["f1", 1])
        p.submit("f1")
        lease = w.wait_job()
        w.ask(JOB_DONE, [*lease[:3], "{}"])
        assert w.ask(JOB_DONE, [lease[0], lease[1], lease[2] + 7, "{}"])[0] == ERROR
        job = p.submit("f1", max_attempts=1)
        lease = w.wait_job()
        w.ask(JOB_FAIL, [*lease[:3], 66, "broke", False])
        p.submit("lonely")
        got = ctl(k, "doctor")
        assert got.returncode == 1
        lines = got.stdout.splitlines()
        levels = [line.split()[0] for line in lines]
        assert levels == sorted(levels, reverse=True) and levels[0] == "problem", lines  # problems first
        assert "queue lonely: no_workers, 1 waiting" in lines[0]
        assert any("queue f1: 1 answer came after its lease was over" in line for line in lines)
        assert any("queue f1: 1 dead letter. See: dead f1; then retry ID, or retry service=f1" in line for line in lines)
        assert "{" not in got.stdout and "1 jobs" not in got.stdout and "1 dead letters" not in got.stdout
        assert "1 problem" in got.stderr
        assert job in good(k, "dead", "f1")
    with Peer(k) as p:
        good(k, "--yes", "purge", "lonely", "waiting")
        workers = len(as_json(k, "workers")["workers"])
        wait_for("the worker to be gone", lambda: f" {workers} workers; broker, database and disk" in good(k, "doctor"))
        assert as_json(k, "doctor")["healthy"] is True


def test_dead_letters_are_in_sight_after_a_restart(fresh):
    """Of a queue, too, in which nothing else is left."""
    k = fresh()
    with Peer(k) as p, Peer(k, "worker", "clumsy") as w:
        w.ask(READY, ["fragile", 1])
        p.submit("fragile", max_attempts=1)
        lease = w.wait_job()
        w.ask(JOB_FAIL, [*lease[:3], 66, "broke", False])
    k.stop()
    k.start()
    assert queue(k, "fragile")["dead"] == 1
    listed = {q["service"]: q for q in k.get("/api/admin/queues").json()["queues"]}
    assert listed["fragile"]["dead_letters"] == 1 and listed["fragile"]["waiting"] == 0
    assert "fragile" in good(k, "queues")


def test_more_dead_letters_than_are_counted_are_called_so(fresh):
    k = fresh()
    with Peer(k) as p:
        p.submit("graveyard")
    k.stop()
    db = sqlite3.connect(k.data / "kervan.db")
    (service,) = db.execute("SELECT id FROM service WHERE name = 'graveyard'").fetchone()
    now = time.time_ns() // 1_000_000  # else retention takes them
    for more, count in ((99_999, "99999"), (1, "100000 or more"), (1, "100000 or more")):
        (last,) = db.execute("SELECT ifnull(max(job), 0) FROM dead_letter").fetchone()
        db.executemany("INSERT INTO dead_letter VALUES (?, ?)", ((service, last + 1 + i) for i in range(more)))
        db.executemany("INSERT INTO job (id, state, service, lane, max_attempts, seq, created_at, updated_at, params) VALUES (?, 3, ?, 1, 1, 0, ?, ?, '')", ((last + 1 + i, service, now, now) for i in range(more)))
        db.commit()
        k.start()
        assert f"removes {count} dead letters of" in ctl(k, "purge", "graveyard", "dead").stderr
        k.stop()
    db.close()
    k.start()
    assert good(k, "purge", "graveyard", "dead", "yes-100000") == "100001 jobs\n"


# ---- figures ----


def test_of_nothing_there_is_no_percentile(fresh):
    k = fresh()
    empty = as_json(k, "stats")["processing_duration_seconds"]
    assert empty["count"] == 0 and empty["p50"] is None and empty["p99"] is None and empty["mean"] is None
    assert good(k, "stats")


# ---- many dead letters again ----


def test_dead_letters_of_a_queue_again(kervan, peer):
    jobs = [peer.submit("brittle", {"n": n}, max_attempts=1) for n in range(5)]
    with Peer(kervan, "worker", "breaker") as w:
        w.ask(READY, ["brittle", 5])
        for _ in jobs:
            lease = w.wait_job()
            w.ask(JOB_FAIL, [*lease[:3], 66, "broke", False])
        w.ask(READY, ["brittle", 0])
    asked = ctl(kervan, "retry", "service=brittle", "limit=2")
    assert asked.returncode == 1 and "2 dead letters" in asked.stderr and "yes-2" in asked.stderr
    assert as_json(kervan, "jobs", "service=brittle", "status=queued")["jobs"] == []
    assert "2 jobs done again" in good(kervan, "--yes", "retry", "service=brittle", "limit=2")
    again = as_json(kervan, "jobs", "service=brittle", "status=queued")["jobs"]
    assert sorted(j["retry_of"] for j in again) == jobs[:2]  # the oldest
    assert as_json(kervan, "retry", "service=brittle", "yes-3") == {"jobs": 3, "refused": 0}
    assert as_json(kervan, "retry", "service=brittle") == {"jobs": 0, "refused": 0}  # none twice
    assert len(as_json(kervan, "jobs", "service=brittle", "status=queued")["jobs"]) == 5
    good(kervan, "--yes", "purge", "brittle", "waiting")
    good(kervan, "--yes", "purge", "brittle", "dead")


# ---- credits ----


def test_credits_are_granted_once_a_key(kervan, peer):
    assert as_json(kervan, "credits", "fatma")["granted"] == 0
    assert "never" in good(kervan, "credits", "fatma")
    first = as_json(kervan, "grant", "fatma", "100", "key=order-1", "reason=paid by card")
    assert first["available"] == 100 and first["state"] == "granted"
    assert as_json(kervan, "grant", "fatma", "100", "key=order-1", "reason=again")["transaction"] == first["transaction"]
    for words in (["fatma", "90", "key=order-1"], ["ali", "100", "key=order-1"]):
        got = ctl(kervan, "grant", *words)
        assert got.returncode == 1 and "order-1" in got.stderr, got
    assert "150" in good(kervan, "grant", "fatma", "50", "key=order-2")
    job = peer.submit("paid", user="fatma")
    account = as_json(kervan, "credits", "fatma")
    assert (account["granted"], account["available"], account["held"], account["spent"]) == (150, 150, 0, 0)
    assert [(t["amount"], t["operation"]) for t in account["transactions"]] == [(50, ""), (100, "paid by card")]
    text = good(kervan, "credits", "fatma")
    assert "150 available" in text and "paid by card" in text and first["transaction"] in text
    good(kervan, "cancel", job)
    assert any("grant fatma" in o["line"] for o in kervan.events("admin_command"))


# ---- top ----


# ---- metrics ----


def test_metrics_by_queue(kervan, peer):
    good(kervan, "limit", "tight", "max-waiting=1", "overflow=evict")
    peer.submit("tight")
    peer.submit("tight")
    wait_for("the eviction", lambda: 'kervan_jobs_evicted_total{service="tight"} 1' in kervan.get("/metrics").text)
    text = kervan.get("/metrics").text
    assert 'kervan_jobs_overdue_total{service="tight"} 0' in text and 'kervan_job_requeues_total{service="tight"} 0' in text
    assert 'kervan_ledger_commit_commands_bucket{le="1"}' in text
    peer.submit("later", delay_ms=3_600_000)
    wait_for("the delayed one", lambda: 'kervan_jobs_delayed{service="later"} 1' in kervan.get("/metrics").text)
    wait_for("the dead letter", lambda: 'kervan_dead_letters{service="tight"} 1' in kervan.get("/metrics").text)
    good(kervan, "--yes", "purge", "tight", "dead")
    wait_for("its end", lambda: 'kervan_dead_letters{service="tight"} 0' in kervan.get("/metrics").text)


# ---- history ----


def test_history_has_milliseconds_and_causes(kervan, peer):
    job = peer.submit("teller", max_attempts=1)
    with Peer(kervan, "worker", "stumbler") as w:
        w.ask(READY, ["teller", 1])
        lease = w.wait_job()
        w.ask(JOB_FAIL, [*lease[:3], 66, "the disk was full of frogs", False])
    step = as_json(kervan, "job", job)["history"][-1]
    text = good(kervan, "job", job)
    at = step["at"].replace("T", " ").rstrip("Z")
    assert step["error_detail"] == "the disk was full of frogs"
    assert any(line.startswith(f"{at}  error ") and "error=internal" in line and step["error_detail"] in line for line in text.splitlines())
    assert "worker=stumbler" in text
    good(kervan, "--yes", "purge", "teller", "dead")


def test_some_of_many_cannot_be_done_again(kervan, peer):
    """Each is a job with a hold of its own: who cannot pay keeps others from nothing."""
    good(kervan, "grant", "veli", "5", "key=veli-1")
    first = peer.new_id()
    with Peer(kervan, "worker", "spender") as w:
        w.ask(READY, ["pricey", 2])
        for job, user, credits in ((first, "veli", 5), (peer.new_id(), "", 0)):
            code, answer = peer.ask(0x10, [job, "pricey", 1, "{}", "", 1, 0, "", 0, 0, 0, "", 0, user, credits])
            assert code == 0x11, answer
            lease = w.wait_job()
            w.ask(JOB_FAIL, [*lease[:3], 66, "broke", False])
        w.ask(READY, ["pricey", 0])
    code, _ = peer.ask(0x10, [peer.new_id(), "pricey", 1, "{}", "", 1, 0, "", 0, 0, 0, "", 0, "veli", 5])  # holds all there is
    assert code == 0x11 and as_json(kervan, "credits", "veli")["held"] == 5
    got = ctl(kervan, "retry", "service=pricey", "yes-2")
    assert got.returncode == 1 and "1 job done again" in got.stdout and "1 of 2 could not be done again: " in got.stderr and "credit" in got.stderr, got
    assert as_json_of(ctl(kervan, "-j", "retry", "service=pricey", "yes-1")) == {"jobs": 0, "refused": 1}
    good(kervan, "--yes", "purge", "pricey", "waiting")
    good(kervan, "--yes", "purge", "pricey", "dead")
