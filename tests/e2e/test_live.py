"""Live state. S0-55 S0-56 S3-39 S3-40 S3-41 S3-42 (X24)"""
import json
import socket

import pytest
import websocket

from kervan import PATIENCE, wait_for
from pictures import noise_png, png

pytestmark = pytest.mark.threads


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
    s = Sse(kervan, last_id=event["id"])
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
], ids=["long-ping", "split-ping", "length-63"])
def test_ws_that_breaks_the_rules_is_told_so(kervan, frame):
    """RFC 6455 5.2, 5.4, 5.5: fail the connection with 1002."""
    c = ws(kervan)
    c.sock.sendall(frame)
    while (got := c.recv_frame()).opcode != websocket.ABNF.OPCODE_CLOSE:
        pass
    assert int.from_bytes(got.data[:2], "big") == 1002
    c.close()


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
