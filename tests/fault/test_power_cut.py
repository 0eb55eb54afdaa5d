"""A power cut, not only kill -9: what was not synced is gone (powercut.c), what was acknowledged is there."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import pytest
import requests

from kervan import Kervan, wait_for
from parts import LIB, Database, check_database, check_histories, check_money, grant_at, worker_log
from peer import id_text
from pictures import noise_png, padded_png
from stubborn import Ids

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def shim(preload):
    return preload("powercut")


class Machine:
    """A kervan on a disk that forgets; cut() pulls the plug and gives the kervan of the next boot."""

    def __init__(self, shim, env=None):
        self.shim, self.env = shim, env or {}
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="kv"))
        self.boots = 0
        self.data = self.base / "0"
        self.data.mkdir()

    def boot(self):
        shadow = self.base / f"s{self.boots}"
        (shadow / "names").mkdir(parents=True)
        (shadow / "inodes").mkdir()
        self.k = Kervan({**self.env, "LD_PRELOAD": str(self.shim), "POWERCUT_ROOT": str(self.data), "POWERCUT_SHADOW": str(shadow)}, data=self.data)
        for path in sorted(self.data.rglob("*")):  # what stands on the disk at boot lasts
            at = shadow / "names" / path.relative_to(self.data)
            if path.is_dir():
                at.mkdir()
            elif path.is_file():
                inode = shadow / "inodes" / subprocess.check_output(["stat", "-c", "%i-%.9W", str(path)], text=True).strip()
                if not inode.exists():
                    shutil.copyfile(path, inode)
                os.link(inode, at)
        self.shadow = shadow
        self.k.start()
        return self.k

    def cut(self):
        self.k.kill_all()
        self.boots += 1
        shutil.rmtree(self.data)
        self.data = self.base / str(self.boots)
        (self.shadow / "names").rename(self.data)
        shutil.rmtree(self.shadow)

    def remove(self):
        if self.k.process.poll() is None:
            self.k.kill_all()
        shutil.rmtree(self.base, ignore_errors=True)


@pytest.fixture
def machine(shim):
    made = []

    def make(**env):
        made.append(Machine(shim, env))
        return made[-1]

    yield make
    for m in made:
        m.remove()


def send(k, acknowledged, stop, n):
    i = 0
    while not stop:
        i += 1
        folder = f"f{i % 3}/g{n}"
        data = noise_png(120, 90 + n) if i % 4 else padded_png(1_500_000)
        try:
            answer = requests.post(k.url("/api/media"), params={"filename": "a.png", "folder": folder}, data=data, timeout=30)
        except requests.RequestException:
            continue
        if answer.status_code == 201:
            acknowledged.append(answer.json())


def check_media(k, acknowledged):
    for media in acknowledged:
        got = k.get(media["url"])
        assert got.status_code == 200, (media, got.text)
        assert hashlib.sha256(got.content).hexdigest() == media["stored_hash"], media


def test_acknowledged_media_outlast_a_power_cut(machine):
    """201 means durable: file, name, row. Six cuts at random moments under load. S0-57"""
    rng = random.Random(20261122)
    m = machine()
    acknowledged = []
    for _ in range(6):
        k = m.boot()
        check_media(k, acknowledged)
        before, stop = len(acknowledged), []
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(send, k, acknowledged, stop, n) for n in range(4)]
            goal = before + rng.randrange(3, 40)
            wait_for("uploads to flow", lambda goal=goal: len(acknowledged) >= goal)
            m.k.kill_all()
            stop.append(True)
            for f in futures:
                f.result()
        m.cut()
    k = m.boot()
    check_media(k, acknowledged)
    for media in acknowledged:
        assert k.wait_status(media["id"], "READY", "FAILED")["status"] == "READY"
    wait_for(".tmp to be swept", lambda: k.tmp_files() == [], 60)
    assert len(acknowledged) >= 6 * 3


def test_the_cut_forgets_what_was_not_synced(machine):
    """The other way round: without syncs (DURABILITY=relaxed) something must be lost, else the test above shows nothing."""
    m = machine(DURABILITY="relaxed", IMAGE_PROCESSING_ENABLED="false")
    k = m.boot()
    media = [k.upload_raw(noise_png(100, 80)).json() for _ in range(5)]
    m.cut()
    k = m.boot()
    lost = [x for x in media if k.get(x["url"]).status_code != 200 or hashlib.sha256(k.get(x["url"]).content).hexdigest() != x["stored_hash"]]
    assert lost


# ---- jobs ----


def send_jobs(k, acknowledged, stop, n):
    ids, rng = Ids(), random.Random(n)
    while not stop:
        job, params = ids.make(), {"do": rng.choices(("done", "fail", "retry"), (8, 1, 1))[0], "ms": rng.choice((0, 0, 20)), "attempts": 2}
        body = {"service": "work", "jobId": id_text(job), "params": params, "user": "ayse", "credits": 2, "backoff": 0.05}
        try:
            answer = requests.post(k.url("/api/jobs"), json=body, timeout=30)
        except requests.RequestException:
            continue
        if answer.status_code == 202:
            acknowledged[job] = params


def check_jobs(database, acknowledged, logs):
    """What was acknowledged to clients and to the worker is there. How many ends the worker was told of."""
    rows = {r[0]: r[1:] for r in database.rows("SELECT id, state, params, result FROM job")}
    told = 0
    for job, params in acknowledged.items():
        assert job in rows and json.loads(rows[job][1]) == params, id_text(job)
    for log in logs:
        for _, what, numbers in worker_log(log):
            if what == "done":
                assert rows[numbers[0]][0] == 2 and json.loads(rows[numbers[0]][2])["token"] == list(numbers[1:]), (id_text(numbers[0]), rows[numbers[0]])
            elif what == "failed":
                assert rows[numbers[0]][0] == 3, id_text(numbers[0])
            told += what in ("done", "failed")
    return told


@pytest.fixture
def labourer(tmp_path):
    """A worker for each boot: labourer(data); its logs are in labourer.logs."""
    running = []

    def hire(data):
        hire.logs.append(tmp_path / f"{len(running)}.jobs")
        words = [sys.executable, HERE / "job_worker.py", f"ipc://{data}/run/broker.sock", "w1", 16, hire.logs[-1], "work"]
        running.append(subprocess.Popen([str(w) for w in words], cwd=HERE, env=os.environ | {"PYTHONPATH": LIB}))
        return running[-1]

    hire.logs = []
    yield hire
    for p in running:
        p.kill()
        p.wait(10)


def test_acknowledged_jobs_outlast_a_power_cut(machine, labourer):
    """202 and a worker's OKAY mean durable, and so does the money: six cuts at random moments under load."""
    rng = random.Random(20261123)
    m = machine(IMAGE_PROCESSING_ENABLED="false")
    acknowledged, told = {}, 0
    for cut in range(6):
        k = m.boot()
        worker = labourer(m.data)
        if cut == 0:
            grant_at(f"ipc://{m.data}/run/broker.sock", ayse=1_000_000)
        told = check_jobs(Database(m.data), acknowledged, labourer.logs)
        before, stop = len(acknowledged), []
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(send_jobs, k, acknowledged, stop, 10 * cut + n) for n in range(4)]
            goal = before + rng.randrange(20, 200)
            wait_for("jobs to flow", lambda goal=goal: len(acknowledged) >= goal)
            m.k.kill_all()
            stop.append(True)
            for f in futures:
                f.result()
        worker.kill()
        worker.wait(10)
        m.cut()
    m.boot()
    labourer(m.data)
    database = Database(m.data)
    assert check_jobs(database, acknowledged, labourer.logs) >= told
    database.wait_finished("work")
    assert check_jobs(database, acknowledged, labourer.logs) >= 6 * 10
    check_database(database)
    check_histories(database)
    check_money(database)
    assert database.rows("SELECT granted FROM user_credits WHERE user = 'ayse'") == [(1_000_000,)]


def test_the_cut_forgets_jobs_that_were_not_synced(machine):
    """The other way round, for the ledger. A checkpoint syncs now and again: then once more."""
    m = machine(DURABILITY="relaxed", IMAGE_PROCESSING_ENABLED="false")
    ids, lost = Ids(), set()
    for _ in range(5):
        k = m.boot()
        jobs = [ids.make() for _ in range(20)]
        for job in jobs:
            assert k.post("/api/jobs", json={"service": "work", "jobId": id_text(job)}).status_code == 202
        m.cut()
        m.boot()
        lost |= set(jobs) - {r[0] for r in Database(m.data).rows("SELECT id FROM job")}
        if lost:
            break
        m.cut()
    assert lost
