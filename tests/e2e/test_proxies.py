"""Between kervan and who asks: connections as proxies and clients of all kinds keep them."""
import http.client
import json

import pytest
import requests
import websocket

from kervan import PATIENCE, free_port, wait_for
from nginx import Nginx
from pictures import noise_png, padded_png


@pytest.fixture(scope="module")
def proxy(kervan):
    with Nginx(kervan) as p:
        yield p


# ---- connections ----


@pytest.mark.parametrize("version,headers,kept", [
    ("1.1", [], True),
    ("1.1", ["Connection: keep-alive"], True),
    ("1.1", ["Connection: Upgrade, keep-alive", "Upgrade: h2c"], True),
    ("1.1", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"], True),
    ("1.1", ["Connection: upgrade", "Upgrade: websocket"], True),
    ("1.1", ["Connection: TE", "TE: trailers"], True),
    ("1.1", ["Connection: keep-alive", "Connection: TE"], True),
    ("1.1", ["Connection:"], True),
    ("1.1", ["Connection: close"], False),
    ("1.1", ["Connection: Close, TE"], False),
    ("1.1", ["Connection: close, keep-alive"], False),
    ("1.1", ["Connection: close", "Connection: keep-alive"], False),
    ("1.0", [], False),
    ("1.0", ["Connection: Keep-Alive"], True),
    ("1.0", ["Connection: Upgrade", "Upgrade: h2c"], False),
])
def test_only_close_ends_a_connection(kervan, version, headers, kept):
    """RFC 9112 9.3: HTTP/1.1 is kept, whatever else Connection lists; HTTP/1.0 is kept where it is asked for."""
    with kervan.connect() as s:
        s.sendall("\r\n".join([f"GET /api/v1/health/live HTTP/{version}", "Host: x", *headers, "", ""]).encode())
        answer = http.client.HTTPResponse(s)
        answer.begin()
        assert answer.status == 200 and answer.read()
        assert answer.headers["Connection"] == ("keep-alive" if kept else "close")
        s.settimeout(PATIENCE)
        if kept:
            s.sendall(b"GET /api/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(12) == (b"HTTP/1.1 200" if kept else b"")


# ---- nginx by our recipe ----


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_upload_to_the_plain_port_stays_one(proxy, method):
    """301 makes a GET of a POST, and the file is lost; 308 does not."""
    answer = proxy.ask(method, "/api/media?filename=a.png", ["Content-Length: 0"], port=proxy.plain_port)
    assert answer.status == 308 and answer.headers["Location"] == "https://media.example.com/api/media?filename=a.png"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics?x", "//metrics/", "/%6detrics", "/x/../metrics/", "/api/admin/queues", "/api/v1/admin/queues/"])
def test_what_is_not_for_the_world(proxy, path):
    assert proxy.ask("GET", path, source="127.0.0.2").status in (403, 404)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_metrics_for_the_machine_itself(proxy, path):
    answer = proxy.ask("GET", path)
    assert answer.status == 200 and b"kervan_http_connections" in answer.body


@pytest.mark.parametrize("path", ["/api/events", "/api/events/?types=media", "/api/v1/events"])
def test_events_come_through_at_once(kervan, proxy, path):
    with requests.get(f"http://127.0.0.1:{proxy.port}{path}", headers={"Accept": "text/event-stream"}, stream=True, timeout=PATIENCE) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream") and "Content-Encoding" not in stream.headers
        lines = stream.iter_lines(decode_unicode=True)
        assert next(lines).startswith("retry:")
        media = kervan.upload(noise_png(60, 40), "a.png").json()
        assert next(line for line in lines if line.startswith("data:") and media["id"] in line)


def test_a_restart_does_not_end_event_sources():
    """A browser gives up a stream at any status but 200, and comes again after a broken connection."""

    class Away:
        port = free_port()

    with Nginx(Away) as proxy:
        assert proxy.ask("GET", "/api/media").status == 502
        for path in ("/api/events", "/api/v1/events/?types=media"):
            with pytest.raises(http.client.RemoteDisconnected):
                proxy.ask("GET", path)


def test_websocket_comes_through(kervan, proxy):
    live = websocket.create_connection(f"ws://127.0.0.1:{proxy.port}/api/ws", timeout=PATIENCE)
    assert json.loads(live.recv())
    media = kervan.upload(noise_png(61, 40), "a.png").json()
    while media["id"] not in live.recv():
        pass
    live.close()


def test_an_upload_comes_through_as_it_is_sent(kervan, proxy):
    data = padded_png(4 << 20)
    with proxy.connect() as s:
        s.sendall(b"POST /api/media?filename=a.png HTTP/1.1\r\nHost: media.example.com\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:3 << 20])
        wait_for("kervan to have what nginx has", lambda: any((kervan.data / "media/.tmp" / name).stat().st_size > 1 << 20 for name in kervan.tmp_files()))
        s.sendall(data[3 << 20:])
        answer = http.client.HTTPResponse(s)
        answer.begin()
        assert answer.status == 201
