"""A client of the kervan broker, written from proto/PROTOCOL.md alone.

Needs pyzmq and msgpack (Debian: python3-zmq python3-msgpack).

    with Client("report-service") as c:
        job = c.submit("thumbnails", {"page": 7}, user="ayse")
        print(c.wait(job["job"])["result"])

A Client may be used from any thread. Worker serves a queue; follow() reads the event log.
"""
import collections
import concurrent.futures
import itertools
import json
import os
import queue
import secrets
import socket
import struct
import sys
import threading
import time

import msgpack
import zmq

# ---- what PROTOCOL.md's tables say: code, and the fields in order with their defaults ----

MESSAGES = {
    "HELLO": (0x01, [("role", ""), ("name", ""), ("instance", 0), ("version", ""), ("epoch", 0), ("place", 0)]),
    "HELLO_OK": (0x02, [("epoch", 0), ("beat_ms", 1000), ("silent_beats", 3), ("last_event", 0), ("gone_seq", 0)]),
    "BEAT": (0x03, [("busy", 0)]),
    "BEAT_OK": (0x04, [("epoch", 0), ("known", False)]),
    "BYE": (0x05, [("reason", "")]),
    "ERROR": (0x06, [("number", 66), ("detail", ""), ("retry_after_ms", 0), ("gone_seq", 0)]),
    "OKAY": (0x07, [("id", 0)]),
    "SUBMIT": (0x10, [("job", 0), ("service", ""), ("lane", 1), ("params", ""), ("tenant", ""), ("max_attempts", 0), ("delay_ms", 0),
                      ("unique_key", ""), ("backoff_ms", 0), ("backoff_max_ms", 0), ("deadline_ms", 0), ("tags", ""), ("retention_s", 0),
                      ("user", ""), ("credits", 0), ("operation", ""), ("metadata", ""), ("retry_of", 0)]),
    "SUBMIT_OK": (0x11, [("job", 0), ("status", ""), ("created", True), ("queue_position", -1), ("lane_position", -1), ("eta_low_ms", 0), ("eta_high_ms", 0)]),
    "JOB_GET": (0x12, [("job", 0)]),
    "JOB_STATUS": (0x13, [("json", ""), ("queue_position", -1), ("lane_position", -1), ("eta_low_ms", 0), ("eta_high_ms", 0)]),
    "CANCEL": (0x14, [("job", 0)]),
    "CANCEL_OK": (0x15, [("job", 0), ("was", "")]),
    "SUBMIT_BATCH": (0x16, [("jobs", b"")]),
    "SUBMIT_BATCH_OK": (0x17, [("results", b""), ("retry_after_ms", 0)]),
    "METADATA": (0x18, [("job", 0), ("patch", ""), ("version", 0)]),
    "METADATA_OK": (0x19, [("job", 0), ("version", 0), ("metadata", "")]),
    "RETRY": (0x1A, [("job", 0), ("new_job", 0)]),
    "POSITION": (0x1B, [("jobs", b""), ("watch", False), ("unwatch", False)]),
    "POSITIONS": (0x1C, [("json", "")]),
    "CREDIT": (0x1D, [("transaction", 0), ("what", 0), ("user", ""), ("amount", 0), ("operation", "")]),
    "CREDIT_OK": (0x1E, [("transaction", 0), ("state", ""), ("available", 0), ("held", 0), ("spent", 0)]),
    "READY": (0x20, [("service", ""), ("credit", 1)]),
    "LEASE_HELD": (0x21, [("job", 0), ("epoch", 0), ("attempt", 0)]),
    "JOB": (0x22, [("job", 0), ("epoch", 0), ("attempt", 1), ("service", ""), ("params", "")]),
    "JOB_PROGRESS": (0x23, [("job", 0), ("epoch", 0), ("attempt", 0), ("progress", 0), ("patch", "")]),
    "JOB_DONE": (0x24, [("job", 0), ("epoch", 0), ("attempt", 0), ("result", "")]),
    "JOB_FAIL": (0x25, [("job", 0), ("epoch", 0), ("attempt", 0), ("number", 66), ("detail", ""), ("retry", False)]),
    "JOB_CANCEL": (0x26, [("job", 0), ("epoch", 0), ("attempt", 0)]),
    "EVENTS": (0x40, [("prev", 0), ("first", 0), ("last", 0), ("events", ""), ("gone_seq", 0)]),
    "EVENT_HEAD": (0x41, [("last", 0), ("epoch", 0), ("gone_seq", 0)]),
    "EVENTS_GET": (0x45, [("after", 0), ("limit", 1000)]),
}
NAMES = {code: name for name, (code, _) in MESSAGES.items()}
ANSWERS = {"SUBMIT": "SUBMIT_OK", "JOB_GET": "JOB_STATUS", "CANCEL": "CANCEL_OK", "SUBMIT_BATCH": "SUBMIT_BATCH_OK", "METADATA": "METADATA_OK",
           "RETRY": "SUBMIT_OK", "POSITION": "POSITIONS", "CREDIT": "CREDIT_OK", "EVENTS_GET": "EVENTS"}  # the others: OKAY
