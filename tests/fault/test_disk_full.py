"""Disk full: 507, nothing left behind, and it goes on when there is space. S0-57"""
import os
import pathlib
import subprocess
import tempfile

import pytest

from kervan import Kervan, wait_for
from pictures import padded_png


@pytest.fixture
def small_disk():
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tempfile.mkdtemp(prefix="kvd")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], check=True)
    yield pathlib.Path(folder)
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)


def test_disk_full(small_disk):
    with Kervan({"IMAGE_PROCESSING_ENABLED": "false", "DISK_RESERVE_MB": "0"}, data=small_disk) as k:
        kept = [k.upload_raw(padded_png(4 << 20)) for _ in range(3)]
        assert [a.status_code for a in kept] == [201] * 3
        full = k.upload_raw(padded_png(16 << 20))
        assert full.status_code == 507, full.text
        assert full.json()["code"] == "disk_full"
        wait_for(".tmp to be empty", lambda: k.tmp_files() == [])
        assert len(k.files()) == 3
        for answer in kept:
            assert k.get(answer.json()["url"]).status_code == 200
        assert k.delete(f"/api/media/{kept[0].json()['id']}").status_code == 204
        wait_for("room again", lambda: len(k.files()) == 2)
        assert k.upload_raw(padded_png(4 << 20)).status_code == 201
