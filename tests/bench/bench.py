"""tools/bench: kervan, its peers and the machine's limit in one run; medians over rounds in turn; table and JSON.

Each line is a function that returns rows {line, what, unit, kervan, peers, limit}; the names are those of docs/benchmarks.md."""
import argparse
import atexit
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
os.environ.setdefault("KERVAN_BINARY", str(ROOT / "build/release/kervan"))
from kervan import Kervan, free_port, wait_for  # noqa: E402
from pictures import noise_png, padded_png  # noqa: E402

# What only the best imaginable server could do: tests/bench/bare.c, with more and more of what a 201 promises left out.
BARES = {
    "bare, temporary name, kervan's rows": ("file=temp", "row=kervan"),
    "bare, one file for all, kervan's rows": ("file=pack", "row=kervan", "sync=fdatasync", "net=1"),
    "bare, temporary name, kervan's rows, no file synced": ("file=temp", "row=kervan", "sync=none", "dir=0"),
    "bare, no rows, nothing synced": ("row=0", "sync=none", "dir=0"),
    "bare": (),
}
LOAD, FLOOR, BARE = (ROOT / "build/bench" / name for name in ("load", "floor", "bare"))
PEERS = ROOT / "tests/bench/peers"
GIB, MIB = 1 << 30, 1 << 20
BIG = {"MAX_UPLOAD_SIZE_MB": "2048", "IMAGE_PROCESSING_ENABLED": "false", "LOG_LEVEL": "info"}


# Each contender writes below a folder of its own in another block group (chattr +T): after many removals ext4 looks past the inodes that
# were removed lately, and one contender's removals would slow the next one's creations (measured: 147 us instead of 28 us a file).
RUNS = pathlib.Path("/var/tmp/kervan-bench")


def folder():
    RUNS.mkdir(exist_ok=True)
    subprocess.run(["chattr", "+T", str(RUNS)], check=False, capture_output=True)
    os.chmod(RUNS, 0o755)
    return tempfile.mkdtemp(prefix="kvb", dir=RUNS)


def ram_disk():
    """An ext4 in memory (needs root): its syncs do all that others do and wait for no device, so the programs decide, not the disk."""
    image = pathlib.Path("/dev/shm/kervan-bench.img")

    def end():
        subprocess.run(["umount", str(RUNS)], check=False, capture_output=True)
        image.unlink(missing_ok=True)
        RUNS.rmdir()

    RUNS.mkdir(exist_ok=True)
    with image.open("wb") as f:
        f.truncate(14 * GIB)
    atexit.register(end)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(RUNS)], check=True)


def say(text):
    print(text, file=sys.stderr, flush=True)


def median(values):
    return statistics.median(values)


def listening(where):
    """`where`: a port, or the path of a unix socket."""
    family, address = (socket.AF_INET, ("127.0.0.1", where)) if isinstance(where, int) else (socket.AF_UNIX, where)

    def check():
        with socket.socket(family) as s:
            return s.connect_ex(address) == 0

    wait_for(f"{where} to be listened on", check)


class Peer:
    """A server in a folder of its own; .port, .pids."""

    def __init__(self, name):
        self.name, self.port = name, free_port()
        self.folder = pathlib.Path(folder())
        self.process = None

    def start(self, *command, **kw):
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kw)
        listening(self.port)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def floor(mode):
    p = Peer(f"floor ({mode})")
    return p.start(FLOOR, p.port, p.folder, mode)


def bare(*options):
    p = Peer("bare")
    return p.start(BARE, p.port, p.folder, *options)


def busboy(mode):
    p = Peer(f"busboy ({mode})")
    return p.start("node", PEERS / "busboy.mjs", p.port, p.folder, mode)


def nginx(body="", workers=1, log="off"):
    """PUT by DAV, without hash and fsync, and static files. `log`: what access_log says, in its folder."""
    p = Peer("nginx")
    os.chmod(p.folder, 0o777)
    (p.folder / "files").mkdir()
    os.chmod(p.folder / "files", 0o777)
    conf = p.folder / "nginx.conf"
    conf.write_text(f"""daemon off; worker_processes {workers}; pid {p.folder}/pid; error_log {p.folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log {log}; sendfile on; tcp_nopush on; keepalive_requests 100000000; types {{ image/png png; image/jpeg jpg; }}
  open_file_cache max=1000 inactive=60s; client_max_body_size 4g; client_body_buffer_size 1m; client_body_temp_path {p.folder}/temp;
  server {{ listen 127.0.0.1:{p.port}; root {p.folder}/files; location / {{ dav_methods PUT; create_full_put_path on; {body} }} }} }}
""")
    return p.start("nginx", "-c", conf, "-p", p.folder)


