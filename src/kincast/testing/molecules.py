"""Molecules: a graph without times whose rows are graphs: rings of atoms, and whether two of them are close."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

_DDL = """
CREATE TABLE molecules (molecule_id INTEGER PRIMARY KEY, active BOOLEAN);
CREATE TABLE atoms (
  atom_id INTEGER PRIMARY KEY, molecule_id INTEGER REFERENCES molecules (molecule_id), element VARCHAR
);
CREATE TABLE bonds (
  begin_atom INTEGER REFERENCES atoms (atom_id), end_atom INTEGER REFERENCES atoms (atom_id),
  PRIMARY KEY (begin_atom, end_atom)
);
"""


def molecule_database(folder: Path, num_molecules: int = 300, seed: int = 0) -> Path:
    """Write ``molecules.duckdb``: molecules, their atoms, and the bonds between these, each bond once.

    A molecule is a ring of 8 to 11 atoms, all carbon but one nitrogen and one oxygen. It is active where these two are
    bonded to each other or to one atom. All have as many of each element, so atoms alone say nothing.

    Args:
        folder: where to write it; must exist.
        num_molecules: about half of them active.
        seed: of all draws.

    Returns:
        path of the file.
    """
    random = np.random.default_rng(seed)
    molecules: list[tuple[int, bool]] = []
    atoms: list[tuple[int, int, str]] = []
    bonds: list[tuple[int, int]] = []
    for number in range(num_molecules):
        size, active = int(random.integers(8, 12)), bool(random.random() < 0.5)
        distance = int(random.integers(1, 3)) if active else int(random.integers(3, size // 2 + 1))
        start, first = len(atoms), int(random.integers(size))
        elements = ["carbon"] * size
        elements[first], elements[(first + distance) % size] = "nitrogen", "oxygen"
        molecules.append((number, active))
        atoms += [(start + place, number, element) for place, element in enumerate(elements)]
        bonds += [(start + place, start + (place + 1) % size) for place in range(size)]
    path = folder / "molecules.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(_DDL)
        connection.executemany("INSERT INTO molecules VALUES (?, ?)", molecules)
        connection.executemany("INSERT INTO atoms VALUES (?, ?, ?)", atoms)
        connection.executemany("INSERT INTO bonds VALUES (?, ?)", bonds)
    return path
