"""The admin socket and `kervan ctl`, with real processes."""
import fcntl
import json
import os
import pty
import signal
import socket
import sqlite3
import struct
import subprocess
import termios
import threading
import time

import pytest
from kervan import BINARY, PATIENCE, Kervan, wait_for
from peer import ERROR, JOB_DONE, JOB_FAIL, JOB_GET, JOB_STATUS, OKAY, READY, SUBMIT, SUBMIT_OK, Peer, id_text

pytestmark = pytest.mark.threads


def ctl(k, *words, stdin="", **env):
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(k.data), "ASAN_OPTIONS": "detect_leaks=0", **env}
    return subprocess.run([str(BINARY), "ctl", *words], env=env, input=stdin, capture_output=True, text=True, timeout=PATIENCE * 2, check=False)


def good(k, *words):
    got = ctl(k, *words)
    assert got.returncode == 0, (words, got)
    return got.stdout


def as_json(k, *words):
    return json.loads(good(k, "-j", *words))


def queue(k, service):
    return next((q for q in as_json(k, "queues", service)["queues"]), None)


@pytest.fixture(scope="module")
def peer(kervan):
    with Peer(kervan) as p:
        yield p


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


@pytest.mark.parametrize("command", ["queues", "jobs", "workers", "leases", "dead", "stats", "top", "version", "help", "tenants ai", "limit ai", "maintain", "doctor", "events limit=1"])
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
        assert "queue fragile: 1 dead letter." in good(kervan, "doctor")
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


def as_json_of(got):
    return json.loads(got.stdout)


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


def connect(k):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    s.connect(str(k.data / "run/admin.sock"))
    return s


def raw(k, data):
    """What comes back until the other side closes, as with `nc -N`."""
    s = connect(k)
    got = b""
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, OSError):
        pass
    while more := s.recv(65536):
        got += more
    s.close()
    return got.decode()


def test_hostile_input(kervan):
    assert (kervan.data / "run/admin.sock").stat().st_mode & 0o777 == 0o600
    for data in (b"\0" * 5000 + b"\n", b"\xff\xfe\n", b"x" * 100_000 + b"\n", b'help "\n', b"jobs " + b"a=b " * 500 + b"\n", b"job " + b"9" * 4000 + b"\n", b"purge a b c d e f\n", b"backup relative\n", b"jobs limit=99999999999999999999\n", b"jobs before=zzz\n", b"events after=-1\n", b"jobs tag=a,b\n"):
        got = raw(kervan, data + b"version\n")
        assert got.startswith("ERROR ") and got.endswith("OK\n"), (data[:40], got)
        assert len(got.splitlines()) == 3, got
    assert raw(kervan, b"") == "" and raw(kervan, b"\n\n\n") == ""
    assert raw(kervan, b"queues\n" * 50).count("\nOK\n") == 50
    # one that goes in the middle, and one that never reads, hold nobody up
    gone = connect(kervan)
    gone.sendall(b"-j jobs limit=1000000\n" * 10)
    gone.close()
    deaf = connect(kervan)
    deaf.sendall(b"help\n" * 400)
    assert "kervan" in good(kervan, "version")
    deaf.close()


