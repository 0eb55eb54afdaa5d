"""Between kervan and who asks: connections as proxies and clients of all kinds keep them."""
import http.client

import pytest

from kervan import PATIENCE
from nginx import Nginx


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
