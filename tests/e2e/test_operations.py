"""Operations. S0-08 S0-37 S0-44…S0-48 S0-50 S0-84 S0-87 S1-36 S1-37 S1-38 S1-85 S1-86"""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest

from kervan import BINARY, PATIENCE, Kervan, wait_for
from pictures import noise_png, padded_png, png


def test_health(kervan):
    """S1-36 S1-37 S1-38 S1-86 S0-84 (Y38): both forms answer without a redirect."""
    for path in ("/api/v1/health", "/api/v1/health/", "/api/v1/health/ready/", "/api/v1/health/live/"):
        assert kervan.get(path, allow_redirects=False).status_code == 200, path
    report = kervan.get("/api/v1/health/").json()
    assert report["database"]["status"] == report["broker"]["status"] == report["storage"]["status"] == "ok"
    assert report["cache"] == "disabled" and report["status"] == "healthy"
    wait_for("its queues", lambda: {"image-process", "blob-reap"} <= {q["service"] for q in kervan.get("/api/v1/health/").json()["broker"]["report"]["queues"]})
    ready, live = (kervan.get(f"/api/v1/health/{p}/").json() for p in ("ready", "live"))
    assert ready["status"] == "ready" and ready["database"]["status"] == "ok"
    assert live["status"] == "alive" and not {"database", "broker", "storage"} & set(live), "live asks nobody"


def test_ready_tells_the_broker_is_away(fresh):
    k = fresh()
    os.kill(k.children()["broker"], signal.SIGSTOP)
    try:
        wait_for("not ready", lambda: k.get("/api/v1/health/ready/").status_code == 503)
        assert k.get("/api/v1/health/live/").status_code == 200
        report = k.get("/api/v1/health/")
        assert report.status_code == 503 and report.json()["status"] == "unhealthy"
        assert report.json()["broker"]["error"] == "broker_away" and report.json()["database"]["status"] == "ok"
    finally:
        os.kill(k.children()["broker"], signal.SIGCONT)
    wait_for("ready", lambda: k.get("/api/v1/health/ready/").status_code == 200)


def test_logs_are_json(kervan):
    """S1-85 S0-08: one JSON object a line."""
    kervan.upload(png())
    lines = [json.loads(line) for line in kervan.lines]
    assert lines
    for o in lines:
        assert o["time"] and o["level"] and o["process"] and o["event"]
    assert [o["url"] for o in lines if o["event"] == "ready"] == [f"http://127.0.0.1:{kervan.port}/"]


def test_logs_for_eyes():
    """`kervan up --readable`, as tools/up starts it: the same lines, in the order of their process."""
    with Kervan(words=["--readable"]) as k:
        media = k.upload(noise_png(90, 70), "resim.png").json()
        k.wait_ready(media["id"])
        wait_for("the worker's line", lambda: any("image_done" in line for line in k.lines))
        os.kill(k.children()["worker"], signal.SIGKILL)
        wait_for("the supervisor's own", lambda: any(re.match(r"\d\d:\d\d:\d\d up +warn child_died  ", line) for line in k.lines))
        k.stop()
        assert not any(line.startswith("{") for line in k.lines)
        upload = next(line for line in k.lines if f"uploadId={media['uploadId']}" in line)
        assert re.match(r"\d\d:\d\d:\d\d gateway  upload_done  uploadId=", upload), upload
        assert sum(line.startswith("kervan is ready: http://") for line in k.lines) == 1


def test_a_child_that_waits_for_descriptors():
    """One pipe can be had, the second cannot: the first one is given back, and the child starts once there are more."""
    with Kervan(words=["--readable"]) as k:
        pid, worker = k.process.pid, k.children()["worker"]

        def used():
            return {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}

        before, limits = used(), resource.prlimit(pid, resource.RLIMIT_NOFILE)
        free = [n for n in range(len(before) + 3) if n not in before]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[1] + 1, limits[1]))  # the worker's end frees one more
        os.kill(worker, signal.SIGKILL)
        wait_for("the second pipe to fail", lambda: any("pipe_failed" in line for line in k.lines))
        assert len(used()) <= len(before)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        wait_for("a new worker", lambda: k.children().get("worker", worker) != worker)


