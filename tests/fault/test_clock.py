"""A date that is set, forward and back, while kervan runs (faultclock.c), or that begins in 1970: a machine without a battery, a virtual one that slept."""
import concurrent.futures
import mmap
import os
import signal
import struct
import threading
import time

import pytest
import requests

from jobs import Worker, name, submit, wait_job
from kervan import PATIENCE, Kervan
from pictures import padded_png

HOUR = 3600
ASK = b"GET /api/v1/health/live HTTP/1.1\r\n"
REST = b"Host: localhost\r\n\r\n"


class Clock:
    """The control file of faultclock.c."""

    def __init__(self, folder, library):
        path = folder / "control"
        path.write_bytes(bytes(8))
        self.map = mmap.mmap(os.open(path, os.O_RDWR), 8)
        self.env = {"LD_PRELOAD": str(library), "FAULTCLOCK": str(path)}

    def ahead(self, seconds):
        self.map[0:8] = struct.pack("<q", int(seconds * 1_000_000))

    def set(self, unix):
        self.ahead(unix - time.time())


@pytest.fixture(scope="module")
def library(preload):
    return preload("faultclock")


@pytest.fixture
def clock(library, tmp_path):
    return Clock(tmp_path, library)


def answer(s):
    return s.recv(4096).split(b"\r\n")[0]


def test_a_machine_that_begins_in_1970_is_served(clock):
    clock.set(300)
    with Kervan(env=clock.env) as k:
        s = k.connect()
        s.sendall(ASK)
        k.wait_ready(k.upload(padded_png(4096)).json()["id"])
        s.sendall(REST)
        assert answer(s) == b"HTTP/1.1 200 OK"


def test_a_date_set_forward_ends_no_request(clock):
    with Kervan(env=clock.env) as k:
        data = padded_png(1 << 20)
        head, up = k.connect(), k.connect()
        head.sendall(ASK)
        up.sendall(b"POST /api/media?filename=a.png HTTP/1.1\r\nContent-Length: %d\r\n" % len(data) + REST + data[:300_000])
        k.get("/api/v1/health/live")  # both were read by then
        clock.ahead(48 * HOUR)
        k.get("/api/v1/health/live")  # and time has passed
        head.sendall(REST)
        up.sendall(data[300_000:])
        assert answer(head) == b"HTTP/1.1 200 OK"
        assert answer(up) == b"HTTP/1.1 201 Created"


def test_a_date_set_back_keeps_no_connection_open(clock):
    clock.ahead(HOUR)
    with Kervan(env={"HEADER_TIMEOUT": "1", "KEEPALIVE_TIMEOUT": "2", **clock.env}) as k:
        head, idle = k.connect(), k.connect()
        head.sendall(ASK)
        idle.sendall(ASK + REST)
        assert answer(idle) == b"HTTP/1.1 200 OK"
        clock.ahead(0)
        head.settimeout(10)
        idle.settimeout(10)
        assert answer(head) == b"HTTP/1.1 408 Request Timeout"
        assert answer(idle) == b""


def test_who_asked_while_it_stood_still_is_answered():
    """Stopped wherever it was, for longer than a head may take: what has come by then is read before it is judged."""
    with Kervan(env={"HEADER_TIMEOUT": "1"}) as k, concurrent.futures.ThreadPoolExecutor(8) as pool:
        over = threading.Event()

        def ask():
            while not over.is_set():
                assert requests.get(k.url("/api/v1/health/live"), timeout=PATIENCE).status_code == 200

        asking = [pool.submit(ask) for _ in range(8)]
        gateway = k.children()["gateway"]
        for _ in range(6):
            time.sleep(0.15)
            os.kill(gateway, signal.SIGSTOP)
            time.sleep(1.15)
            os.kill(gateway, signal.SIGCONT)
        over.set()
        for a in asking:
            a.result()


def test_a_key_is_known_when_the_date_goes_back_over_midnight(clock):
    day = 24 * HOUR
    midnight = (time.time() // day + 1) * day
    clock.set(midnight + 60)
    with Kervan(env=clock.env) as k:
        service = name()
        key = {"Idempotency-Key": "order 4711"}
        first = submit(k, service, headers=key)["jobId"]
        worker = Worker(k, service)
        worker.done(worker.wait_job())
        wait_job(k, first, "complete")
        clock.set(midnight - 60)
        assert submit(k, service, headers=key)["jobId"] == first, "the work would be done twice"
