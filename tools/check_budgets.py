"""Check budgets: how long files, functions and classes may be, and how much an import may cost.

    python tools/check_budgets.py            everything, about ten seconds
    python tools/check_budgets.py --static   sizes only

Going over a size needs a reason in the file: a comment ``# over budget: REASON`` on the line of the function or class,
or among the first ten lines for the file itself.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "kincast"
PLACES = ("src", "tests", "tools", "benchmarks")

FILE_LINES = 500
FUNCTION_LINES = 60
CLASS_LINES = 300
ARGUMENTS = 8
INHERITANCE = 2
ROOT_IMPORT_S = 0.150
HELP_S = 0.300
HEAVY = ("torch", "torch_geometric", "mlflow", "pandas")

_REASON = re.compile(r"#\s*over budget:\s*\S")
_EXTERNAL_ROOTS = {"object", "Protocol", "Generic", "NamedTuple", "TypedDict", "Enum", "StrEnum", "IntEnum"}


@dataclass(frozen=True, slots=True)
class Excess:
    """One thing that is larger than it may be."""

    where: str
    what: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.value:g}, the limit {self.limit:g}"


def check_source(text: str, where: str) -> Iterator[Excess]:
    """Sizes in one file of Python."""
    lines = text.splitlines()
    if len(lines) > FILE_LINES and not any(_REASON.search(line) for line in lines[:10]):
        yield Excess(f"{where}:1", "the number of lines", len(lines), FILE_LINES)
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if _REASON.search(lines[node.lineno - 1]):
            continue
        place = f"{where}:{node.lineno}"
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        limit = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
        if length > limit:
            yield Excess(place, f"the length of {node.name}", length, limit)
        if not isinstance(node, ast.ClassDef) and (count := _num_arguments(node)) > ARGUMENTS:
            yield Excess(place, f"the number of arguments of {node.name}", count, ARGUMENTS)


def _num_arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def check_inheritance(sources: dict[str, str]) -> Iterator[Excess]:
    """Depth of class trees, exceptions aside: a class, its parent, and that one's parent, and no more."""
    parents: dict[str, tuple[list[str], str]] = {}
    for where, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                names = [ast.unparse(base).split("[")[0].rsplit(".", 1)[-1] for base in node.bases]
                parents[node.name] = (names, f"{where}:{node.lineno}")

    def depth(name: str, seen: frozenset[str]) -> int:
        if name in _EXTERNAL_ROOTS or name in seen:
            return 0
        if name not in parents:
            return 0
        return max((1 + depth(parent, seen | {name}) for parent in parents[name][0]), default=0)

    for name, (names, place) in parents.items():
        if not name.endswith("Error") and names and (found := depth(name, frozenset())) > INHERITANCE:
            yield Excess(place, f"the inheritance of {name}", found, INHERITANCE)


def _cpu_seconds(command: list[str]) -> float:
    # CPU time, so that other work on the machine does not count; the least of several runs.
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def check_imports() -> Iterator[Excess]:
    """What `import kincast` costs beyond a bare interpreter, and `kincast --help` as a whole, in seconds of CPU."""
    bare = _cpu_seconds([sys.executable, "-c", "pass"])
    root = _cpu_seconds([sys.executable, "-c", "import kincast"]) - bare
    shown = _cpu_seconds([str(Path(sys.executable).parent / "kincast"), "--help"])
    for what, seconds, limit in (("import kincast", root, ROOT_IMPORT_S), ("kincast --help", shown, HELP_S)):
        print(f"{what:<18} {seconds * 1000:5.0f} ms of {limit * 1000:.0f}")
        if seconds > limit:
            yield Excess(what, "the CPU time in seconds", seconds, limit)


def check_loaded() -> Iterator[Excess]:
    """Which heavy packages `kincast --help` and `kincast check` load: none."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        people = "".join(f"{i},2024-01-{i % 28 + 1:02}\n" for i in range(1, 60))
        (data / "people.csv").write_text("person_id,joined_at\n" + people)
        visits = "".join(f"{i},{i % 59 + 1},2024-02-{i % 28 + 1:02},{i % 7}\n" for i in range(1, 200))
        (data / "visits.csv").write_text("visit_id,person_id,at,pages\n" + visits)
        for arguments in (["--help"], ["init", str(data), "--quiet"], ["check", "--quiet"]):
            loaded = _loaded_by(arguments, Path(folder))
            for package in HEAVY:
                if package in loaded:
                    yield Excess(f"kincast {arguments[0]}", f"loads {package}: the number of such packages", 1, 0)


def _loaded_by(arguments: list[str], folder: Path) -> set[str]:
    program = (
        "import sys\n"
        "sys.modules['pandas'] = None\n"  # importing it fails: pyarrow would load it by itself wherever it is installed
        "from kincast.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print('loaded', *sorted({name.partition('.')[0] for name, module in sys.modules.items() if module}))\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"})
    if done.returncode != 0:
        raise SystemExit(f"kincast {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return set(done.stdout.splitlines()[-1].split()[1:])


def main() -> int:
    """Print what exceeds its budget; 1 when something does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--static", action="store_true", help="sizes only, no imports")
    options = parser.parse_args()
    files = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    found = [excess for where, text in sources.items() for excess in check_source(text, where)]
    found += check_inheritance({where: text for where, text in sources.items() if where.startswith("src")})
    if not options.static:
        found += [*check_imports(), *check_loaded()]
    for excess in found:
        print(excess)
    num_lines = sum(text.count("\n") for text in sources.values())
    print(f"{len(files)} files, {num_lines} lines, {len(found)} over budget")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
