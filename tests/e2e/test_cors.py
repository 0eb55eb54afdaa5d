"""Pages of other origins: only those that CORS_ALLOWED_ORIGINS lists may read answers, and the answers that refuse, too."""
import socket

import pytest
import requests

from kervan import Kervan
from pictures import padded_png, png

SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def kervan():
    with Kervan({"CORS_ALLOWED_ORIGINS": f"https://other.example,{SHOP}", "MAX_UPLOAD_SIZE_MB": "1"}) as k:
        yield k


def readable(answer, origin=SHOP):
    return answer.headers.get("access-control-allow-origin") == origin and "origin" in answer.headers["vary"].lower()


def test_a_preflight(kervan):
    ask = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key"}
    answer = requests.options(kervan.url("/api/jobs"), headers=ask, timeout=10)
    assert answer.status_code == 204 and readable(answer)
    assert answer.headers["access-control-allow-methods"] == answer.headers["allow"] == "GET, POST, HEAD, OPTIONS"
    allowed = {h.strip() for h in answer.headers["access-control-allow-headers"].split(",")}
    assert {"content-type", "idempotency-key", "last-event-id"} <= allowed
    assert {"cache-control", "x-requested-with"} <= allowed  # upload widgets send them with each file
    assert answer.headers["access-control-max-age"] == "600"
    assert requests.options(kervan.url("/api/nothing"), headers=ask, timeout=10).status_code == 404


def test_options_without_a_preflight(kervan):
    answer = requests.options(kervan.url("/api/media"), timeout=10)
    assert answer.status_code == 204 and "POST" in answer.headers["allow"]
    assert "access-control-allow-methods" not in answer.headers and "access-control-allow-origin" not in answer.headers


def test_an_upload_of_a_listed_page(kervan):
    """Everything a script there needs: the answer, its Location, the picture's bytes, the list."""
    answer = kervan.upload(png(40, 30), headers={"Origin": SHOP})
    assert answer.status_code == 201 and readable(answer)
    assert "location" in answer.headers["access-control-expose-headers"]
    for path in (answer.headers["location"], answer.json()["url"], "/api/media", "/api/folders"):
        assert readable(kervan.get(path, headers={"Origin": SHOP})), path
    with kervan.get("/api/events", headers={"Origin": SHOP}, stream=True) as events:
        assert events.status_code == 200 and readable(events)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/api/media/nonsense", 400), ("GET", "/api/nothing", 404), ("PUT", "/api/media", 405), ("GET", "/api/static/a/b.png", 404)])
def test_a_refusal_can_be_read(kervan, method, path, status):
    answer = requests.request(method, kervan.url(path), headers={"Origin": SHOP}, timeout=10)
    assert answer.status_code == status and readable(answer)


def test_vary_is_one_line(kervan):
    """Some caches look at one line of a name: a picture chosen for one browser would go to all."""
    url = kervan.upload(png(40, 30)).json()["url"]
    for path, varies in ((url, "origin"), (url + "?auto", "origin, accept"), ("/", "origin, accept-encoding"), ("/api/media", "origin")):
        for headers in ({}, {"If-None-Match": "*"}):
            answer = kervan.get(path, headers=headers, stream=True)
            assert answer.raw.headers.getlist("Vary") == [varies], path
            answer.close()


