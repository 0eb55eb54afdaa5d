"""Requirement ids and the tests that name them.

tests/requirements.txt holds the ids this version is held to, a range or an id a line ("S0-01…S0-25"). Every one must be named in a
file below tests/ or gateway/ui/. --list prints those that no test names and exits 0."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ID = re.compile(r"\bS(\d)-(\d{2,3})\b")


def wanted():
    ids = []
    for line in (ROOT / "tests/requirements.txt").read_text(encoding="utf-8").splitlines():
        found = ID.findall(line.split("#")[0])
        if len(found) == 1:
            ids.append(tuple(map(int, found[0])))
        elif len(found) == 2:
            (s, a), (_, b) = found
            ids += [(int(s), n) for n in range(int(a), int(b) + 1)]
    return ids


def named():
    seen = set()
    for folder in ("tests", "gateway/ui"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in {".c", ".h", ".py", ".ts", ".tsx"} and "node_modules" not in file.parts and file.name != "requirements.py":
                seen |= {tuple(map(int, i)) for i in ID.findall(file.read_text(encoding="utf-8"))}
    return seen


seen = named()
missing = [i for i in wanted() if i not in seen]
for s, n in missing:
    print(f"no test names S{s}-{n:02}")
print(f"{len(wanted()) - len(missing)} of {len(wanted())} requirement ids are named by a test")
sys.exit(1 if missing and "--list" not in sys.argv else 0)
