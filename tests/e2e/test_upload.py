"""Upload, as clients do it. S0-04 S0-12 S0-15 S0-16 S0-17 S0-28 S0-29 S0-34 S0-53 S0-63 S0-64 S0-67 S0-68 S0-70 S0-81 S0-82 S0-90"""
import hashlib
import json
import re
import stat

import pytest

from kervan import wait_for
from pictures import gif, jpeg, noise_png, padded_png, png, webp

pytestmark = pytest.mark.threads


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_smoke_upload_201_get_200(kervan):
    """S0-12 S0-53: “Yükle → 201 → URL GET 200”."""
    picture = png()
    answer = kervan.upload(picture, "merhaba dünya.png", folder="banners")
    assert answer.status_code == 201, answer.text
    media = answer.json()
    assert answer.headers["Location"] == media["url"] == f"/api/static/banners/{sha(picture)}.png"  # S0-05 S0-22
    assert media["hash"] == media["stored_hash"] == sha(picture)  # S0-17
    assert (media["width"], media["height"]) == (64, 48)
    assert media["size"] == len(picture) and media["mime"] == "image/png" and media["folder"] == "banners"
    assert media["deduplicated"] is False and media["status"] in ("PENDING", "READY")
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{13}", media["id"]) and re.fullmatch(r"[0-9a-hjkmnp-tv-z]{13}", media["uploadId"])
    got = kervan.get(media["url"])
    assert got.status_code == 200 and got.content == picture and got.headers["Content-Type"] == "image/png"
    assert kervan.media(media["id"])["filename"] == "merhaba dünya.png"


def test_raw_body(kervan):
    picture = png()
    answer = kervan.upload_raw(picture, "ham.png", folder="haber/2026")
    assert answer.status_code == 201, answer.text
    assert answer.json()["url"].startswith("/api/static/haber/2026/")


def test_raw_chunked(kervan):
    picture = padded_png(700_001)
    answer = kervan.upload_raw((picture[i:i + 70_000] for i in range(0, len(picture), 70_000)), "parca.png")
    assert answer.status_code == 201, answer.text
    assert answer.json()["hash"] == sha(picture)
    assert kervan.get(answer.json()["url"]).content == picture


def test_sizes_to_the_limit(kervan):
    """S0-69 S0-90: 1, 20 and exactly 50 MiB; the limit is inclusive (X11)."""
    for size in (1 << 20, 20 << 20, 50 << 20):
        picture = padded_png(size)
        answer = kervan.upload_raw(picture, "buyuk.png")
        assert answer.status_code == 201, answer.text
        got = kervan.get(answer.json()["url"])
        assert got.status_code == 200 and sha(got.content) == sha(picture)


def test_dimensions_in_the_201(kervan):
    """S0-42"""
    for make, mime in ((jpeg, "image/jpeg"), (png, "image/png"), (webp, "image/webp"), (gif, "image/gif")):
        ext = mime.split("/")[1]
        answer = kervan.upload(make(120, 90), f"a.{ext}")
        assert answer.status_code == 201, answer.text
        media = answer.json()
        assert (media["width"], media["height"], media["mime"]) == (120, 90, mime)


