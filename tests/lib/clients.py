"""The example clients of docs/examples, for tests: the Python one as a module, all as programs."""
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from kervan import BINARY, PATIENCE, ROOT, wait_for

EXAMPLES = {"c": BINARY.parent / "docs/examples/c", "python": ROOT / "docs/examples/python"}


def load_client():
    """docs/examples/python/kervan.py: its name is that of our own library."""
    spec = importlib.util.spec_from_file_location("kervan_client", EXAMPLES["python"] / "kervan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


client = load_client()


class Program:
    """An example program, its output gathered line by line."""

    def __init__(self, kervan, language, what, *args):
        path = [str(EXAMPLES["c"] / f"kervan_{what}")] if language == "c" else [sys.executable, str(EXAMPLES["python"] / f"{what}.py")]
        env = {**os.environ, "KERVAN_DATA": str(kervan.data), **{k: v for k, v in kervan.env.items() if k in ("KERVAN_BROKER", "KERVAN_EVENTS")}}
        env.setdefault("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1")
        self.process = subprocess.Popen([*path, *map(str, args)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True)
        self.reader.start()

    def wait_line(self, *words):
        return wait_for(f"{words} in {self.lines[-3:]}", lambda: next((x for x in list(self.lines) if all(w in x for w in words)), None))

    def end(self, expect=0):
        if self.process.poll() is None and expect is not None:
            self.process.send_signal(signal.SIGTERM)
        self.finish(expect)

    def finish(self, expect=0):
        self.process.wait(PATIENCE)
        self.reader.join(5)
        if expect is not None:
            assert self.process.returncode == expect, self.lines

    def json_lines(self):
        return [json.loads(x) for x in list(self.lines) if x.startswith("{")]


class BareWorker:
    """A worker session whose answers the test sends itself."""

    def __init__(self, kervan, service):
        self.jobs, self.cancels = [], []
        self.service = service
        self.session = client.Session("worker", "bare", f"ipc://{kervan.data}/run/broker.sock", self.on_session, self.on_message)

    def on_session(self, hello_ok):
        yield "READY", {"service": self.service, "credit": 8}, lambda _: None

    def on_message(self, name, m):
        (self.jobs if name == "JOB" else self.cancels).append(m)

    def say(self, name, job, **fields):
        return self.session.ask(name, {"job": job["job"], "epoch": job["epoch"], "attempt": job["attempt"], **fields}).result()

    def refused(self, name, job, **fields):
        with pytest.raises(client.KervanError) as e:
            self.say(name, job, **fields)
        return e.value.number