@contextlib.contextmanager
def kervan(**env):
    data = folder()
    k = Kervan({**BIG, **env}, data=data, log=pathlib.Path(data) / "log")
    try:
        yield k.start()
    finally:
        k.stop(expect=None)


def load(port, mode, path, connections, count, size):
    out = subprocess.run([str(a) for a in (LOAD, port, mode, path, connections, count, size)], capture_output=True, text=True, check=False, timeout=600)
    if out.returncode != 0:
        raise RuntimeError(f"load failed: {out.stdout} {out.stderr}")
    return json.loads(out.stdout)


def settle():
    """Dirty pages of the run before are not this run's business."""
    os.sync()


def cpu_times():
    """Ticks this machine ran, and ticks it wanted to run while its host ran others (steal)."""
    user, nice, system, _, _, irq, softirq, steal = (int(v) for v in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + irq + softirq, steal


def cpu_since(before):
    return tuple(later - earlier for later, earlier in zip(cpu_times(), before, strict=True))


class Host:
    """What the host kept of the CPU time that was wanted. With --quiet a run during which that was more is done again, whoever's it is."""
    quiet, tries = None, 8
    ran = stolen = again = loud = 0  # of the runs that count

    @classmethod
    def run(cls, fn):
        seen = []
        for i in range(cls.tries if cls.quiet is not None else 1):
            if i:
                time.sleep(2)  # the host announces nothing
            settle()
            before, got = cpu_times(), fn()
            ran, stolen = cpu_since(before)
            seen.append((100 * stolen / max(1, ran + stolen), ran, stolen, got))
            if cls.quiet is None or seen[-1][0] <= cls.quiet:
                break
        share, ran, stolen, got = min(seen, key=lambda one: one[0])
        cls.ran, cls.stolen, cls.again = cls.ran + ran, cls.stolen + stolen, cls.again + len(seen) - 1
        cls.loud += cls.quiet is not None and share > cls.quiet
        return got


def rounds(n, contenders, warm=True):
    """Runs each contender in turn, n rounds and a warm-up; {name: [result…]}."""
    results = {name: [] for name, _ in contenders}
    for i in range(n + warm):
        for name, fn in contenders:
            if i < warm:
                settle()
                fn()
            else:
                results[name].append(Host.run(fn))
    return results


def pick(results, key):
    return {name: median([r[key] for r in rs]) for name, rs in results.items()}


def row(line, what, unit, values, limits, target):
    """`limits`: name or names of the contenders that are limits, not peers."""
    limits = (limits,) if isinstance(limits, str) else limits or ()
    kv = values["kervan"]
    peers = {n: round(v, 3) for n, v in values.items() if n not in ("kervan", *limits)}
    return {"line": line, "what": what, "unit": unit, "kervan": round(kv, 3), "peers": peers, "limit": {n: round(values[n], 3) for n in limits} or None, "target": target}


RAW = "/api/media?filename=a.png&folder=bench"


def clear(*folders):
    for folder in folders:
        for p in pathlib.Path(folder).glob("*"):
            if p.is_file():
                p.unlink()


def nginx_then_openssl(server):
    """PUT, then the digest by openssl over the stored file: what one would script."""
    got = load(server.port, "put", "/u", 1, 1, GIB)
    file = next((server.folder / "files/u").iterdir())
    began = time.monotonic()
    subprocess.run(["openssl", "dgst", "-sha256", str(file)], check=True, capture_output=True)
    seconds = got["seconds"] + time.monotonic() - began
    file.unlink()
    return {"mb_s": GIB / 1e6 / seconds}


def line_u1(n):
    with kervan(DURABILITY="full") as k, floor("durable") as d, floor("relaxed") as r, busboy("durable") as b, nginx() as x:
        def ours():
            got = load(k.port, "raw", RAW, 1, 1, GIB)
            for m in k.list(folder="bench"):
                k.delete(f"/api/media/{m['id']}")
            wait_for("the file to go", lambda: not k.files())
            return got

        def plain(p, mode="put", path="/x"):
            def go():
                got = load(p.port, mode, path, 1, 1, GIB)
                clear(p.folder)
                return got
            return go

        got = rounds(n, [("kervan", ours), ("floor durable", plain(d)), ("floor no fsync", plain(r)), ("busboy + fsync", plain(b, "multipart", "/")), ("nginx PUT, then openssl dgst", lambda: nginx_then_openssl(x))])
    yield row("U1", "1 GB upload with hash, durable", "MB/s", pick(got, "mb_s"), "floor durable", "kervan ≥ 1.1 × floor durable and > nginx + openssl")


def line_u2(n):
    with kervan() as k, floor("durable") as d, busboy("durable") as b:
        got = rounds(n, [("kervan", lambda: load(k.port, "raw", RAW, 10, 10, 20 * MIB)), ("floor durable", lambda: load(d.port, "put", "/x", 10, 10, 20 * MIB)),
                         ("busboy + fsync", lambda: load(b.port, "multipart", "/", 10, 10, 20 * MIB))])
    yield row("U2", "10 × 20 MB at once", "MB/s", pick(got, "mb_s"), "floor durable", "kervan ≥ 0.9 × floor durable")
    yield row("U2 p95", "10 × 20 MB at once, 95th percentile", "ms", pick(got, "p95"), "floor durable", "kervan ≤ 1.2 × floor durable")


def room_for(uploads, size):
    """Nothing is removed between runs (see folder), so a line says first whether the disk can hold it: others live on it, too."""
    RUNS.mkdir(exist_ok=True)
    reserve = 0 if os.path.ismount(RUNS) else 10 * GIB
    need, free = uploads * (size + 16384) + reserve, shutil.disk_usage(RUNS).free
    if free < need:
        raise RuntimeError(f"{RUNS} needs {need / GIB:.0f} GiB free, {free / GIB:.0f} are")


def has_rows():
    """better-sqlite3 is optional: it may have to be compiled."""
    return subprocess.run(["node", "-e", "new (require('better-sqlite3'))(':memory:')"], cwd=PEERS, check=False, capture_output=True).returncode == 0


def line_u3(n):
    """Rates of runs with 2 cores swing with what else the host does; CPU an upload stays."""
    count, size = 6000, 65536
    modes = {"busboy + fsync": "durable", "busboy + fsync + folder fsync": "named"}
    if has_rows():
        modes["busboy + both fsyncs + rows"] = "rows"
    else:
        say("better-sqlite3 is not there: busboy with rows is left out")
    room_for((n + 1) * count * (4 + len(BARES) + len(modes)), size)

    def go(port, pid, mode, path):
        def run():
            before = tree_cpu(pid)
            got = load(port, mode, path, 32, count, size)
            return {**got, "cpu_us": (tree_cpu(pid) - before) * 1e6 / count}
        return run

    with contextlib.ExitStack() as stack:
        def peer(p, mode, path):
            stack.enter_context(p)
            return go(p.port, p.process.pid, mode, path)

        k = stack.enter_context(kervan())
        contenders = [("kervan", go(k.port, k.process.pid, "raw", RAW)), ("kervan, multipart as busboy", go(k.port, k.process.pid, "multipart", "/api/media")), ("floor durable", peer(floor("durable"), "put", "/x"))]
        contenders += [(name, peer(bare(*options), "raw", "/x")) for name, options in BARES.items()]
        contenders += [(name, peer(busboy(mode), "multipart", "/")) for name, mode in modes.items()]
        contenders.append(("nginx PUT, no hash, no fsync", peer(nginx(), "put", "/u")))
        got = rounds(n, contenders)
    limits = ("floor durable", *BARES)
    yield row("U3", "distinct 64 KB images, 32 connections, durable, with rows", "uploads/s", pick(got, "per_s"), limits, "kervan ≥ 0.6 × floor durable and ≥ 2.5 × busboy + fsync")
    yield row("U3 p99", "the same, 99th percentile", "ms", pick(got, "p99"), limits, "kervan ≤ 25 ms")
    yield row("U3 CPU", "the same, CPU of the server an upload", "us", pick(got, "cpu_us"), limits, "")


@contextlib.contextmanager
def weighed(weigh, pause):
    """The peak of what weigh() says, asked every so many seconds all the while."""
    peak, stop = [weigh()], threading.Event()

    def watch():
        while not stop.is_set():
            peak[0] = max(peak[0], weigh())
            time.sleep(pause)

    t = threading.Thread(target=watch)
    t.start()
    try:
        yield peak
    finally:
        stop.set()
        t.join()


def line_u4(n):
    """Rise of the gateway's anonymous resident memory, sampled while the upload runs."""
    def rise(k, connections, count, size):
        base = k.rss("gateway")
        with weighed(lambda: k.rss("gateway"), 0.005) as peak:
            load(k.port, "raw", RAW, connections, count, size)
        return (max(peak[0], base) - base) / MIB

    for what, connections, count, size, target in (("one 50 MB upload", 1, 1, 50 * MIB, 8), ("one 1 GB upload", 1, 1, GIB, 8), ("10 × 50 MB at once", 10, 10, 50 * MIB, 40)):
        values = []
        for _ in range(n):
            with kervan() as k:
                load(k.port, "raw", RAW, 2, 20, 65536)  # warm
                values.append(rise(k, connections, count, size))
        yield {"line": "U4", "what": f"RSS rise, {what}", "unit": "MiB", "kervan": round(median(values), 2), "peers": {}, "limit": None, "target": f"≤ {target}"}


def wrk(url, server, seconds=6):
    """Requests a second, and what each cost `server` (a pid and its children): wrk itself fills a core, so the first alone would flatter both."""
    before = tree_cpu(server)
    out = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", url], capture_output=True, text=True, check=True).stdout
    count = int(re.search(r"(\d+) requests in", out).group(1))
    return {"per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), "cpu_us": (tree_cpu(server) - before) * 1e6 / count}


def line_g1(n):
    """Both without and both with a line in a log file for each request."""
    picture = (ROOT / "build/bench/20k.bin").read_bytes()
    for logged, what in ((False, "access logs off"), (True, "access logs to a file")):
        with contextlib.ExitStack() as stack:
            k = stack.enter_context(kervan(LOG_LEVEL="info" if logged else "warn"))
            logs = {"nginx, 1 worker": "access.log" if logged else "off"}
            if logged:
                logs["nginx, log buffered"] = "access.log combined buffer=64k flush=1s"  # kervan gathers 64 KiB, too, but for a turn at most
            answer = requests.post(k.url(RAW), data=picture, timeout=30)
            answer.raise_for_status()
            url = answer.json()["url"]
            contenders = [("kervan", lambda k=k, url=url: wrk(k.url(url), k.children()["gateway"]))]
            for name, log in logs.items():
                x = stack.enter_context(nginx(log=log))
                (x.folder / "files/a.png").write_bytes(picture)
                os.chmod(x.folder / "files/a.png", 0o644)
                contenders.append((name, lambda x=x: wrk(f"http://127.0.0.1:{x.port}/a.png", x.process.pid)))
            got = rounds(n, contenders)
        yield row("G1", f"static GET of 20 KB, 64 connections, {what}", "requests/s", pick(got, "per_s"), None, "kervan ≥ 0.9 × nginx")
        yield row("G1 CPU", f"the same, CPU of the server a request, {what}", "us", pick(got, "cpu_us"), None, "")


def tree_cpu(pid):
    """CPU seconds of a process and all it has waited for, its living children included."""
    total = 0
    for p in Kervan.tree(pid):
        with contextlib.suppress(OSError):
            f = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(v) for v in f[11:15]) / os.sysconf("SC_CLK_TCK")
    return total


def tree_rss(pid):
    """Proportional set size of a process tree: pages shared by forks count once."""
    total = 0
    for p in Kervan.tree(pid):
        with contextlib.suppress(OSError, IndexError):
            total += int(pathlib.Path(f"/proc/{p}/smaps_rollup").read_text().split("Pss:")[1].split()[0]) * 1024
    return total


def photographs():
    """JPEG photographs of Debian's wallpaper packages."""
    folder = ROOT / "build/bench/photos"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as t:
            os.chmod(t, 0o777)
            for name in ("mate-backgrounds", "lomiri-wallpapers-20.04", "plasma-workspace-wallpapers"):
                subprocess.run(["apt-get", "download", name], cwd=t, check=True, capture_output=True)
            for deb in pathlib.Path(t).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(deb), t], check=True)
            found = [p for p in pathlib.Path(t).rglob("*.jp*g") if p.is_file() and not p.is_symlink() and p.stat().st_size > 400_000]
            found.sort(key=lambda p: p.stat().st_size)
            folder.mkdir(parents=True)
            for i, p in enumerate(found[-12:]):
                shutil.copy(p, folder / f"{i:02}.jpg")
    return sorted(folder.glob("*.jpg"))


