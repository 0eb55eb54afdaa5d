"""Serving. S0-05 S0-23 S0-43 S0-54 S0-86"""
import contextlib
import os
import socket
import struct

import pytest

from kervan import wait_for
from pictures import noise_png, padded_png, png


@pytest.fixture(scope="module")
def media(kervan):
    m = kervan.upload(noise_png(700, 500), "manzara.png", folder="banners").json()
    return kervan.wait_ready(m["id"])


def test_exact_url_is_immutable(kervan, media):
    got = kervan.get(media["url"])
    assert got.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert got.headers["ETag"] == f'"{media["stored_hash"]}"' and "Vary" not in got.headers
    assert got.headers["X-Content-Type-Options"] == "nosniff" and got.headers["Accept-Ranges"] == "bytes"
    assert int(got.headers["Content-Length"]) == len(got.content) == media["size"]


def test_as_many_variants_as_there_may_be(fresh):
    widths = range(40, 680, 40)
    k = fresh(IMAGE_WIDTHS=",".join(map(str, widths)))
    media = k.wait_ready(k.upload(noise_png(700, 500), "cok.png").json()["id"])
    assert len(media["variants"]) == 2 * len(widths) + 1
    for v in media["variants"]:
        assert len(k.get(v["url"]).content) == v["size"], v
    narrow = k.get(media["url"], params={"w": 1, "format": "avif"})
    assert len(narrow.content) == media["variants"][-1]["size"] and media["variants"][-1]["width"] == 40


def test_conditional(kervan, media):
    etag = f'"{media["stored_hash"]}"'
    for value in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        got = kervan.get(media["url"], headers={"If-None-Match": value})
        assert got.status_code == 304 and got.content == b"" and got.headers["ETag"] == etag
    assert kervan.get(media["url"], headers={"If-None-Match": '"x"'}).status_code == 200
    modified = kervan.get(media["url"]).headers["Last-Modified"]
    assert kervan.get(media["url"], headers={"If-Modified-Since": modified}).status_code == 304


def test_lines_of_if_none_match_are_one_list(kervan, media):
    """RFC 9110 5.3"""
    with kervan.connect() as s:
        s.sendall(b'GET %s HTTP/1.1\r\nHost: a\r\nIf-None-Match: "x"\r\nIf-None-Match: "%s"\r\n\r\n' % (media["url"].encode(), media["stored_hash"].encode()))
        assert s.recv(4096).startswith(b"HTTP/1.1 304 ")


def test_if_match(kervan, media):
    """RFC 9110 13.1.1: a download that is gone on with gets no piece of another file."""
    url, etag = media["url"] + "?w=320", f'"{media["stored_hash"]}"'
    whole = kervan.get(url, headers={"Accept": "image/webp"})
    for condition in ({"If-Match": etag}, {"If-Match": f"W/{whole.headers['ETag']}"}, {"If-Match": '"x", "y"'}):
        got = kervan.get(url, headers={"Accept": "image/webp", "Range": "bytes=10-19"} | condition)
        assert got.status_code == 412 and got.json()["code"] == "precondition_failed", condition
        assert "If-Match" in got.json()["detail"]
    got = kervan.get(url, headers={"Accept": "image/webp", "Range": "bytes=10-19", "If-Match": f'"x", {whole.headers["ETag"]}'})
    assert got.status_code == 206 and got.content == whole.content[10:20]
    assert kervan.get(media["url"], headers={"If-Match": "*"}).status_code == 200
    assert kervan.session.head(kervan.url(media["url"]), headers={"If-Match": '"x"'}, timeout=30).status_code == 412


