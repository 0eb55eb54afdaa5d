"""The processes of a kervan one by one, without the supervisor: started, killed and waited for by a test; and what the database says at the end."""
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import msgpack
import zmq

import kervan
from kervan import BINARY, PATIENCE, free_port, wait_for
from stubborn import CODES, HEADER, Ids, Stubborn, id_number

LIB = str(pathlib.Path(kervan.__file__).parent)  # for job_worker.py
HERE = pathlib.Path(__file__).resolve().parent
TERMINAL = {"job.complete": 2, "job.error": 3, "job.cancelled": 4}


def unfold(kept):
    """The events of a row of the log, each with all its members: storage/read/event_text.h."""
    events, whole = [], []
    shared = ("type", "service", "status", "attempt", "lane")
    for e in kept:
        number = next(iter(e))
        if "type" in e:
            whole += [e] if list(e)[:5] == ["type", "jobId", "service", "status", "attempt"] else []
        else:
            e = {**{k: v for k, v in whole[int(number)].items() if k in shared}, "jobId": e.pop(number), **e}
        events.append(e)
    return events


class Database:
    """What the database in a data folder says, read beside the broker, which alone writes."""

    def __init__(self, data):
        self.data = pathlib.Path(data)

    def rows(self, sql, *values):
        db = sqlite3.connect(f"file:{self.data}/kervan.db?mode=ro", uri=True, timeout=30)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def unfinished(self, service="%"):
        return self.rows("SELECT count(*) FROM job j JOIN service s ON s.id = j.service WHERE state < 2 AND s.name LIKE ?", service)[0][0]

    def check_alive(self):
        """Raises when a process that should run does not."""

    def wait_finished(self, service="%", timeout=60):
        def over():
            self.check_alive()
            return self.unfinished(service) == 0

        wait_for(f"the jobs of {service} to end", over, timeout)

    def event_log(self):
        """id -> event; asserts that the ids are dense and the rows follow one another."""
        found, last = {}, 0
        query = "SELECT first, last, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch'), body FROM event ORDER BY first"
        for first, end, at, body in self.rows(query):
            assert first == last + 1, (first, last)
            events = unfold(json.loads(body))
            assert len(events) == end - first + 1
            found |= {first + i: {"id": first + i, **e, "at": at} for i, e in enumerate(events)}  # as the row says
            last = end
        return found


