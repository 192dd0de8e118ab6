"""Damage: flipped bits, cut, lengthened and swapped files in a snapshot: all are noticed at opening, none is served.

    python -m benchmarks.damage --flips 10000

Every file of a small snapshot takes part, the manifest and the file that names the current version included. Exit code
1 when a single damage went unnoticed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.kills import SCHEMA, Findings, make_source

from kincast.errors import SnapshotError
from kincast.graph.build import build_snapshot
from kincast.graph.history import CURRENT_FILE, read_current
from kincast.graph.open import open_snapshot
from kincast.graph.verify import stamp_path


def make_root(folder: Path) -> Path:
    """Two small versions, so that files of one can be put in the other's place."""
    root = folder / "snapshots"
    for salt in (1, 2):
        build_snapshot(make_source(folder / str(salt), 60, salt), SCHEMA, root)
    return root


def files_of(root: Path) -> list[Path]:
    """All files of the current version, its manifest, and the file that names it."""
    found = sorted(path for path in (root / read_current(root)).rglob("*") if path.is_file())
    return [*found, root / CURRENT_FILE]


def flip_bits(root: Path, flips: int, draw: random.Random) -> Iterator[str]:
    """Flip one bit at a time in a file drawn at random; yields what went unnoticed."""
    files = files_of(root)
    whole = {path: path.read_bytes() for path in files}
    for number in range(flips):
        path = files[number % len(files)]
        bit = draw.randrange(8 * len(whole[path]))
        spoiled = bytearray(whole[path])
        spoiled[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoiled)
        if not _noticed(root, verify=True if number % 10 == 0 else None):
            yield f"bit {bit} of {path.name}"
        path.write_bytes(whole[path])


def cut_and_lengthen(root: Path, times: int, draw: random.Random) -> Iterator[str]:
    """Take bytes off a file's end, all of them at times, or add some; yields what went unnoticed."""
    for number, path in zip(range(times), itertools.cycle(files_of(root)), strict=False):
        whole = path.read_bytes()
        length = draw.randrange(len(whole)) if number % 5 else 0
        path.write_bytes(whole[:length] if draw.random() < 0.6 else whole + draw.randbytes(1 + number % 9))
        if not _noticed(root):
            yield f"{path.name} with {path.stat().st_size} bytes of {len(whole)}"
        path.write_bytes(whole)


def swap_files(root: Path) -> Iterator[str]:
    """Put each file in the place of each other, and those of another version in theirs; yields what went unnoticed."""
    files = files_of(root)[:-1]
    home = root / read_current(root)
    other = next(path for path in root.iterdir() if path.is_dir() and path != home and len(path.name) == 16)
    pairs = [*itertools.combinations(files, 2), *((p, other / p.relative_to(home)) for p in files)]
    aside = root / "aside"
    for one, two in pairs:
        if not two.exists() or one.read_bytes() == two.read_bytes():
            continue
        _swap(one, two, aside)
        if not _noticed(root):
            yield f"{one.name} swapped with {two.relative_to(root)}"
        _swap(one, two, aside)


def flip_after_stamp(root: Path, copies: int, draw: random.Random) -> Iterator[str]:
    """Flip a bit in versions that were found sound before and stamped so; yields what went unnoticed."""
    roots = [Path(shutil.copytree(root, root.parent / f"copy{number}")) for number in range(copies)]
    deadline = time.monotonic() + 60
    for copy in roots:
        stamp = stamp_path(copy / read_current(copy))
        while not stamp.exists():  # files written within two seconds are not stamped
            open_snapshot(copy)
            if time.monotonic() > deadline:
                yield f"{copy.name} was never stamped"
                return
    for copy, number in zip(roots, itertools.count(), strict=False):
        files = files_of(copy)[:-1]
        path = files[number % len(files)]
        with path.open("r+b") as file:
            place = draw.randrange(path.stat().st_size)
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1 << draw.randrange(8)]))
        if not _noticed(copy):
            yield f"{path.name} after it was stamped"
        shutil.rmtree(copy)


def _noticed(root: Path, verify: bool | None = None) -> bool:
    try:
        open_snapshot(root, verify=verify)
    except SnapshotError:
        return True
    return False


def _swap(one: Path, two: Path, aside: Path) -> None:
    os.rename(one, aside)
    os.rename(two, one)
    os.rename(aside, two)


def damage(folder: Path, flips: int, copies: int, seed: int = 0) -> Findings:
    """Try all kinds of damage on a small snapshot."""
    draw, found = random.Random(seed), Findings()
    root = make_root(folder)
    swaps = len(files_of(root)) * (len(files_of(root)) - 1) // 2
    for what, count, unnoticed in (
        ("flipped bits", flips, flip_bits(root, flips, draw)),
        ("cut or lengthened files", max(flips // 10, 1), cut_and_lengthen(root, max(flips // 10, 1), draw)),
        ("swapped files, about", swaps, swap_files(root)),
        ("flipped bits after a stamp", copies, flip_after_stamp(root, copies, draw)),
    ):
        found.wrong += [f"{what}: {where}" for where in unnoticed]
        found.counts[what] = count
        open_snapshot(root, verify=True)  # all was put back
    return found


def main() -> int:
    """1 when a damage went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--copies", type=int, default=100, help="versions that are damaged after they were stamped")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = damage(Path(name), options.flips, options.copies)
    print(f"damage: {'all noticed' if not found.wrong else 'NOT ALL NOTICED'}\n{found}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