def kervan_pictures(files, keep, weigh):
    with kervan(IMAGE_PROCESSING_ENABLED="true", IMAGE_CONCURRENCY="2", AVIF_EFFORT="1") as k:
        # another's bytes: variants belong to the file, so one of these photographs would be done already when it is measured
        warm = k.upload(noise_png(700, 500), "isinma.png", folder="warm").json()
        k.wait_ready(warm["id"])
        pid = k.children()["worker"]
        before, began, sizes = tree_cpu(pid), time.monotonic(), {}
        # A look reads each page table, a third of a core: so the weight is taken in a run of its own.
        with weighed(lambda: tree_rss(pid), 0.02) if weigh else contextlib.nullcontext([0]) as peak:
            rows = {f.name: k.upload(f.read_bytes(), f.name, folder="foto").json()["id"] for f in files}
            for name, media_id in rows.items():
                m = k.wait_ready(media_id)
                sizes[name] = {}
                for v in m["variants"]:
                    key = ("full" if v["width"] == m["width"] else str(v["width"])) + "." + v["format"]
                    sizes[name][key] = v["size"]
                    (keep / f"{name}.{key}").write_bytes(k.get(v["url"]).content)
        wall = time.monotonic() - began
        time.sleep(0.2)
        return {"cpu": (tree_cpu(pid) - before) / len(files), "rss": peak[0] / MIB, "wall": wall, "files": sizes}


