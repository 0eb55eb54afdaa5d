"""A real kervan for tests: its own data folder, a free port, every process of `kervan up`.

    with Kervan() as k:
        media = k.upload(png(), "a.png").json()
        k.wait_ready(media["id"])
"""
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = pathlib.Path(os.environ.get("KERVAN_BINARY") or ROOT / "build/release/kervan").resolve()
# A sanitizer build is slower; every wait below is a limit, not a pause.
PATIENCE = float(os.environ.get("KERVAN_PATIENCE", "60"))


_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = itertools.cycle(range(10_000 + _worker * 2000, 12_000 + _worker * 2000))


def files_below(root):
    """Paths below it, sorted. Folders and files may go meanwhile; pathlib's rglob would stumble over one."""
    return sorted(pathlib.Path(folder, name).relative_to(root).as_posix() for folder, _, names in os.walk(root) for name in names)


def free_port():
    """One nobody listens on, below those that clients get, in turn, and of this test process alone: it is still free when it is used."""
    for port in itertools.islice(_ports, 2000):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an ended connection's remains do not matter
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port is free")


def wait_for(what, check, timeout=None):
    """Polls `check` until it returns something true, and returns that."""
    end = time.monotonic() + (timeout or PATIENCE)
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout or PATIENCE:.0f} s for {what}")
        time.sleep(0.02)