def test_if_unmodified_since(kervan, media):
    exact = kervan.get(media["url"])
    for date, exact_status in ((exact.headers["Last-Modified"], 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 412), ("junk", 200)):
        condition = {"If-Unmodified-Since": date}
        assert kervan.get(media["url"], headers=condition).status_code == exact_status
        assert kervan.get(media["url"] + "?w=320", headers=condition).status_code == 200, "it has no date of its own"
        assert kervan.get(media["url"], headers=condition | {"If-Match": exact.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize("spec,begin,end", [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-99999999", 5, None)])
def test_range(kervan, media, spec, begin, end):
    whole = kervan.get(media["url"]).content
    got = kervan.get(media["url"], headers={"Range": spec})
    want = whole[begin:end]
    first = begin if begin >= 0 else len(whole) + begin
    assert got.status_code == 206 and got.content == want
    assert got.headers["Content-Range"] == f"bytes {first}-{first + len(want) - 1}/{len(whole)}"


def test_range_not_satisfiable_and_odd(kervan, media):
    got = kervan.get(media["url"], headers={"Range": "bytes=99999999-"})
    assert got.status_code == 416 and got.headers["Content-Range"] == f"bytes */{media['size']}"
    for odd in ("bytes=a-b", "items=0-1", "bytes=5-2"):
        assert kervan.get(media["url"], headers={"Range": odd}).status_code == 200


def test_if_range(kervan, media):
    """h2o 2.2.5 alone answers 206 to a mismatch."""
    etag = f'"{media["stored_hash"]}"'
    assert kervan.get(media["url"], headers={"Range": "bytes=0-9", "If-Range": etag}).status_code == 206
    got = kervan.get(media["url"], headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert got.status_code == 200 and len(got.content) == media["size"]
    modified = got.headers["Last-Modified"]
    assert kervan.get(media["url"], headers={"Range": "bytes=0-9", "If-Range": modified}).status_code == 206
    assert kervan.get(media["url"], headers={"Range": "bytes=0-9", "If-Range": "Thu, 01 Jan 1970 00:00:00 GMT"}).status_code == 200


def test_dates_are_for_exact_addresses(kervan, media):
    """All files behind a negotiated address are of one date: a 304 or 206 by it would be of another file."""
    date = kervan.get(media["url"]).headers["Last-Modified"]
    for query in ("?w=320", "?auto", "?format=original"):
        url, webp = media["url"] + query, {"Accept": "image/webp"}
        got = kervan.get(url, headers=webp | {"If-Modified-Since": date})
        assert got.status_code == 200 and "Last-Modified" not in got.headers
        etag = got.headers["ETag"]
        piece = kervan.get(url, headers=webp | {"Range": "bytes=0-9", "If-Range": date})
        assert piece.status_code == 200 and piece.content == got.content
        assert kervan.get(url, headers=webp | {"Range": "bytes=0-9", "If-Range": etag}).status_code == 206
        same = kervan.get(url, headers=webp | {"If-None-Match": etag})
        assert same.status_code == 304 and "Last-Modified" not in same.headers and same.headers["Vary"] == got.headers["Vary"]
        assert same.headers["Cache-Control"] == got.headers["Cache-Control"] and same.headers["ETag"] == etag


def test_head(kervan, media):
    got = kervan.session.head(kervan.url(media["url"]), timeout=30)
    assert got.status_code == 200 and got.content == b"" and int(got.headers["Content-Length"]) == media["size"]


@pytest.mark.parametrize("accept,mime", [("image/avif,image/webp,*/*", "image/avif"), ("image/webp,*/*;q=0.8", "image/webp"), ("image/png", "image/png"),
                                         ("image/avif;q=0,image/webp", "image/webp")])
def test_negotiation(kervan, media, accept, mime):
    got = kervan.get(media["url"] + "?w=320", headers={"Accept": accept})
    assert got.status_code == 200 and got.headers["Content-Type"] == mime and "accept" in got.headers["Vary"].lower()
    assert "immutable" not in got.headers["Cache-Control"]


def test_accept_in_two_lines(kervan, media):
    """They are one list: RFC 9110 5.3."""
    def answer(path, *lines):
        with kervan.connect() as s:
            s.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]).encode())
            head, _, body = b"".join(iter(lambda: s.recv(65536), b"")).partition(b"\r\n\r\n")
        return head.lower().decode(), body

    assert "\r\ncontent-type: image/webp" in answer(media["url"] + "?w=320", "Accept: image/png ", "Accept:", "Accept: image/webp")[0]
    assert "\r\ncontent-type: image/png" in answer(media["url"] + "?w=320", "Accept:", "Accept:")[0]
    assert "\r\ncontent-type: application/json" in answer("/api/events", "Accept: text/plain", "Accept: application/json")[0]
    assert "\r\ncontent-language: en" in answer("/api/nothing", "Accept-Language: tr;q=0.5", "Accept-Language: en")[0]


def test_width_is_the_next_larger(kervan, media):
    avif = {"Accept": "image/avif"}
    sizes = {v["width"]: v["size"] for v in media["variants"] if v["format"] == "avif"}
    assert len(kervan.get(media["url"] + "?w=100", headers=avif).content) == sizes[320]
    assert len(kervan.get(media["url"] + "?w=321", headers=avif).content) == sizes[640]
    for bad in ("0x10", "-1", "abc", "99999999999"):
        assert kervan.get(media["url"] + f"?w={bad}").status_code == 400


@pytest.mark.threads
def test_the_parameter_that_is_no_text_is_named(kervan, media):
    for path, says in (("/api/media?search=%ff", b"search: "), (media["url"] + "?auto=%zz", b"auto: "), (media["url"] + "?format=%zz", b"format: ")):
        with kervan.connect() as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = s.makefile("rb").read()
        assert answer.split(b" ")[1] == b"400" and says in answer, path


def test_deleted_on_every_loop(fresh):
    """Once the 204 is out, also those that have it in memory and have not heard of the event."""
    k = fresh(GATEWAY_THREADS="4")
    readers = [k.connect() for _ in range(16)]

    def status(s, url):
        s.sendall(f"HEAD {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += s.recv(4096)
        return int(got.split()[1])

    for i in range(60):
        media = k.upload_raw(b"text %d\n" % i, f"{i}.txt").json()
        assert {status(s, media["url"]) for s in readers} == {200}
        assert k.delete(f"/api/media/{media['id']}").status_code == 204
        assert {status(s, media["url"]) for s in readers} == {404}
    for s in readers:
        s.close()


def test_large_file_in_pieces(kervan):
    picture = padded_png(5_000_000)
    m = kervan.upload_raw(picture, "buyuk.png").json()
    assert kervan.get(m["url"]).content == picture
    assert kervan.get(m["url"], headers={"Range": "bytes=4000000-4999999"}).content == picture[4_000_000:]


def unsent(port, client):
    """Bytes the kernel holds for this client, and whether it waits for its window to open."""
    with open("/proc/net/tcp", encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if words[1].endswith(f":{port:04X}") and words[2].endswith(f":{client:04X}"):
                return int(words[4].split(":")[0], 16), words[5].startswith("04")
    return 0, False


def test_the_kernel_holds_little_for_who_does_not_read(kervan):
    """It would take 4 MiB a connection, and some hundred of them are all that it has for TCP."""
    m = kervan.upload_raw(padded_png(8_000_000), "uzun.png").json()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", kervan.port))
        s.sendall(f"GET {m['url']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        seen = []

        def full():
            seen.append(unsent(kervan.port, s.getsockname()[1]))
            return seen[-1][1] and seen[-3:] == [seen[-1]] * 3

        wait_for("a full socket", full)
        assert 0 < seen[-1][0] < 1 << 20, seen[-1]


def body_of(s, length):
    """Head and body of one answer that is read from this socket."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += s.recv(4096)
    head, body = got.split(b"\r\n\r\n", 1)
    while len(body) < length:
        piece = s.recv(min(65536, length - len(body)))
        if not piece:
            break
        body += piece
    return head, body


@pytest.mark.parametrize("size", [200_000, 8_000_000])
def test_who_reads_slowly_gets_all_of_it(kervan, size):
    picture = padded_png(size)
    m = kervan.upload_raw(picture, f"yavas{size}.png").json()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", kervan.port))
        for _ in range(2):  # and the connection is good for another one
            s.sendall(f"GET {m['url']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_for("its window to be full", lambda: unsent(kervan.port, s.getsockname()[1])[1])
            head, body = body_of(s, len(picture))
            assert b" 200 OK" in head and body == picture


def test_small_ones_are_kept_open_and_who_leaves_costs_none(fresh):
    """Descriptors: one for a file that was asked for, none for those who went away in the middle of a large one."""
    k = fresh(IMAGE_PROCESSING_ENABLED="false")
    small, large = k.upload_raw(padded_png(100_000), "kucuk.png").json(), k.upload_raw(padded_png(8_000_000), "uzun.png").json()

    def open_files():
        paths = []
        for fd in os.scandir(f"/proc/{k.children()['gateway']}/fd"):
            with contextlib.suppress(OSError):
                paths.append(os.readlink(fd.path))
        return [path for path in paths if path.startswith(str(k.data / "media")) and path.endswith(".png")]

    for _ in range(3):
        k.get(small["url"])
        with socket.create_connection(("127.0.0.1", k.port)) as s:
            s.sendall(f"GET {large['url']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            s.recv(1000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    wait_for("the large one to be closed", lambda: [os.path.basename(p) for p in open_files()] == [os.path.basename(small["url"])])
    assert k.delete(f"/api/media/{small['id']}").status_code == 204
    wait_for("the small one to be closed", lambda: open_files() == [])
    assert not k.events("object_unreadable")


def test_a_file_cut_short_while_it_is_kept_open(fresh):
    """Its length is announced: the connection ends before it. Asked again it is said."""
    k, picture = fresh(IMAGE_PROCESSING_ENABLED="false"), padded_png(100_000)
    m = k.upload_raw(picture, "kesik.png").json()
    assert k.get(m["url"]).content == picture
    os.truncate(k.data / "media" / m["url"].removeprefix("/api/static/"), 30_000)
    with socket.create_connection(("127.0.0.1", k.port)) as s:
        s.sendall(f"GET {m['url']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, body = body_of(s, len(picture))
        assert b"Content-Length: 100000" in head and body == picture[:30_000]
    k.wait_log("object_unreadable", error="it ends early")
    assert k.get(m["url"]).json()["code"] == "io"
    assert k.upload_raw(picture, "kesik.png").json()["url"] == m["url"]
    assert k.get(m["url"]).content == picture


def test_not_an_image_is_harmless(kervan):
    m = kervan.upload(b"duz yazi\n" * 50, "türkçe ad.txt").json()
    got = kervan.get(m["url"])
    assert "sandbox" in got.headers["Content-Security-Policy"]
    z = kervan.upload(b"PK\x05\x06" + bytes(18), 'tırnak".zip').json()
    disposition = kervan.get(z["url"]).headers["Content-Disposition"]
    assert disposition.startswith("attachment") and "filename*=UTF-8''" in disposition and "\n" not in disposition


def test_sound_and_films_play_when_opened(kervan):
    """Browsers play them in a page of their own, which must load the file; it is no script in any case."""
    for name, data in (("a.mp3", (b"\xff\xfb\x90\xc0" + bytes(413)) * 20), ("a.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + bytes(600))):
        media = kervan.upload(data, name).json()
        got = kervan.get(media["url"])
        assert got.headers["Content-Type"].split("/")[0] in ("audio", "video"), media
        assert got.headers["Content-Security-Policy"] == "default-src 'none'; media-src 'self'"
        assert got.headers["X-Content-Type-Options"] == "nosniff" and got.headers["Content-Disposition"].startswith("inline")


def test_a_file_cut_short_is_not_kept_by_clients(fresh):
    """S0-12: served as immutable it would stay in their caches. The same upload mends it."""
    k, picture = fresh(), noise_png(700, 500)
    media = k.wait_ready(k.upload(picture).json()["id"])
    original = k.data / "media" / media["url"].removeprefix("/api/static/")
    os.truncate(original, 0)
    for name in k.variant_files():
        os.truncate(k.data / "media/.variants" / name, 100)
    for url in (media["url"], *(v["url"] for v in media["variants"])):
        got = k.get(url)
        assert got.status_code == 500 and got.json()["code"] == "io" and got.headers["Cache-Control"] == "no-store", url
    assert k.events("object_damaged")[0]["size"] == 0 and k.events("object_damaged")[0]["expected"] == len(picture)
    assert k.upload(picture).json()["url"] == media["url"]
    assert k.get(media["url"]).content == picture
    assert k.get(media["url"] + "?w=320", headers={"Accept": "image/webp"}).content == picture


def test_files_that_their_rows_name_and_nobody_has(fresh):
    """A database that was put back without its media: what stands in for a variant is kept by nobody, and the log says what is gone."""
    k, picture = fresh(), noise_png(700, 500)
    media = k.wait_ready(k.upload(picture).json()["id"])
    for name in k.variant_files():
        os.unlink(k.data / "media/.variants" / name)
    got = k.get(media["url"] + "?w=320", headers={"Accept": "image/webp"})
    assert got.content == picture and got.headers["Cache-Control"] == "no-cache"
    assert k.get(media["variants"][0]["url"]).status_code == 404
    assert k.events("object_missing")[0]["key"].startswith(".variants/")
    os.unlink(k.data / "media" / media["url"].removeprefix("/api/static/"))
    k.stop()
    k.start()
    assert k.get(media["url"]).status_code == 404
    assert k.events("object_missing")[-1]["key"] == media["url"].removeprefix("/api/static/")


def test_processing_failed_or_off_serves_the_original(fresh):
    k = fresh(IMAGE_PROCESSING_ENABLED="false")
    picture = png()
    m = k.upload(picture).json()
    got = k.get(m["url"] + "?w=320", headers={"Accept": "image/avif"})
    assert got.content == picture and got.headers["Content-Type"] == "image/png"


def test_cdn_in_front(fresh):
    """S0-13 S0-05: a CDN is an address in front, nothing more."""
    k = fresh(MEDIA_BASE_URL="https://cdn.example.com")
    m = k.upload(png()).json()
    assert m["url"].startswith("https://cdn.example.com/api/static/genel/")
    assert k.get(m["url"][len("https://cdn.example.com"):]).status_code == 200
