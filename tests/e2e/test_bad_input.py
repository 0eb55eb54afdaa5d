"""Bad input: a clear problem+json, nothing left behind, a log line. S0-25 S0-57 S0-58 S0-59 S0-94 S0-101"""
import contextlib
import http.client
import json
import socket
import time

import pytest

from kervan import wait_for
from pictures import padded_png, png

PICTURE = png()
FORM = {"Content-Type": "multipart/form-data; boundary=X"}


def part(name, data, filename=None, mime=None):
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    head = f"--X\r\nContent-Disposition: {disposition}\r\n" + (f"Content-Type: {mime}\r\n" if mime else "")
    return head.encode() + b"\r\n" + data + b"\r\n"


@pytest.fixture(autouse=True)
def nothing_left(kervan):
    before = kervan.files(), len(kervan.list(limit=200))
    yield
    wait_for(".tmp to be empty", lambda: kervan.tmp_files() == [], 20)
    assert (kervan.files(), len(kervan.list(limit=200))) == before
    wait_for("no upload in flight", lambda: kervan.metric("kervan_uploads_active") == 0, 20)
    wait_for("upload memory back", lambda: kervan.metric("kervan_upload_buffer_bytes") == 0, 20)


def refused(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.headers["Content-Language"] == ("en" if answer.request.headers.get("Accept-Language", "").startswith("en") else "tr")
    problem = answer.json()
    assert problem["code"] == code and problem["status"] == status and problem["detail"] and problem["title"]
    return problem


def test_too_large(kervan):
    assert "50 MiB" in refused(kervan.upload_raw(padded_png((50 << 20) + 1)), 413, "too_large")["detail"]


def test_too_large_for_a_client_that_sends_all_before_it_reads(kervan):
    """The answer is there when it has sent its body, and is not lost to a reset."""
    data = padded_png((50 << 20) + 1)
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", kervan.port, timeout=60)
        connection.request("POST", "/api/media?filename=a.png", body=data, headers={"Content-Type": "image/png"})
        assert connection.getresponse().status == 413
        connection.close()


def test_refused_on_a_slow_line(fresh):
    """A browser reads the answer when its whole body has gone: on a slow line that takes long, and it is no broken network.
    One that is slower than an upload may be is not waited for."""
    k = fresh(MAX_UPLOAD_SIZE_MB="1", UPLOAD_MIN_RATE="1000")
    length = 2 << 20
    head = f"POST /api/media?filename=a.png HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", k.port), 20) as slow, socket.create_connection(("127.0.0.1", k.port), 20) as drip:
        slow.sendall(head)
        drip.sendall(head)
        sent, cut, begin = 0, None, time.monotonic()
        while time.monotonic() < begin + 12:  # a rate is measured over 10 s
            slow.sendall(bytes(1000))
            sent += 1000
            with contextlib.suppress(ConnectionError):
                drip.sendall(b"x")
                cut = time.monotonic() - begin
            time.sleep(0.1)
        slow.sendall(bytes(length - sent))
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413") and b"too_large" in answer
    assert cut < 11.5, "the drip is cut off"


def test_too_large_chunked(fresh):
    k = fresh(MAX_UPLOAD_SIZE_MB="1")
    data = padded_png(1_100_000)
    try:
        refused(k.upload_raw((data[i:i + 65536] for i in range(0, len(data), 65536))), 413, "too_large")
    except Exception as e:  # requests may see the reset of a body it is still sending
        assert "Connection" in type(e).__name__ or "Connection" in str(e)
    wait_for(".tmp to be empty", lambda: k.tmp_files() == [])
    assert k.list() == []