def test_other_types(kervan):
    for name, data, mime in (("a.pdf", b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n", "application/pdf"),
                             ("a.txt", "merhaba, düz yazı\n".encode() * 20, "text/plain"),
                             ("a.zip", b"PK\x05\x06" + bytes(18), "application/zip")):
        answer = kervan.upload(data, name)
        assert answer.status_code == 201, (name, answer.text)
        media = answer.json()
        assert media["mime"] == mime and media["status"] == "READY"  # Y23: nothing to process
        got = kervan.get(media["url"])
        assert got.content == data and got.headers["X-Content-Type-Options"] == "nosniff"


def test_video_is_kept_and_not_transcoded(kervan):
    """S0-14"""
    data = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2mp41" + b"\0\0\0\x08free" + b"\0\0\1\x08mdat" + bytes(256)
    answer = kervan.upload(data, "a.mp4")
    assert answer.status_code == 201, answer.text
    media = answer.json()
    assert (media["mime"], media["status"], media["variants"]) == ("video/mp4", "READY", []) and media["metadata_kept"] is True
    assert kervan.get(media["url"]).content == data


def test_file_and_folder_permissions(kervan):
    """S0-28 S0-99: file 0644, folder 0775."""
    media = kervan.upload(png(), folder="izin/deneme").json()
    path = kervan.data / "media/izin/deneme" / media["url"].rsplit("/", 1)[1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o775
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o775


def test_folder_after_the_file_and_in_the_query(kervan):
    picture = png()
    body = (b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + picture +
            b'\r\n--X\r\nContent-Disposition: form-data; name="folder"\r\n\r\nsonradan\r\n--X--\r\n')
    answer = kervan.post("/api/media", data=body, headers={"Content-Type": "multipart/form-data; boundary=X"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["folder"] == "sonradan"


def read_answers(sock, count):
    """Reads `count` answers with Content-Length from one connection."""
    data, answers = b"", []
    while len(answers) < count:
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            assert more, f"closed after {len(answers)} answers: {data[:200]!r}"
            data += more
        head, data = data.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"content-length: *(\d+)", head, re.I).group(1))
        while len(data) < length:
            data += sock.recv(65536)
        answers.append((int(head.split()[1]), data[:length]))
        data = data[length:]
    return answers


def request(kervan, picture, extra=b""):
    return (b"POST /api/media?filename=p.png&folder=boru HTTP/1.1\r\nHost: x\r\n" + extra + b"Content-Length: %d\r\n\r\n" % len(picture) + picture)


def test_a_field_of_the_files_name(kervan):
    """FilePond sends its metadata so, before the file: without a file name it is a field, and ignored as others are."""
    picture = noise_png(31, 17)
    for files in ([("file", (None, "{}")), ("file", ("a.png", picture))], [("file", ("a.png", picture)), ("file", (None, "{}"))]):
        answer = kervan.post("/api/media", files=files)
        assert answer.status_code == 201 and kervan.get(answer.json()["url"]).content == picture, answer.text


def test_pipelined_uploads_and_gets(kervan):
    pictures = [padded_png(n) for n in (400, 70_000, 500, 300_000, 600)]
    with kervan.connect() as s:
        wire = b"".join(request(kervan, p) + b"GET /api/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n" for p in pictures)
        s.sendall(wire)
        answers = read_answers(s, 2 * len(pictures))
    assert [a[0] for a in answers] == [201, 200] * len(pictures)
    assert [json.loads(a[1])["hash"] for a in answers[::2]] == [sha(p) for p in pictures]


def test_targets_with_the_host(kervan):
    """RFC 9112 3.2.2: as to a proxy. The requests around them are none the wiser."""
    pictures = [padded_png(n) for n in (500, 300_000)]
    with kervan.connect() as s:
        wire = b"".join(request(kervan, p, b"Expect: 100-continue\r\n").replace(b"/api", b"http://X/api", 1) +
                        b"GET http://x/api/v1/health/live?a HTTP/1.1\r\nHost: x\r\n\r\nGET /api/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n" for p in pictures)
        s.sendall(wire)
        answers = read_answers(s, 6)
    assert [status for status, _ in answers] == [201, 200, 200] * 2
    assert [json.loads(body)["size"] for _, body in answers[::3]] == [len(p) for p in pictures]
    with kervan.connect() as s:
        s.sendall(b"GET http://y/api/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answers(s, 1)[0][0] == 400


def test_expect_100_continue(kervan):
    picture = png()
    with kervan.connect() as s:
        head, body = request(kervan, picture, b"Expect: 100-continue\r\n").split(b"\r\n\r\n", 1)
        s.sendall(head + b"\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 100")
        s.sendall(body)
        assert read_answers(s, 1)[0][0] == 201


def test_expect_refused_before_the_body(kervan):
    with kervan.connect() as s:
        s.sendall(b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 413")


def test_log_line_per_upload(kervan):
    """S0-27 S0-66: one line keyed uploadId."""
    media = kervan.upload(png(), "kayit.png").json()
    lines = wait_for("the log line", lambda: kervan.events(uploadId=media["uploadId"]))
    assert len(lines) == 1 and lines[0]["event"] == "upload_done"
    assert lines[0]["hash"] == media["hash"] and lines[0]["mediaId"] == media["id"] and lines[0]["size"] == media["size"]


def test_metrics(kervan):
    """S0-44 S0-45 S0-46 S0-60 S0-61"""
    before = {m: kervan.metric(m) for m in ("uploads_total", "upload_bytes_total", "upload_failures_total")}
    picture = png()
    assert kervan.upload(picture).status_code == 201
    assert kervan.upload(b"<html><script>1</script></html>", "a.png").status_code == 422
    assert kervan.metric("uploads_total") == before["uploads_total"] + 1
    assert kervan.metric("upload_bytes_total") == before["upload_bytes_total"] + len(picture)
    assert kervan.metric("upload_failures_total") == before["upload_failures_total"] + 1


def test_list_get_delete(kervan):
    ids = [kervan.upload(png(), f"liste-{i}.png", folder="liste/alt").json()["id"] for i in range(5)]
    page = kervan.get("/api/media", params={"folder": "liste", "limit": 2}).json()
    assert [m["id"] for m in page["items"]] == ids[:2:-1]
    rest = kervan.get("/api/media", params={"folder": "liste", "limit": 10, "cursor": page["next"]}).json()
    assert [m["id"] for m in rest["items"]] == ids[2::-1] and rest["next"] is None
    assert [m["id"] for m in kervan.list(search="STE-3")] == [ids[3]]
    assert {"folder": "liste/alt", "count": 5} in kervan.get("/api/folders").json()["folders"]
    first = kervan.get("/api/folders", params={"cursor": "liste", "limit": 1}).json()
    assert first["folders"] == [{"folder": "liste/alt", "count": 5}] and first["next"] in (None, "liste/alt")
    for bad in ({"limit": 0}, {"limit": 10001}, {"cursor": "../x"}, {"x": 1}):
        assert kervan.get("/api/folders", params=bad).status_code == 400
    url = kervan.media(ids[0])["url"]
    assert kervan.delete(f"/api/media/{ids[0]}").status_code == 204
    assert kervan.get(url).status_code == 404 and kervan.get(f"/api/media/{ids[0]}").status_code == 404
    assert kervan.delete(f"/api/media/{ids[0]}").status_code == 404
    wait_for("the file to be gone", lambda: not (kervan.data / "media" / url[len("/api/static/"):]).exists())


def test_delete_takes_the_job_along(fresh):
    """Y09: the job of a deleted picture is cancelled; it is no failure that anybody has to look at."""
    k = fresh()

    def job_of(media):
        return wait_for("the end of its job", lambda: (j := k.get(f"/api/jobs/{media['jobId']}").json())["status"] not in ("queued", "processing") and j)

    assert k.post("/api/admin/queues/image-process/pause").status_code == 200
    media = k.upload(noise_png(300, 200)).json()
    assert k.delete(f"/api/media/{media['id']}").status_code == 204
    job = job_of(media)
    assert job["status"] == "cancelled" and job["history"][-1]["reason"] == "its file was deleted"
    assert k.post("/api/admin/queues/image-process/resume").status_code == 200
    raced = [k.upload(noise_png(200 + i, 150)).json() for i in range(1)]
    for i in range(25):
        raced.append(k.upload(noise_png(300 + i, 200)).json())
        k.delete(f"/api/media/{raced[-1]['id']}")
    k.delete(f"/api/media/{raced[0]['id']}")
    assert {job_of(m)["status"] for m in raced} <= {"cancelled", "complete"}
    assert k.metric("kervan_job_failures_total") == 0
    wait_for("no file of theirs", lambda: k.files() == [] and k.variant_files() == [])


def test_nothing_left_in_tmp(kervan):
    """S0-92"""
    wait_for(".tmp to be empty", lambda: kervan.tmp_files() == [])


def test_buffered_path_as_roll_back(fresh):
    """S0-30 S0-98 X12"""
    k = fresh(UPLOAD_STREAM_ENABLED="false", UPLOAD_BUFFERED_MAX_MB="1")
    picture = padded_png(900_000)
    assert k.upload(picture).json()["hash"] == sha(picture)
    assert k.upload(padded_png(1_100_000)).status_code == 413
    wait_for(".tmp to be empty", lambda: k.tmp_files() == [])  # the first one may still be in work
