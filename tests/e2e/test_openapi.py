"""What the API answers is what openapi.json says: no member that is not described, none missing that is said to be always there.
Clients are generated from it."""
import re

import pytest

from ctl import as_json
from jobs import Socket, Worker, name, submit, wait_job
from kervan import wait_for
from peer import OKAY
from pictures import noise_png

ENGLISH = {"Accept-Language": "en"}
KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)}


class Description:
    def __init__(self, kervan):
        self.kervan, self.doc = kervan, kervan.get("/api/openapi.json").json()
        self.paths = [(re.compile("^" + re.sub(r"\\{\w+\\}", "[^/]+", re.escape(p)) + "$"), p) for p in sorted(self.doc["paths"], key=lambda p: "{" in p)]

    def whole(self, schema):
        while "$ref" in schema:
            schema = self.doc["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        if "allOf" in schema:
            parts = [self.whole(s) for s in schema["allOf"]]
            schema = {"type": "object", "properties": {k: v for p in parts for k, v in p["properties"].items()}, "required": [k for p in parts for k in p["required"]]}
        return schema

    def check(self, schema, value, where):
        schema = self.whole(schema)
        if "oneOf" in schema:
            schema = self.whole([s for s in schema["oneOf"] if self.is_of(self.whole(s), value)][0])
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        assert not kinds or any(isinstance(value, KINDS[k]) and (k == "boolean" or not isinstance(value, bool)) for k in kinds), f"{where} is {value!r}, not {kinds}"
        assert value is None or value in schema.get("enum", [value]), f"{where} is {value!r}"
        if isinstance(value, list):
            for i, item in enumerate(value):
                self.check(schema.get("items", {}), item, f"{where}[{i}]")
        elif isinstance(value, dict) and "properties" in schema:
            known = schema["properties"]
            assert not set(value) - set(known), f"{where}: {set(value) - set(known)} not described"
            assert not set(schema.get("required", [])) - set(value), f"{where}: {set(schema['required']) - set(value)} missing"
            for key, item in value.items():
                self.check(known[key], item, f"{where}.{key}")

    @staticmethod
    def is_of(schema, value):
        kind = schema["properties"]["type"]
        return value["type"] in kind.get("enum", [kind.get("const")])

    def ask(self, method, path, status, **kw):
        answer = self.kervan.session.request(method, self.kervan.url(path), headers={**ENGLISH, **kw.pop("headers", {})}, timeout=30, **kw)
        assert answer.status_code == status, answer.text
        template = next(p for pattern, p in self.paths if pattern.match(path.split("?")[0]))
        said = self.doc["paths"][template][method.lower()]["responses"][str(status)]
        if answer.text:
            kind = answer.headers["Content-Type"].split(";")[0]
            self.check(said["content"][kind]["schema"], answer.json(), f"{method} {template} {status}")
            return answer.json()
        assert "content" not in said
        return None


@pytest.fixture(name="d")
def description(kervan):
    return Description(kervan)


def test_media(d, kervan):
    media = d.ask("POST", "/api/media?filename=a.png&folder=described", 201, data=noise_png(400, 300))
    kervan.wait_ready(media["id"])
    assert d.ask("GET", "/api/media/" + media["id"], 200)["variants"]
    for path in ("/api/media", "/api/folders", "/api/config", "/api/v1/health", "/api/v1/health/ready", "/api/v1/health/live"):
        d.ask("GET", path, 200)
    d.ask("POST", f"/api/media/{media['id']}/retry", 409)
    d.ask("POST", "/api/media?filename=a.exe", 422, data=b"MZ")
    d.ask("DELETE", "/api/media/" + media["id"], 204)
    d.ask("GET", "/api/media/" + media["id"], 404)


def test_jobs(d, kervan):
    q, user = name(), name()
    as_json(kervan, "grant", user, "10", "key=" + user)
    made = d.ask("POST", "/api/jobs", 202, json={"service": q, "user": user, "credits": 3, "metadata": {"a": 1}, "tags": ["x"]})
    delayed = d.ask("POST", "/api/jobs", 202, json={"service": q, "user": user, "delay": 600})
    with Worker(kervan, q) as w:
        assert w.fail(w.wait_job())[0] == OKAY
        wait_job(kervan, made["jobId"], "error")
    for path in (f"/api/jobs/{made['jobId']}", f"/api/jobs/{delayed['jobId']}", f"/api/jobs?service={q}", f"/api/jobs/{made['jobId']}/history", "/api/credits/" + user):
        d.ask("GET", path, 200)
    d.ask("PATCH", f"/api/jobs/{made['jobId']}/metadata", 200, json={"b": 2})
    again = d.ask("POST", f"/api/jobs/{made['jobId']}/retry", 202)
    for _ in range(2):
        d.ask("POST", f"/api/jobs/{again['jobId']}/cancel", 200)
    wait_for("the notifications", lambda: len(d.ask("GET", "/api/notifications?user=" + user, 200)["notifications"]) == 2)
    d.ask("POST", "/api/notifications/seen", 204, json={"user": user})
    d.ask("GET", "/api/admin/queues", 200)
    d.ask("PATCH", "/api/admin/queues/" + q, 200, json={"concurrency": 2})
    d.ask("POST", f"/api/admin/queues/{q}/drain", 200)
    d.ask("POST", "/api/jobs", 503, json={"service": q})
    d.ask("POST", "/api/jobs", 402, json={"service": name(), "user": user, "credits": 1000})
    d.ask("GET", "/api/events?after=0", 200, headers={"Accept": "application/json"})


def test_lengths_are_in_bytes(d):
    members = d.doc["components"]["schemas"]["NewJob"]["properties"]
    assert "maxLength counts bytes" in d.doc["info"]["description"]
    for member in ("unique_key", "tenant", "user", "operation"):
        most = members[member]["maxLength"] // 2
        d.ask("POST", "/api/jobs", 202, json={"service": name(), member: "ü" * most})
        d.ask("POST", "/api/jobs", 400, json={"service": name(), member: "ü" * most + "a"})
    d.ask("GET", "/api/media?search=" + "ü" * 50, 200)
    d.ask("GET", "/api/media?search=" + "ü" * 50 + "a", 400)


def test_frames(d, kervan):
    with Socket(kervan, "?queues=1") as s:
        made = submit(kervan, name())
        s.say({"watch": [made["jobId"]]})
        s.say({"nonsense": 1})
        s.until(lambda m: {"hello", "job.queued", "job.position", "queues", "error"} <= {h["type"] for h in s.heard})
        for frame in s.heard:
            d.check({"$ref": "#/components/schemas/Live"}, frame, frame["type"])


def test_what_generators_read(d):
    """An object that says nothing of its members may have none, to them; a member of a request with a default must be given."""
    def walk(value):
        if isinstance(value, dict):
            yield value
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
            yield from walk(child)

    for schema in walk(d.doc):
        if "object" in str(schema.get("type", "")) and "properties" not in schema:
            assert schema.get("additionalProperties") is True, schema
    for member in d.doc["components"]["schemas"]["NewJob"]["properties"].values():
        assert "default" not in member
