import contextlib
import os
import pathlib
import subprocess
import tempfile

import pytest


@contextlib.contextmanager
def mounted(folder, options):
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    yield pathlib.Path(folder)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small_disk():
    """A disk of 48 MB."""
    with tempfile.TemporaryDirectory(prefix="kvd") as folder, mounted(folder, "size=48m") as disk:
        yield disk


@pytest.fixture
def media_disk():
    """A data folder whose media have a disk of their own, of 48 MB and 1,000 inodes."""
    with tempfile.TemporaryDirectory(prefix="kvd") as folder:
        media = pathlib.Path(folder, "media")
        media.mkdir()
        with mounted(media, "size=48m,nr_inodes=1000"):
            yield pathlib.Path(folder)


@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    """A library for LD_PRELOAD from a C file of this folder."""
    def build(name):
        out = tmp_path_factory.mktemp(name) / f"{name}.so"
        source = pathlib.Path(__file__).parent / f"{name}.c"
        subprocess.run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source), "-o", str(out)], check=True)
        return out
    return build