class Kervan:
    def __init__(self, env=None, data=None, wrapper=(), log=None, words=()):
        self.own_data = data is None
        # short: unix socket paths have 107 bytes
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="kv"))
        self.port = free_port()
        self.env = {"UPLOAD_RATE_LIMIT": "0", **(env or {})}
        self.wrapper, self.words = list(wrapper), list(words)
        self.log = log  # a file for the output: for measuring, where reading it here would take CPU
        self.process = None
        self.lines = []
        self.session = requests.Session()
        self.session.headers["Accept-Language"] = "en"

    # ---- life ----
    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("KERVAN_", "IMAGE_", "UPLOAD_"))}
        env |= {"KERVAN_DATA": str(self.data), "KERVAN_LISTEN": f"127.0.0.1:{self.port}", **self.env}
        env.setdefault("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1")
        # libzmq, libvips and h2o are not instrumented: what happens inside them cannot be judged
        env.setdefault("TSAN_OPTIONS", "ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66")
        return env

    def start(self, wait=True):
        env = self.environment()
        self.earlier = len(self.lines)
        out = open(self.log, "wb") if self.log else subprocess.PIPE  # noqa: SIM115
        self.process = subprocess.Popen([*self.wrapper, str(BINARY), "up", *self.words], env=env, stdout=out, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        if wait:
            self.wait_up()
        return self

    def _read(self, process):
        for line in process.stdout or ():
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def wait_up(self):
        def up():
            if self.process.poll() is not None:
                raise AssertionError("kervan up ended:\n" + "\n".join(self.lines[-40:]))
            if self.env.get("LOG_LEVEL") in ("warn", "error"):  # the event "ready" is of level info
                with contextlib.suppress(requests.ConnectionError):
                    return self.get("/api/v1/health/ready").status_code == 200
                return False
            lines = pathlib.Path(self.log).read_text().splitlines() if self.log else self.lines[self.earlier:]
            return any(line.startswith("kervan is ready") or '"process":"up","event":"ready"' in line for line in lines)

        wait_for("kervan to be ready", up)

    def stop(self, expect=0):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill_all()
                raise AssertionError("kervan up did not stop:\n" + "\n".join(self.lines[-40:])) from None
        self.reader.join(5)
        if expect is not None:
            assert self.process.returncode == expect, "\n".join(self.lines[-60:])
        bad = [line for line in self.lines if "ERROR: AddressSanitizer" in line or "runtime error:" in line or "WARNING: ThreadSanitizer" in line]
        assert not bad, "\n".join(self.lines[self.lines.index(bad[0]):][:80])

    def kill_all(self):
        """SIGKILL to everything at once, as a power cut would (but for the page cache)."""
        pids = self.tree(self.process.pid)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)
        for pid in pids[1:]:
            wait_for(f"{pid} to be gone", lambda pid=pid: not pathlib.Path(f"/proc/{pid}").exists() or self._zombie(pid))

    @staticmethod
    def _zombie(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        try:
            self.stop(expect=0 if kind is None else None)
        finally:
            if self.own_data:
                shutil.rmtree(self.data, ignore_errors=True)

    # ---- processes ----
    def children(self):
        """name -> pid of the supervisor's children."""
        found = {}
        for pid in self._children_of(self.process.pid):
            try:
                args = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if len(args) > 1 and not self._zombie(pid):
                found[args[1].decode()] = pid
        return found

    def grandchildren(self):
        return [pid for child in self.children().values() for pid in self.tree(child)[1:]]

    @classmethod
    def tree(cls, pid):
        """A process and all below it."""
        pids = [pid]
        for p in pids:
            pids += cls._children_of(p)
        return pids

    @staticmethod
    def _children_of(pid):
        try:
            return [int(p) for t in pathlib.Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def kill(self, name):
        """kill -9 of one child and wait until its successor runs."""
        pid = self.children()[name]
        os.kill(pid, signal.SIGKILL)
        wait_for(f"a new {name}", lambda: self.children().get(name, pid) != pid)

    def rss(self, name):
        """Resident bytes of a child, shared pages left out."""
        text = pathlib.Path(f"/proc/{self.children()[name]}/status").read_text()
        return int(text.split("RssAnon:")[1].split()[0]) * 1024

    # ---- HTTP ----
    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path, **kw):
        return self.session.get(self.url(path), timeout=PATIENCE, **kw)

    def delete(self, path, **kw):
        return self.session.delete(self.url(path), timeout=PATIENCE, **kw)

    def post(self, path, **kw):
        return self.session.post(self.url(path), timeout=PATIENCE, **kw)

    def upload(self, data, filename="a.png", folder=None, mime=None, **kw):
        """Multipart upload of bytes."""
        fields = {"folder": folder} if folder else {}
        part = (filename, data, mime) if mime else (filename, data)
        return self.post("/api/media", files={"file": part}, data=fields, **kw)

    def upload_raw(self, data, filename="a.png", folder="genel", **kw):
        return self.post("/api/media", params={"filename": filename, "folder": folder}, data=data, **kw)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def media(self, media_id):
        answer = self.get(f"/api/media/{media_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def list(self, **params):
        answer = self.get("/api/media", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def wait_status(self, media_id, *status):
        def done():
            row = self.media(media_id)
            return row if row["status"] in status else None

        return wait_for(f"{media_id} to be {status}", done)

    def wait_ready(self, media_id):
        row = self.wait_status(media_id, "READY", "FAILED")
        assert row["status"] == "READY", row
        return row

    def metric(self, name):
        """Sum over the labels of a metric, 0 when it is not there."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                total += float(line.rsplit(" ", 1)[1])
        return total

    # ---- what is left on disk ----
    def tmp_files(self):
        return files_below(self.data / "media/.tmp")

    def files(self):
        """Public originals: paths below the media folder, .tmp and variants left out."""
        return [p for p in files_below(self.data / "media") if not p.startswith(".")]

    def variant_files(self):
        return files_below(self.data / "media/.variants")

    # ---- logs ----
    def events(self, event=None, **fields):
        """Log lines as objects, those with this event name and these fields."""
        found = []
        for line in list(self.lines):
            if line.startswith("{"):
                try:
                    o = json.loads(line)
                except ValueError:
                    raise AssertionError(f"a log line is not JSON: {line}") from None
                if (event is None or o.get("event") == event) and all(o.get(k) == v for k, v in fields.items()):
                    found.append(o)
        return found

    def wait_log(self, event, **fields):
        return wait_for(f"log line {event} {fields}", lambda: self.events(event, **fields))
