"""A peer that outlasts every restart of the broker, as PROTOCOL.md has it: HELLO again, send again under the same id until there is an answer. One thread."""
import itertools
import os
import random
import struct
import time

import msgpack
import zmq

from peer import ALPHABET

CODES = {
    "HELLO": 0x01, "HELLO_OK": 0x02, "BEAT": 0x03, "BEAT_OK": 0x04, "ERROR": 0x06, "OKAY": 0x07, "SUBMIT": 0x10, "SUBMIT_OK": 0x11, "CANCEL": 0x14, "CANCEL_OK": 0x15,
    "SUBMIT_BATCH": 0x16, "SUBMIT_BATCH_OK": 0x17, "POSITION": 0x1B, "POSITIONS": 0x1C, "CREDIT": 0x1D, "CREDIT_OK": 0x1E, "READY": 0x20, "LEASE_HELD": 0x21, "JOB": 0x22,
    "JOB_PROGRESS": 0x23, "JOB_DONE": 0x24, "JOB_FAIL": 0x25, "JOB_CANCEL": 0x26, "EVENTS": 0x40,
}  # fmt: skip
NAMES = {code: name for name, code in CODES.items()}
HEADER = struct.Struct(">2sBBHHQQ16s8s")
ERRORS = {"NO_CREDIT": 26, "CONFLICT": 23, "NOT_FOUND": 14, "DISK_FULL": 60, "IO": 61, "BUSY": 63, "STALE_LEASE": 84}
HELLO_S, BEAT_S, RESEND_S, SILENT_S = 0.2, 0.25, 0.5, 3.0
EPOCH_2025_MS = 1735689600000


def id_number(text):
    number = 0
    for c in text:
        number = number << 5 | ALPHABET.index(c)
    return number


class Ids:
    """Ids as PROTOCOL.md has them: milliseconds, node, counter. No two of a test have one node: one in a hundred runs would."""

    nodes = itertools.count(random.SystemRandom().getrandbits(10))

    def __init__(self):
        self.node, self.last, self.counter = next(self.nodes) % 1024, 0, 0

    def make(self):
        now = max(time.time_ns() // 1_000_000 - EPOCH_2025_MS, self.last)
        self.counter = self.counter + 1 if now == self.last else 0
        if self.counter > 4095:
            now, self.counter = now + 1, 0
        self.last = now
        return now << 22 | self.node << 12 | self.counter


class Refused(Exception):
    def __init__(self, fields):
        self.number, self.detail, self.retry_after_ms = (list(fields) + [66, "", 0])[:3]
        super().__init__(f"{self.number}: {self.detail}")


class Stubborn:
    def __init__(self, endpoint, role, name):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        for option, value in ((zmq.IMMEDIATE, 1), (zmq.LINGER, 0), (zmq.RECONNECT_IVL, 20), (zmq.RECONNECT_IVL_MAX, 20)):
            self.socket.setsockopt(option, value)
        self.socket.connect(endpoint)
        self.role, self.name, self.instance = role, name, int.from_bytes(os.urandom(7), "big") + 1
        self.next_id, self.hello, self.standing, self.epoch = 1, 0, False, 0
        self.next_hello = self.next_beat = self.heard = 0.0
        self.pending = {}  # request id -> [frames, when sent, what to call with (name, fields)]
        self.busy = 0

    # ---- for a worker ----
    def on_session(self):
        pass

    def on_message(self, name, fields):
        pass

    # ---- sending ----
    @staticmethod
    def _frames(name, fields, request):
        return [HEADER.pack(b"KV", 1, 0, CODES[name], 0, request, 0, bytes(16), bytes(8)), msgpack.packb(fields)]

    def _send(self, name, fields, request):
        self._send_frames(self._frames(name, fields, request))

    def _send_frames(self, frames):
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            pass  # no broker there: sent again

    def _new_id(self):
        self.next_id += 1
        return self.next_id

    def ask(self, name, fields, then):
        """Sends until there is an answer, which goes to then(name, fields)."""
        request = self._new_id()
        self.pending[request] = [self._frames(name, fields, request), 0.0, then]
        if self.standing:
            self._resend(request, time.monotonic())
        return request

    def _resend(self, request, now):
        if request in self.pending:
            self.pending[request][1] = now
            self._send_frames(self.pending[request][0])

    def call(self, name, fields, timeout=60.0):
        """The answer's fields; raises Refused, or TimeoutError."""
        got = []
        request = self.ask(name, fields, lambda kind, body: got.append((kind, body)))
        end = time.monotonic() + timeout
        while not got:
            self.pump(0.05)
            if time.monotonic() > end:
                del self.pending[request]
                raise TimeoutError(f"{name} was not answered")
        if got[0][0] == "ERROR":
            raise Refused(got[0][1])
        return got[0][1]

    # ---- the session ----
    def pump(self, timeout):
        now = time.monotonic()
        if self.standing and now - self.heard > SILENT_S:
            self.standing, self.next_hello, self.hello = False, now, 0
        if not self.standing and now >= self.next_hello:
            self.hello = self.hello or self._new_id()
            self._send("HELLO", [self.role, self.name, self.instance, "test", self.epoch], self.hello)
            self.next_hello = now + HELLO_S
        if self.standing and now >= self.next_beat:
            self._send("BEAT", [self.busy], self._new_id())
            self.next_beat = now + BEAT_S
        if self.standing:
            for request in [r for r, p in self.pending.items() if now - p[1] >= RESEND_S]:
                self._resend(request, now)
        if self.socket.poll(max(1, int(timeout * 1000))):
            self._receive()

    def _receive(self):
        while True:
            try:
                head, body = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            _, _, _, code, _, request, _, _, _ = HEADER.unpack(head)
            self.heard = time.monotonic()
            self._take(NAMES.get(code), msgpack.unpackb(body), request)

    def _take(self, name, fields, request):
        if name == "HELLO_OK":
            if request == self.hello:
                self._stands(fields[0])
        elif name == "BEAT_OK":
            if self.standing and (not fields[1] or fields[0] != self.epoch):
                self.standing, self.next_hello, self.hello = False, 0.0, 0
        elif request in self.pending:
            self.pending.pop(request)[2](name, fields)
        elif not request and name:
            self.on_message(name, fields)

    def _stands(self, epoch):
        waited = list(self.pending)
        self.standing, self.epoch = True, epoch
        self.next_beat = self.heard + BEAT_S
        self.on_session()
        for request in waited:
            self._resend(request, self.heard)

    def close(self):
        self.socket.close()