@pytest.mark.parametrize("name,data,status,code", [
    ("a.png", b"<html><body><script>alert(1)</script></body></html>", 422, None),
    ("a.jpg", PICTURE, 422, "type_mismatch"),
    ("a.png", b"MZ" + bytes(500), 422, None),
    ("a.txt", b"BM" + bytes(60), 422, "type_refused"),
    ("a.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', 422, "type_not_yet"),
    ("a.tiff", b"II*\0\x08\0\0\0" + bytes(64), 422, "type_not_yet"),
    ("a.html", b"<!doctype html><html></html>", 422, None),
    ("a.png", b"", 400, "empty_file"),
    ("a.png", PICTURE[:10], 422, None),
])
def test_wrong_content(kervan, name, data, status, code):
    """S0-25 S0-94: spoofed types are refused, logged, and leave no file."""
    answer = kervan.upload(data, name)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    if code:
        assert problem["code"] == code
    lines = wait_for("the rejection in the log", lambda: kervan.events("upload_failed", code=problem["code"]))  # S0-59
    assert lines[-1]["uploadId"]


def test_declared_type_must_agree(kervan):
    refused(kervan.upload(PICTURE, "a.png", mime="application/pdf"), 422, "type_mismatch")


def test_type_not_in_the_list(fresh):
    k = fresh(ALLOWED_MIME_TYPES="image/jpeg")
    refused(k.upload(PICTURE, "a.png"), 422, "type_refused")


@pytest.mark.parametrize("send", ["upload", "upload_raw"])
def test_pieces_are_no_files(kervan, send):
    """Clients that cut large files say which piece a request is; each would be stored as a picture of its own."""
    cut = len(PICTURE) // 2
    for piece, at in ((PICTURE[:cut], 0), (PICTURE[cut:], cut), (PICTURE, 0)):
        headers = {"Content-Range": f"bytes {at}-{at + len(piece) - 1}/{len(PICTURE)}"}
        assert "one request" in refused(getattr(kervan, send)(piece, "a.png", headers=headers), 400, "piece")["detail"]


@pytest.mark.parametrize("field", ["dztotalchunkcount", "flowTotalChunks", "resumableTotalChunks", "chunks"])
def test_pieces_of_upload_widgets_are_no_files(kervan, field):
    for form in (part(field, b"3") + part("file", PICTURE, "a.png"), part("file", PICTURE, "a.png") + part(field, b"3")):
        answer = kervan.post("/api/media", data=form + b"--X--\r\n", headers=FORM)
        assert "one request" in refused(answer, 400, "piece")["detail"]
    of_one = part(field, b"1") + b"--X--\r\n"
    refused(kervan.post("/api/media", data=of_one, headers=FORM), 400, "missing_file")


@pytest.mark.parametrize("body,code", [
    (part("baska", PICTURE, "a.png") + b"--X--\r\n", "missing_file"),
    (part("folder", b"a") + b"--X--\r\n", "missing_file"),
    (b"--X--\r\n", "missing_file"),
    (part("file", PICTURE, "a.png") + part("file", PICTURE, "b.png") + b"--X--\r\n", "two_files"),
    (part("file", b"{}") + b"--X--\r\n", "bad_filename"),
    (part("file", PICTURE * 20) + b"--X--\r\n", "bad_filename"),
    (part("file", PICTURE, "a.png"), "bad_multipart"),
    (part("file", PICTURE, "a.png") + b"--X", "bad_multipart"),
    (b"junk" * 100, "bad_multipart"),
    (b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nX: " + b"y" * 20000 + b"\r\n\r\n", "bad_multipart"),
    (b"--X\r\nno colon here\r\n\r\n" + PICTURE + b"\r\n--X--\r\n", "bad_multipart"),
    (b"", None),
])
def test_broken_multipart(kervan, body, code):
    answer = kervan.post("/api/media", data=body, headers=FORM)
    assert answer.status_code == 400, answer.text
    if code:
        refused(answer, 400, code)


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 100])
def test_bad_boundary(kervan, header):
    refused(kervan.post("/api/media", data=part("file", PICTURE, "a.png") + b"--X--\r\n", headers={"Content-Type": header}), 400, "bad_multipart")


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "a/b.png", "a\\b.png", "a\u202egnp.exe", "CON.png", "nul.png", "x" * 4096 + ".png", "a\x01b.png", "a\0b.png"])
def test_hostile_file_names(kervan, name):
    code = "bad_parameter" if "\0" in name else "bad_filename"
    assert "filename: " in refused(kervan.post("/api/media", params={"filename": name}, data=PICTURE), 400, code)["detail"]