LANES = {"urgent": 0, "normal": 1, "background": 2}
NOT_FOUND, CONFLICT, INTERNAL, BROKER_AWAY, STALE_LEASE, BAD_MESSAGE = 14, 23, 66, 64, 84, 80

HEADER = struct.Struct(">2sBBHHQQ16s8s")
BODY_MAX = 8 << 20


class KervanError(Exception):
    """An ERROR of the broker; BROKER_AWAY: there was no answer in time."""

    def __init__(self, number, detail, retry_after_ms=0):
        super().__init__(f"{number}: {detail}")
        self.number, self.detail, self.retry_after_ms = number, detail, retry_after_ms


def pack(name, fields):
    return msgpack.packb([fields.get(field, default) for field, default in MESSAGES[name][1]], use_bin_type=True)


def header(name, request=0, deadline=0):
    return HEADER.pack(b"KV", 1, 0, MESSAGES[name][0], 0, request, deadline, bytes(16), bytes(8))


def frames(name, fields, request=0, deadline=0):
    return [header(name, request, deadline), pack(name, fields)]


def unpack(body, wanted):
    """The first elements of its array; those of a newer broker behind them are skipped, whatever they are."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=BODY_MAX)  # checks every size against the length of its input
    unpacker.feed(body)
    n = unpacker.read_array_header()
    if n > 64:
        raise ValueError("more than 64 elements")
    values = [unpacker.unpack() for _ in range(min(n, wanted))]
    for _ in range(wanted, n):
        unpacker.skip()
    if unpacker.tell() != len(body):
        raise ValueError("bytes behind the array")
    return values


def parse(parts):
    """(name, request, fields) of a message, or None where it is malformed or not known."""
    if len(parts) != 2 or len(parts[0]) != HEADER.size or len(parts[1]) > BODY_MAX:
        return None
    magic, version, _, code, _, request, _, _, _ = HEADER.unpack(parts[0])
    if magic != b"KV" or version != 1 or code not in NAMES:
        return None
    known = MESSAGES[NAMES[code]][1]
    try:
        values = unpack(parts[1], len(known))
    except (ValueError, msgpack.UnpackException):
        return None
    if any(type(v) is not type(d) for v, (_, d) in zip(values, known)):
        return None
    fields = dict(known)
    fields.update(zip((f for f, _ in known), values))
    return NAMES[code], request, fields


# ---- ids ----

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_node, _last, _id_lock = secrets.randbelow(1024), 0, threading.Lock()


def new_id():
    global _last
    with _id_lock:
        now = int(time.time() * 1000) - 1735689600000
        _last = max(_last + 1, now << 12)  # ms and counter together: a counter that is used up goes on in the next ms
        return (_last >> 12) << 22 | _node << 12 | (_last & 0xFFF)


def id_text(number):
    return "".join(DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


def id_number(text):
    number = 0
    for c in text:
        number = number << 5 | DIGITS.index(c)
    return number


def endpoint(variable, file):
    return os.environ.get(variable) or f"ipc://{os.environ.get('KERVAN_DATA') or './data'}/run/{file}"


def _connect(socket, endpoint):
    if endpoint.startswith("tcp://["):
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(endpoint)


# ---- the session: one thread, one DEALER ----


class _Request:
    def __init__(self, name, fields, until):
        self.name, self.until, self.sent = name, until, None
        self.body, self.parts = pack(name, fields), None  # here, where whoever asks learns what cannot be packed
        self.future = concurrent.futures.Future()


class Session:
    """Says HELLO, beats, sends requests until they are answered. The callbacks run in its thread and must not block."""

    def __init__(self, role, name, broker=None, on_session=None, on_message=None):
        self.role, self.name = role, f"{name}-{os.getpid()}-{secrets.token_hex(2)}"
        self.instance = secrets.randbits(64)
        self.on_session, self.on_message = on_session, on_message
        self.endpoint = broker or endpoint("KERVAN_BROKER", "broker.sock")
        self.busy = 0
        self.hello_ok = None  # of the session that stands, or of the last one
        self.stands = threading.Event()
        self._ids = itertools.count(1)
        self._state = "away"  # "greeting": a HELLO is out, "up"
        self._hello_id = 0
        self._next_hello = self._next_beat = self._heard = 0.0
        self._requests = {}
        self._inbox = queue.SimpleQueue()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # -- for any thread --
    def ask(self, name, fields, timeout=30.0):
        """A future of the answer's fields; ends with KervanError. TypeError, ValueError, OverflowError: that is no field of a message."""
        r = _Request(name, fields, time.monotonic() + timeout)
        if self._stopping:
            r.future.set_exception(KervanError(BROKER_AWAY, "the session was closed"))
            return r.future
        self._inbox.put(r)
        self._wake()
        return r.future

    def close(self):
        self._stopping = True
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _wake(self):
        try:
            self._wake_write.send(b"x")
        except (BlockingIOError, OSError):
            pass

    # -- its thread --
    def _run(self):
        context = zmq.Context()
        self._dealer = context.socket(zmq.DEALER)
        self._dealer.setsockopt(zmq.IMMEDIATE, 1)
        self._dealer.setsockopt(zmq.LINGER, 100)
        self._dealer.setsockopt(zmq.SNDHWM, 0)
        self._dealer.setsockopt(zmq.RCVHWM, 0)
        self._dealer.setsockopt(zmq.MAXMSGSIZE, BODY_MAX)
        self._dealer.setsockopt(zmq.RECONNECT_IVL, 50)
        _connect(self._dealer, self.endpoint)
        poller = zmq.Poller()
        poller.register(self._dealer, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        try:
            while not self._stopping:
                self._take_messages()
                self._take_inbox()
                self._keep_alive()
                self._send_due()
                poller.poll(self._ms_until_due())
                try:
                    self._wake_read.recv(4096)
                except BlockingIOError:
                    pass
        finally:
            self._stopping = True
            if self._state == "up":
                self._send(frames("BYE", {"reason": "stopping"}))
            self._dealer.close()
            context.term()
            self._take_inbox()
            for r in self._requests.values():
                r.future.set_exception(KervanError(BROKER_AWAY, "the session was closed"))

    def _send(self, parts):
        try:
            self._dealer.send_multipart(parts, zmq.DONTWAIT)
            return True
        except zmq.Again:
            return False

    def _take_inbox(self):
        while not self._inbox.empty():
            self._add(self._inbox.get())

    def _add(self, r):
        request = next(self._ids)
        deadline = int((time.time() + r.until - time.monotonic()) * 1000)
        r.parts = [header(r.name, request, deadline), r.body]
        if r.name == "READY":  # an older one, sent again behind this one, would undo it
            self._withdraw("READY")
        self._requests[request] = r

    def _withdraw(self, name):
        for request in [i for i, r in self._requests.items() if r.name == name]:
            self._requests.pop(request).future.set_exception(KervanError(BROKER_AWAY, "a newer one took its place"))

    def _take_messages(self):
        while True:
            try:
                parts = self._dealer.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            message = parse(parts)
            self._heard = time.monotonic()
            if message:
                self._take(*message)

    def _take(self, name, request, fields):
        if name == "HELLO_OK":
            if request == self._hello_id:
                self._begin(fields)
        elif name == "BEAT_OK":
            if self._state == "up" and (not fields["known"] or fields["epoch"] != self.hello_ok["epoch"]):
                self._state = "away"
                self._next_hello = 0.0
        elif request == 0:
            if self.on_message:
                self.on_message(name, fields)
        elif request in self._requests:  # else a second answer
            r = self._requests.pop(request)
            if name == "ERROR":
                r.future.set_exception(KervanError(fields["number"], fields["detail"], fields["retry_after_ms"]))
            elif name == ANSWERS.get(r.name, "OKAY"):
                r.future.set_result(fields)
            else:
                r.future.set_exception(KervanError(BAD_MESSAGE, f"{r.name} was answered with {name}"))

    def _begin(self, hello_ok):
        self.hello_ok = hello_ok
        self._state = "up"
        self._next_beat = time.monotonic() + hello_ok["beat_ms"] / 1000
        waiting = list(self._requests.values())
        for r in waiting:
            r.sent = None
        if self.on_session:  # what it asks goes out first
            for name, fields, done in self.on_session(hello_ok):
                r = _Request(name, fields, time.monotonic() + 30)
                r.future.add_done_callback(done)
                self._add(r)
                r.sent = time.monotonic() if self._send(r.parts) else None
        self.stands.set()

    def _keep_alive(self):
        now = time.monotonic()
        if self._state == "up" and now - self._heard > self.hello_ok["beat_ms"] * self.hello_ok["silent_beats"] / 1000:
            self._state = "away"
        if self._state == "up" and now >= self._next_beat:
            self._send(frames("BEAT", {"busy": self.busy}, next(self._ids)))
            self._next_beat = now + self.hello_ok["beat_ms"] / 1000
        if self._state != "up" and now >= self._next_hello:
            if self._state != "greeting":
                self._hello_id = next(self._ids)
            hello = {"role": self.role, "name": self.name, "instance": self.instance, "version": "example", "epoch": self.hello_ok["epoch"] if self.hello_ok else 0}
            sent = self._send(frames("HELLO", hello, self._hello_id))
            self._state = "greeting" if sent else "away"
            self._next_hello = now + (1.0 if sent else 0.1)

    def _send_due(self):
        now = time.monotonic()
        for request in [i for i, r in self._requests.items() if r.until <= now]:
            self._requests.pop(request).future.set_exception(KervanError(BROKER_AWAY, "no answer in time"))
        if self._state != "up":
            return
        for r in self._requests.values():
            if r.sent is None or now - r.sent >= 1.0:
                if not self._send(r.parts):
                    return
                r.sent = now

    def _ms_until_due(self):
        now = time.monotonic()
        due = now + 0.1 if self._state != "up" else self._next_beat
        if self._requests:
            due = min(due, now + 0.1)
        return max(0, int((due - now) * 1000) + 1)


# ---- asking ----


class Client:
    def __init__(self, name="client", broker=None, timeout=30.0):
        self.timeout = timeout
        self._watched = {}  # job -> queue of positions
        self.session = Session("client", name, broker, self._on_session, self._on_message)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.session.close()

    def ask(self, name, timeout=None, **fields):
        """Waits for the answer; where the broker says when a new try makes sense, it is made."""
        until = time.monotonic() + (timeout or self.timeout)
        while True:
            try:
                return self.session.ask(name, fields, until - time.monotonic()).result()
            except KervanError as e:
                if not e.retry_after_ms or time.monotonic() + e.retry_after_ms / 1000 >= until:
                    raise
                time.sleep(e.retry_after_ms / 1000)

    @staticmethod
    def job(service, params=None, lane="normal", job=None, metadata=None, tags=(), **options):
        """The fields of a SUBMIT; options as in its table: delay_ms=, unique_key=, user=, credits= …"""
        options["metadata"] = json.dumps(metadata) if metadata else ""
        return {"job": job or new_id(), "service": service, "params": json.dumps(params), "lane": LANES[lane], "tags": ",".join(tags), **options}

    def submit(self, service, params=None, **options):
        """Committed when it returns. Give job=new_id() to be able to ask again after BROKER_AWAY."""
        return self.ask("SUBMIT", **self.job(service, params, **options))

    def submit_batch(self, jobs):
        """jobs: what Client.job() returned, at most 1000. A list of (job, error number, status, created)."""
        answer = self.ask("SUBMIT_BATCH", jobs=b"".join(pack("SUBMIT", j) for j in jobs))
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=BODY_MAX)
        unpacker.feed(answer["results"])
        return [tuple(r[:4]) for r in unpacker]

    def get(self, job):
        answer = self.ask("JOB_GET", job=job)
        return {**json.loads(answer["json"]), "queue_position": answer["queue_position"]}

    def cancel(self, job):
        return self.ask("CANCEL", job=job)["was"]

    def retry(self, job):
        return self.ask("RETRY", job=job, new_job=new_id())

    def metadata(self, job, patch, version=0):
        answer = self.ask("METADATA", job=job, patch=json.dumps(patch), version=version)
        return json.loads(answer["metadata"]), answer["version"]

    def credit(self, what, user="", amount=0, transaction=None, operation=""):
        number = ["grant", "reserve", "confirm", "refund"].index(what)
        return self.ask("CREDIT", transaction=transaction or new_id(), what=number, user=user, amount=amount, operation=operation)

    # -- positions --
    def positions(self, jobs, **how):
        answer = self.ask("POSITION", jobs=b"".join(j.to_bytes(8, "big") for j in jobs), **how)
        return json.loads(answer["json"])

    def _insist(self, until, question):
        """Its answer: a broker that is away may come back in time."""
        while True:
            try:
                return question()
            except KervanError as e:
                if e.number != BROKER_AWAY or self.session._stopping or time.monotonic() >= until:
                    raise

    def wait(self, job, timeout=3600.0, on_position=None):
        """The job as JSON when it has ended. One waiter a job."""
        until = time.monotonic() + timeout
        self._watched[job] = told = queue.SimpleQueue()
        try:
            told.put(self._insist(until, lambda: self.positions([job], watch=True))[0])
            while True:
                try:
                    entry = told.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    raise KervanError(BROKER_AWAY, "the job has not ended in time") from None
                if entry["status"] in ("queued", "processing"):
                    if on_position:
                        on_position(entry)
                    continue
                row = self._insist(until, lambda: self.get(job))
                if row["status"] not in ("queued", "processing"):
                    return row
                time.sleep(0.2)  # its end is not written yet
                told.put(self._insist(until, lambda: self.positions([job], watch=True))[0])
        finally:
            del self._watched[job]

    def _on_message(self, name, fields):
        if name == "POSITIONS":
            self._tell(fields["json"])

    def _tell(self, text):
        for entry in json.loads(text):
            told = self._watched.get(id_number(entry["jobId"]))
            if told:
                told.put(entry)

    def _on_session(self, hello_ok):
        """A watch ends with its session."""
        jobs = list(self._watched)
        for i in range(0, len(jobs), 256):
            ids = b"".join(j.to_bytes(8, "big") for j in jobs[i:i + 256])
            yield "POSITION", {"jobs": ids, "watch": True}, self._watched_again

    def _watched_again(self, future):
        if not future.exception():
            self._tell(future.result()["json"])

    # -- events --
    def _newest(self, stop):
        """Id of the newest event, by a session of its own: that of ours may have begun long ago. None: stopped."""
        one = Session("client", "newest", self.session.endpoint)
        try:
            while not one.stands.wait(0.5):
                if stop():
                    return None
            return one.hello_ok["last_event"]
        finally:
            one.close()

    def follow(self, after=None, events=None, stop=lambda: False):
        """Yields each event after `after` (None: from now on), in order, each once. KervanError NOT_FOUND: resync."""
        context = zmq.Context()
        sub = context.socket(zmq.SUB)
        sub.setsockopt(zmq.RCVHWM, 1000)
        sub.setsockopt(zmq.LINGER, 0)
        sub.setsockopt(zmq.MAXMSGSIZE, BODY_MAX)
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        _connect(sub, events or endpoint("KERVAN_EVENTS", "events.sock"))
        try:
            mine = self._newest(stop) if after is None else after
            behind = True
            while mine is not None and not stop():
                if behind:
                    try:
                        page = self.ask("EVENTS_GET", timeout=2.0, after=mine)
                    except KervanError as e:
                        if self.session._stopping or (e.number != BROKER_AWAY and not e.retry_after_ms):
                            raise
                        time.sleep(e.retry_after_ms / 1000)
                        continue  # it comes back
                    yield from json.loads(page["events"])
                    behind, mine = page["last"] != mine, page["last"]
                    continue
                if not sub.poll(500):
                    continue
                message = parse(sub.recv_multipart())
                if not message:
                    continue
                name, _, m = message
                if name == "EVENTS" and m["last"] > mine:
                    if m["prev"] == mine:
                        yield from json.loads(m["events"])
                        mine = m["last"]
                    else:
                        behind = True
                elif name == "EVENT_HEAD":
                    behind = m["last"] != mine
        finally:
            sub.close()
            context.term()


