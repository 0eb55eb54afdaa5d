"""Disks that fail under the ledger (faultdisk.c) and disks that are full: what is refused is refused clearly, what was acknowledged stays, and all goes on
without a restart when the fault is over. S0-57 S3-24 S4-77"""
import concurrent.futures
import json
import mmap
import os
import time

import msgpack
import pytest
import requests

from ctl import connect, ctl, good
from kervan import PATIENCE, Kervan, files_below, wait_for
from parts import Listener, Parts, check_database, check_heard, check_histories, check_money, grant_at, worker_log
from peer import id_text
from pictures import padded_png
from stubborn import ERRORS, Ids, Refused, Stubborn

WAL = "kervan.db-wal"


class Disk:
    """The control file of faultdisk.c."""

    def __init__(self, folder, library):
        path = folder / "control"
        path.write_bytes(bytes(4096))
        self.map = mmap.mmap(os.open(path, os.O_RDWR), 4096)
        self.env = {"LD_PRELOAD": str(library), "FAULTDISK": str(path)}

    def fail(self, what, *names):
        self.heal()
        self.map[8:16] = bytes(8)
        self.map[64:64 + sum(len(n) + 1 for n in names) + 1] = b"".join(n.encode() + b"\0" for n in names) + b"\0"
        self.map[0:1] = what.encode()

    def heal(self):
        self.map[0:1] = b"\0"

    @property
    def failures(self):
        return int.from_bytes(self.map[8:16], "little")


@pytest.fixture(scope="module")
def library(preload):
    return preload("faultdisk")


@pytest.fixture
def disk(library, tmp_path):
    return Disk(tmp_path, library)


class House(Parts):
    """Broker, gateway and a worker of jobs; what was acknowledged and what was refused is kept."""

    def __init__(self, env, data=None):
        super().__init__({"broker": ["broker"], "gateway": ["gateway"]}, {"IMAGE_PROCESSING_ENABLED": "false", **env}, data)
        self.serve("w1", 16, "work")
        self.ids, self.acknowledged, self.refused = Ids(), {}, {}

    def begin(self):
        for name in ("broker", "gateway", "w1"):
            self.start(name)
        self.pid = self.processes["broker"].pid
        grant_at(self.broker, ayse=100_000)
        self.listener = Listener(self.events)
        return self

    def submit(self, job=None, **params):
        """One POST: the answer. 202 and the rest are noted."""
        job = job or self.ids.make()
        params = {"do": "done", **params}
        body = {"service": "work", "jobId": id_text(job), "params": params, "user": "ayse", "credits": 3, "backoff": 0.05, "backoff_max": 0.2}
        answer = requests.post(self.url("/api/jobs"), json=body, headers={"Accept-Language": "en"}, timeout=30)
        if answer.status_code == 202:
            self.acknowledged[job] = params
            self.refused.pop(job, None)
        else:
            self.refused[job] = params
        return answer

    def upload(self, data):
        return requests.post(self.url("/api/media"), params={"filename": "a.png"}, data=data, headers={"Accept-Language": "en"}, timeout=30)

    def submit_until(self, status, seconds=20):
        wait_for(f"a submit to be answered {status}", lambda: self.submit().status_code == status, seconds)

    def files(self):
        return {p.rsplit("/")[-1] for p in files_below(self.data / "media") if not p.startswith(".variants/")}

    def metric(self, name):
        lines = requests.get(self.url("/metrics"), timeout=30).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and line[len(name)] in " {")

    def begun(self):
        """Job -> how often it was given to the worker."""
        times = {}
        for _, what, numbers in worker_log(self.log("w1.jobs")):
            if what == "lease":
                times[numbers[0]] = times.get(numbers[0], 0) + 1
        return times

    def settle(self, restarted=False):
        """The end: everything acknowledged has ended well, nothing refused is there, money balances, nothing was published that is not in the log."""
        self.check_alive()
        assert restarted or self.processes["broker"].pid == self.pid
        self.wait_finished("work")
        heard = self.listener.close()
        self.stop("w1", "gateway", "broker")
        check_database(self)
        log = check_histories(self)
        check_money(self)
        rows = {r[0]: r[1:] for r in self.rows("SELECT id, state, params FROM job")}
        for job, params in self.acknowledged.items():
            assert job in rows and rows[job][0] == {"fail": 3}.get(params["do"], 2) and json.loads(rows[job][1]) == params
        assert not self.refused.keys() & rows.keys(), "refused, and there all the same"
        assert rows.keys() == self.acknowledged.keys()
        check_heard(heard, log)


@pytest.fixture
def house():
    made = []

    def make(env=None, data=None):
        made.append(House(env or {}, data))
        return made[-1].begin()

    yield make
    for m in made:
        m.listener.over = True
        m.remove()