@pytest.mark.parametrize("folder", ["../x", "..", "/etc", "a//b", "a/b/c/d/e", "Büyük", "a b", ".tmp", ".variants", "a/.tmp", "x" * 4096, "a\0b", "a/", "con\u202e"])
def test_hostile_folders(kervan, folder):
    code = "bad_parameter" if "\0" in folder else "bad_folder"
    assert "folder: " in refused(kervan.post("/api/media", params={"filename": "a.png", "folder": folder}, data=PICTURE), 400, code)["detail"]
    body = part("folder", folder.encode()) + part("file", PICTURE, "a.png") + b"--X--\r\n"
    answer = kervan.post("/api/media", data=body, headers=FORM)
    assert answer.status_code == 400
    if code == "bad_folder":  # the line does not name another one
        wait_for("its line in the log", lambda: kervan.events("upload_failed", code=code, folder=""))


@pytest.mark.parametrize("where", [0, 1, 50, 200, 1000, 65536, 200_000])
def test_client_abort(kervan, where):
    """S0-92: the client goes at any byte."""
    data = padded_png(300_000)
    with kervan.connect() as s:
        s.sendall((b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)) + data[:where])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def wire(kervan, data):
    """Status of the first answer to these bytes, and whether the connection was closed behind it."""
    with kervan.connect() as s:
        s.sendall(data)
        got = b""
        while b"\r\n\r\n" not in got:
            more = s.recv(65536)
            if not more:
                break
            got += more
        return int(got.split()[1]) if got else None


POST = b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("head", [
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: +5\r\n\r\nhello",
    POST + b"Content-Length: 0x5\r\n\r\nhello",
    POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    POST + b"Content-Length : 5\r\n\r\nhello",
    POST + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    POST + b"Host: y\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /api/media?filename=p.png HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\nHost: x\n\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 70000 + b"\r\nhello\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
])
def test_smuggling_forms(kervan, head):
    assert wire(kervan, head) == 400


def test_head_of_33_kb(kervan):
    assert wire(kervan, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 33_000 + b"\r\n\r\n") == 431


def test_a_head_that_is_refused_has_no_body(kervan):
    """A client that asks with HEAD reads none: what stood there would count as the next answer."""
    with kervan.connect() as s:
        s.sendall(b"HEAD /api/config HTTP/1.1\r\nHost: x\r\nExpect: much\r\n\r\n")
        got = b"".join(iter(lambda: s.recv(65536), b""))
    assert got.startswith(b"HTTP/1.1 417 ") and got.endswith(b"\r\n\r\n")


def test_body_ends_early(kervan):
    data = padded_png(100_000)
    with kervan.connect() as s:
        s.sendall(b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + data[:500])
        s.shutdown(socket.SHUT_WR)
        got = s.recv(65536)
    assert got == b"" or b" 400 " in got.split(b"\r\n")[0]


def test_stalled_head_and_body(fresh):
    """Headers by time, the body by rate."""
    k = fresh(HEADER_TIMEOUT="1")
    with k.connect() as s:
        began = time.monotonic()
        s.sendall(b"POST /api/media HTTP/1.1\r\nHost:")
        assert s.recv(4096).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 5
    with k.connect() as s:
        s.sendall(b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + PICTURE[:50])
        assert s.recv(4096).startswith(b"HTTP/1.1 408")
    wait_for(".tmp to be empty", lambda: k.tmp_files() == [])


@pytest.mark.parametrize("path", ["/api/static/.tmp/x", "/api/static/banners/.tmp/x.png", "/api/static/../kervan.db", "/api/static/%2e%2e/kervan.db",
                                  "/api/static/genel/..%2f..%2fkervan.db", "/api/static/.variants/x", "/api/static/", "/.tmp/", "/api/static//x.png", "/api/static/genel/" + "a" * 64])
def test_nothing_else_is_served(kervan, path):
    """X10: .tmp is 404."""
    with kervan.connect() as s:
        s.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert s.recv(4096).split(b" ")[1] in (b"404", b"400")


def test_unknown_routes_and_methods(kervan):
    refused(kervan.get("/api/yok"), 404, "not_found")
    answer = kervan.session.put(kervan.url("/api/media"), timeout=30)
    refused(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].replace(" ", "").split(",")) >= {"GET", "POST"}
    refused(kervan.get("/api/media/zzz"), 400, "bad_id")
    refused(kervan.get("/api/media?limit=9999"), 400, "bad_parameter")
    refused(kervan.get("/api/media?status=BOGUS"), 400, "bad_parameter")