# ---- working ----


def detail_of(what):
    """The text of an error as a `detail`: whole characters of UTF-8, at most 1024 bytes."""
    return str(what).encode("utf-8", "replace")[:1024].decode("utf-8", "ignore")


class Job:
    """A job in hand. The handler looks at `cancelled` now and then."""

    def __init__(self, worker, m):
        self._worker = worker
        self.id, self.service, self.attempt = m["job"], m["service"], m["attempt"]
        self.token = {"job": m["job"], "epoch": m["epoch"], "attempt": m["attempt"]}
        self.params, self._text = None, m["params"] or "null"
        self._cancelled = threading.Event()
        self._patches = collections.deque()  # (future, fields) of the reports that are not known to be taken

    @property
    def cancelled(self):
        return self._cancelled.is_set()

    def wait_cancelled(self, seconds):
        return self._cancelled.wait(seconds)

    def progress(self, percent, patch=None):
        """Does not wait; False: the job is not ours any more."""
        if not self.cancelled:
            self._worker.report(self, percent, json.dumps(patch) if patch else "")
        return not self.cancelled


class Worker:
    """handler(job) returns the result, or raises: Failed says whether it is tried again, anything else is not."""

    class Failed(Exception):
        def __init__(self, detail, retry=False, number=INTERNAL):
            super().__init__(detail)
            self.retry, self.number = retry, number

    def __init__(self, service, handler, threads=1, name="worker", broker=None, on_cancel=None):
        self.service, self.handler, self.credit, self.on_cancel = service, handler, threads, on_cancel
        self._held = {}  # (job, epoch, attempt) -> Job, until its end is acknowledged
        self._lock = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self.session = Session("worker", name, broker, self._on_session, self._on_message)

    def _key(self, m):
        return m["job"], m["epoch"], m["attempt"]

    # -- in the session's thread --
    def _on_session(self, hello_ok):
        with self._lock:
            held = [j for j in self._held.values() if not j.cancelled]
        for job in held:
            yield "LEASE_HELD", job.token, lambda future, job=job: self._on_held(job, future)
        yield "READY", {"service": self.service, "credit": self.credit}, self._on_ready

    def _on_ready(self, future):
        e = future.exception()
        if isinstance(e, KervanError) and e.number != BROKER_AWAY:
            print(f"READY {self.service}: {e}", file=sys.stderr)
            if e.retry_after_ms:  # all queues are in use
                self._later(e.retry_after_ms, self._ready)

    def _ready(self):
        self.session.ask("READY", {"service": self.service, "credit": self.credit}).add_done_callback(self._on_ready)

    def _on_held(self, job, future):
        self._judge(job, future)
        e = future.exception()
        if isinstance(e, KervanError) and e.retry_after_ms:  # it is being written what becomes of the job
            self._later(e.retry_after_ms, self._hold, job)

    def _hold(self, job):
        if self._key(job.token) in self._held and not job.cancelled:
            self.session.ask("LEASE_HELD", job.token).add_done_callback(lambda future: self._on_held(job, future))

    def _later(self, ms, what, *args):
        again = threading.Timer(ms / 1000, lambda: self.session._stopping or what(*args))
        again.daemon = True
        again.start()

    def _judge(self, job, future):
        e = future.exception()
        if isinstance(e, KervanError) and e.number == STALE_LEASE:
            self._cancel(job)

    def _on_message(self, name, m):
        if name == "JOB":
            with self._lock:
                if self._key(m) in self._held:
                    return  # sent twice
                older = [j for j in self._held.values() if j.id == m["job"]]
                job = self._held[self._key(m)] = Job(self, m)
                self.session.busy = len(self._held)
            for j in older:
                self._cancel(j)
            self._pool.submit(self._work, job)
        elif name == "JOB_CANCEL":
            with self._lock:
                job = self._held.get(self._key(m))
            if job:
                self._cancel(job)

    def _cancel(self, job):
        if not job.cancelled:
            job._cancelled.set()
            if self.on_cancel:
                self.on_cancel(job)

    # -- in the pool --
    def report(self, job, percent, patch):
        fields = {**job.token, "progress": int(percent), "patch": patch}
        future = self.session.ask("JOB_PROGRESS", fields)
        future.add_done_callback(lambda f: self._judge(job, f))
        while job._patches and job._patches[0][0].done() and not job._patches[0][0].exception():
            job._patches.popleft()
        if patch:
            job._patches.append((future, fields))

    def _settle(self, job):
        """What was patched is there before the job ends: from the first that was refused for now on, all are said again in order."""
        again = False
        for future, fields in job._patches:
            e = future.exception()
            again = again or isinstance(e, KervanError) and (e.number == BROKER_AWAY or e.retry_after_ms > 0)
            if again:
                self._say(job, "JOB_PROGRESS", fields)

    def _work(self, job):
        try:
            job.params = json.loads(job._text)  # here: what Python cannot read must not end the session
            answer = "JOB_DONE", {**job.token, "result": json.dumps(self.handler(job))}
        except Worker.Failed as e:
            answer = "JOB_FAIL", {**job.token, "number": e.number, "detail": detail_of(e), "retry": e.retry}
        except Exception as e:  # noqa: BLE001  the job must end, whatever the handler did
            answer = "JOB_FAIL", {**job.token, "detail": detail_of(f"{type(e).__name__}: {e}"), "retry": False}
        self._answer(job, *answer)

    def _answer(self, job, name, fields):
        self._settle(job)
        refused = self._say(job, name, fields)
        if refused and refused.number == BAD_MESSAGE:  # NaN, or too long: it is still ours
            self._say(job, "JOB_FAIL", {**job.token, "detail": detail_of(f"{name} was refused: {refused}"), "retry": False})
        with self._lock:
            self._held.pop(self._key(job.token), None)
            self.session.busy = len(self._held)

    def _say(self, job, name, fields):
        """Until it is acknowledged; the error when it is refused."""
        while not job.cancelled:
            try:
                self.session.ask(name, fields).result()
                break
            except KervanError as e:
                if e.number == BROKER_AWAY and not self.session._stopping:
                    continue
                if not e.retry_after_ms:
                    return e
                time.sleep(e.retry_after_ms / 1000)
        return None

    def stop(self, drain=10.0):
        """No new jobs; waits for those in hand, then leaves. What is still in hand goes to other workers."""
        self.credit = 0
        try:
            self.session.ask("READY", {"service": self.service, "credit": 0}, timeout=min(drain, 5.0)).result()
        except KervanError:
            pass
        end = time.monotonic() + drain
        while self._held and time.monotonic() < end:
            time.sleep(0.05)
        self.session.close()
        with self._lock:
            left = list(self._held.values())
        for job in left:
            self._cancel(job)
        self._pool.shutdown(wait=True)
