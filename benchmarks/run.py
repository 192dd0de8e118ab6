"""Run benchmarks one after another on an idle machine, and keep what each printed in ``benchmarks/results``.

    python benchmarks/run.py             all of them: hours, most of them the thousand kills
    python benchmarks/run.py sampling labels
    python benchmarks/run.py snapshot --more "--kumo /path/to/its/python"
    python benchmarks/run.py --list

A machine that others use gives figures that mean nothing: the run waits until they use less than a twentieth of it,
and gives up after ten minutes unless told to go on.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
BUSY = 0.05
WAIT_S = 600
COMMANDS = {
    "sampling": ("sampling.py", "--events", "20000000", "--nodes", "5000000", "--edges", "100000000"),
    "pyg-loader": ("pyg_loader.py", "--events", "20000000"),
    "negatives": ("negatives.py",),
    "features": ("features.py", "--cold"),
    "snapshot": ("snapshot.py", "--rows", "20000000"),
    "labels": ("labels.py",),
    "training": ("training.py",),
    "quality": ("quality.py", "--epochs", "6"),
    "append": ("append.py", "--base", "2000000", "--seconds", "20", "--rate", "100000"),
    "live": ("live.py", "--seconds", "60"),
    "audit": ("audit.py",),
    "damage": ("damage.py",),
    "kills-builder": ("kills.py", "builder", "--kills", "1000"),
    "kills-live": ("kills_live.py", "--kills", "1000"),
    "kills-ingest": ("kills_ingest.py", "--kills", "1000", "--longest", "1.5", "--every", "20"),
    "disk": ("kills.py", "disk"),
    "calibration": ("calibration.py",),
    "f1": ("tasks.py", "benchmarks/f1"),
    "f1-fast": ("tasks.py", "benchmarks/f1", "--mode", "fast", "--seeds", "1"),
    "sets": ("tasks.py", *(f"benchmarks/sets/{name}" for name in ("fraud", "football", "travel", "retail"))),
    "context": ("context.py",),
    "why": ("why.py",),
    "planetoid": ("planetoid.py",),
    "tu": ("tu.py",),
    "trust": ("trust.py",),
    "cluster": ("cluster.py",),
    "pretraining": ("pretraining.py",),
    "knowledge": ("knowledge.py",),
    "ranking": ("ranking.py",),
}
"""Name → script and its arguments."""


def main() -> None:
    """Run those asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all when left out")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--busy", action="store_true", help="run although others use the machine, and say so")
    parser.add_argument("--more", default="", help="further arguments, such as where a rival is installed")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(COMMANDS))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(COMMANDS)}")
    if given.list:
        print("\n".join(COMMANDS))
        return
    failed = [name for name in given.names or COMMANDS if not run(name, shlex.split(given.more), busy=given.busy)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, more: Sequence[str] = (), *, busy: bool) -> bool:
    """Run one, show and keep what it prints; True when it ended well."""
    share = others() if busy else wait_until_idle()
    command = [sys.executable, str(HERE / COMMANDS[name][0]), *COMMANDS[name][1:], *more]
    shown = f"python benchmarks/{' '.join(COMMANDS[name])}"
    print(f"\n== {name}: {shown}", flush=True)
    start = time.perf_counter()
    paths = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])  # scripts share parts
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    print(done.stdout, flush=True)
    head = [
        f"$ {shown}",
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {machine()}",
        f"others used {share:.0%} of the processors before it; it took {time.perf_counter() - start:,.0f} s"
        + ("" if done.returncode == 0 else f" and FAILED with exit code {done.returncode}"),
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.txt").write_text("\n".join([*head, "", done.stdout]), encoding="utf-8")
    return done.returncode == 0


def machine() -> str:
    """Processors, memory and Python of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} processors ({platform.machine()}), {memory:.0f} GiB, Python {platform.python_version()}"


def others(seconds: float = 3.0) -> float:
    """Share of the processors in use over a few seconds, by anyone."""
    busy, total = _ticks()
    time.sleep(seconds)
    later_busy, later_total = _ticks()
    return (later_busy - busy) / max(later_total - total, 1)


def wait_until_idle() -> float:
    """Wait until nobody uses the machine; returns the share in use."""
    end = time.monotonic() + WAIT_S
    while (share := others()) > BUSY:
        if time.monotonic() > end:
            sys.exit(f"others use {share:.0%} of the processors; --busy runs all the same")
        print(f"others use {share:.0%} of the processors: waiting", file=sys.stderr, flush=True)
    return share


def _ticks() -> tuple[int, int]:
    """Busy and all ticks of all processors so far."""
    values = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    return sum(values) - values[3] - values[4], sum(values)  # without idle and waiting for the disk


if __name__ == "__main__":
    main()