def test_access_log(kervan):
    kervan.get("/api/folders?limit=1", headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    line = kervan.wait_log("request", path="/api/folders")[-1]
    assert line["status"] == 200 and line["method"] == "GET" and line["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["client"] == "127.0.0.1"
    for bad in ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"):
        kervan.get("/api/folders?bad", headers={"traceparent": bad})
    kervan.get("/api/media", headers={"traceparent": bad})
    assert kervan.wait_log("request", path="/api/media")[-1]["traceId"] != line["traceId"]
    assert len(kervan.events("request", traceId=line["traceId"])) == 1


def test_metrics_format(kervan):
    text = kervan.get("/metrics").text
    for name in ("uploads_total", "upload_bytes_total", "upload_failures_total", "processing_duration_seconds"):
        assert f"# TYPE {name}" in text and f"# HELP {name}" in text
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-z_]+(\{[^}]*\})? -?[0-9.e+-]+(Inf)?', line), line
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_waiting_connections_leave_descriptors_for_files():
    """With a limit of open files below MAX_CONNECTIONS."""
    k = Kervan(wrapper=["prlimit", "--nofile=300:300"])
    with k, contextlib.ExitStack() as open_ones:
        bound = json.loads(next(line for line in k.lines if "few_file_descriptors" in line))
        assert bound["limit"] == 300 and bound["connections"] == 150
        large = k.upload(padded_png(900_000)).json()
        k.session.close()
        first = open_ones.enter_context(k.connect())
        others = [open_ones.enter_context(k.connect()) for _ in range(400)]
        assert len(others) == 400  # those above the bound wait in the queue of the listener
        picture = padded_png(300_000)
        first.sendall(b"POST /api/media?filename=a.png&folder=yeni HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture)
        assert first.recv(65536).startswith(b"HTTP/1.1 201 ")
        first.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % large["url"].encode())
        assert first.recv(12) == b"HTTP/1.1 200"


