"""Kill -9 of each process in mid-upload and mid-processing: a restart heals, what was acknowledged is intact. S0-57 S0-92"""
import concurrent.futures
import hashlib
import os
import signal
import subprocess

import pytest
import requests

from kervan import BINARY, wait_for
from pictures import noise_png, padded_png, png


def ready(k):
    try:
        return k.get("/api/v1/health/ready/").status_code == 200
    except requests.RequestException:
        return False


def check_intact(k, acknowledged):
    for media in acknowledged:
        got = k.get(media["url"])
        assert got.status_code == 200 and hashlib.sha256(got.content).hexdigest() == media["stored_hash"]


@pytest.mark.parametrize("victim", ["gateway", "broker", "worker"])
def test_kill_in_mid_upload_and_processing(fresh, victim):
    k = fresh()
    acknowledged, stop = [], False

    def send(n):
        i = 0
        while not stop:
            i += 1
            try:
                answer = requests.post(k.url("/api/media"), params={"filename": "a.png"}, data=noise_png(200, 150 + n) if i % 3 else padded_png(3_000_000), timeout=30)
            except requests.RequestException:
                continue
            if answer.status_code == 201:
                acknowledged.append(answer.json())
            else:
                assert answer.status_code in (503, 504), answer.text

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(send, n) for n in range(4)]
        for _ in range(4):
            count = len(acknowledged)
            wait_for("uploads to flow", lambda count=count: len(acknowledged) >= count + 5)
            k.kill(victim)
            wait_for("ready again", lambda: ready(k))
        stop = True
        for f in futures:
            f.result()
    assert len(acknowledged) >= 20
    check_intact(k, acknowledged)
    for media in acknowledged:
        assert k.wait_status(media["id"], "READY", "FAILED")["status"] == "READY"
    wait_for(".tmp to be swept", lambda: k.tmp_files() == [], 60)


def test_broker_killed_while_uploads_wait(fresh):
    """The gateway keeps a finished upload waiting while the broker restarts; it does not fail it."""
    k = fresh()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            answers = [pool.submit(k.upload_raw, padded_png(50_000)) for _ in range(8)]
            os.kill(k.children()["broker"], signal.SIGKILL)
            assert [a.result().status_code for a in answers] == [201] * 8
            wait_for("ready again", lambda: ready(k))


def test_image_child_killed_fails_one_row(fresh):
    """S0-74: a crash of the image library costs one FAILED row, not the worker."""
    k = fresh(AVIF_EFFORT="9", IMAGE_CONCURRENCY="1")
    media = k.upload(noise_png(1600, 1200)).json()
    worker = k.children()["worker"]

    def image_child():
        zygotes = k._children_of(worker)
        return [c for z in zygotes for c in k._children_of(z)]

    victim = wait_for("the image process", image_child)[0]
    os.kill(victim, signal.SIGSEGV)
    failed = k.wait_status(media["id"], "FAILED", "READY")
    assert failed["status"] == "FAILED" and failed["error"] == "image_crash"
    assert k.children()["worker"] == worker
    good = k.upload(noise_png(200, 100)).json()
    k.wait_ready(good["id"])


def test_everything_killed_at_once(fresh):
    k = fresh()
    acknowledged = [k.upload_raw(noise_png(300, 200)).json() for _ in range(20)]
    s = k.connect()
    s.sendall(b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + padded_png(900_000)[:400_000])
    wait_for("the upload to begin", lambda: k.tmp_files())
    k.kill_all()
    s.close()
    k.start()
    wait_for(".tmp to be swept", lambda: k.tmp_files() == [], 60)
    check_intact(k, acknowledged)
    for media in acknowledged:
        k.wait_ready(media["id"])


def test_stopped_worker_loses_its_lease(fresh):
    """X06: silence for three beats puts the job back; another attempt finishes it, the late answer is refused."""
    k = fresh(AVIF_EFFORT="6", IMAGE_CONCURRENCY="1")
    media = k.upload(noise_png(700, 500)).json()
    worker = k.children()["worker"]
    wait_for("processing", lambda: k.metric("kervan_jobs_running") >= 1)
    os.kill(worker, signal.SIGSTOP)
    wait_for("the requeue", lambda: k.metric("kervan_job_requeues_total") >= 1)
    os.kill(worker, signal.SIGCONT)
    k.wait_ready(media["id"])


def test_a_stopped_reaper_removes_nothing_later(fresh, tmp_path):
    """It goes on with a removal in hand, after a second worker took over: what came again meanwhile stays."""
    k = fresh()
    picture = png()
    first = k.upload(picture).json()
    k.wait_ready(first["id"])
    wait_for("the reaper's turn", lambda: (k.data / "run" / "reaper.lock").exists())
    worker = k.children()["worker"]
    os.kill(worker, signal.SIGSTOP)
    assert k.delete(f"/api/media/{first['id']}").status_code == 204
    wait_for("the removal to be put back", lambda: k.metric("kervan_job_requeues_total") >= 1)
    log = tmp_path / "second.log"
    with log.open("wb") as out, concurrent.futures.ThreadPoolExecutor(1) as pool:
        second = subprocess.Popen([str(BINARY), "worker", "reaper"], env=k.environment(), stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_for("the second to wait or to work", lambda: "reaper_waits" in log.read_text() or "blob_reaped" in log.read_text())
            again = pool.submit(k.upload, picture)
            if "blob_reaped" in log.read_text():
                again.result()
            os.kill(worker, signal.SIGCONT)
            answer = again.result()
            assert answer.status_code == 201, answer.text
            wait_for("the removals to end", lambda: not [j for j in k.get("/api/jobs?service=blob-reap").json()["jobs"] if j["status"] in ("queued", "processing")])
            check_intact(k, [answer.json()])
            # it takes over from one that is gone
            k.wait_ready(answer.json()["id"])
            os.kill(worker, signal.SIGSTOP)
            assert k.delete(f"/api/media/{answer.json()['id']}").status_code == 204
            os.kill(worker, signal.SIGKILL)
            wait_for("the file to go", lambda: k.files() == [])
        finally:
            second.terminate()
            second.wait(60)
