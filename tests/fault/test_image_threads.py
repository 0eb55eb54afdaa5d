"""A machine that has no thread to give makes pictures wait: they are not bad, nor over a limit of theirs. S0-39"""
import os
import pathlib

import pytest
from kervan import Kervan
from pictures import _vips, noise_png


class Tasks:
    """A pids cgroup of this machine, version 2 or 1."""

    def __init__(self, name):
        two = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
        self.path = pathlib.Path("/sys/fs/cgroup" if two else "/sys/fs/cgroup/pids") / name

    def take_in(self, pids):
        for pid in pids:
            (self.path / "cgroup.procs").write_text(str(pid))

    def leave(self, more):
        """So many more than there are now."""
        (self.path / "pids.max").write_text(str(int((self.path / "pids.current").read_text()) + more))

    def free(self):
        (self.path / "pids.max").write_text("max")


@pytest.fixture
def tasks():
    group = Tasks(f"kervan-test-{os.getpid()}")
    try:
        group.path.mkdir()
        if not (group.path / "pids.max").exists():
            raise OSError("no pids.max")
    except OSError as e:
        if group.path.exists():
            group.path.rmdir()
        pytest.skip(f"no pids cgroup can be made here: {e}")
    yield group
    group.path.rmdir()


@pytest.mark.parametrize("more", [1, 3])
def test_pictures_wait_for_threads(tasks, more):
    """There is room for the process of a picture; and for some of its threads."""
    with Kervan({"IMAGE_CONCURRENCY": "1"}) as k:
        tasks.take_in(k.tree(k.process.pid))
        tasks.leave(more)
        media = k.upload_raw(_vips(noise_png(1500, 1200, 1), "jpg", "[Q=60]"), "foto.jpg").json()
        k.wait_log("image_waits")
        assert k.media(media["id"])["status"] == "PENDING"
        tasks.free()
        k.wait_ready(media["id"])
        assert not k.events("image_failed")