def test_no_broker(tmp_path):
    env = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=0"}
    for more in ({"KERVAN_DATA": str(tmp_path)}, {"KERVAN_ADMIN": str(tmp_path / "x.sock")}):
        got = subprocess.run([str(BINARY), "ctl", "queues"], env=env | more, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert got.returncode == 2 and "no broker listens at" in got.stderr and got.stdout == ""
    got = subprocess.run([str(BINARY), "ctl", "-s", "/" + "x" * 200, "queues"], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert got.returncode == 2
    assert subprocess.run([str(BINARY), "ctl", "--bogus"], env=env, capture_output=True, timeout=PATIENCE, check=False).returncode == 2


def test_lines_from_stdin(kervan):
    got = ctl(kervan, stdin="version\n# a comment\n\nqueues\nquit\nbogus\n")
    assert got.returncode == 0 and "kervan" in got.stdout and "SERVICE" in got.stdout
    got = ctl(kervan, stdin="bogus\nversion\n")
    assert got.returncode == 2 and "bogus" in got.stderr and "kervan" in got.stdout


def on_terminal(k, *words):
    """ctl on a terminal of its own: the process, and the terminal's other end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(KERVAN_DATA=str(k.data), TERM="xterm", ASAN_OPTIONS="detect_leaks=0")
        os.execv(str(BINARY), ["kervan", "ctl", *words])
    return pid, fd


def read_until(fd, what):
    got = b""
    end = time.monotonic() + PATIENCE
    while what not in got and time.monotonic() < end:
        try:
            got += os.read(fd, 65536)
        except OSError:
            break
    assert what in got, got
    return got


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_on_a_terminal(kervan, peer):
    pid, fd = on_terminal(kervan)
    read_until(fd, b"kervan> ")
    os.write(fd, b"version\n")
    read_until(fd, b"schema")
    good(kervan, "pause", "quiz")
    peer.submit("quiz")
    os.write(fd, b"purge quiz waiting\n")
    read_until(fd, b"[y/N]")
    os.write(fd, b"n\n")
    read_until(fd, b"kervan> ")
    assert queue(kervan, "quiz")["waiting"] == 1
    os.write(fd, b"purge quiz waiting\n")
    read_until(fd, b"[y/N]")
    os.write(fd, b"y\n")
    read_until(fd, b"1 job\r\n")
    os.write(fd, b"quit\n")
    assert ended(pid) == 0
    os.close(fd)


def test_top_draws_until_q(kervan):
    pid, fd = on_terminal(kervan, "top")
    read_until(fd, b"SERVICE")
    read_until(fd, b"\x1b[H")  # drawn again
    os.write(fd, b"q")
    read_until(fd, b"\x1b[?25h")
    assert ended(pid) == 0
    os.close(fd)


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
    assert ctl(kervan, "backup", str(tmp_path / "no/such/folder.db")).returncode == 1
    restored = Kervan()
    (restored.data / "kervan.db").write_bytes(copy.read_bytes())
    with restored:
        assert as_json(restored, "job", job)["params"] == {"x": 1}


def test_the_socket_comes_back_after_a_kill(fresh):
    k = fresh()
    good(k, "doctor")
    pid = k.children()["broker"]
    os.kill(pid, signal.SIGKILL)
    wait_for("a new broker", lambda: k.children().get("broker", pid) != pid)
    wait_for("its socket", lambda: ctl(k, "version").returncode == 0)  # a stale one was replaced
    wait_for("health", lambda: ctl(k, "doctor").returncode == 0)


def test_a_long_list_does_not_stop_the_broker(fresh):
    k = fresh()
    with Peer(k) as p:
        p.submit_many("crowd", 100_000)
        done, counts = threading.Event(), []

        def look():
            while not done.is_set():
                got = ctl(k, "-j", "jobs", "service=crowd", "limit=1000000")
                assert got.returncode == 0, got.stderr
                counts.append(len(json.loads(got.stdout)["jobs"]))

        looker = threading.Thread(target=look)
        looker.start()
        times = []
        try:
            end = time.monotonic() + PATIENCE * 2
            while (len(times) < 200 or not counts) and time.monotonic() < end:
                begun = time.monotonic()
                p.submit("other")
                assert p.ask(JOB_GET, [p.next_job])[0] == JOB_STATUS
                times.append(time.monotonic() - begun)
        finally:
            done.set()
            looker.join()
        assert counts and counts[0] == 100_000
        times.sort()
        assert times[len(times) // 2] < 0.5, times[-5:]  # the median: a slow disk has the rest
        assert "100000 jobs" in good(k, "--yes", "purge", "crowd", "waiting")


# ---- a broker that hangs ----


def timed(k, *words):
    begun = time.monotonic()
    got = ctl(k, *words)
    return got, time.monotonic() - begun


def test_a_stopped_broker_is_said_to_be(fresh):
    k = fresh()
    pid = k.children()["broker"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for words in (["queues"], ["-j", "queues"], ["doctor"], ["-j", "doctor"]):
            got, took = timed(k, *words)
            assert got.returncode == 1 and 3 < took < 15, (words, got, took)
            said = got.stdout if "-j" in words else got.stderr
            assert "does not answer" in said and f"kill -CONT {pid}" in said, got
        assert "problem  broker: it" in ctl(k, "doctor").stdout
        found = as_json_of(ctl(k, "-j", "doctor"))
        assert found["healthy"] is False and found["findings"][0]["where"] == "broker"
        got = ctl(k, stdin="version\nversion\n")
        assert got.returncode == 1 and got.stderr.count("does not answer") == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("health", lambda: ctl(k, "doctor").returncode == 0)


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


def test_errors_are_json_too(tmp_path):
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(tmp_path), "ASAN_OPTIONS": "detect_leaks=0"}
    for words, error in ((["-j", "queues"], "no_broker"), (["queues", "-j"], "no_broker"), (["-j", "--bogus"], "usage")):
        got = subprocess.run([str(BINARY), "ctl", *words], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert got.returncode == 2 and as_json_of(got)["error"] == error and got.stderr == "", got


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


def screen(fd, rows, cols):
    """What stands on the terminal after a drawing."""

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    got = b""
    end = time.monotonic() + PATIENCE
    while got.count(b"\x1b[J") < 3 and time.monotonic() < end:
        got += os.read(fd, 65536)
    last = got.split(b"\x1b[H")[-2].split(b"\x1b[J")[0]
    return [line.replace("\x1b[K", "").rstrip() for line in last.decode().split("\r\n")]


def test_top_fits_its_screen(fresh):
    k = fresh()
    with Peer(k) as p, Peer(k, "worker", "weaver-of-a-very-long-name-indeed") as w:
        names = [f"a-queue-with-a-name-that-is-far-too-long-for-a-small-screen-{n:02}" for n in range(30)]
        for name in names:
            w.ask(READY, [name, 1])
        good(k, "pause", names[29])
        p.submit("alone")
        pid, fd = on_terminal(k, "top")
        lines = screen(fd, 24, 80)
        assert len(lines) <= 24 and max(map(len, lines)) <= 80, lines
        heads = next(line for line in lines if line.startswith("SERVICE"))
        assert heads.endswith("HEALTH")
        first = lines[lines.index(heads) + 1:]
        assert first[0].startswith("alone") and first[0].endswith("no_workers")
        assert first[1].endswith("paused") and "…" in first[1] and "-29 " in first[1]
        assert first[2].endswith("ok") and "-00 " in first[2]
        assert any(line.startswith("… ") and line.endswith(" more queues") for line in lines)
        assert any("WORKER" in line and "HEARD" in line for line in lines)
        assert lines[-1].startswith("… ") and lines[-1].endswith(" more workers")
        wide = screen(fd, 90, 200)
        assert not any("… " in line for line in wide) and names[29] in "\n".join(wide) and max(map(len, wide)) > 80
        os.write(fd, b"q")
        read_until(fd, b"\x1b[?25h")
        assert ended(pid) == 0
        os.close(fd)
        pid, fd = on_terminal(k, "top", "alone")
        assert not any("a-queue" in line for line in screen(fd, 24, 80))
        os.write(fd, b"q")
        read_until(fd, b"\x1b[?25h")
        assert ended(pid) == 0
        os.close(fd)
        listed = [q["service"] for q in as_json(k, "queues")["queues"]]
        assert listed == sorted(listed) and set(listed) >= {"alone", *names}
        assert [q["service"] for q in as_json(k, "top")["queues"]][:2] == ["alone", names[29]]


# ---- metrics ----


def test_metrics_by_queue(kervan, peer):
    good(kervan, "limit", "tight", "max-waiting=1", "overflow=evict")
    peer.submit("tight")
    peer.submit("tight")
    wait_for("the eviction", lambda: 'kervan_jobs_evicted_total{service="tight"} 1' in kervan.get("/metrics").text)
    text = kervan.get("/metrics").text
    assert 'kervan_jobs_overdue_total{service="tight"} 0' in text and 'kervan_job_requeues_total{service="tight"} 0' in text
    assert 'kervan_ledger_commit_commands_bucket{le="1"}' in text
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
