"""Includes point down only: the house of docs/tour.md, held against every #include line."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# folder -> folders it may include besides itself
MAY = {
    "proto/base": set(),
    "proto": {"proto/base"},
    "storage/read": {"storage", "proto/base"},
    "storage/write": {"storage", "storage/read", "proto/base"},
    "storage": {"storage/read", "proto/base"},
    "broker": {"storage", "storage/read", "storage/write", "proto", "proto/base"},
    "gateway": {"storage", "storage/read", "proto", "proto/base"},
    "actors": {"storage", "storage/read", "proto", "proto/base"},
    "tools": {"gateway", "broker", "actors", "storage", "storage/read", "storage/write", "proto", "proto/base"},
}
# library header -> the only places that may include it
ONLY = {
    r"sqlite3\.h": ("storage/",),
    r"msgpack.*": ("proto/",),
    r"h2o.*": ("gateway/",),
    r"wslay/.*": ("gateway/",),
    r"vips/.*": ("actors/image/",),
    r"magic\.h": ("actors/scanner/",),
    r"seccomp\.h": ("actors/image/",),
    r"utf8proc\.h": ("storage/read/",),
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def folder_of(path):
    for name in ("proto/base", "storage/read", "storage/write"):
        if path.startswith(name + "/"):
            return name
    return path.split("/", 1)[0]


def actor_of(path):
    """Two actors never include each other: an actor is a folder below actors/, or a file in it."""
    rest = path[len("actors/"):]
    return rest.split("/", 1)[0].rsplit(".", 1)[0]


def problems():
    wiring = {"ingest", "worker", "ingest_actors"}  # these name actors in order to start them
    for folder in ("proto", "storage", "broker", "gateway", "actors", "tools"):
        for file in sorted((ROOT / folder).rglob("*.[ch]")):
            path = file.relative_to(ROOT).as_posix()
            if "node_modules" in path:
                continue
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                quoted, name = found.group(1) == '"', found.group(2)
                where = f"{path}:{number}: includes {name}"
                if quoted:
                    mine, theirs = folder_of(path), folder_of(name)
                    if theirs != mine and theirs not in MAY[mine]:
                        yield f"{where}: {mine} may not know {theirs}"
                    if mine == theirs == "actors":
                        a, b = actor_of(path), actor_of(name)
                        if a != b and a not in wiring and b not in wiring:
                            yield f"{where}: two actors meet in messages only"
                for pattern, allowed in ONLY.items():
                    if re.fullmatch(pattern, name) and not path.startswith(allowed):
                        yield f"{where}: only {', '.join(allowed)} may"


found = list(problems())
print("\n".join(found) or "includes point down")
sys.exit(1 if found else 0)