class Parts(Database):
    """commands: name -> words behind `kervan`."""

    def __init__(self, commands, env=None, data=None):
        super().__init__(data or tempfile.mkdtemp(prefix="kv"))
        self.logs = pathlib.Path(tempfile.mkdtemp(prefix="kvlog"))  # never on the disk that fails
        (self.data / "run").mkdir(parents=True, exist_ok=True)
        self.own_data = data is None
        self.port = free_port()
        self.commands, self.processes, self.killed = commands, {}, []
        drop = ("KERVAN_", "IMAGE_", "UPLOAD_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
        self.env |= {"KERVAN_DATA": str(self.data), "KERVAN_LISTEN": f"127.0.0.1:{self.port}", "LOG_LEVEL": "warn", "UPLOAD_RATE_LIMIT": "0", "PYTHONPATH": LIB, **(env or {})}

    @property
    def broker(self):
        return f"ipc://{self.data}/run/broker.sock"

    @property
    def events(self):
        return f"ipc://{self.data}/run/events.sock"

    def serve(self, name, credit, *services):
        """Names a worker of tests/fault/job_worker.py; its log is log(name + ".jobs")."""
        self.commands[name] = [sys.executable, HERE / "job_worker.py", self.broker, name, credit, self.log(f"{name}.jobs"), *services]

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def log(self, name):
        return self.logs / name

    def start(self, name, wait=True):
        words = [str(w) for w in self.commands[name]]
        ours = words[0] != sys.executable
        ready, theirs = os.pipe()
        with open(self.log(name), "ab") as out:
            env = self.env | ({"KERVAN_READY_FD": str(theirs)} if ours else {})
            self.processes[name] = subprocess.Popen([str(BINARY), *words] if ours else words, env=env, stdout=out, stderr=out, pass_fds=[theirs] if ours else [], cwd=HERE)
        os.close(theirs)
        if ours and wait:
            assert os.read(ready, 1), f"{name} did not start:\n{self.tail(name)}"
        os.close(ready)

    def tail(self, name):
        return self.log(name).read_text(errors="replace")[-3000:]

    def check_alive(self):
        for name, p in self.processes.items():
            assert p.poll() is None, f"{name} ended by itself with {p.returncode}:\n{self.tail(name)}"

    def kill(self, *names):
        self.check_alive()
        for name in names:
            self.killed.append((time.monotonic_ns(), name))
            self.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            self.processes.pop(name).wait(30)

    def stop(self, *names):
        """SIGTERM; ours must end well."""
        for name in names or list(self.processes):
            p = self.processes.pop(name)
            p.send_signal(signal.SIGTERM)
            code = p.wait(PATIENCE)
            assert code == 0 or self.commands[name][0] == sys.executable, f"{name} ended with {code}:\n{self.tail(name)}"

    def remove(self):
        for p in self.processes.values():
            p.kill()
            p.wait(30)
        shutil.rmtree(self.logs, ignore_errors=True)
        if self.own_data:
            shutil.rmtree(self.data, ignore_errors=True)


class Listener(threading.Thread):
    """Takes what is published, over all restarts."""

    def __init__(self, endpoint):
        super().__init__(daemon=True)
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        for option, value in ((zmq.SUBSCRIBE, b""), (zmq.RECONNECT_IVL, 20), (zmq.RCVHWM, 0)):
            self.socket.setsockopt(option, value)
        self.socket.connect(endpoint)
        self.heard, self.over = [], False
        self.start()

    def run(self):
        while not self.over:
            if self.socket.poll(50):
                head, body = self.socket.recv_multipart()
                if HEADER.unpack(head)[3] == CODES["EVENTS"]:
                    self.heard += json.loads(msgpack.unpackb(body)[3])
        self.socket.close()

    def close(self):
        """The events heard."""
        self.over = True
        self.join(10)
        return self.heard


def grant_at(endpoint, **users):
    """Credits: grant_at(parts.broker, ayse=1000)."""
    teller, ids = Stubborn(endpoint, "tool", "teller"), Ids()
    for user, amount in users.items():
        teller.call("CREDIT", [ids.make(), 0, user, amount, "grant"])
    teller.close()


def worker_log(path):
    """The lines of job_worker.py: (nanoseconds, what, its numbers)."""
    found = []
    for line in pathlib.Path(path).read_text().splitlines() if pathlib.Path(path).exists() else ():
        at, what, *numbers = line.split()
        found.append((int(at), what, tuple(map(int, numbers))))
    return found


# ---- what must hold at the end, whatever happened ----


def check_money(parts):
    """granted = available + held + spent; nothing held; money and job agree."""
    for user, granted, available, held, spent in parts.rows("SELECT user, granted, available, held, spent FROM user_credits"):
        sums = dict(parts.rows("SELECT state, sum(amount) FROM credit_transactions WHERE user = ? GROUP BY state", user))
        assert granted == available + held + spent and available >= 0, user
        assert (granted, held, spent) == (sums.get(0, 0), sums.get(1, 0), sums.get(2, 0)), (user, sums)
        assert held == 0, (user, held)
    wrong = parts.rows(
        "SELECT j.id, j.state, o.credits, t.state, t.amount, t.user FROM job j LEFT JOIN job_option o ON o.job = j.id LEFT JOIN credit_transactions t ON t.id = j.id"
        " WHERE (ifnull(o.credits, 0) > 0) <> (t.id IS NOT NULL)"
        " OR (o.credits > 0 AND (t.amount <> o.credits OR t.user <> o.user OR t.job <> j.id OR t.state <> CASE j.state WHEN 2 THEN 2 ELSE 3 END))"
    )
    assert not wrong, wrong[:5]


def check_histories(parts):
    """Each job: queued first, attempts that grow by one but where a lease was given back, exactly one terminal event, no state event behind it, and the row agrees."""
    log, per_job = parts.event_log(), {}
    states = {"job.queued": 0, "job.processing": 1, **TERMINAL}
    for e in log.values():
        if e["type"] in states:
            per_job.setdefault(id_number(e["jobId"]), []).append((e["type"], e["attempt"]))
    rows = {r[0]: r[1:] for r in parts.rows("SELECT id, state, attempt, given_back FROM job")}
    assert rows.keys() == per_job.keys()
    for job, events in per_job.items():
        types = [t for t, _ in events]
        assert types[0] == "job.queued", (job, events)
        ends = [t for t in types if t in TERMINAL]
        state, leases, given_back = rows[job]
        if state < 2:
            assert not ends and states[types[-1]] == state, (job, events, state)
            continue
        assert len(ends) == 1 and types[-1] == ends[0] and TERMINAL[ends[0]] == state, (job, events, state)
        counted, begun, back = 0, 0, 0
        for (kind, attempt), before in zip(events, [("", 0), *events]):
            begun += kind == "job.processing"
            back += before[0] == "job.processing" and attempt < before[1]
            counted = begun - back
            assert attempt == counted, (job, events)
        assert (leases, given_back) == (begun, back), (job, events)
    return log


def check_heard(heard, log):
    """An event is sent only after its commit: even one that was sent just before a kill is in the log."""
    for e in heard:
        assert log.get(e["id"]) == e, "published and not in the log"


def check_job_tables(parts):
    """Unfinished jobs, keys, dead letters and options stand where the rows of the jobs say (as tests/unit/jobs_tables.h)."""
    (open_from,) = parts.rows("SELECT value FROM counter WHERE name = 'open_from'")[0]
    for told, kept in (
        ("SELECT id, seq FROM job WHERE state < 2 AND id < ?1", "SELECT job, seq FROM job_open WHERE ?1 >= 0"),
        ("SELECT service, unique_key, id FROM job JOIN job_option ON job = id WHERE state < 2 AND unique_key IS NOT NULL AND ?1 >= 0", "SELECT service, unique_key, job FROM job_key WHERE ?1 >= 0"),
        ("SELECT service, id FROM job LEFT JOIN job_option ON job = id WHERE state = 3 AND retried_by IS NULL AND ?1 >= 0", "SELECT service, job FROM dead_letter WHERE ?1 >= 0"),
        ("SELECT id, options FROM job WHERE options > 0 AND ?1 >= 0", "SELECT job, 1 + 2 * (unique_key IS NOT NULL) FROM job_option WHERE ?1 >= 0"),
    ):
        assert set(parts.rows(told, open_from)) == set(parts.rows(kept, open_from)), told


def check_database(parts):
    assert parts.rows("PRAGMA integrity_check") == [("ok",)]
    check_job_tables(parts)