def image_kervan(files, keep):
    return kervan_pictures(files, keep, False) | {"rss": kervan_pictures(files, keep, True)["rss"]}


def image_sharp(files, keep, mode):
    out = subprocess.run(["node", str(PEERS / "sharp.mjs"), str(keep), "1", mode, *map(str, files)], capture_output=True, text=True, check=True)
    got = json.loads(out.stdout)
    return {"cpu": got["cpu"] / len(files), "rss": got["rss"] / MIB, "wall": got["wall"], "files": got["files"]}


def quality(files, keep):
    """Mean SSIM per variant kind, over the photographs for which both made it."""
    kinds = {}
    for f in files:
        made = sorted(str(p) for p in keep.glob(f"{f.name}.*"))
        got = json.loads(subprocess.run(["node", str(PEERS / "ssim.mjs"), str(f), *made], capture_output=True, text=True, check=True).stdout)
        for name, value in got.items():
            kinds.setdefault(name.split(".jpg.")[1], []).append(value)
    return {k: round(statistics.mean(v), 4) for k, v in sorted(kinds.items())}


def line_i1(n):
    files = photographs()
    with tempfile.TemporaryDirectory() as folder:
        keep = {name: pathlib.Path(folder) / name for name in ("kervan", "sharp", "sharp, decoded once")}
        for path in keep.values():
            path.mkdir()
        got = rounds(n, [("kervan", lambda: image_kervan(files, keep["kervan"])), ("sharp", lambda: image_sharp(files, keep["sharp"], "each")),
                         ("sharp, decoded once", lambda: image_sharp(files, keep["sharp, decoded once"], "once"))], warm=False)
        ssim = {name: quality(files, path) for name, path in keep.items()}
    total = {name: sum(size for f, kinds in r[-1]["files"].items() for key, size in kinds.items() if all(key in r2[-1]["files"].get(f, {}) for r2 in got.values())) / MIB for name, r in got.items()}
    count = f"{len(files)} photographs, two at a time"
    yield row("I1", f"seven variants a photograph, CPU; {count}", "CPU s", pick(got, "cpu"), None, "kervan ≤ 0.75 × sharp")
    yield row("I1 memory", "peak memory of all image processes", "MiB", pick(got, "rss"), None, "kervan < sharp")
    yield row("I1 wall", "upload of the first to READY of the last", "s", pick(got, "wall"), None, "")
    yield row("I1 bytes", "variants that both made", "MiB", total, None, "equal")
    for kind in ssim["sharp"]:
        if kind in ssim["kervan"]:
            yield row("I1 SSIM", kind, "SSIM", {name: kinds[kind] for name, kinds in ssim.items()}, None, "equal")