def check_refusal(answer, status, code):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["code"] == code and len(body["detail"]) > 20, body
    assert int(answer.headers["Retry-After"]) >= 1


def batch_numbers(k, teller):
    """What becomes of each of twenty jobs in one SUBMIT_BATCH."""
    jobs = [msgpack.packb([k.ids.make(), "work", 1, '{"do":"done"}']) for _ in range(20)]
    results = msgpack.Unpacker()
    results.feed(teller.call("SUBMIT_BATCH", [b"".join(jobs)])[0])
    got = list(results)
    assert len(got) == 20
    return {number for _, number, *_ in got}


@pytest.mark.parametrize(("what", "status", "code"), [("S", 500, "io"), ("W", 507, "disk_full"), ("H", 507, "disk_full")])
def test_the_log_of_the_ledger_cannot_be_written(house, disk, what, status, code):
    """A sync that fails, a full disk, half a write: longer than the silence after which a worker is given up."""
    k = house(disk.env)
    for i in range(30):
        assert k.submit(ms=(0, 400, 1500)[i % 3], do=("done", "fail")[i % 5 == 0]).status_code == 202
    media = k.upload(padded_png(50_000))
    assert media.status_code == 201
    stood = k.files()
    wait_for("slow jobs to be in hand", lambda: k.metric("kervan_jobs_running") >= 5)
    disk.fail(what, WAL)
    until = time.monotonic() + 4.5
    while time.monotonic() < until:
        check_refusal(k.submit(), status, code)
        time.sleep(0.05)
    teller = Stubborn(k.broker, "client", "c")
    with pytest.raises(Refused) as refusal:
        teller.call("CREDIT", [k.ids.make(), 0, "ayse", 5, "grant"])
    assert refusal.value.retry_after_ms > 0
    assert batch_numbers(k, teller) == {ERRORS["IO" if code == "io" else "DISK_FULL"]}
    check_refusal(k.upload(padded_png(60_000)), status, code)
    report = requests.get(k.url("/api/v1/health"), timeout=30)
    assert report.json()["broker"]["report"]["database"] == code
    assert report.status_code == 503 and (report.json()["status"], report.json()["database"]["error"]) == ("unhealthy", code)
    assert disk.failures > 10
    disk.heal()
    wait_for("health without a new commit", lambda: requests.get(k.url("/api/v1/health"), timeout=30).json()["status"] == "healthy")
    again = list(k.refused)[:20]
    for job in again:
        wait_for("a resend to be taken", lambda job=job: k.submit(job, **k.refused.get(job, {})).status_code == 202, 10)
    assert k.upload(padded_png(60_000)).status_code == 201
    wait_for("the refused upload's file to be gone", lambda: len(k.files()) == len(stood) + 1)
    assert requests.get(k.url(media.json()["url"]), timeout=30).status_code == 200
    teller.close()
    k.settle()


def test_killed_while_syncs_fail(house, disk):
    """A commit whose sync failed is refused, yet its bytes may be in the log when the broker starts anew: then the job is there whole, once, and a resend
    meets it. What is not there is taken by the resend."""
    k = house(disk.env)
    back = 0
    for n in range(6):
        for _ in range(3):
            assert k.submit().status_code == 202
        disk.fail("S", WAL)
        asked = [k.ids.make() for _ in range(3)]
        for job in asked:
            assert k.submit(job, do="done").status_code in (500, 503)
        k.kill(*(("broker",) if n % 2 else tuple(k.processes)))  # alone, its readers keep the index of the log: all, and it is read anew
        disk.heal()
        for name in ("broker", "gateway", "w1"):
            if name not in k.processes:
                k.start(name)
        there = {r[0] for r in k.rows("SELECT id FROM job")}
        assert k.acknowledged.keys() <= there
        back += len(there & set(asked))
        for job in asked:
            wait_for("a resend to be answered", lambda job=job: k.submit(job, do="done").status_code == 202, 10)
    print(f"{back} of 18 refused jobs were there after the restart")
    k.settle(restarted=True)
    assert set(k.begun().values()) <= {1, 2}


def test_an_upload_refused_by_a_failed_sync_leaves_no_row_without_a_file(house, disk):
    """Its row may be in the log when the broker starts anew: then its file is there, too."""
    k = house(disk.env)
    for n in range(4):
        assert k.upload(padded_png(40_000)).status_code == 201
        disk.fail("S", WAL)
        assert k.upload(padded_png(50_000)).status_code == 500
        k.kill(*tuple(k.processes))
        disk.heal()
        for name in ("broker", "gateway", "w1"):
            k.start(name)
        wait_for("the gateway", lambda: k.upload(padded_png(60_000)).status_code == 201)
        for media in requests.get(k.url("/api/media"), timeout=30).json()["items"]:
            assert requests.get(k.url(media["url"]), timeout=30).status_code == 200, n
    k.settle(restarted=True)


