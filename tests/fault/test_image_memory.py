"""Too little memory for a picture is a limit, said as such, whoever noticed it: decoder, libvips or an encoder. S0-39
Too little for two at once, where each alone would do, is no picture's fault."""
import os
import pathlib

import pytest
from kervan import BINARY, Kervan
from pictures import _vips, noise_png

pytestmark = pytest.mark.skipif("asan" in str(BINARY) or "tsan" in str(BINARY), reason="sanitizers have no memory limit")


def test_every_shortage_is_a_limit():
    photo = _vips(noise_png(4000, 3000, 1), "jpg", "[Q=60]")
    ends = []
    for megabytes in (128, 160, 180, 200, 220):
        with Kervan({"IMAGE_MEMORY_MB": str(megabytes)}) as k:
            media = k.upload_raw(photo, "foto.jpg").json()
            ends.append(k.wait_status(media["id"], "READY", "FAILED"))
    assert {(m["status"], m["error"]) for m in ends} <= {("FAILED", "image_limit"), ("READY", None)}, [(m["error"], m["error_detail"]) for m in ends]
    assert ends[0]["status"] == "FAILED"


class Memory:
    """A memory cgroup of this machine, version 2 or 1."""

    def __init__(self, name):
        two = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
        self.path = pathlib.Path("/sys/fs/cgroup" if two else "/sys/fs/cgroup/memory") / name
        self.limit_file = self.path / ("memory.max" if two else "memory.limit_in_bytes")
        self.events_file = self.path / ("memory.events" if two else "memory.oom_control")

    def make(self, limit):
        self.path.mkdir()
        self.limit_file.write_text(str(limit))

    def take_in(self, pids):
        for pid in pids:
            (self.path / "cgroup.procs").write_text(str(pid))

    @property
    def killed(self):
        return sum(int(line.split()[1]) for line in self.events_file.read_text().splitlines() if line.startswith("oom_kill "))

    def remove(self):
        if self.path.exists():
            self.path.rmdir()


@pytest.fixture
def memory():
    group = Memory(f"kervan-test-{os.getpid()}")
    try:
        group.make(400 << 20)  # one takes some 280
    except OSError as e:
        group.remove()
        pytest.skip(f"no memory cgroup can be made here: {e}")
    yield group
    group.remove()


def test_two_pictures_that_do_not_fit_together(memory):
    """The kernel kills one of them, and no other process; both get READY all the same."""
    photos = [_vips(noise_png(4000, 3000, seed), "jpg", "[Q=60]") for seed in (1, 2)]
    with Kervan({"IMAGE_CONCURRENCY": "2"}) as k:
        before = k.children()
        memory.take_in(k.tree(k.process.pid))  # what they have so far is not counted
        ids = [k.upload_raw(photo, "foto.jpg").json()["id"] for photo in photos]
        for id in ids:
            k.wait_ready(id)
        assert memory.killed >= 1
        assert k.children() == before
        assert k.events("image_memory_short")
