"""kervan ctl, as an operator calls it, and the socket behind it."""
import json
import os
import socket
import subprocess

from kervan import BINARY, PATIENCE


def ctl(k, *words, stdin="", **env):
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(k.data), "ASAN_OPTIONS": "detect_leaks=0", **env}
    return subprocess.run([str(BINARY), "ctl", *words], env=env, input=stdin, capture_output=True, text=True, timeout=PATIENCE * 2, check=False)


def good(k, *words):
    got = ctl(k, *words)
    assert got.returncode == 0, (words, got)
    return got.stdout


def as_json(k, *words):
    return json.loads(good(k, "-j", *words))


def as_json_of(got):
    return json.loads(got.stdout)


def queue(k, service):
    return next((q for q in as_json(k, "queues", service)["queues"]), None)


def connect(k):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    s.connect(str(k.data / "run/admin.sock"))
    return s
