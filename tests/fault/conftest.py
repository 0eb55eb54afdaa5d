import os
import pathlib
import subprocess
import tempfile

import pytest


@pytest.fixture
def small_disk():
    """A disk of 48 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tempfile.mkdtemp(prefix="kvd")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", folder], check=True)
    yield pathlib.Path(folder)
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)