def test_an_upload_that_is_too_large_can_be_read(kervan):
    """413 comes before the body is read; a script must not take it for a broken network."""
    answer = kervan.upload(padded_png(2 << 20), headers={"Origin": SHOP})
    assert answer.status_code == 413 and readable(answer)
    with socket.create_connection(("127.0.0.1", kervan.port), timeout=10) as s:  # the same without a length, found out on the way
        s.sendall(f"POST /api/media?filename=a.png HTTP/1.1\r\nHost: 127.0.0.1:{kervan.port}\r\nOrigin: {SHOP}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        picture = padded_png(2 << 20)
        try:
            for at in range(0, len(picture), 65536):
                part = picture[at:at + 65536]
                s.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        except ConnectionError:
            pass
        head = s.recv(65536).split(b"\r\n\r\n")[0].decode().lower()
    assert " 413 " in head.split("\r\n")[0] and f"access-control-allow-origin: {SHOP}" in head


def test_a_page_that_is_not_listed(kervan):
    """It cannot read, and what changes something is refused: a form needs no preflight."""
    foreign = {"Origin": "https://evil.example"}
    before = len(kervan.list())
    refused = kervan.upload(png(50, 30), headers=foreign)
    assert refused.status_code == 403 and "CORS_ALLOWED_ORIGINS" in refused.json()["detail"]
    assert len(kervan.list()) == before
    read = kervan.get("/api/media", headers=foreign)
    assert read.status_code == 200 and "access-control-allow-origin" not in read.headers
    ask = {**foreign, "Access-Control-Request-Method": "POST"}
    answer = requests.options(kervan.url("/api/media"), headers=ask, timeout=10)
    assert "access-control-allow-origin" not in answer.headers and "access-control-allow-methods" not in answer.headers
    for origin in ("null", "https://shop.example.evil.example", "http://shop.example", SHOP + ":8443", "https://sub.shop.example"):
        assert kervan.upload(png(50, 31), headers={"Origin": origin}).status_code == 403, origin


def test_our_own_page_needs_no_list(fresh):
    k = fresh()
    own = {"Origin": f"http://127.0.0.1:{k.port}"}
    answer = k.upload(png(60, 30), headers=own)
    assert answer.status_code == 201 and "access-control-allow-origin" not in answer.headers
    assert k.upload(png(61, 30), headers={"Origin": SHOP}).status_code == 403


def test_a_page_whose_name_was_made_to_point_here(fresh):
    """DNS rebinding: to a browser it is our own page then, for Origin and Host name the same place."""
    k = fresh()
    media = k.upload(png(62, 30)).json()
    page = f"evil.example:{k.port}"
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for method, path, more in (("GET", "/api/media", {}), ("GET", "/", {}), ("GET", media["url"], {}), ("GET", "/api/ws", handshake), ("GET", "/api/events", {}), ("POST", "/api/jobs", {}),
                               ("DELETE", f"/api/media/{media['id']}", {}), ("POST", "/api/media?filename=a.png", {"X-Forwarded-For": "10.0.0.1"})):
        answer = requests.request(method, k.url(path), headers={"Host": page, "Origin": f"http://{page}", **more}, timeout=10)
        assert answer.status_code == 400 and "ALLOWED_HOSTS" in answer.json()["detail"], (method, path)
    assert k.upload(png(63, 30), headers={"Host": "media.example", "Origin": "https://media.example"}).status_code == 201  # through a proxy on this machine
    assert [m["id"] for m in k.list()][-1] == media["id"]


def test_a_name_of_our_own_port_that_is_listed(fresh):
    k = fresh(ALLOWED_HOSTS="media.example,127.0.0.1")
    assert k.upload(png(64, 30), headers={"Host": f"media.example:{k.port}"}).status_code == 201


@pytest.mark.parametrize(("origin", "status"), [(SHOP, 101), (None, 101), ("own", 101), ("https://evil.example", 403), ("null", 403)])
def test_a_websocket(kervan, origin, status):
    """Browsers open one to any host and say from where; nothing else keeps a foreign page out."""
    ask = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    if origin:
        ask["Origin"] = f"http://127.0.0.1:{kervan.port}" if origin == "own" else origin
    with requests.get(kervan.url("/api/ws"), headers=ask, timeout=10, stream=True) as answer:
        assert answer.status_code == status


def test_operators_routes_are_not_for_other_pages(kervan):
    """An operator's browser on this machine may be at the listed page as well."""
    own = kervan.url("").rstrip("/")
    for origin, status in ((None, 200), (own, 200), (SHOP, 403), ("https://foreign.example", 403), ("null", 403)):
        headers = {"Origin": origin} if origin else {}
        answer = requests.get(kervan.url("/api/admin/queues"), headers=headers, timeout=10)
        assert answer.status_code == status, (origin, answer.text)
    answer = requests.post(kervan.url("/api/admin/queues/image-process/pause"), headers={"Origin": SHOP}, timeout=10)
    assert answer.status_code == 403