def queue_lines():
    import bench_queue

    vars(bench_queue.B).update({k: v for k, v in globals().items() if not k.startswith("_")})
    return bench_queue.LINES


NAMES = {"upload": {"U1": line_u1, "U2": line_u2, "U3": line_u3, "U4": line_u4}, "image": {"I1": line_i1}, "static": {"G1": line_g1}, "queue": queue_lines()}


def table(rows):
    print("| line | what | unit | kervan | peers | limit | target |\n|---|---|---|---|---|---|---|")
    for r in rows:
        def cell(d):
            return ", ".join(f"{n} {v:g} (kervan is {r['kervan'] / v:.2f} ×)" for n, v in (d or {}).items() if v)
        print(f"| {r['line']} | {r['what']} | {r['unit']} | {r['kervan']:g} | {cell(r['peers'])} | {cell(r['limit'])} | {r['target']} |")


def measured(fn, n):
    """The rows of a line, each with the share of the wanted CPU time that the host kept (%) in the runs that count: with much of it a p99 is the host's, and so it is for all contenders."""
    Host.ran = Host.stolen = Host.again = Host.loud = 0
    before = cpu_times()
    rows = list(fn(n))
    ran, stolen = (Host.ran, Host.stolen) if Host.ran else cpu_since(before)
    share = round(100 * stolen / max(1, ran + stolen), 1)
    say(f"  the host kept {share} % of the CPU time that was wanted" + (f"; {Host.again} runs were done again, {Host.loud} stayed above {Host.quiet} %" if Host.quiet is not None else ""))
    return [{**r, "stolen_percent": share} for r in rows]


