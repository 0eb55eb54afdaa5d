"""One file, one copy. S0-03 S0-06 S0-11 S0-18 S0-35 S0-39 S0-52 S0-91 (X03, Y21)"""
import os
import signal
import threading

import pytest
import requests

from kervan import wait_for
from pictures import SECRETS, jpeg, padded_png, png, with_metadata

pytestmark = pytest.mark.threads


def test_second_upload_is_a_reference(kervan):
    """S0-11 S0-18 S0-91: no new row, no new file."""
    picture = png()
    first = kervan.upload(picture, "bir.png", folder="tekil").json()
    answer = kervan.upload(picture, "iki.png", folder="tekil")
    assert answer.status_code == 201
    second = answer.json()
    assert second["deduplicated"] is True and second["id"] == first["id"] and second["url"] == first["url"]
    assert len(kervan.list(folder="tekil")) == 1
    assert len([f for f in kervan.files() if f.startswith("tekil/")]) == 1


def test_other_folder_shares_the_bytes(kervan):
    """S0-52: another row, the same hash, one physical file."""
    picture = padded_png(100_000)
    first = kervan.upload(picture, folder="klasor-a").json()
    second = kervan.upload(picture, folder="klasor-b").json()
    assert second["id"] != first["id"] and second["hash"] == first["hash"] and second["deduplicated"] is True
    a, b = (kervan.data / "media" / m["url"][len("/api/static/"):] for m in (first, second))
    assert os.stat(a).st_ino == os.stat(b).st_ino
    assert kervan.delete(f"/api/media/{first['id']}").status_code == 204
    assert kervan.get(first["url"]).status_code == 404 and kervan.get(second["url"]).content == picture
    wait_for("the first link to go", lambda: not a.exists())
    assert b.exists()
    assert kervan.delete(f"/api/media/{second['id']}").status_code == 204
    wait_for("the file to go", lambda: not b.exists())



def test_a_delete_that_finds_it_done(fresh):
    """What was there when its delete came, and is gone now, was removed. So it is when a broker dies behind the commit and is asked again."""
    k = fresh()
    media = k.upload(png()).json()
    broker = k.children()["broker"]
    os.kill(broker, signal.SIGSTOP)
    try:
        with k.connect() as one, k.connect() as two:
            for s in (one, two):
                s.sendall(f"DELETE /api/media/{media['id']} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert k.get("/api/v1/health/live/").status_code == 200, "the gateway has read what came before"
            os.kill(broker, signal.SIGCONT)
            assert [s.recv(4096).split(b"\r\n")[0] for s in (one, two)] == [b"HTTP/1.1 204 No Content"] * 2
    finally:
        os.kill(broker, signal.SIGCONT)
    assert k.delete(f"/api/media/{media['id']}").status_code == 404


def test_variants_go_with_the_last_reference(kervan):
    picture = png(700, 500)
    media = kervan.upload(picture, folder="son").json()
    ready = kervan.wait_ready(media["id"])
    assert ready["variants"]
    urls = [v["url"] for v in ready["variants"]]
    assert all(kervan.get(u).status_code == 200 for u in urls)
    before = set(kervan.variant_files())
    kervan.delete(f"/api/media/{media['id']}")
    wait_for("the variants to go", lambda: len(before - set(kervan.variant_files())) >= len(urls))
    assert all(kervan.get(u).status_code == 404 for u in urls)


def test_twenty_clients_at_once(kervan):
    """Two clients sending the same bytes at once get one file, one row, two answers."""
    picture = padded_png(200_000)
    answers = []

    def send():
        answers.append(kervan.upload_raw(picture, "ayni.png", folder="hepsi"))

    threads = [threading.Thread(target=send) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.status_code for a in answers] == [201] * 20
    assert len({a.json()["id"] for a in answers}) == 1
    assert sum(not a.json()["deduplicated"] for a in answers) == 1
    assert len([f for f in kervan.files() if f.startswith("hepsi/")]) == 1


def test_metadata_variants_of_one_picture(kervan):
    """Different bytes received, the same bytes kept: two hashes, one file."""
    base = jpeg(80, 60)
    one = with_metadata(base, "jpg", *SECRETS)
    two = one.replace(b"Gizli Kisi", b"Baska Kisi")
    first, second = (kervan.upload(d, "a.jpg", folder="iki-hash").json() for d in (one, two))
    assert first["hash"] != second["hash"] and first["stored_hash"] == second["stored_hash"] and first["url"] == second["url"]
    assert len([f for f in kervan.files() if f.startswith("iki-hash/")]) == 1


def test_dedup_off_gives_a_row_each(fresh):
    """S0-96 DEDUP_ENABLED"""
    k = fresh(DEDUP_ENABLED="false")
    picture = png()
    one, two = (k.upload(picture).json() for _ in range(2))
    assert one["id"] != two["id"] and one["url"] == two["url"] and two["deduplicated"] is False
    k.delete(f"/api/media/{one['id']}")
    assert k.get(two["url"]).content == picture


def test_upload_races_a_delete(kervan):
    """Two uploads of one file race each other and a delete: what was answered 201 last is there."""
    for round_number in range(200):
        picture = padded_png(2_000, seed=round_number)
        first = kervan.upload_raw(picture, folder="yaris").json()
        answers = []
        send = lambda: answers.append(requests.post(kervan.url("/api/media?filename=a.png&folder=yaris"), data=picture, timeout=30))  # noqa: E731
        threads = [threading.Thread(target=send) for _ in range(2)]
        threads.append(threading.Thread(target=lambda: kervan.delete(f"/api/media/{first['id']}")))
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert [a.status_code for a in answers] == [201, 201], [a.text for a in answers]
        rows = kervan.list(folder="yaris")
        path = kervan.data / "media" / first["url"][len("/api/static/"):]
        if rows:
            got = kervan.get(rows[0]["url"])
            assert got.status_code == 200 and got.content == picture, f"round {round_number}"
            assert path.exists()
            for row in rows:
                assert kervan.delete(f"/api/media/{row['id']}").status_code == 204
        wait_for(f"the file of round {round_number} to go", lambda: not path.exists())
    wait_for(".tmp to be empty", lambda: kervan.tmp_files() == [])  # a picture may still be in work
