"""Disk full: 507, nothing left behind, and it goes on when there is space. S0-57"""
import contextlib
import os
import shutil
import subprocess

import pytest

from ctl import as_json_of, ctl, good
from kervan import Kervan, wait_for
from pictures import noise_png, padded_png


def fill_up(path):
    """To the last block."""
    with open(path, "wb", buffering=0) as f:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while f.write(bytes(size)):
                    pass


def test_disk_full(small_disk):
    with Kervan({"IMAGE_PROCESSING_ENABLED": "false", "DISK_RESERVE_MB": "0"}, data=small_disk) as k:
        kept = [k.upload_raw(padded_png(4 << 20)) for _ in range(3)]
        assert [a.status_code for a in kept] == [201] * 3
        full = k.upload_raw(padded_png(40 << 20))
        assert full.status_code == 507, full.text
        assert full.json()["code"] == "disk_full"
        wait_for(".tmp to be empty", lambda: k.tmp_files() == [])
        assert len(k.files()) == 3
        for answer in kept:
            assert k.get(answer.json()["url"]).status_code == 200
        assert k.delete(f"/api/media/{kept[0].json()['id']}").status_code == 204
        wait_for("room again", lambda: len(k.files()) == 2)
        assert k.upload_raw(padded_png(4 << 20)).status_code == 201


def wait_until_the_core_knows(k, check):
    """The log says it a moment before the queues go by it."""
    wait_for("the broker to go by it", lambda: check(k.get("/api/v1/health").json()["broker"]["report"]))


def test_pictures_wait_for_room(small_disk):
    """Below the reserve a picture keeps its attempts; a removal still makes room."""
    with Kervan({"DISK_RESERVE_MB": "16"}, data=small_disk) as k:
        old = k.upload(padded_png(1 << 20), "old.png").json()
        k.wait_ready(old["id"])
        good(k, "pause", "image-process")
        new = k.upload(padded_png(2 << 20), "new.png").json()
        ballast = small_disk / "ballast"
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(bytes(free - (8 << 20)))
        k.wait_log("disk_low")
        wait_until_the_core_knows(k, lambda report: report["disk"]["status"] == "low")
        good(k, "resume", "image-process")
        assert "pictures wait" in ctl(k, "doctor").stdout
        before = len(k.files())
        assert k.delete(f"/api/media/{old['id']}").status_code == 204
        wait_for("the removal", lambda: len(k.files()) < before)
        row = k.media(new["id"])
        assert row["status"] == "PENDING", row
        assert k.get(f"/api/jobs/{row['jobId']}").json()["attempts"] == 0
        ballast.unlink()
        assert k.wait_ready(new["id"])["variants"]


def test_a_start_on_a_full_disk(small_disk):
    """After an orderly stop neither log nor index is there, and there is no block left to make them: the spare room is."""
    env = {"IMAGE_PROCESSING_ENABLED": "false", "DISK_RESERVE_MB": "4"}
    spare = small_disk / "kervan.spare"
    with Kervan(env, data=small_disk) as k:
        kept = k.upload_raw(padded_png(1 << 20)).json()
        wait_for("the spare room", lambda: spare.exists() and spare.stat().st_blocks * 512 >= 4 << 20)
        k.stop()
        fill_up(small_disk / "ballast")
        k.start()
        k.wait_log("spare_used")
        assert not spare.exists()
        assert k.get(kept["url"]).status_code == 200
        assert k.upload_raw(padded_png(1 << 20)).status_code == 507
        assert k.delete(f"/api/media/{kept['id']}").status_code == 204
        (small_disk / "ballast").unlink()
        wait_for("the spare room again", spare.exists)
        assert k.upload_raw(padded_png(1 << 20)).status_code == 201


def fill(media):
    """But for 5 MB."""
    (media / "ballast").write_bytes(bytes(shutil.disk_usage(media).free - (5 << 20)))


def use_up_inodes(media, left=100):
    (media / "ballast").mkdir()
    for n in range(os.statvfs(media).f_favail - left):
        (media / "ballast" / str(n)).touch()


def remove_ballast(media):
    ballast = media / "ballast"
    (shutil.rmtree if ballast.is_dir() else os.unlink)(ballast)