def test_the_database_file_cannot_be_synced(house, disk):
    """Checkpoints fail and commits go on. After a kill -9 nothing is missing, and the next broker makes up for the checkpoint."""
    k = house(disk.env)
    disk.fail("S", "/kervan.db$")
    for _ in range(3):
        before = disk.failures
        wait_for("a checkpoint to fail", lambda before=before: k.submit().status_code == 202 and disk.failures > before)
    assert not k.refused
    wait_for("health to say it", lambda: (h := requests.get(k.url("/api/v1/health"), timeout=30).json())["status"] == "degraded" and h["database"]["error"] == "io")
    assert "kervan.db-wal" in ctl(k, "doctor").stdout and ctl(k, "doctor").returncode == 1
    assert requests.get(k.url("/api/v1/health/ready"), timeout=30).status_code == 200
    disk.heal()
    wait_for("health", lambda: requests.get(k.url("/api/v1/health"), timeout=30).json()["status"] == "healthy")
    disk.fail("S", "/kervan.db$")
    wait_for("a checkpoint to fail", lambda: k.submit().status_code == 202 and disk.failures)
    k.kill("broker", "gateway", "w1")
    disk.heal()
    for name in ("broker", "gateway", "w1"):
        k.start(name)
    written = (k.data / "kervan.db").stat().st_mtime_ns
    wait_for("a checkpoint", lambda: k.submit().status_code == 202 and (k.data / "kervan.db").stat().st_mtime_ns > written)
    k.settle(restarted=True)


@pytest.mark.parametrize(("what", "name", "status", "code"), [
    ("S", "/media/.tmp/", 500, "io"), ("W", "/media/.tmp/", 507, "disk_full"), ("H", "/media/", 507, "disk_full"), ("S", "/media/genel$", 500, "io"),
])  # fmt: skip
def test_uploads_on_a_disk_that_fails(house, disk, what, name, status, code):
    """The store's disk: bytes, or the name in its folder. Small ones and streamed ones."""
    k = house(disk.env)
    kept = k.upload(padded_png(40_000)).json()
    disk.fail(what, name)
    for size in (50_000, 900_000, 3_000_000):
        answer = k.upload(padded_png(size))
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert disk.failures >= 3
    assert k.submit().status_code == 202  # jobs have nothing to do with it
    disk.heal()
    for size in (50_000, 900_000, 3_000_000):
        assert k.upload(padded_png(size)).status_code == 201
    wait_for("nothing else to be left", lambda: len(k.files()) == 4)
    assert requests.get(k.url(kept["url"]), timeout=30).status_code == 200
    k.settle()


def test_a_file_system_without_hard_links(disk):
    """It is said at the start, not by a 500 for each upload."""
    disk.fail("L")
    parts = Parts({"gateway": ["gateway"]}, disk.env)
    try:
        parts.start("gateway", wait=False)
        assert parts.processes["gateway"].wait(PATIENCE) == 1
        assert '"no_hard_links"' in parts.tail("gateway") and "ext4" in parts.tail("gateway") and disk.failures == 1
        assert files_below(parts.data / "media") == []
    finally:
        parts.remove()


def test_a_backup_to_a_disk_that_hangs(disk, tmp_path):
    """The operator gives up. Others are served meanwhile, and of the copy nothing is left."""
    copy = tmp_path / "copy.db"
    with Kervan({"IMAGE_PROCESSING_ENABLED": "false", **disk.env}) as k:
        disk.fail("B", "/copy.db.tmp")
        with connect(k) as operator:
            operator.sendall(f"backup {copy}\n".encode())
            wait_for("the copy to be synced", lambda: disk.failures > 0)
        good(k, "queues")
        assert "Another backup runs" in ctl(k, "backup", str(tmp_path / "second.db")).stderr
        disk.heal()
        wait_for("the copy to be gone", lambda: not (tmp_path / "copy.db.tmp").exists())
        assert not copy.exists()
        wait_for("the next one", lambda: ctl(k, "backup", str(copy)).returncode == 0)
        disk.fail("B", "/stopped.db.tmp")
        operator = connect(k)
        operator.sendall(f"backup {tmp_path / 'stopped.db'}\n".encode())
        wait_for("the copy to be synced", lambda: disk.failures > 0)
        k.process.terminate()
        k.wait_log("broker_stopped")
        disk.heal()
        k.stop()
        operator.close()
        assert not list(tmp_path.glob("stopped.db*"))