def test_connections_without_a_descriptor_wait():
    """They are tried ten times a second, answered as soon as there is a descriptor again, and the log says it once."""
    with Kervan({"HEADER_TIMEOUT": "600"}) as k, contextlib.ExitStack() as open_ones:
        pid = k.children()["gateway"]
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = os.listdir(f"/proc/{pid}/fd")
        first_free = min(n for n in range(len(used) + 1) if str(n) not in used)  # those below it are open as long as it runs
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, limits[1]))
        client = open_ones.enter_context(k.connect())
        k.wait_log("accept_failed")
        client.sendall(b"GET /api/v1/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        client.settimeout(1)  # that is ten tries
        with pytest.raises(TimeoutError):
            client.recv(12)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        client.settimeout(PATIENCE)
        assert client.recv(12) == b"HTTP/1.1 200"
        assert len(k.events("accept_failed")) == 1


def test_a_lock_that_cannot_be_opened(tmp_path):
    """Not the same as one that another broker holds."""
    (tmp_path / "run/broker.lock").mkdir(parents=True)
    ended = subprocess.run([str(BINARY), "broker"], env={"KERVAN_DATA": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    lines = {o["event"]: o for o in map(json.loads, ended.stdout.splitlines())}
    assert ended.returncode == 1 and lines["lock_failed"]["path"].endswith("run/broker.lock")
    assert lines["broker_failed"]["code"] == "io" and "broker_locked" not in lines


@pytest.mark.parametrize("linked", [False, True])
def test_media_whose_database_is_gone(tmp_path, linked):
    """A restore that forgot kervan.db does not begin a second history: the broker says what is missing, and nothing changes. Also where media lie on another
    disk, behind a link."""
    with Kervan() as k:
        first = k.upload(png()).json()
        k.wait_ready(first["id"])
        k.stop()
        if linked:
            shutil.move(k.data / "media", tmp_path / "media")
            (k.data / "media").symlink_to(tmp_path / "media")
        media = k.files() + k.variant_files()
        (k.data / "kervan.db").rename(k.data / "elsewhere")
        for left in ([], ["kervan.db"]):
            for name in left:
                (k.data / name).touch()
            alone = subprocess.run([str(BINARY), "up"], env=k.environment(), capture_output=True, text=True, timeout=60, check=False)
            assert alone.returncode == 1
            said = [json.loads(line) for line in alone.stdout.splitlines() if '"broker_failed"' in line]
            assert said[0]["code"] == "database_missing" and "Put kervan.db back" in said[0]["what"], alone
            migrated = subprocess.run([str(BINARY), "migrate"], env=k.environment(), capture_output=True, text=True, timeout=60, check=False)
            assert migrated.returncode == 1 and "Put kervan.db back" in migrated.stderr
            assert sorted(p.name for p in k.data.glob("kervan.db*")) == left and k.files() + k.variant_files() == media
        (k.data / "elsewhere").replace(k.data / "kervan.db")
        k.start()
        assert k.media(first["id"])["status"] == "READY" and k.get(first["url"]).status_code == 200


def test_second_kervan_on_the_port(kervan):
    """S0-12: it is refused, instead of taking every other request into a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="kv") as data:
        env = {"PATH": os.environ["PATH"], "KERVAN_DATA": data, "KERVAN_LISTEN": f"127.0.0.1:{kervan.port}"}
        second = subprocess.run([str(BINARY), "gateway"], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode != 0 and "Address already in use" in second.stderr + second.stdout
        up = subprocess.run([str(BINARY), "up"], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert up.returncode == 1 and "the gateway does not start" in up.stderr and "KERVAN_LISTEN" in up.stdout + up.stderr
    for _ in range(8):
        assert kervan.get("/api/media").status_code == 200


def test_health_below_the_disk_reserve(fresh):
    """Y38: uploads are refused, so the report says it; reading goes on, so the node stays in the balancer."""
    k = fresh(DISK_RESERVE_MB="1048576")
    assert k.upload(png()).status_code == 507
    report = k.get("/api/v1/health/")
    assert report.status_code == 200 and report.json()["status"] == "degraded"
    assert report.json()["storage"]["status"] == "low" and report.json()["storage"]["error"] == "disk_full"
    assert k.get("/api/v1/health/ready/").json()["status"] == "ready"


def test_second_supervisor_on_the_folder(kervan):
    env = {"PATH": os.environ["PATH"], "KERVAN_DATA": str(kervan.data), "KERVAN_LISTEN": "127.0.0.1:1"}
    second = subprocess.run([str(BINARY), "up"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3 and f"http://127.0.0.1:{kervan.port}/" in second.stderr


def run(*args, **env):
    return subprocess.run([str(BINARY), *args], env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=60, check=False)


def test_config_problems_come_all_at_once():
    got = run("config", MAX_UPLOAD_SIZE_MB="viele", WEBP_QUALITY="101", KERVAN_LISTN="x", USE_S3="true", ENV="production")
    assert got.returncode == 2
    for word in ("MAX_UPLOAD_SIZE_MB", "WEBP_QUALITY", "KERVAN_LISTEN", "USE_S3", "SECRET_KEY"):
        assert word in got.stderr, got.stderr


def test_config_hides_secrets_and_reports_redis():
    """S0-48 (X23)"""
    got = run("config", SECRET_KEY="cok-gizli-anahtar-cok-gizli-anahtar", REDIS_URL="rediss://u:parola@h")
    assert got.returncode == 0 and "cok-gizli" not in got.stdout + got.stderr and "parola" not in got.stdout + got.stderr
    assert "MAX_UPLOAD_SIZE_MB=50" in got.stdout  # S0-50


def test_env_example_is_current():
    path = os.path.join(os.path.dirname(__file__), "../../.env.example")
    with open(path, encoding="utf-8") as f:
        assert f.read() == run("config", "--example").stdout


def test_drain_finishes_an_upload_in_flight():
    """SIGTERM loses no upload in flight."""
    with Kervan() as k:
        data = padded_png(1_000_000)
        s = k.connect()
        s.sendall((b"POST /api/media?filename=p.png HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)) + data[:400_000])
        wait_for("the upload to begin", lambda: k.tmp_files())
        k.process.send_signal(signal.SIGTERM)
        k.wait_log("draining")
        s.sendall(data[400_000:])
        got = b""
        while b"}" not in got:
            more = s.recv(65536)
            assert more, got
            got += more
        assert got.startswith(b"HTTP/1.1 201"), got[:200]
        s.close()
        k.process.wait(60)
        assert k.process.returncode == 0
        media = json.loads(got.split(b"\r\n\r\n", 1)[1])
        k.start()
        assert k.get(media["url"]).content == data


def test_drain_answers_what_has_arrived():
    """SIGTERM loses no request that is in a socket already, be its connection an old one or in the listener's queue."""
    ask = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"

    def answered(s):
        got = b""
        with contextlib.suppress(ConnectionError):
            while more := s.recv(65536):
                got += more
        s.close()
        return got.startswith(b"HTTP/1.1 200") and got.endswith(b"}\n")

    with Kervan() as k:
        old = [k.connect() for _ in range(150)]
        wait_for("them to be accepted", lambda: k.metric("kervan_http_connections") >= 150)
        gateway = k.children()["gateway"]
        os.kill(gateway, signal.SIGSTOP)
        new = [k.connect() for _ in range(150)]
        for s in old + new:
            s.sendall(ask)
        k.process.send_signal(signal.SIGTERM)

        def pending():
            mask = int(re.search(r"^ShdPnd:\s*(\w+)", pathlib.Path(f"/proc/{gateway}/status").read_text(), re.M)[1], 16)
            return mask >> (signal.SIGTERM - 1) & 1

        wait_for("SIGTERM to wait for the gateway", pending)
        os.kill(gateway, signal.SIGCONT)
        assert [answered(s) for s in old + new].count(False) == 0


def test_worker_is_a_separate_process(kervan):
    """S0-87 S0-37"""
    assert set(kervan.children()) == {"broker", "gateway", "worker"}


def test_ten_uploads_of_20_mb(kervan):
    """S0-10 S0-93: p95 below 1.5 s is measured in tools/bench; here all succeed and memory stays bounded (S0-01 S0-09 S0-51)."""
    import concurrent.futures

    if "asan" in str(BINARY) or "tsan" in str(BINARY):
        limit = 400 << 20  # the sanitizer's own quarantine is in the figure
    else:
        limit = 80 << 20
    kervan.upload_raw(padded_png(20 << 20), "isinma.png")
    before = kervan.rss("gateway")
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda i: kervan.upload_raw(padded_png(20 << 20, seed=i), f"{i}.png"), range(10)))
    assert [a.status_code for a in answers] == [201] * 10
    assert kervan.rss("gateway") - before < limit


def test_job_is_visible(kervan):
    """S0-36 S0-72: the response did not wait, the job is there."""
    media = kervan.upload(noise_png(300, 200)).json()
    kervan.wait_ready(media["id"])


def test_words_that_are_not_known():
    """Who asks for help, or mistypes, starts and changes nothing."""
    with tempfile.TemporaryDirectory(prefix="kv") as data:
        for command in ("up", "broker", "gateway", "worker", "migrate", "config", "ctl", "doctor", "version", "help"):
            got = run(command, "--help", KERVAN_DATA=data)
            assert got.returncode == 0 and got.stdout.startswith(f"kervan {command}") and got.stdout.count("\n") == 1, got
        for words in (("up", "--redable"), ("up", "--readable", "x"), ("broker", "x"), ("gateway", "x"), ("migrate", "x"), ("config", "--example", "x"), ("version", "x")):
            got = run(*words, KERVAN_DATA=data)
            assert got.returncode == 2 and words[-1] in got.stderr, got
        assert not os.listdir(data)


def test_output_that_is_lost():
    """A full disk under `kervan config --example > .env` is no success."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        got = subprocess.run([str(BINARY), "config", "--example"], env={"PATH": os.environ["PATH"]}, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert got.returncode == 1 and "output" in got.stderr


def test_closed_descriptors():
    """With stdout closed the next file that is opened would be called stdout, and logs were written to it."""
    with tempfile.TemporaryDirectory(prefix="kv") as data:
        env = {"PATH": os.environ["PATH"], "KERVAN_DATA": data}
        broker = subprocess.Popen(["sh", "-c", f'exec "{BINARY}" broker <&- >&- 2>&-'], env=env)
        try:
            wait_for("the broker", lambda: os.path.exists(f"{data}/run/broker.sock"))
            assert [os.readlink(f"/proc/{broker.pid}/fd/{n}") for n in range(3)] == ["/dev/null"] * 3
        finally:
            broker.terminate()
            assert broker.wait(60) == 0


def test_env_file():
    """What tools/up makes of a .env file, also one of Windows or of a site that had Node: values are data, and the environment goes first."""
    root = os.path.join(os.path.dirname(__file__), "../..")
    lines = (b"\xef\xbb\xbf# first\r\nDATABASE_URL=postgresql://u:p@h/d?a=1&b=2\r\nSECRET_KEY=\"a $HOME `id` b\" # mine\r\n\r\nexport LOG_LEVEL=warn # less\n"
             b"CORS_ALLOWED_ORIGINS=https://a.example, https://b.example\nMEDIA_BASE_URL='it # is'\nKERVAN_LISTEN=127.0.0.1:1\nENV=staging\nENV= production\nREDIS_URL=\nREDIS_TOKEN=a#b")
    with tempfile.TemporaryDirectory(prefix="kv") as folder:
        path = os.path.join(folder, ".env")

        def read(content):
            with open(path, "wb") as f:
                f.write(content)
            env = {"PATH": os.environ["PATH"], "HOME": "/root", "KERVAN_BUILD_LOGS": folder, "KERVAN_LISTEN": "127.0.0.1:2"}
            return subprocess.run(["sh", "-euc", f'. tools/lib.sh; env_file "{path}"; env'], cwd=root, env=env, capture_output=True, text=True, timeout=60, check=False)

        got = dict(line.split("=", 1) for line in read(lines).stdout.splitlines())
        want = {"DATABASE_URL": "postgresql://u:p@h/d?a=1&b=2", "SECRET_KEY": "a $HOME `id` b", "LOG_LEVEL": "warn", "CORS_ALLOWED_ORIGINS": "https://a.example, https://b.example",
                "MEDIA_BASE_URL": "it # is", "KERVAN_LISTEN": "127.0.0.1:2", "ENV": "production", "REDIS_URL": "", "REDIS_TOKEN": "a#b"}
        assert {name: got[name] for name in want} == want
        bad = read(b"LOG_LEVEL=warn\nA B=3\n")
        assert bad.returncode == 2 and "line 2" in bad.stderr


def test_packages_of_another_debian():
    """A section of tools/packages.txt with a number holds for that Debian only."""
    lib = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../tools/lib.sh"))
    with tempfile.TemporaryDirectory(prefix="kv") as folder:
        for name, text in (("dpkg-query", "exit 1"), ("id", "echo 0"), ("apt-get", "")):
            os.makedirs(f"{folder}/bin", exist_ok=True)
            with open(f"{folder}/bin/{name}", "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\n{text}\n")
            os.chmod(f"{folder}/bin/{name}", 0o755)
        os.mkdir(f"{folder}/tools")
        with open(f"{folder}/tools/packages.txt", "w", encoding="utf-8") as f:
            f.write("# run13 no\nrun a b\nrun12 twelve\nrun13 thirteen\nrun1 no\ntest13 no\ntest no\n")
        for number, want in (("12", "a b twelve"), ("13", "a b thirteen"), ("14", "a b"), ("", "a b")):
            script = f'. "{lib}"; release() {{ echo {number}; }}; packages run'
            got = subprocess.run(["sh", "-euc", script], cwd=folder, env={"PATH": f"{folder}/bin:{os.environ['PATH']}"}, capture_output=True, text=True, timeout=60, check=True)
            assert got.stderr == f"installing: {want}\n"


@contextlib.contextmanager
def checkout(files):
    """A folder with tools/, programs that do nothing in place of those that build, and `files`, {path: text}."""
    root = os.path.join(os.path.dirname(__file__), "../..")
    nothing = {f"bin/{name}": "#!/bin/sh\n" for name in ("cmake", "ninja", "clang-format", "clang-tidy")}
    with tempfile.TemporaryDirectory(prefix="kv") as folder:
        shutil.copytree(os.path.join(root, "tools"), os.path.join(folder, "tools"))
        for name, text in ({**nothing, "tools/packages.txt": "", "build/release/build.ninja": "", **files}).items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            os.chmod(path, 0o755)
        yield folder


def test_tools_up_ends_what_it_started():
    """SIGTERM to tools/up alone, as a process manager sends it, must not leave kervan behind; Ctrl-C goes to both and is waited for."""
    def as_from_a_terminal():  # whoever runs the tests may ignore them, and a shell cannot trap what it found ignored
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    stub = "#!/bin/sh\n" + """trap 'sleep 0.3; echo ended; exit "$STATUS"' TERM INT\necho up\nwhile :; do sleep 0.05; done\n"""
    for number, group, status, want in ((signal.SIGTERM, False, "0", 0), (signal.SIGHUP, False, "5", 5), (signal.SIGINT, True, "0", 0), (signal.SIGQUIT, True, "0", 0), (signal.SIGTERM, True, "3", 0)):
        with checkout({"build/release/kervan": stub}) as folder:
            env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "STATUS": status}
            up = subprocess.Popen(["sh", f"{folder}/tools/up"], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=as_from_a_terminal)  # noqa: PLW1509
            assert up.stdout.readline() == "up\n"
            (os.killpg if group else os.kill)(up.pid, number)
            assert up.wait(30) == want
            assert up.stdout.read() == "ended\n"


def test_tools_find_their_checkout():
    """A CDPATH, which cd asks first, does not lead them elsewhere."""
    with checkout({"elsewhere/tools/x": ""}) as folder:
        for name in ("up", "check", "bench"):
            env = {"PATH": os.environ["PATH"], "CDPATH": f"{folder}/elsewhere"}
            got = subprocess.run([f"tools/{name}", "--help"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
            assert (got.returncode, got.stderr) == (0, "") and not got.stdout.startswith("/"), name


def test_lint_without_git():
    """An archive has no .git, and git says nothing of a checkout that belongs to another user: the sources are looked at all the same."""
    folders = {f"{name}/a.c": "" for name in ("actors", "broker", "docs", "gateway", "proto", "storage", "tests")}
    seen = "#!/bin/sh\necho \"$@\" >&2\nfor f; do case $f in *proto/a.c) exit 1 ;; esac; done\n"
    with checkout({**folders, "tests/includes.py": "", "bin/clang-format": seen, "bin/clang-tidy": seen}) as folder:
        env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "GIT_CEILING_DIRECTORIES": folder}
        got = subprocess.run(["tools/check", "lint"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert got.returncode == 1 and "FAILED: format" in got.stderr and "FAILED: tidy" in got.stderr, got.stderr


def test_build_without_a_home():
    """npm gets a folder it can write to where HOME is none."""
    with checkout({"bin/ninja": '#!/bin/sh\necho "${npm_config_cache:-none}"\n'}) as folder:
        for home, own, want in (("/nonexistent", {}, f"{folder}/build/npm"), (folder, {}, "none"), ("/nonexistent", {"npm_config_cache": "/mine"}, "/mine")):
            env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": home, **own}
            subprocess.run(["sh", "-euc", ". tools/lib.sh; build release"], cwd=folder, env=env, timeout=60, check=True)
            with open(f"{folder}/build/logs/build-release.log", encoding="utf-8") as log:
                assert log.read() == f"{want}\n"


def test_one_build_at_a_time():
    """Two tools/up, or one beside tools/check, would write the same files."""
    with checkout({"bin/ninja": "#!/bin/sh\necho built\n"}) as folder, open(f"{folder}/build/lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
        build = subprocess.Popen(["sh", "-euc", ". tools/lib.sh; build release"], cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
        assert build.stderr.readline() == "waiting for another build\n"
        assert not os.path.exists(f"{folder}/build/logs/build-release.log")
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert build.wait(60) == 0
        with open(f"{folder}/build/logs/build-release.log", encoding="utf-8") as log:
            assert log.read() == "built\n"
