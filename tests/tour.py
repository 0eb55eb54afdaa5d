"""docs/tour.md names every source file of the program, and nothing that is gone."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ("proto", "storage", "broker", "gateway", "actors", "tools")
KNOWN = PROGRAM + ("tests", "docs", "compose")
SKIPPED = {"node_modules", "build", "__pycache__", "data", "corpus", "dist"}
TEXT = {".c", ".h", ".py", ".ts", ".tsx", ".sql", ".json", ".yml", ".txt", ".cmake", ".md", ".css", ".mjs", ""}
PATH = re.compile(r"[\w.*/-]+\.(?:c|h|py|tsx?|sql|json|yml|txt|cmake|md)(?!\w)")
INVENTED = {"kv_route_x", "storage/migrations/NNNN_words.sql"}  # examples of names to come


def tree():
    """Every file that may be named, by its path."""
    found = {}
    for folder in KNOWN:
        for file in (ROOT / folder).rglob("*"):
            path = file.relative_to(ROOT)
            if file.is_file() and file.suffix in TEXT and not SKIPPED.intersection(path.parts):
                found[path.as_posix()] = file
    return found


def fits(name, path):
    """`name` is the whole path or its end; * stands for anything."""
    pattern = re.escape(name).replace(r"\*", "[^/]*")
    return re.fullmatch(f"(?:.*/)?{pattern}", path) is not None


def names(tour):
    """(what stands in backticks, the folder its table row is about or "")"""
    prose = re.sub(r"(?ms)^```.*?^```", "", tour)
    for block in re.split(r"\n(?=\||\n)", prose):
        row = re.match(r"\s*\| `([\w/-]+/)` \|", block)
        for token in re.findall(r"`([^`]+)`", block):
            yield re.sub(r"\s+", " ", token), row.group(1) if row else ""


def meant(token, folder, files):
    """The files that a token names: in a row about a folder only those in it."""
    for name in PATH.findall(token):
        if name in INVENTED:
            continue
        if folder and "/" not in name:
            yield name, [path for path in files if fits(folder + name, path) and path.startswith(folder)]
        else:
            yield name, [path for path in files if fits(name, path)]


def problems(tour, files):
    words = set()
    for path, file in files.items():
        words.update(re.findall(r"\w+", file.read_text(encoding="utf-8", errors="replace") if file.suffix != ".md" else ""))
        words.add(pathlib.PurePosixPath(path).name.split(".", 1)[0])
    seen = set()
    for token, folder in names(tour):
        for name, there in meant(token, folder, files):
            if not there:
                yield f"names {folder}{name}, which is gone"
            if len(there) == 1:
                seen.update(there)
        if re.fullmatch(r"\w[\w./-]*/", token) and not any(f"/{token}" in f"/{path}" for path in files):
            yield f"names the folder {token}, which is gone"
        if re.fullmatch(r"\w+", token) and token not in words and token not in INVENTED:
            yield f"names {token}, which is gone"
    for name, path in re.findall(r"`(\w+)`\s(?:\(|in\s)`([\w./-]+\.[ch])`", tour):
        there = [file for at, file in files.items() if fits(path, at)]
        if there and not any(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for file in there):
            yield f"says that {name} is in {path}"
    for path in sorted(files):
        if path.startswith(PROGRAM) and path.endswith(".c") and path not in seen:
            yield f"does not name {path}"


if __name__ == "__main__":
    found = list(problems((ROOT / "docs/tour.md").read_text(encoding="utf-8"), tree()))
    for problem in found:
        print(f"docs/tour.md: {problem}")
    print("the tour is true" if not found else f"{len(found)} problems")
    sys.exit(1 if found else 0)