def finding(k, where):
    return next((f for f in as_json_of(ctl(k, "-j", "doctor"))["findings"] if f["where"] == where), None)


@pytest.mark.parametrize("use_up", [fill, use_up_inodes])
def test_the_disk_of_the_media_is_full(media_disk, use_up):
    """Where it is another one than the database's: uploads are refused and pictures wait, none fails; jobs of others go on. Health and doctor say it."""
    media = media_disk / "media"
    with Kervan({"DISK_RESERVE_MB": "8"}, data=media_disk) as k:
        good(k, "pause", "image-process")
        waits = k.upload(noise_png(300, 200)).json()
        use_up(media)
        k.wait_log("media_disk_low")
        assert not k.events("disk_low")
        wait_until_the_core_knows(k, lambda report: report["media_disk"]["status"] == "low")
        good(k, "resume", "image-process")
        refused = k.upload(noise_png(301, 200))
        assert refused.status_code == 507 and refused.json()["code"] == "disk_full", refused.text
        assert k.post("/api/jobs", json={"service": "ai", "params": {}}).status_code == 202
        report = k.get("/api/v1/health").json()
        assert report["status"] == "degraded" and (report["storage"]["status"], report["storage"]["error"]) == ("low", "media_disk_low")
        assert report["broker"]["report"]["media_disk"]["status"] == "low" and report["broker"]["report"]["disk"]["status"] == "ok"
        assert k.get("/api/v1/health/ready").status_code == 200
        found = finding(k, "media disk")
        assert found["level"] == "problem" and "pictures wait" in found["remedy"] and ("inodes" in found["what"])
        row = k.media(waits["id"])
        assert row["status"] == "PENDING" and k.get(f"/api/jobs/{row['jobId']}").json()["attempts"] == 0
        assert k.get("/api/admin/queues?service=image-process").json()["queues"][0]["health"] == "no_room"
        remove_ballast(media)
        assert k.wait_ready(waits["id"])["variants"]
        k.wait_log("media_disk_enough")
        assert k.upload(noise_png(301, 200)).status_code == 201 and finding(k, "media disk") is None


def test_no_inode_is_left_for_the_log(media_disk):
    """The broker makes the log anew at its start. What hinders it is named."""
    with Kervan(data=media_disk / "media") as k:
        k.stop()
        use_up_inodes(k.data, 0)
        k.lines.clear()
        k.start(wait=False)
        assert k.process.wait(60) == 1
        k.wait_log("broker_failed")
        assert {e["code"] for e in k.events("db_error") + k.events("broker_failed")} == {"disk_full"}
        remove_ballast(k.data)
        k.start()


def mount_as(media, how):
    subprocess.run(["mount", "-o", f"remount,{how}", media], check=True)


def test_the_media_folder_cannot_be_written(media_disk):
    """Its disk went read-only, say: health and doctor say it with the remedy, pictures wait, and all goes on afterwards."""
    media = media_disk / "media"
    with Kervan({"DISK_RESERVE_MB": "8"}, data=media_disk) as k:
        good(k, "pause", "image-process")
        waits = k.upload(noise_png(300, 200)).json()
        mount_as(media, "ro")
        assert k.wait_log("media_not_writable")[0]["error"] == "Read-only file system"
        wait_until_the_core_knows(k, lambda report: report["media_folder"] != "ok")
        good(k, "resume", "image-process")
        assert k.upload(noise_png(301, 200)).status_code == 500
        for path in ("/api/v1/health", "/api/v1/health/ready"):
            answer = k.get(path)
            assert answer.status_code == 503 and answer.json()["storage"]["error"] == "media_not_writable" and "read-only" in answer.json()["storage"]["detail"]
        found = finding(k, "media folder")
        assert found["level"] == "problem" and "Read-only file system" in found["what"] and "owner and mode" in found["remedy"]
        row = k.media(waits["id"])
        assert row["status"] == "PENDING" and k.get(f"/api/jobs/{row['jobId']}").json()["attempts"] == 0
        assert k.get(waits["url"]).status_code == 200
        mount_as(media, "rw")
        assert k.wait_ready(waits["id"])["variants"] and finding(k, "media folder") is None
        assert k.get("/api/v1/health").json()["status"] == "healthy" and k.upload(noise_png(301, 200)).status_code == 201
