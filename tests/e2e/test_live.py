"""Live state. S0-55 S0-56 S3-39 S3-40 S3-41 S3-42 (X24)"""
import concurrent.futures
import json
import shutil
import signal
import socket
import struct
import subprocess
import time

import msgpack
import pytest
import websocket
import zmq

from kervan import BINARY, PATIENCE, Kervan, wait_for
from peer import ALPHABET, Peer
from pictures import noise_png, png

pytestmark = pytest.mark.threads

MEDIA_DELETE = 0x32


def ws(kervan, query="", **kw):
    return websocket.create_connection(f"ws://127.0.0.1:{kervan.port}/api/ws{query}", timeout=PATIENCE, **kw)


def until(connection, check):
    """Messages up to the first that `check` accepts, which is the last of them."""
    seen = []
    while True:
        seen.append(json.loads(connection.recv()))
        if check(seen[-1]):
            return seen


class Sse:
    def __init__(self, kervan, last_id=None, query=""):
        headers = {"Last-Event-ID": str(last_id)} if last_id is not None else {}
        self.answer = kervan.session.get(kervan.url("/api/events" + query), headers=headers, stream=True, timeout=PATIENCE)
        assert self.answer.status_code == 200 and self.answer.headers["Content-Type"].startswith("text/event-stream")
        self.lines = self.answer.iter_lines(decode_unicode=True)

    def next(self):
        event = {}
        for line in self.lines:
            if line == "" and "data" in event:
                return event
            if line and not line.startswith(":"):
                key, _, value = line.partition(":")
                event[key] = value.strip()
        raise AssertionError("the stream ended")

    def until(self, check):
        while True:
            event = self.next()
            if check(event):
                return event

    def close(self):
        self.answer.close()


def about(media_id, kind):
    return lambda e: e.get("type") == kind and e.get("mediaId") == media_id


def test_badge_turns_by_push(kervan):
    """S0-55 S0-56: created and ready arrive over the WebSocket."""
    c = ws(kervan)
    assert json.loads(c.recv())["type"] == "hello"
    media = kervan.upload(noise_png(400, 300)).json()
    created = until(c, about(media["id"], "media.created"))[-1]
    assert created["media"]["status"] == "PENDING" and created["media"]["url"] == media["url"]
    ready = until(c, about(media["id"], "media.ready"))[-1]
    assert ready["media"]["status"] == "READY" and ready["media"]["variants"] and ready["id"] > created["id"]
    c.close()


def test_sse_resumes_where_it_was(kervan):
    """S3-40 S3-41: a client that was away catches up by Last-Event-ID, without a gap and without a repeat."""
    s = Sse(kervan)
    first = kervan.upload(png(), "sse-1.png").json()
    event = s.until(lambda e: e.get("event") == "media.created" and json.loads(e["data"])["mediaId"] == first["id"])
    s.close()
    away = [kervan.upload(png(), f"sse-{i}.png").json()["id"] for i in range(2, 8)]
    s = Sse(kervan, last_id=f"{event['id']} ")  # the blank is none of the value
    seen, last = [], int(event["id"])
    while len(seen) < len(away):
        e = s.until(lambda e: "id" in e)
        assert int(e["id"]) > last
        last = int(e["id"])
        if e["event"] == "media.created":
            seen.append(json.loads(e["data"])["mediaId"])
    assert seen == away
    s.close()


def test_ws_catches_up(kervan):
    c = ws(kervan)
    last = json.loads(c.recv())["last"]
    c.close()
    ids = [kervan.upload(png()).json()["id"] for _ in range(3)]
    c = ws(kervan, f"?after={last}")
    for media_id in ids:
        until(c, about(media_id, "media.created"))
    c.close()


def test_unknown_position_means_resync(fresh):
    k = fresh()
    k.upload(png())
    s = Sse(k, last_id=999_999_999)
    event = s.until(lambda e: e["event"] != "hello")
    assert event["event"] == "resync" and "id" not in event
    s.close()