def test_problems_in_turkish(kervan):
    answer = kervan.get("/api/yok", headers={"Accept-Language": "tr-TR,tr;q=0.9"})
    assert answer.json()["detail"] == "Burada bir şey yok."


def test_rate_limit(fresh):
    """S0-24: 429 with Retry-After and the literal error member."""
    k = fresh(UPLOAD_RATE_LIMIT="3")
    answers = [k.upload(png()) for _ in range(5)]
    assert [a.status_code for a in answers][:3] == [201] * 3 and answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1 and answers[-1].json()["error"] == "Rate limit"
    k.list()


def test_virus_place_is_honest(kervan):
    """S0-26: the scan comes with clamd; until then the page and the API claim none."""
    assert "virus" not in kervan.get("/api/config").text.lower()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("/api/jobs?state=error", "state is not known. Did you mean status?"),
        ("/api/jobs?foo=1", "foo is not known"),
        ("/api/jobs?limit=0", "limit: 1 to 200"),
        ("/api/jobs?limit=201", "limit: 1 to 200"),
        ("/api/jobs?service=Bad_Name", "service: "),
        ("/api/jobs?service=ai&service=backup", "service is given twice"),
        ("/api/jobs?stat%75s=error&status=queued", "status is given twice"),
        ("/api/media?stat=READY", "stat is not known. Did you mean status?"),
        ("/api/media?limit=0", "limit: 1 to 200"),
        ("/api/media?limit=5&limit=6", "limit is given twice"),
        ("/api/events?type=media", "type is not known. Did you mean types?"),
        ("/api/events?after=1&after=2", "after is given twice"),
        ("/api/notifications?user=u&befor=1", "befor is not known. Did you mean before?"),
        ("/api/notifications?", "user: "),
        ("/api/credits/u?user=u", "user is not known"),
        ("/api/admin/queues?servce=ai", "servce is not known. Did you mean service?"),
        ("/api/admin/queues?after=x", "after: "),
    ],
)
def test_parameters_are_read_strictly(kervan, query, says):
    """A parameter that would be passed over in silence answers another question than was asked."""
    answer = kervan.get(query, headers={"Accept-Language": "en"}, stream=True)
    assert answer.status_code == 400, query
    assert says in refused(answer, 400, "bad_parameter")["detail"]


@pytest.mark.parametrize("query,code,says", [
    ("filename=a.png&fodler=banners", "bad_parameter", "fodler is not known. Did you mean folder?"),
    ("filename=a.png&folder=a&folder=b", "bad_parameter", "folder is given twice"),
    ("filename=%zz.png", "bad_parameter", "filename: a percent escape"),
    ("", "bad_filename", "a raw body needs ?filename="),
    ("filename=&folder=", "bad_filename", "a raw body needs ?filename="),
])
def test_parameters_of_uploads_are_read_strictly(kervan, query, code, says):
    """The file would be in another folder than was meant."""
    with kervan.connect() as s:
        s.sendall(b"POST /api/media?%s HTTP/1.1\r\nHost: x\r\nAccept-Language: en\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (query.encode(), len(PICTURE)) + PICTURE)
        head, body = s.makefile("rb").read().split(b"\r\n\r\n", 1)
    assert head.split(b" ")[1] == b"400" and json.loads(body)["code"] == code and says in json.loads(body)["detail"]


def test_two_folders(kervan):
    body = part("folder", b"a") + part("folder", b"b") + part("file", PICTURE, "a.png") + b"--X--\r\n"
    assert "folder is given twice" in refused(kervan.post("/api/media", data=body, headers=FORM), 400, "bad_folder")["detail"]


def test_empty_parameters_are_none(kervan):
    """Forms send those."""
    for query in ("/api/jobs?service=&status=&limit=&", "/api/media?folder=&limit=&cursor=", "/api/admin/queues?service=&after="):
        assert kervan.get(query).status_code == 200, query


@pytest.mark.parametrize("query", ["lane=%zz", "lane=urgent%00", "l%00ane=urgent", "lane=%u"])
def test_bad_escapes_in_parameters(kervan, query):
    with kervan.connect() as s:
        s.sendall(f"GET /api/jobs?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = s.makefile("rb").read()
    assert answer.split(b" ")[1] == b"400" and b"percent escape" in answer
    assert query.startswith("l%00") or b"lane: a percent escape" in answer
