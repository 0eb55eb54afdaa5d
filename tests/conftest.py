import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
from kervan import Kervan  # noqa: E402
from peer import Peer  # noqa: E402


@pytest.fixture(scope="module")
def kervan():
    """One server for the tests of a file: they use names and pictures of their own."""
    with Kervan() as k:
        yield k


@pytest.fixture(scope="module")
def peer(kervan):
    """A client of its broker."""
    with Peer(kervan) as p:
        yield p


@pytest.fixture
def fresh():
    """A server of a test's own: fresh(MAX_UPLOAD_SIZE_MB="1")."""
    running = []

    def start(**env):
        k = Kervan(env)
        running.append(k)
        return k.start()

    yield start
    for k in running:
        k.__exit__(None, None, None)


def pytest_make_parametrize_id(val):
    """Bytes are named by how they begin: whole pictures are no names, and random ones differ from process to process."""
    return ascii(val[:24])[2:-1] if isinstance(val, bytes) else None