@pytest.mark.parametrize("frame", [
    b"\x89\xfe\x00\x7e" + bytes(4 + 126),  # a ping of 126 bytes
    b"\x09\x80" + bytes(4),  # a ping in pieces
    b"\x82\xff\xff" + bytes(7 + 4),  # a length with its top bit set
    b"\x88\x81" + bytes(4 + 1),  # a close with half a code
], ids=["long-ping", "split-ping", "length-63", "half-close"])
def test_ws_that_breaks_the_rules_is_told_so(kervan, frame):
    """RFC 6455 5.2, 5.4, 5.5: fail the connection with 1002."""
    c = ws(kervan)
    c.sock.sendall(frame)
    while (got := c.recv_frame()).opcode != websocket.ABNF.OPCODE_CLOSE:
        pass
    assert int.from_bytes(got.data[:2], "big") == 1002
    c.close()


HANDSHAKE = b"GET /api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"


def frame(opcode, payload):
    """Masked with zeros."""
    n = len(payload)
    return bytes([0x80 | opcode]) + (bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big")) + bytes(4) + payload


def head_from(s):
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        byte = s.recv(1)
        assert byte, f"closed after {got}"
        got += byte
    return got


def test_who_watches_too_much_is_told_where_it_stopped(kervan):
    jobs = [f"{i:013d}" for i in range(1, 1002)]
    c = ws(kervan)
    c.send(json.dumps({"watch": jobs[:600]}))
    c.send(json.dumps({"watch": jobs[600:]}))
    for frame in iter(lambda: json.loads(c.recv()), None):
        if frame["type"] == "error":
            break
    assert frame["code"] == "bad_parameter"
    assert frame["detail"] == f"watch: at most 1000 jobs a client; {jobs[1000]} and those behind it are not watched"
    c.close()


@pytest.mark.parametrize("n", [170, 20_000])
def test_every_ping_of_many_has_its_pong(kervan, n):
    """However many come before the first pong is sent or read."""
    c = ws(kervan)
    pings = b"".join(frame(9, b"%0100d" % i) for i in range(n))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(c.sock.sendall, pings)
        for i in range(n):
            while (got := c.recv_frame()).opcode == websocket.ABNF.OPCODE_TEXT:
                pass
            assert got.opcode == websocket.ABNF.OPCODE_PONG and got.data == b"%0100d" % i
        sent.result(PATIENCE)
    c.close()


def test_who_pings_and_reads_nothing_is_not_heard(kervan):
    """Pongs wait in a bounded buffer; what it sends waits on its own side."""
    with kervan.connect() as s:
        s.sendall(HANDSHAKE)
        assert b" 101 " in head_from(s)
        s.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(64):
                s.sendall(frame(9, bytes(100)) * 10_000)


@pytest.mark.parametrize("size", [0, 1, 3000, 5000, 30_000, 60_000])
def test_frames_right_behind_the_handshake(kervan, size):
    """However many came along with it, behind a small body that was read with room to spare."""
    gateway = kervan.children()["gateway"]
    with kervan.connect() as s:
        s.sendall(b"POST /api/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert b" 100 " in head_from(s)  # what follows is read as a small body
        frames = frame(1, b"{}".ljust(1000)) * (size // 1000) + frame(9, b"here")
        s.sendall(b"5\r\n[1,2]\r\n0\r\n\r\n" + HANDSHAKE + frames[:size])
        head = head_from(s)
        assert b" 400 " in head
        body = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(s.recv(body, socket.MSG_WAITALL)) == body
        assert b" 101 " in head_from(s)
        s.sendall(frames[size:])
        c = websocket.WebSocket()
        c.sock = s
        while (got := c.recv_frame()).opcode != websocket.ABNF.OPCODE_PONG:
            assert got.opcode == websocket.ABNF.OPCODE_TEXT
        assert got.data == b"here"
    assert kervan.children()["gateway"] == gateway


def test_two_clients_see_the_same_order(kervan):
    a, b = ws(kervan), ws(kervan)
    ids = [kervan.upload(png()).json()["id"] for _ in range(10)]

    def created(c):
        return [m["id"] for m in until(c, about(ids[-1], "media.created")) if m.get("type") == "media.created"]

    one, two = created(a), created(b)
    assert one == two and len(one) >= 10
    a.close()
    b.close()


def test_delete_is_told(kervan):
    media = kervan.upload(png()).json()
    c = ws(kervan)
    kervan.delete(f"/api/media/{media['id']}")
    gone = until(c, about(media["id"], "media.deleted"))[-1]
    assert gone["stored_hash"] == media["stored_hash"]
    c.close()


def test_foreign_origin_is_refused(kervan):
    with pytest.raises(websocket.WebSocketBadStatusException) as e:
        ws(kervan, origin="https://evil.example")
    assert e.value.status_code == 403


def test_plain_get_on_the_socket_address(kervan):
    assert kervan.get("/api/ws").status_code == 426


def test_slow_client_is_bounded(fresh):
    """A client that does not read is told to resync instead of filling memory."""
    k = fresh(EVENT_CLIENT_BUFFER_KB="16", IMAGE_PROCESSING_ENABLED="false")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", k.port))
    s.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for("the client", lambda: k.metric("kervan_live_clients") == 1)

    def flooded():
        for _ in range(100):
            k.upload_raw(png(), "x.png")
        return k.metric("kervan_live_resyncs_total") >= 1

    wait_for("a resync", flooded)
    s.close()
    wait_for("the client to be gone", lambda: k.metric("kervan_live_clients") == 0)


def test_after_a_restart_of_broker_and_gateway(fresh):
    """S3-39 S3-42: state is in the database; ids go on; a reader catches up over the restart."""
    k = fresh()
    s = Sse(k)
    media = k.upload(png()).json()
    event = s.until(lambda e: e.get("event") == "media.created")
    s.close()
    k.kill("broker")
    k.kill("gateway")
    wait_for("ready", lambda: _ready(k))
    second = k.upload(png()).json()
    s = Sse(k, last_id=event["id"])
    s.until(lambda e: e.get("event") == "media.created" and json.loads(e["data"])["mediaId"] == second["id"])
    s.close()
    assert {m["id"] for m in k.list()} == {media["id"], second["id"]}


def _ready(k):
    try:
        return k.get("/api/v1/health/ready/").status_code == 200
    except OSError:
        return False


@pytest.fixture
def told():
    """A broker, and a gateway that hears of its events what the test says: (gateway, publisher). The broker is k.broker."""
    k = Kervan()
    (k.data / "run").mkdir()
    endpoint = f"ipc://{k.data}/run/told.sock"
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.linger = 0
    publisher.bind(endpoint)
    env = k.environment()
    running = [subprocess.Popen([str(BINARY), "broker"], env=env), subprocess.Popen([str(BINARY), "gateway"], env={**env, "KERVAN_EVENTS": endpoint})]
    k.broker = running[0]
    try:
        wait_for("ready", lambda: _ready(k))
        assert publisher.poll(PATIENCE * 1000) and publisher.recv() == b"\x01"
        yield k, publisher
    finally:
        for p in reversed(running):
            p.terminate()
        codes = [p.wait(PATIENCE) for p in running]
        context.destroy()
        shutil.rmtree(k.data)
    assert codes == [0, 0]


def head(publisher, last):
    publisher.send_multipart([struct.pack(">2sBBHHQQ16s8s", b"KV", 1, 0, 0x41, 0, 0, 0, b"", b""), msgpack.packb([last, 1, 0])])


def test_a_head_that_was_overtaken_is_no_resync(told):
    """A head waits in the socket while the log is read beyond it: nothing is lost, nothing comes twice."""
    k, publisher = told
    s = Sse(k)
    seen = []

    def created(event):
        seen.append(event)
        return event.get("event") == "media.created" and json.loads(event["data"])["mediaId"] == media["id"]

    for _ in range(2):
        media = k.upload(png()).json()
        newest = int(poll(k, after=0)["last"])
        head(publisher, newest)
        s.until(created)
        head(publisher, newest - 1)
    s.close()
    assert "resync" not in [e.get("event") for e in seen]
    ids = [e["id"] for e in seen if "id" in e]
    assert len(set(ids)) == len(ids)


def test_who_comes_second_with_a_delete_is_served_nothing_either(told):
    """The row was there when the request came, and not when the broker looked: its 404 is an answer that it is gone."""
    k, _ = told
    media = k.upload(png()).json()
    assert k.get(media["url"]).status_code == 200  # it is in memory now, and no event will say that it went
    with Peer(k, "gateway") as other:
        k.broker.send_signal(signal.SIGSTOP)
        other.send(MEDIA_DELETE, [sum(ALPHABET.index(c) << 5 * i for i, c in enumerate(reversed(media["id"])))])
        with k.connect() as c:
            c.sendall(f"DELETE /api/media/{media['id']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            for _ in range(2):  # behind the second one the first request is with the broker
                assert k.get(f"/api/media/{media['id']}").status_code == 200
            k.broker.send_signal(signal.SIGCONT)
            status = int(c.recv(65536).split()[1])
    assert status in (204, 404)
    assert k.get(media["url"]).status_code == 404, status


# ---- polling: the same log over plain requests (X24) ----


def poll(k, **params):
    answer = k.get("/api/events", params=params, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/json") and answer.headers["Cache-Control"] == "no-store"
    page = answer.json()
    assert set(page) == {"events", "last", "resync"} and isinstance(page["last"], str)
    return page


def test_polling_reads_what_sse_reads(kervan):
    """X24: one log, three ways: page by page, the same objects in the same order."""
    start = poll(kervan)
    assert start["events"] == [] and start["resync"] is False
    ids = [kervan.upload(png(), f"poll-{i}.png").json()["id"] for i in range(5)]
    s = Sse(kervan, last_id=start["last"])
    streamed = []
    while not any(e["type"] == "media.created" and e["mediaId"] == ids[-1] for e in streamed):
        streamed.append(json.loads(s.until(lambda e: "id" in e)["data"]))
    s.close()
    polled, last = [], start["last"]
    while len(polled) < len(streamed):
        page = poll(kervan, after=last, limit=3)
        assert 1 <= len(page["events"]) <= 3 and page["resync"] is False
        assert page["last"] == str(page["events"][-1]["id"]) or len(page["events"]) < 3
        polled += page["events"]
        last = page["last"]
    assert polled[: len(streamed)] == streamed
    header = kervan.get("/api/events?limit=1", headers={"Accept": "application/json", "Last-Event-ID": start["last"]}).json()
    assert header["events"] == streamed[:1]


def test_polling_takes_filters(kervan):
    start = poll(kervan)["last"]
    media = kervan.upload(png()).json()["id"]
    kervan.wait_ready(media)
    assert {e["type"].split(".")[0] for e in poll(kervan, after=start)["events"]} == {"media", "job"}
    page = poll(kervan, after=start, types="job")
    assert {e["type"].split(".")[0] for e in page["events"]} == {"job"}
    assert int(page["last"]) >= int(page["events"][-1]["id"])
    assert poll(kervan, after=start, types="none") == {"events": [], "last": poll(kervan)["last"], "resync": False}


def test_a_long_poll_answers_at_once(kervan):
    """It waits for the event, not for the end of its time; what its filter does not want does not wake it."""
    wait_for("pictures of other tests", lambda: not kervan.get("/api/media?status=PENDING").json()["items"])
    start = poll(kervan)["last"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        waiting = pool.submit(poll, kervan, after=start, wait=25, types="media")
        wait_for("the poller", lambda: kervan.metric("kervan_live_clients") >= 1)
        media = kervan.upload(png()).json()["id"]
        page = waiting.result(PATIENCE)
        assert time.monotonic() - began < 20
    assert page["events"][0]["type"] == "media.created" and page["events"][0]["mediaId"] == media
    wait_for("nobody to be left", lambda: kervan.metric("kervan_live_clients") == 0)


def test_a_long_poll_ends_empty(kervan):
    start = poll(kervan)["last"]
    began = time.monotonic()
    page = poll(kervan, wait=1, types="none", after=start)
    assert page["events"] == [] and page["resync"] is False and 0.9 < time.monotonic() - began < 10


def test_polling_says_resync(fresh):
    """An id that is not in the log any more, or never was: read everything anew, then go on from `last`."""
    k = fresh()
    k.upload(png())
    page = poll(k, after=999_999_999)
    assert page["resync"] is True and page["events"] == [] and 0 < int(page["last"]) < 999_999_999
    assert poll(k, after=page["last"])["resync"] is False


def test_last_is_never_behind_an_answer(kervan):
    """Who has a 201 in hand and asks where the log stands is not told of a place before it."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(kervan.upload, png()) for _ in range(60)]
        for _ in range(40):
            media = kervan.upload(png()).json()["id"]
            last = poll(kervan)["last"]
            assert media not in [e.get("mediaId") for e in poll(kervan, after=last, types="media", limit=1000)["events"] if e["type"] == "media.created"]
        for done in busy:
            assert done.result(PATIENCE).status_code == 201


def test_who_polls_and_leaves_is_forgotten(kervan):
    """Also before the end of its wait."""
    wait_for("those of before to be gone", lambda: kervan.metric("kervan_live_clients") == 0)
    for _ in range(20):
        s = kervan.connect()
        s.sendall(b"GET /api/events?wait=25&types=none HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")
        wait_for("the poller", lambda: kervan.metric("kervan_live_clients") == 1)
        s.close()
        wait_for("the poller to be gone", lambda: kervan.metric("kervan_live_clients") == 0, 10)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "wait=26", "wait=-1", "wait=x", "after=x", "types=1", "watch=0123456789abc", "wait=1&wait=2"])
def test_bad_polls(kervan, query):
    answer = kervan.get("/api/events?" + query, headers={"Accept": "application/json"})
    assert answer.status_code == 400 and answer.json()["code"] == "bad_parameter"


def test_polling_is_for_those_who_ask_for_json(kervan):
    """A stream stays what it was for everyone else."""
    for accept in ("*/*", "text/event-stream", "text/event-stream, application/json"):
        answer = kervan.session.get(kervan.url("/api/events"), headers={"Accept": accept}, stream=True, timeout=PATIENCE)
        assert answer.headers["Content-Type"].startswith("text/event-stream"), accept
        answer.close()
    head = kervan.session.head(kervan.url("/api/events?wait=20"), headers={"Accept": "application/json"}, timeout=5)
    assert head.status_code == 200 and head.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize("query,status", [("", 200), ("?types=media", 200), ("?nonsense=1", 400), ("?types=1", 400), ("?watch=x", 400)])
def test_head_is_what_get_would_be(kervan, accept, query, status):
    ask = {"headers": {"Accept": accept}, "timeout": PATIENCE}
    before = kervan.metric("kervan_live_clients")
    head = kervan.session.head(kervan.url("/api/events" + query), **ask)
    assert kervan.metric("kervan_live_clients") <= before
    with kervan.session.get(kervan.url("/api/events" + query), stream=True, **ask) as get:
        assert head.status_code == get.status_code == status
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


def test_a_drain_ends_polls(fresh):
    k = fresh()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, k, wait=25, types="none")
        wait_for("the poller", lambda: k.metric("kervan_live_clients") == 1)
        began = time.monotonic()
        k.stop()
        assert waiting.result(PATIENCE)["events"] == [] and time.monotonic() - began < 15
