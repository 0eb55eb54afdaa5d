"""The admin socket: hostile input, no broker, one that was killed or is stopped."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from ctl import as_json_of, connect, ctl, good
from kervan import BINARY, PATIENCE, wait_for
from peer import JOB_GET, JOB_STATUS, Peer

pytestmark = pytest.mark.threads


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


def test_errors_are_json_too(tmp_path):
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(tmp_path), "ASAN_OPTIONS": "detect_leaks=0"}
    for words, error in ((["-j", "queues"], "no_broker"), (["queues", "-j"], "no_broker"), (["-j", "--bogus"], "usage")):
        got = subprocess.run([str(BINARY), "ctl", *words], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert got.returncode == 2 and as_json_of(got)["error"] == error and got.stderr == "", got
