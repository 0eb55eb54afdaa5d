"""A peer of the broker, as proto/PROTOCOL.md has it: for tests that need jobs and workers of their own.

    with Peer(k, "client") as p:
        job = p.submit("ai", {"n": 1})
        assert p.ask(JOB_GET, [job])[0] == JOB_STATUS
"""
import json
import os
import struct
import threading
import time

import msgpack
import zmq

HELLO, HELLO_OK, BEAT, BEAT_OK, BYE, ERROR, OKAY = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
SUBMIT, SUBMIT_OK, JOB_GET, JOB_STATUS, CANCEL = 0x10, 0x11, 0x12, 0x13, 0x14
SUBMIT_BATCH, SUBMIT_BATCH_OK = 0x16, 0x17
READY, JOB, JOB_PROGRESS, JOB_DONE, JOB_FAIL, JOB_CANCEL = 0x20, 0x22, 0x23, 0x24, 0x25, 0x26

BEAT_S = 0.7

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def id_text(n):
    return "".join(ALPHABET[n >> (5 * i) & 31] for i in range(12, -1, -1))


class Peer:
    def __init__(self, kervan, role="client", name=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 200
        self.socket.connect(f"ipc://{kervan.data}/run/broker.sock")
        self.next_request = 1
        self.next_job = (int(time.time() * 1000) - 1735689600000) << 22 | (os.getpid() & 1023) << 12
        self.jobs = []  # JOBs that came unasked
        self.lock = threading.Lock()  # of the socket
        self.over = threading.Event()
        self.beat_at = time.monotonic() + BEAT_S
        self.lost = False  # the broker counts us as gone: the tests' process may stand still for longer than it waits
        self.hello = [role, name or f"test-{os.getpid()}-{id(self) & 0xffff}", int.from_bytes(os.urandom(7), "big"), "test"]
        code, body = self.ask(HELLO, self.hello)
        assert code == HELLO_OK, (code, body)
        self.beater = threading.Thread(target=self._beat, daemon=True)
        self.beater.start()

    def _beat(self):
        """A test may look elsewhere for longer than the broker waits."""
        while not self.over.wait(BEAT_S / 2):
            with self.lock:
                self._beat_if_due()

    def _beat_if_due(self):
        if time.monotonic() >= self.beat_at:
            self.beat_at = time.monotonic() + BEAT_S
            self._send(BEAT, [0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.beater.join()
        self.send(BYE, ["done"])
        self.socket.close()
        self.context.term()

    def send(self, code, fields):
        with self.lock:
            return self._send(code, fields)

    def _send(self, code, fields, request=None):
        if request is None:
            request = self.next_request
            self.next_request += 1
        head = struct.pack(">2sBBHHQQ16s8s", b"KV", 1, 0, code, 0, request, 0, b"", b"")
        self.socket.send_multipart([head, msgpack.packb(fields)])
        return request

    def take(self, timeout):
        """(code, request, fields), or None."""
        end = time.monotonic() + timeout
        while True:
            with self.lock:
                self._beat_if_due()  # the beating thread may not get the lock from this loop
                head, body = self.socket.recv_multipart() if self.socket.poll(20) else (None, None)
            if head:
                _, _, _, code, _, request = struct.unpack(">2sBBHHQ", head[:16])
                fields = msgpack.unpackb(body)
                if code != BEAT_OK:
                    return code, request, fields
                if not fields[1]:
                    self.lost = True
                    return None
            elif time.monotonic() > end:
                return None

    def ask(self, code, fields, timeout=30):
        request = self.send(code, fields)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            got = self.take(end - time.monotonic())
            if self.lost and code != BYE:
                self.lost = False
                with self.lock:
                    self._send(HELLO, self.hello)
                    self._send(code, fields, request)
            if got and got[0] == JOB:
                self.jobs.append(got[2])
            elif got and got[1] == request:
                return got[0], got[2]
        raise AssertionError(f"no answer to {code:#x}")

    def new_id(self):
        self.next_job += 1
        return self.next_job

    def submit(self, service, params=None, lane=1, tenant="", **fields):
        """The id as text."""
        job = self.new_id()
        body = [job, service, lane, json.dumps(params or {}), tenant, fields.get("max_attempts", 3), fields.get("delay_ms", 0), "", 0, 0, 0, fields.get("tags", ""), 0, fields.get("user", "")]
        code, answer = self.ask(SUBMIT, body)
        assert code == SUBMIT_OK, answer
        return id_text(job)

    def submit_many(self, service, n):
        for begun in range(0, n, 1000):
            bodies = b"".join(msgpack.packb([self.new_id(), service, 1, "{}"]) for _ in range(min(1000, n - begun)))
            code, answer = self.ask(SUBMIT_BATCH, [bodies])
            assert code == SUBMIT_BATCH_OK, answer

    def wait_job(self, timeout=30):
        """The next JOB: [job, epoch, attempt, service, params]."""
        end = time.monotonic() + timeout
        while not self.jobs and time.monotonic() < end:
            got = self.take(end - time.monotonic())
            if got and got[0] == JOB:
                self.jobs.append(got[2])
        assert self.jobs, "no job came"
        return self.jobs.pop(0)
