"""The compose folder and the manual say what the program does. S0-60 S0-87 S0-97 S0-98 S0-100 S0-101

`python3 tests/e2e/test_compose.py` writes the generated parts of docs/manual.md anew."""
import configparser
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from kervan import BINARY, PATIENCE, ROOT, Kervan, wait_for  # noqa: E402
from pictures import noise_png  # noqa: E402

COMPOSE = ROOT / "compose"
MANUAL = ROOT / "docs/manual.md"
OURS = ("broker", "gateway", "worker")


def run(*args):
    return subprocess.run([str(BINARY), *args], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((COMPOSE / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def dockerfile():
    return (COMPOSE / "Dockerfile").read_text(encoding="utf-8")


def settings():
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", run("config", "--example"), re.M))


def value(text):
    """What compose makes of ${NAME:-default} while NAME is not set."""
    return re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", str(text)).replace("$$", "$")


# ---- docker-compose.yml ----


def test_commands_exist(compose):
    """S0-87: broker, gateway and worker are separate processes of one image."""
    known = dict(re.findall(r"^  (\w+) +(.*)$", run("help"), re.M))
    assert set(OURS) <= set(compose["services"])
    for name in OURS:
        service = compose["services"][name]
        assert service["command"][0] == name and name in known
        assert service["image"] == compose["services"]["broker"]["image"]
        assert "data:/data" in service["volumes"] and service["environment"]["KERVAN_DATA"] == "/data"
    for actor in compose["services"]["worker"]["command"][1:]:
        assert actor in known["worker"]


def test_environment_is_known(compose):
    known = settings()
    for name in OURS:
        for env, text in compose["services"][name]["environment"].items():
            assert env in known, env
            if env not in ("KERVAN_DATA", "KERVAN_LISTEN"):
                assert value(text) == known[env], f"{env}: the default differs from kervan's"
        settable = {k for k in known if not k.startswith(("KERVAN_", "REDIS_"))}
        assert settable <= set(compose["services"][name]["environment"]), "every setting reaches the containers"
    text = (COMPOSE / "docker-compose.yml").read_text(encoding="utf-8")
    assert "REDIS_URL" in text and "REDIS_URL" in known


def test_services_stop_and_start_in_order(compose):
    for name in OURS:
        service = compose["services"][name]
        assert service["restart"] == "unless-stopped" and service["healthcheck"]["test"]
        assert service["stop_signal"] == "SIGTERM"
        assert service["cap_drop"] == ["ALL"] and service["read_only"] and service["pids_limit"] > 500  # a picture's process can take no more than that away
        assert int(service["stop_grace_period"].rstrip("s")) > int(value(service["environment"]["DRAIN_TIMEOUT"]))
    for name in ("gateway", "worker"):
        assert compose["services"][name]["depends_on"]["broker"]["condition"] == "service_healthy"
    for name in ("prometheus", "grafana"):
        assert compose["services"][name]["profiles"] == ["monitoring"]
        assert ":" in compose["services"][name]["image"] and not compose["services"][name]["image"].endswith("latest")


def test_mounted_files_exist(compose):
    for name in ("prometheus", "grafana"):
        for volume in compose["services"][name]["volumes"]:
            if volume.startswith("./"):
                assert (COMPOSE / volume.split(":")[0]).exists(), volume


class Separate(Kervan):
    """The three processes as the compose file starts them, on this machine."""

    def __init__(self, compose):
        super().__init__()
        self.compose = compose
        self.running = {}

    def here(self, text):
        """Paths and addresses of the containers, on this machine."""
        return value(text).replace("/data", str(self.data)).replace("gateway:8080", f"127.0.0.1:{self.port}").replace(":8080", f":{self.port}").replace("0.0.0.0", "127.0.0.1")

    def start_service(self, name):
        service = self.compose["services"][name]
        env = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1"}
        env |= {key: self.here(text) for key, text in service["environment"].items()}
        process = subprocess.Popen([str(BINARY), *service["command"]], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.running[name] = process
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def healthy(self, name):
        process = self.running[name]
        assert process.poll() is None, "\n".join(self.lines[-40:])
        kind, *command = self.compose["services"][name]["healthcheck"]["test"]
        command = [self.here(part) for part in command]
        if kind == "CMD-SHELL":
            command = ["sh", "-c", *command]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__(AssertionError, None, None)
            raise

    def start(self, wait=True):
        for name in OURS:
            for needed in self.compose["services"][name].get("depends_on", {}):
                assert self.healthy(needed)
            self.start_service(name)
            if name == "broker":
                wait_for("the broker to be healthy", lambda: self.healthy("broker"))
        for name in OURS:
            wait_for(f"{name} to be healthy", lambda name=name: self.healthy(name))
        return self

    def stop_service(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, "\n".join(self.lines[-40:])

    def __exit__(self, kind, value, trace):
        try:
            for name in [n for n in reversed(OURS) if n in self.running]:
                if kind is None:
                    self.stop_service(name)
                else:
                    self.running.pop(name).kill()
        finally:
            shutil.rmtree(self.data, ignore_errors=True)


def test_processes_apart_serve_an_upload(compose):
    """S0-87: what the compose file starts takes an upload to READY, also without a supervisor; each part may be started again."""
    with Separate(compose) as k:
        first = k.upload(noise_png(400, 300)).json()
        assert k.wait_ready(first["id"])["variants"]
        k.stop_service("worker")  # S0-98: a roll-back stops the worker; uploads and originals go on
        assert not any(k.events(level="error")), k.events(level="error")
        second = k.upload(noise_png(400, 300)).json()
        assert second["status"] == "PENDING" and k.get(second["url"]).status_code == 200
        wait_for("the worker to be missed", lambda: k.metric("kervan_workers") == 0)
        k.start_service("worker")
        k.wait_ready(second["id"])
        k.stop_service("broker")
        wait_for("not ready", lambda: k.get("/api/v1/health/ready").status_code == 503)
        assert k.get(first["url"]).status_code == 200
        k.start_service("broker")
        wait_for("ready", lambda: k.get("/api/v1/health/ready").status_code == 200)
        k.wait_ready(k.upload(noise_png(400, 300)).json()["id"])


# ---- metrics ----


def metrics():
    """name -> (type, label, text)"""
    text = (ROOT / "proto/base/metrics_table.h").read_text(encoding="utf-8")
    return {n: ("HISTOGRAM" if t == "SIZES" else t, label, what) for n, t, label, what in re.findall(r'\bM\(\w+, "(\w+)", (\w+), "([\w,]*)", "(.*?)"\)', text)}


KEYWORDS = {"by", "on", "unless", "and", "or", "without", "ignoring", "group_left", "group_right", "bool", "offset"}


def names_in(expr):
    """The metrics of a PromQL expression, and the labels it names."""
    labels = set(re.findall(r"(\w+) *(?:=~|!~|!=|=) *\"", expr))
    expr = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expr)
    for group in re.findall(r"\b(?:by|on|without|ignoring) *\(([^)]*)\)", expr):
        labels |= {w.strip() for w in group.split(",")}
    expr = re.sub(r"\b(?:by|on|without|ignoring) *\([^)]*\)", "", expr)
    return {w for w in re.findall(r"\b[a-z_][a-z0-9_]*\b(?! *\()", expr) if w not in KEYWORDS}, labels


def check_expression(expr, table):
    names, labels = names_in(expr)
    assert names, expr
    allowed = {"le", "job"}
    for name in names - {"up"}:  # Prometheus' own
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert (name in table and table[name][0] != "HISTOGRAM") or table.get(base, ("",))[0] == "HISTOGRAM", f"{name} in {expr}"
        allowed |= set(table[base if base in table else name][1].split(","))
    assert labels <= allowed, f"labels {labels - allowed} in {expr}"


def test_alerts_use_known_metrics():
    table = metrics()
    assert len(table) >= 30
    rules = [r for g in yaml.safe_load((COMPOSE / "alerts.yml").read_text(encoding="utf-8"))["groups"] for r in g["rules"]]
    for rule in rules:
        check_expression(rule["expr"], table)
        assert rule["annotations"]["summary"] and rule["annotations"]["remedy"] and rule["labels"]["severity"] in ("critical", "warning")
    assert len({r["alert"] for r in rules}) == len(rules)


def test_alerts_name_known_error_codes():
    slugs = set(re.findall(r'E\(\w+, \d+, \d+, "([^"]+)"', (ROOT / "proto/base/error.h").read_text(encoding="utf-8")))
    for codes in re.findall(r'code(?:=~|!~|=)"([^"]*)"', (COMPOSE / "alerts.yml").read_text(encoding="utf-8")):
        assert set(codes.split("|")) <= slugs, codes


def test_dashboard_uses_known_metrics():
    """S0-60: uploads, their failures and times are on the dashboard, and every query has a metric behind it."""
    table, used = metrics(), set()
    board = json.loads((COMPOSE / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            check_expression(target["expr"], table)
            used |= names_in(target["expr"])[0]
    assert {"uploads_total", "upload_bytes_total", "upload_failures_total", "kervan_upload_seconds_bucket", "processing_duration_seconds_bucket"} <= used
    unseen = {n for n in table if not any(u == n or u == n + "_bucket" for u in used)}
    assert not unseen, f"on no panel: {unseen}"
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/kervan.yml").read_text(encoding="utf-8"))["datasources"][0]
    assert all(t["datasource"]["uid"] == source["uid"] for p in board["panels"] for t in p.get("targets", []))


def test_prometheus_asks_the_gateway(compose):
    config = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["gateway:8080"] and "gateway" in compose["services"]
    assert config["rule_files"] == ["alerts.yml"] and config["scrape_configs"][0]["job_name"] == "kervan"


# ---- Dockerfile ----


def apt_lists(dockerfile):
    return [m.replace("\\", " ").split() for m in re.findall(r"--no-install-recommends((?:[^&]|\\\n)*?)&&", dockerfile)]


def test_base_image_is_pinned(dockerfile, compose):
    """S0-100"""
    assert re.search(r"^ARG BASE=debian:12-slim$", dockerfile, re.M)
    assert re.findall(r"^FROM (\S+)", dockerfile, re.M) == ["${BASE}", "${BASE}"]
    assert all(compose["services"][name]["platform"] == "linux/amd64" for name in OURS)


def test_native_libraries_are_cached_before_the_sources(dockerfile):
    """S0-100: apt and npm have layers of their own; a changed source file repeats neither."""
    order = [dockerfile.index(step) for step in ("COPY tools/packages.txt", "s/^run //p", "COPY gateway/ui/package.json", "npm ci", "COPY . .", "cmake --preset", "AS runtime")]
    assert order == sorted(order)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", "build", "data", "**/node_modules", ".env"} <= set(ignored)


def test_packages_exist(dockerfile):
    """S0-100: what the build installs is the run section of tools/packages.txt; each runtime package is one its libraries come in."""
    build, runtime = apt_lists(dockerfile)
    assert " ".join(build) == "$(sed -n 's/^run //p' tools/packages.txt)"
    assert subprocess.run(["apt-cache", "show", "--no-all-versions", *runtime], capture_output=True, check=False).returncode == 0, runtime
    listed = " ".join(re.findall(r"^run (.*)$", (ROOT / "tools/packages.txt").read_text(encoding="utf-8"), re.M)).split()
    depends = subprocess.run(["apt-cache", "depends", *[p for p in listed if p.endswith("-dev")]], capture_output=True, text=True, check=True).stdout
    for package in runtime:
        assert package in listed or re.search(rf"Depends: {re.escape(package)}$", depends, re.M), package


def test_runtime_has_every_library(dockerfile):
    """Each library the program is linked to comes with a package of the runtime stage, or with one of their dependencies."""
    runtime = apt_lists(dockerfile)[1]
    out = subprocess.run(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", *runtime], capture_output=True, text=True, check=True).stdout
    there = {line.strip() for line in out.splitlines() if line and not line.startswith(" ")} | {"libc6"}
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.run(["readelf", "-d", str(ROOT / "build/release/kervan")], capture_output=True, text=True, check=True).stdout)
    for library in (n for n in needed if not re.match(r"lib(asan|ubsan|tsan)\.", n)):
        found = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True, check=True).stdout
        owners = {line.split(":")[0] for line in found.splitlines()}
        assert owners & there, f"{library} of {owners}"


def test_a_flaw_in_it_is_hard_to_use():
    """What the release is built with: addresses by chance, no writable code or tables of calls, checked copies and stacks."""
    shown = subprocess.run(["readelf", "-hldW", "--dyn-syms", str(ROOT / "build/release/kervan")], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Type: +DYN", shown) and re.search(r"\(FLAGS\).*BIND_NOW", shown) and "GNU_RELRO" in shown
    assert re.search(r"GNU_STACK.* RW +0x", shown) and not re.search(r"LOAD.* RWE ", shown) and "RUNPATH" not in shown
    for guard in ("__stack_chk_fail", "__memcpy_chk", "__snprintf_chk"):
        assert guard in shown, guard


def test_image_runs_as_a_user_and_stops_softly(dockerfile):
    runtime = dockerfile.split("AS runtime")[1]
    for line in ("USER kervan", "VOLUME /data", "EXPOSE 8080", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["kervan"]', 'CMD ["up"]'):
        assert f"\n{line}\n" in runtime, line
    assert "HEALTHCHECK" in runtime and "/api/v1/health/live" in runtime
    assert re.search(r'"/api/v1/health/live"', (ROOT / "gateway/routes.h").read_text(encoding="utf-8"))


# ---- nginx.conf ----


def test_proxy_streams_and_limits(compose):
    """S0-101: the proxy bounds bodies, passes them on as they come, and limits uploads a client."""
    conf = (COMPOSE / "nginx.conf").read_text(encoding="utf-8")
    assert "proxy_request_buffering off;" in conf and "limit_req zone=" in conf and "limit_conn " in conf
    size = int(re.search(r"client_max_body_size (\d+)m;", conf).group(1))
    assert size > int(settings()["MAX_UPLOAD_SIZE_MB"]) and size <= int(settings()["MAX_UPLOAD_SIZE_MB"]) + 2


def test_proxy_lets_go_first_and_reads_on(compose):
    """An idle connection is closed by who would use it again, and a large file is read as fast as its client takes it."""
    conf = (COMPOSE / "nginx.conf").read_text(encoding="utf-8")
    assert int(re.search(r"\n    keepalive_timeout (\d+)s;", conf).group(1)) < int(settings()["KEEPALIVE_TIMEOUT"])
    assert "\n    proxy_max_temp_file_size 0;" in conf


# ---- docs/manual.md ----


def generated():
    """marker -> what stands between its two comments."""
    rows = ["| Metric | Type | Label | What it means, what to do |", "|---|---|---|---|"]
    for name, (kind, label, text) in metrics().items():
        rows.append(f"| `{name}` | {kind.lower()} | {f'`{label}`' if label else ''} | {text} |")
    return {"settings": run("config", "--manual").strip(), "metrics": "\n".join(rows)}


def replaced(text):
    for marker, part in generated().items():
        begin, end = f"<!-- {marker}: generated -->\n", f"<!-- {marker}: end -->"
        head, rest = text.split(begin)
        text = head + begin + "\n" + part + "\n\n" + end + rest.split(end)[1]
    return text


def test_manual_is_current():
    """The tables of the manual are the program's. S0-97 and S0-98 have their steps in it."""
    text = MANUAL.read_text(encoding="utf-8")
    assert text == replaced(text), "run: python3 tests/e2e/test_compose.py"
    assert "PROCESSING_FOLDERS=banners" in text and "UPLOAD_STREAM_ENABLED=false" in text


def test_manual_names_real_events_and_settings():
    text = MANUAL.read_text(encoding="utf-8")
    sources = "".join(p.read_text(encoding="utf-8") for folder in ("proto", "storage", "broker", "gateway", "actors", "tools") for p in (ROOT / folder).rglob("*.c") if "node_modules" not in p.parts)
    events = re.findall(r"^\| `([a-z_]+)` \| (?:debug|info|warn|error)", text, re.M)
    assert len(events) >= 15
    for event in events:
        assert f'"{event}"' in sources, event
    for name in re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b", text):
        assert name in settings(), name


def readers_in(folder):
    """The process that the sources of a folder run in; None: any."""
    if folder.parts[0] == "actors":  # the ingest's run in the gateway
        return "gateway" if folder.parts[1].split(".")[0] in ("ingest", "scanner", "hasher", "store", "dedup") else "worker"
    return folder.parts[0] if folder.parts[0] in ("broker", "gateway") else None


def test_manual_says_who_reads_a_setting():
    members = dict(re.findall(r"^    V\((\w+), (\w+),", (ROOT / "proto/base/config_table.h").read_text(encoding="utf-8"), re.M))
    said = dict(re.findall(r"^\| `(\w+)` \| .* \| (all|none|(?:(?:broker|gateway|worker)(?:, )?)+) \| ", MANUAL.read_text(encoding="utf-8"), re.M))
    assert said.keys() == members.keys() == settings().keys()
    sources = {p.relative_to(ROOT): p.read_text(encoding="utf-8") for folder in ("broker", "gateway", "actors", "storage", "proto", "tools") for p in (ROOT / folder).rglob("*.c")}
    for name, member in members.items():
        used = {readers_in(p) for p, text in sources.items() if re.search(rf"\bcfg(->|\.){member}\b", text)}
        words = set(OURS if said[name] == "all" else said[name].split(", ")) - {"none"}
        assert used - {None} <= words, (name, used)
        assert None in used or used == words, (name, used)  # what all parts share may be read for any process


def test_unit_for_systemd():
    """The manual's unit can be enabled as it stands, and leaves kervan the time that the manual says it wants."""
    unit = configparser.ConfigParser()
    unit.read_string(re.search(r"^```ini\n(.*?)^```$", MANUAL.read_text(encoding="utf-8"), re.M | re.S)[1])
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert unit["Service"]["ExecStart"].split()[1:] == ["up"]
    assert int(unit["Service"]["TimeoutStopSec"]) > 3 * int(settings()["DRAIN_TIMEOUT"])


if __name__ == "__main__":
    MANUAL.write_text(replaced(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")
