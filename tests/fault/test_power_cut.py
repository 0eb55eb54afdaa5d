"""A power cut, not only kill -9: what was not synced is gone (powercut.c), what was acknowledged is there."""
import concurrent.futures
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import tempfile

import pytest
import requests

from kervan import Kervan, wait_for
from pictures import noise_png, padded_png

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    out = tmp_path_factory.mktemp("powercut") / "powercut.so"
    subprocess.run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(HERE / "powercut.c"), "-o", str(out)], check=True)
    return out


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