def cpu_model():
    return next((line.split(": ", 1)[1] for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")


def versions():
    """Of the peers and what they stand on; those from npm are those of peers/package.json."""
    names = ("redis-server", "beanstalkd", "rabbitmq-server", "nginx-light", "libvips42", "libssl3")
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names], capture_output=True, text=True, check=False).stdout
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {**dict(line.split() for line in out.splitlines()), "node": node, **json.loads((PEERS / "package.json").read_text())["dependencies"]}


def clean():
    shutil.rmtree(RUNS, ignore_errors=True)


STOPS = (signal.SIGTERM, signal.SIGINT)


def stop(number, _):
    """Through every finally, once: no peer is left."""
    for ignored in STOPS:
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    args = argparse.ArgumentParser(description="measure kervan beside its peers")
    args.add_argument("name", choices=NAMES)
    args.add_argument("--json")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--line", help="one line only")
    args.add_argument("--ram-disk", action="store_true", help="all data on an ext4 in memory: the programs without the disk")
    args.add_argument("--quiet", type=float, metavar="PERCENT", help="do a run again, whoever's it is, during which the host kept more of the CPU than this")
    got = args.parse_args()
    Host.quiet = got.quiet
    for number in STOPS:  # nohup's shells ignore the second
        signal.signal(number, stop)
    sample = ROOT / "build/bench/20k.bin"
    if not sample.exists():
        sample.write_bytes(padded_png(20_000, seed=1))
    rows = []
    clean()
    if got.ram_disk:
        ram_disk()
    atexit.register(clean)
    for line, fn in NAMES[got.name].items():
        if got.line in (None, line):
            say(f"{line} …")
            rows += measured(fn, got.rounds)
    table(rows)
    if got.json:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        machine = {"cpus": os.cpu_count(), "cpu": cpu_model(), "kernel": platform.release(), "arch": platform.machine(), "disk": "memory" if got.ram_disk else "the machine's"}
        pathlib.Path(got.json).write_text(json.dumps({"machine": machine, "versions": versions(), "date": datetime.date.today().isoformat(), "commit": commit, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


main()