def test_a_disk_that_hangs(house, disk):
    """Syncs take a second: answers come late, nobody is taken for dead, nothing runs twice."""
    k = house(disk.env)
    for _ in range(20):
        assert k.submit(ms=200).status_code == 202
    disk.fail("D", WAL)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        until = time.monotonic() + 6
        while time.monotonic() < until:
            begun = time.monotonic()
            assert {a.status_code for a in pool.map(lambda _: k.submit(ms=50), range(8))} == {202}
            assert time.monotonic() - begun < 15
    assert disk.failures >= 4
    disk.heal()
    assert k.metric("kervan_job_requeues_total") == 0
    k.settle()
    assert set(k.begun().values()) == {1}


def let_one_commit_hang(k, disk):
    """Others are answered meanwhile, whoever waits for the disk."""
    disk.fail("D", WAL)
    before = disk.failures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(k.submit, ms=1)
        wait_for("a sync to hang", lambda: disk.failures > before)
        begun = time.monotonic()
        assert k.metric("kervan_ledger_commits_total") > 0  # the broker's
        took = time.monotonic() - begun
        assert not hanging.done()
        assert took < 0.5
        assert hanging.result().status_code == 202
    disk.heal()


def test_a_lone_commit_that_hangs(house, disk):
    """A sync that the broker's loop waits for by itself keeps nobody else waiting."""
    k = house(disk.env)

    def the_loop_waited():
        for _ in range(10):  # after a commit of 5 ms, which a busy machine has, the next eight are the ledger thread's
            assert k.submit(ms=1).status_code == 202
        k.wait_finished("work")
        let_one_commit_hang(k, disk)
        return "commit_stalled" in k.log("broker").read_text()

    wait_for("a commit of the loop's own", the_loop_waited, 60)
    k.settle()


# ---- disks that are really full ----


def fill(folder, leave):
    """A file that takes all space but so many bytes."""
    ballast = folder / "ballast"
    st = os.statvfs(folder)
    with ballast.open("wb") as f:
        left = st.f_bavail * st.f_frsize - leave
        while left > 0:
            left -= f.write(bytes(min(left, 1 << 20)))
    return ballast


def test_full_disk_under_the_ledger(house, small_disk):
    """Not one page is free: what still fits goes on, then 507, never anything in between. What was in hand ends when there is room."""
    k = house({"DISK_RESERVE_MB": "0"}, data=small_disk)
    for i in range(20):
        assert k.submit(ms=1500).status_code == 202
    ballast = fill(small_disk, 0)
    statuses = set()
    wait_for("the log to be full", lambda: statuses.add(k.submit(pad="x" * 20_000).status_code) or 507 in statuses)
    assert statuses <= {202, 507}
    time.sleep(3.5)  # the jobs in hand are done meanwhile, and cannot be written down
    check_refusal(k.submit(pad="x" * 20_000), 507, "disk_full")
    assert k.upload(padded_png(500_000)).status_code == 507
    ballast.unlink()
    k.submit_until(202, 10)
    for job, params in list(k.refused.items()):  # whether it is in the log is known with the first commit that the disk took
        wait_for("a resend to be taken", lambda job=job, params=params: k.submit(job, **params).status_code == 202, 10)
    assert k.upload(padded_png(500_000)).status_code == 201
    k.settle()


def test_watermark(house, small_disk):
    """DISK_RESERVE_MB: new jobs and uploads are refused while there is room for what is under way, which ends as if nothing were."""
    k = house({"DISK_RESERVE_MB": "16"}, data=small_disk)
    for i in range(20):
        assert k.submit(ms=2500).status_code == 202
    assert k.upload(padded_png(300_000)).status_code == 201
    ballast = fill(small_disk, 12 << 20)
    wait_for("jobs to be refused", lambda: k.submit().status_code == 507, 10)
    check_refusal(k.submit(), 507, "disk_full")
    check_refusal(k.upload(padded_png(300_000)), 507, "disk_full")
    teller = Stubborn(k.broker, "client", "c")
    assert batch_numbers(k, teller) == {ERRORS["DISK_FULL"]}
    teller.close()
    k.wait_finished("work")  # while it is low
    check_refusal(k.submit(), 507, "disk_full")
    assert k.metric("kervan_job_requeues_total") == 0
    ballast.unlink()
    k.submit_until(202, 10)
    assert k.upload(padded_png(300_000)).status_code == 201
    too_large = requests.post(k.url("/api/media"), params={"filename": "a.png"}, data=padded_png(34 << 20), headers={"Accept-Language": "en"}, timeout=30)
    assert too_large.status_code == 507, "one that would not leave the reserve is refused before it is sent"
    k.settle()
