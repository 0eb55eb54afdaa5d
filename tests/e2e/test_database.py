"""What disks and operators do to kervan.db and media/: it is noticed, named, and nothing more is acknowledged than lasts."""
import os
import shutil
import sqlite3
import subprocess

import requests

from ctl import as_json_of, ctl, good
from jobs import submit
from kervan import BINARY, PATIENCE, Kervan, free_port, wait_for
from pictures import noise_png


def finding(k, what):
    return next((f for f in as_json_of(ctl(k, "-j", "doctor"))["findings"] if f["what"] == what), None)


def health(k):
    got = k.get("/api/v1/health")
    return got.status_code, got.json()["status"], got.json()["database"].get("error")


def test_taken_away_while_it_runs():
    """What is written to a file without a name is gone with the process: it is refused, and taken once the file is back."""
    with Kervan() as k:
        media = k.upload(noise_png(40, 40)).json()
        k.wait_ready(media["id"])
        for name in ("kervan.db", "kervan.db-wal"):
            (k.data / name).rename(k.data / "away")
            wait_for("it to be noticed", lambda: health(k) == (503, "unhealthy", "database_moved"))
            refused = k.upload(noise_png(41, 40))
            assert refused.status_code == 503 and refused.json()["code"] == "database_moved", refused.text
            assert submit(k, "ai", expect=503)["code"] == "database_moved"
            assert "Put that same file back" in finding(k, "database_moved")["remedy"]
            assert "database_moved" in ctl(k, "-j", "backup", str(k.data / "copy.db")).stdout
            assert k.get(media["url"]).status_code == 200
            (k.data / "away").rename(k.data / name)
            k.wait_ready(k.upload(noise_png(42, 40)).json()["id"])
            wait_for("it to be well", lambda: health(k) == (200, "healthy", None))
        assert len(k.events("database_moved")) == len(k.events("database_back")) == 2
        assert k.get(media["url"]).status_code == 200


def test_replaced_while_only_the_broker_is_restarted():
    """The gateway reads what the broker writes, not the file that was there before."""
    with Kervan() as k:
        first = k.upload(noise_png(40, 40)).json()
        k.wait_ready(first["id"])
        good(k, "backup", str(k.data / "copy.db"))
        picture = noise_png(41, 40)
        later = k.upload(picture).json()
        k.wait_ready(later["id"])
        (k.data / "copy.db").replace(k.data / "kervan.db")
        wait_for("it to be noticed", lambda: k.events("database_moved"))
        for name in ("kervan.db-wal", "kervan.db-shm"):
            (k.data / name).unlink()
        k.kill("broker")
        wait_for("the restored one", lambda: k.get(f"/api/media/{later['id']}").status_code == 404)
        again = k.upload(picture).json()
        assert k.media(again["id"])["url"] == later["url"] and k.get(later["url"]).status_code == 200
        assert k.get(first["url"]).status_code == 200


def test_a_damaged_page():
    """It is said to be damaged, by whoever asks; the rest works, and no backup of it is called one."""
    with Kervan() as k:
        k.wait_ready(k.upload(noise_png(40, 40)).json()["id"])
        k.stop()
        db = sqlite3.connect(k.data / "kervan.db")
        root, size = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'media'").fetchone()[0], db.execute("PRAGMA page_size").fetchone()[0]
        db.close()
        with open(k.data / "kervan.db", "r+b") as f:
            f.seek((root - 1) * size)
            f.write(os.urandom(size))
        k.start()
        assert ctl(k, "backup", str(k.data / "copy.db"), "-j").stdout.find("database_damaged") > 0 and not (k.data / "copy.db").exists()
        assert health(k) == (200, "healthy", None)  # nobody has met it yet
        refused = k.get("/api/media")
        assert refused.status_code == 500 and refused.json()["code"] == "database_damaged"
        assert health(k) == (503, "unhealthy", "database_damaged")
        submit(k, "ai")
        assert finding(k, "database_damaged") is None
        assert k.upload(noise_png(41, 40)).json()["code"] == "database_damaged"
        submit(k, "ai")
        assert "last backup" in finding(k, "database_damaged")["remedy"]
        k.stop()


def test_media_folder_replaced_while_it_runs():
    """What is stored in the one without its name is not there after the next start."""
    with Kervan() as k:
        media = k.wait_ready(k.upload(noise_png(40, 40)).json()["id"])
        (k.data / "media").rename(k.data / "away")
        shutil.copytree(k.data / "away", k.data / "media")
        refused = k.upload(noise_png(41, 40))
        assert refused.status_code == 503 and refused.json()["code"] == "media_moved", refused.text
        for path in ("/api/v1/health", "/api/v1/health/ready"):
            assert k.get(path).status_code == 503 and k.get(path).json()["storage"]["error"] == "media_moved"
        assert k.delete(f"/api/media/{media['id']}").status_code == 204
        k.wait_log("blob_reaped", code="media_moved")
        assert media["url"].removeprefix("/api/static/") in k.files()
        shutil.rmtree(k.data / "media")
        (k.data / "away").rename(k.data / "media")
        again = k.upload(noise_png(41, 40)).json()
        assert k.get(again["url"]).status_code == 200 and k.get("/api/v1/health/ready").status_code == 200
        wait_for("the removal", lambda: media["url"].removeprefix("/api/static/") not in k.files())


def test_temporary_folder_removed_while_it_runs():
    """Somebody tidied up: it is made anew."""
    with Kervan() as k:
        shutil.rmtree(k.data / "media/.tmp")
        for picture in (noise_png(40, 40), noise_png(700, 500)):  # whole, and in pieces
            media = k.upload(picture).json()
            assert k.wait_ready(media["id"])["variants"] and k.get(media["url"]).content == picture
        wait_for("nothing left", lambda: not k.tmp_files())
        assert k.events("tmp_folder_renewed", process="gateway", code="none")


def test_held_by_another_program():
    """Nothing is taken that cannot be written, and doctor says what to end."""
    with Kervan() as k:
        other = sqlite3.connect(k.data / "kervan.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert submit(k, "ai", expect=503)["code"] in ("busy", "broker_away")
        assert "Another program holds it" in wait_for("the finding", lambda: finding(k, "busy"))["remedy"]
        other.execute("ROLLBACK")
        submit(k, "ai")
        other.close()


def test_a_gateway_with_another_data_folder(kervan, tmp_path):
    """It would keep files where no row is, and answer 201."""
    port, log = free_port(), tmp_path / "log"
    env = kervan.environment() | {"KERVAN_DATA": str(tmp_path / "other"), "KERVAN_LISTEN": f"127.0.0.1:{port}", "KERVAN_BROKER": f"ipc://{kervan.data}/run/broker.sock", "KERVAN_EVENTS": f"ipc://{kervan.data}/run/events.sock"}
    with open(log, "wb") as out:
        gateway = subprocess.Popen([str(BINARY), "gateway"], env=env, stdout=out)
    try:
        wait_for("it to say so", lambda: "KERVAN_DATA" in log.read_text() and "hello_refused" in log.read_text())
        assert requests.get(f"http://127.0.0.1:{port}/api/v1/health/ready", timeout=30).json()["broker"]["error"] == "broker_away"
        assert kervan.upload(noise_png(60, 60)).status_code == 201, "the right one is not replaced by it"
    finally:
        gateway.terminate()
        assert gateway.wait(PATIENCE) == 0
