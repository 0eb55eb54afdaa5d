"""The admin socket and `kervan ctl`, with real processes."""
import json
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
from kervan import BINARY, PATIENCE, Kervan, wait_for
from peer import ERROR, JOB_DONE, JOB_FAIL, JOB_GET, JOB_STATUS, OKAY, READY, Peer

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


@pytest.mark.parametrize("command", ["queues", "jobs", "workers", "leases", "dead", "stats", "top", "version", "help", "tenants ai", "limit ai", "maintain", "doctor", "events limit=1"])
def test_every_look_in_text_and_json(kervan, command):
    text = good(kervan, *command.split())
    assert "\x1b" not in text and "OK" not in text.splitlines()
    out = good(kervan, "-j", *command.split())
    for line in out.splitlines():  # events: an object a line
        json.loads(line)
    assert ctl(kervan, *command.split(), "-j").returncode == 0


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
        assert "dead letters" in good(kervan, "doctor")
        again = as_json(kervan, "retry", job)
        assert again["created"] and again["jobId"] != job
        second = w.wait_job()
        w.ask(JOB_DONE, [*second[:3], "{}"])
    assert as_json(kervan, "job", again["jobId"])["retry_of"] == job
    assert ctl(kervan, "retry", again["jobId"]).returncode == 1  # it is complete
    asked = ctl(kervan, "purge", "fragile", "dead")
    assert asked.returncode == 1 and "yes-1" in asked.stderr
    assert "1 jobs" in good(kervan, "--yes", "purge", "fragile", "dead")
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
        assert got.returncode == 1 and got.stdout == "", (words, got)
    assert ctl(kervan, "limit", "../lake", "rate=1").returncode == 1


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
    assert ctl(kervan, "purge", "pond", "all").returncode == 1
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
    assert got.returncode == 1 and "bogus" in got.stderr and "kervan" in got.stdout


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
    read_until(fd, b"1 jobs")
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
