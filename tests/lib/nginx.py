"""nginx before a kervan, by the recipe of compose/nginx.conf: its own words but for addresses and TLS.

    with Nginx(kervan) as proxy:
        proxy.get("/api/media")
"""
import contextlib
import http.client
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from kervan import PATIENCE, ROOT, free_port, wait_for

AROUND = """daemon off;
pid {0}/pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    gzip on;
    {1}
    include {0}/kervan.conf;
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # else below /var/lib, which is root's


class Nginx:
    def __init__(self, kervan):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kvn"))
        self.folder.chmod(0o755)  # its workers are another user's
        self.port, self.plain_port = free_port(), free_port()
        conf = (ROOT / "compose/nginx.conf").read_text(encoding="utf-8")
        for there, here in (("listen 443 ssl;", f"listen 127.0.0.1:{self.port};"), ("listen 80;", f"listen 127.0.0.1:{self.plain_port};"), ("server 127.0.0.1:8080;", f"server 127.0.0.1:{kervan.port};")):
            assert there in conf, there
            conf = conf.replace(there, here)
        (self.folder / "kervan.conf").write_text(re.sub(r"(?m)^ *ssl_.*\n", "", conf))
        paths = " ".join(f"{what}_temp_path {self.folder}/{what};" for what in TEMPORARY)
        (self.folder / "nginx.conf").write_text(AROUND.format(self.folder, paths))

    def __enter__(self):
        log = self.folder / "error.log"
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self.process = subprocess.Popen([program, "-e", str(log), "-c", str(self.folder / "nginx.conf")])

        def up():
            assert self.process.poll() is None, log.read_text()
            with contextlib.suppress(ConnectionError), self.connect():
                return True

        wait_for("nginx", up)
        return self

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        self.process.wait(PATIENCE)
        shutil.rmtree(self.folder)

    def connect(self, source="127.0.0.1", port=None):
        """As a client that has this address."""
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=PATIENCE, source_address=(source, 0))

    def ask(self, method, path, headers=(), source="127.0.0.1", port=None):
        """The path as it stands, and the answer as it comes: its body is read."""
        with self.connect(source, port) as s:
            s.sendall("\r\n".join([f"{method} {path} HTTP/1.1", "Host: media.example.com", "Connection: close", *headers, "", ""]).encode())
            answer = http.client.HTTPResponse(s, method=method)
            answer.begin()
            answer.body = answer.read()
            return answer
