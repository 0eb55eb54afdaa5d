"""`kervan ctl` on a terminal: its prompt, questions, and top."""
import fcntl
import os
import pty
import struct
import termios
import time

import pytest
from ctl import as_json, good, queue
from kervan import BINARY, PATIENCE
from peer import READY, Peer

pytestmark = pytest.mark.threads


def on_terminal(k, *words):
    """ctl on a terminal of its own: the process, and the terminal's other end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(KERVAN_DATA=str(k.data), TERM="xterm", ASAN_OPTIONS="detect_leaks=0")
        os.execv(str(BINARY), ["kervan", "ctl", *words])
    return pid, fd


def read_until(fd, what):
    got = b""
    end = time.monotonic() + PATIENCE
    while what not in got and time.monotonic() < end:
        try:
            got += os.read(fd, 65536)
        except OSError:
            break
    assert what in got, got
    return got


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_on_a_terminal(kervan, peer):
    pid, fd = on_terminal(kervan)
    read_until(fd, b"kervan> ")
    os.write(fd, b"version\n")
    read_until(fd, b"schema")
    good(kervan, "pause", "quiz")
    peer.submit("quiz")
    os.write(fd, b"purge quiz waiting\n")
    read_until(fd, b"[y/N]")
    os.write(fd, b"n\n")
    read_until(fd, b"kervan> ")
    assert queue(kervan, "quiz")["waiting"] == 1
    os.write(fd, b"purge quiz waiting\n")
    read_until(fd, b"[y/N]")
    os.write(fd, b"y\n")
    read_until(fd, b"1 job\r\n")
    os.write(fd, b"quit\n")
    assert ended(pid) == 0
    os.close(fd)


def test_top_draws_until_q(kervan):
    pid, fd = on_terminal(kervan, "top")
    read_until(fd, b"SERVICE")
    read_until(fd, b"\x1b[H")  # drawn again
    os.write(fd, b"q")
    read_until(fd, b"\x1b[?25h")
    assert ended(pid) == 0
    os.close(fd)


def screen(fd, rows, cols):
    """What stands on the terminal after a drawing."""

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    got = b""
    end = time.monotonic() + PATIENCE
    while got.count(b"\x1b[J") < 3 and time.monotonic() < end:
        got += os.read(fd, 65536)
    last = got.split(b"\x1b[H")[-2].split(b"\x1b[J")[0]
    return [line.replace("\x1b[K", "").rstrip() for line in last.decode().split("\r\n")]


def test_top_fits_its_screen(fresh):
    k = fresh()
    with Peer(k) as p, Peer(k, "worker", "weaver-of-a-very-long-name-indeed") as w:
        names = [f"a-queue-with-a-name-that-is-far-too-long-for-a-small-screen-{n:02}" for n in range(30)]
        for name in names:
            w.ask(READY, [name, 1])
        good(k, "pause", names[29])
        p.submit("alone")
        pid, fd = on_terminal(k, "top")
        lines = screen(fd, 24, 80)
        assert len(lines) <= 24 and max(map(len, lines)) <= 80, lines
        heads = next(line for line in lines if line.startswith("SERVICE"))
        assert heads.endswith("HEALTH")
        first = lines[lines.index(heads) + 1:]
        assert first[0].startswith("alone") and first[0].endswith("no_workers")
        assert first[1].endswith("paused") and "…" in first[1] and "-29 " in first[1]
        assert first[2].endswith("ok") and "-00 " in first[2]
        assert any(line.startswith("… ") and line.endswith(" more queues") for line in lines)
        assert any("WORKER" in line and "HEARD" in line for line in lines)
        assert lines[-1].startswith("… ") and lines[-1].endswith(" more workers")
        wide = screen(fd, 90, 200)
        assert not any("… " in line for line in wide) and names[29] in "\n".join(wide) and max(map(len, wide)) > 80
        os.write(fd, b"q")
        read_until(fd, b"\x1b[?25h")
        assert ended(pid) == 0
        os.close(fd)
        pid, fd = on_terminal(k, "top", "alone")
        assert not any("a-queue" in line for line in screen(fd, 24, 80))
        os.write(fd, b"q")
        read_until(fd, b"\x1b[?25h")
        assert ended(pid) == 0
        os.close(fd)
        listed = [q["service"] for q in as_json(k, "queues")["queues"]]
        assert listed == sorted(listed) and set(listed) >= {"alone", *names}
        assert [q["service"] for q in as_json(k, "top")["queues"]][:2] == ["alone", names[29]]
