"""tools/bench queue: the broker beside BullMQ on Redis, beanstalkd and RabbitMQ, each durable, in one run."""
import contextlib
import copy
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

LINES = {}


def line(name):
    def add(fn):
        LINES[name] = fn
        return fn

    return add


class Bench:
    """What bench.py lends: ROOT, PEERS, folder, free_port, listening, kervan, rounds, pick, row, tree_cpu, Kervan."""


B = Bench()
_run = 0


def name():
    """A queue of its own for each run: what an earlier one left is not this one's work."""
    global _run
    _run += 1
    return f"q{os.getpid()}-{_run}"


# ---- peers ----

class Server:
    """`where` it listens: a port, or a unix socket, which it gets if it can (kervan has one, and TCP costs some 10 % more). `settle`: seconds until it is itself once it listens. `after`: what else is run when it has ended."""

    def __init__(self, what, command, where, env=None, settle=0, after=()):
        self.what, self.where, self.after = what, where, after
        # a session of its own: Ctrl-C would end a start script, and leave the server behind
        self.process = subprocess.Popen([str(c) for c in command], env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            B.listening(where)
            time.sleep(settle)
        except BaseException:
            self.__exit__()
            raise

    def run(self, *args, timeout=600):
        out = subprocess.run(["node", str(B.PEERS / "queue.mjs"), self.what, str(self.where), *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, "LOAD_QUEUE": name()})
        if out.returncode != 0:
            raise RuntimeError(f"{self.what}: {out.stderr[-2000:]}")
        return json.loads(out.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        family = B.Kervan.tree(self.process.pid)  # a start script may run the server in a session of its own
        for how in (signal.SIGTERM, signal.SIGKILL):
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            with contextlib.suppress(AssertionError):
                B.wait_for(f"the end of {self.what}", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), 20)
                break
        if self.after:
            B.wait_for(self.after[0], lambda: subprocess.run([str(c) for c in self.after], capture_output=True, check=False).returncode == 0)


def redis(fsync, folder=None):
    folder = folder or B.folder()
    socket = f"{folder}/socket"
    return Server("bullmq", ["redis-server", "--port", 0, "--unixsocket", socket, "--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--dir", folder], socket)


def beanstalkd():
    folder = B.folder()
    return Server("beanstalkd", ["beanstalkd", "-l", f"unix:{folder}/socket", "-b", folder, "-f0"], f"{folder}/socket")


def rabbitmq():
    port, names, folder = B.free_port(), B.free_port(), B.folder()
    shutil.chown(folder, "rabbitmq", "rabbitmq")
    os.chmod(folder, 0o750)
    env = {"RABBITMQ_NODENAME": f"kvbench{port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(port), "RABBITMQ_DIST_PORT": str(B.free_port()), "ERL_EPMD_PORT": str(names),
           "RABBITMQ_MNESIA_BASE": folder, "RABBITMQ_LOG_BASE": folder, "HOME": folder}
    return Server("rabbitmq", ["rabbitmq-server"], port, env, settle=3, after=("epmd", "-port", names, "-kill"))


def disk(*args):
    """The machine's limit: what the syncs alone take."""
    path = pathlib.Path(B.folder()) / "floor"
    out = subprocess.run([str(B.ROOT / "build/bench/queue_load"), str(path), "floor", *map(str, args)], capture_output=True, text=True, timeout=120, check=True)
    path.unlink()
    return json.loads(out.stdout)


# ---- kervan: the broker alone, as `kervan broker` ----

class Broker:
    def __init__(self, data=None):
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="kvq", dir=B.folder()))
        self.endpoint = f"ipc://{self.data}/run/broker.sock"
        self.start()

    def start(self):
        self.log = open(self.data / "log", "ab")  # noqa: SIM115
        self.began = time.monotonic()
        self.process = subprocess.Popen([str(B.ROOT / "build/release/kervan"), "broker"], env={**{k: v for k, v in os.environ.items() if not k.startswith("KERVAN_")}, "KERVAN_DATA": str(self.data), "KERVAN_BROKER": self.endpoint, "KERVAN_EVENTS": f"ipc://{self.data}/run/events.sock"}, stdout=self.log, stderr=self.log)
        B.wait_for("the broker", lambda: "broker_ready" in (self.data / "log").read_text() or self.process.poll() is not None)

    def load(self, *args, timeout=600):
        if self.process.poll() is not None:
            raise RuntimeError((self.data / "log").read_text()[-2000:])
        out = subprocess.run([str(B.ROOT / "build/bench/queue_load"), self.endpoint, *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False)
        if out.returncode != 0:
            raise RuntimeError(f"queue_load {args}: {out.stderr}")
        return json.loads(out.stdout.splitlines()[-1])

    def cpu(self):
        return B.tree_cpu(self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


@contextlib.contextmanager
def everybody():
    with Broker() as k, redis("always") as a, redis("everysec") as e, beanstalkd() as b, rabbitmq() as r:
        quorum = copy.copy(r)
        quorum.what = "rabbitmq-quorum"
        yield k, {"BullMQ, Redis appendfsync always": a, "BullMQ, everysec (not durable)": e, "beanstalkd -f0": b, "RabbitMQ": r, "RabbitMQ, quorum queue": quorum}


def compare(n, ours, peers, args):
    return B.rounds(n, [*ours, *((what, lambda s=s: s.run(*args)) for what, s in peers.items())])


@line("Q1")
def submits(n):
    for outstanding in (64, 1000):
        with everybody() as (k, peers):
            ours = [("kervan", lambda: k.load("submit", outstanding, 60000, outstanding // 2)), ("kervan, a message a job", lambda: k.load("submit", outstanding, 40000, 1))]
            got = compare(n, ours, peers, ("submit", outstanding, 10000))
        yield B.row("Q1", f"submits acknowledged durable, {outstanding} outstanding (kervan: SUBMIT_BATCH of {outstanding // 2})", "jobs/s", B.pick(got, "per_s"), None, "≥ 100 k/s")
        yield B.row("Q1 p99", f"the same, 99th percentile, {outstanding} outstanding", "ms", B.pick(got, "p99"), None, "≤ 5 ms at 64")
    with everybody() as (k, peers):
        got = compare(n, [("kervan", lambda: k.load("submit", 1, 20000, 1)), ("disk alone", lambda: disk(0, 3, 1))], peers, ("submit", 1, 1500))
    yield B.row("Q1", "submits acknowledged durable, one at a time (disk alone: 20 KB written over and synced)", "jobs/s", B.pick(got, "per_s"), "disk alone", "≥ 5 k/s")


@line("Q2")
def jobs(n):
    with everybody() as (k, peers):
        ours = [("kervan", lambda: k.load("jobs", 1000, 60000, 250)), ("kervan, a message a job", lambda: k.load("jobs", 1000, 40000, 1))]
        got = compare(n, ours, peers, ("jobs", 1000, 8000))
    yield B.row("Q2", "jobs end to end: submit, lease, done, all durable; 1000 outstanding", "jobs/s", B.pick(got, "per_s"), None, "≥ 35 k/s, aim 60 k/s")
    with everybody() as (k, peers):
        got = compare(n, [("kervan", lambda: k.load("rate", 500, 6)), ("disk alone", lambda: disk(500, 6, 2))], peers, ("rate", 500, 6))
    for key, target in (("p50", "≤ 0.5 ms"), ("p99", "≤ 2 ms"), ("p999", "reported")):
        yield B.row(f"Q2 {key}", f"at 500 jobs/s, submit to done (kervan: done acknowledged; disk alone: two syncs), {key}", "ms", B.pick(got, key), "disk alone", target)


@line("Q3")
def urgent(n):
    for waiting in (20_000, 1_000_000):
        values = []
        with Broker() as k:
            k.load("preload", waiting)
            for _ in range(n):
                values.append(B.Host.run(lambda k=k: k.load("urgent", 500)))
        yield B.row("Q3", f"urgent behind {waiting:,} waiting, submit to begun at a busy worker, p99", "ms", {"kervan": B.median([v["p99"] for v in values])}, None, "≤ 1 ms")


def preloaded(server, preload):
    """Rise of a server's anonymous memory in MiB, by 100 k jobs after the first thousand."""
    def rss():
        return int(pathlib.Path(f"/proc/{server.process.pid}/status").read_text().split("RssAnon:")[1].split()[0]) / 1024

    preload("preload", 1000)
    before = rss()
    preload("preload", 100_000)
    return rss() - before


@line("Q4")
def memory(n):
    values = {"kervan": [], "BullMQ (Redis)": []}
    for _ in range(min(n, 3)):
        with Broker() as k:
            values["kervan"].append(preloaded(k, k.load))
        with redis("everysec") as r:
            values["BullMQ (Redis)"].append(preloaded(r, r.run))
    yield B.row("Q4", "memory for 100 k waiting jobs of 300 bytes (rise of RSS)", "MiB", {name: B.median(v) for name, v in values.items()}, None, "≤ 45 MB")


@line("Q5")
def restart(n):
    values = []
    for _ in range(min(n, 3)):
        with Broker() as k:
            k.load("preload", 200_000)
            k.kill()
            worker = subprocess.Popen([str(B.ROOT / "build/bench/queue_load"), k.endpoint, "first", "200000"], stdout=subprocess.PIPE, text=True)
            time.sleep(0.2)  # it waits for the broker
            k.start()
            values.append(json.loads(worker.communicate(timeout=600)[0])["first_ms"] / 1e3 - k.began)
    yield B.row("Q5", "kill -9 with 200 k waiting, start to a worker's first job (all 200 k were then done)", "s", {"kervan": B.median(values)}, None, "≤ 0.5 s, none lost")


@line("Q6")
def positions(n):
    queries = []
    with Broker() as k:
        job0 = k.load("preload", 1_000_000)["job0"]
        for _ in range(n):
            before = k.cpu()
            k.load("position", 2000, 1_000_000, job0)
            queries.append((k.cpu() - before) * 1e6 / (2000 * 256))
    yield B.row("Q6", "a position with 1 M waiting, CPU of the broker (256 a message)", "us", {"kervan": B.median(queries)}, None, "≤ 20 us")
    shares = []
    for _ in range(min(n, 3)):
        with Broker() as k:
            job0 = k.load("preload", 60_000)["job0"]
            cost = []
            for watch in (False, True):
                watcher = None
                if watch:
                    watcher = subprocess.Popen([str(B.ROOT / "build/bench/queue_load"), k.endpoint, "watch", "10000", "14", job0], stdout=subprocess.PIPE, text=True)
                    assert watcher.stdout.readline() == "watching\n"
                flow = subprocess.Popen([str(B.ROOT / "build/bench/queue_load"), k.endpoint, "rate", "1000", "10"], stdout=subprocess.PIPE, text=True)
                time.sleep(1)
                before, began = k.cpu(), time.monotonic()
                time.sleep(8)
                cost.append((k.cpu() - before) / (time.monotonic() - began))
                flow.communicate(timeout=60)
                if watcher:
                    watcher.communicate(timeout=60)
            shares.append((cost[1] - cost[0]) * 100)
    yield B.row("Q6", "10,000 watchers while 1,000 jobs/s flow, CPU of the broker above that without watchers", "% of a core", {"kervan": B.median(shares)}, None, "< 5 %")
