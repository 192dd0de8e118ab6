"""Graph classification: molecules, their atoms and bonds as three tables; ten folds.

    python benchmarks/tu.py [--sets MUTAG,PROTEINS] [--folds 10]

Each fold is the test once, the one after it is validation and chooses the epoch, and the other eight are learnt. No
choice is made on test folds. (GIN's figures are those of the epoch that is best on the mean of the ten test folds, with
nine folds learnt; they are not comparable without that in mind.)
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from static import SHARED, make_project
from tasks import print_margins, print_task, snapshot_of, train_seeds

NUM_FOLDS = 10
PUBLISHED = {
    "MUTAG": {"GIN (Xu et al. 2019), best epoch on the test folds": {"accuracy": "0.894 ± 0.056"}},
    "PTC": {"GIN (Xu et al. 2019), best epoch on the test folds": {"accuracy": "0.646 ± 0.070"}},
    "PROTEINS": {"GIN (Xu et al. 2019), best epoch on the test folds": {"accuracy": "0.762 ± 0.028"}},
    "NCI1": {"GIN (Xu et al. 2019), best epoch on the test folds": {"accuracy": "0.827 ± 0.017"}},
    "IMDBBINARY": {"GIN (Xu et al. 2019), best epoch on the test folds": {"accuracy": "0.751 ± 0.051"}},
}
CARD = """
tables:
  molecules:
    key: molecule_id
    time: null
    columns:
      molecule_id: {{type: id, stored: BIGINT}}
      class: {{type: categorical, stored: VARCHAR}}
{folds}
  atoms:
    key: atom_id
    time: null
    columns:
      atom_id: {{type: id, stored: BIGINT}}
      molecule_id: {{type: id, stored: BIGINT}}
      element: {{type: categorical, stored: VARCHAR}}
{attributes}
  bonds:
    key: bond_id
    time: null
    columns:
      bond_id: {{type: id, stored: BIGINT}}
      begin_atom: {{type: id, stored: BIGINT}}
      end_atom: {{type: id, stored: BIGINT}}
links:
  - atoms.molecule_id -> molecules.molecule_id
  - bonds.begin_atom -> atoms.atom_id
  - bonds.end_atom -> atoms.atom_id
"""
HOPS = 5
MODEL = {
    "channels": 32,
    "neighbourhood": "shared",
    "through": ["bonds"],
    "fanout": [-1] * HOPS,
    "fanout_overrides": {
        "atoms.molecule_id->molecules.molecule_id": [0] * HOPS,
        "atoms.atom_id->bonds.end_atom->bonds.begin_atom->atoms.atom_id": [0] * HOPS,  # bonds are there both ways
    },
    "aggregations": ["sum"],
    "dropout": 0.5,
}
TRAIN = {"batch_size": 32, "max_epochs": 60, "patience": 60, "learning_rate": 0.003}


def main() -> None:
    """Train every fold and print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="MUTAG,PROTEINS")
    parser.add_argument("--folds", type=int, default=NUM_FOLDS, help="the first so many")
    parser.add_argument("--epochs", type=int, default=TRAIN["max_epochs"])
    given = parser.parse_args()
    compared = {}
    for name in given.sets.split(","):
        tables = tables_of(name)
        tasks = {
            f"fold {fold}": {
                "query": "PREDICT molecules.class FOR EACH molecules.molecule_id",
                "split": {"family": "manual", "column": f"fold_{fold}"},
                "model": MODEL,
                "train": {**TRAIN, "max_epochs": given.epochs},
            }
            for fold in range(1, given.folds + 1)
        }
        with tempfile.TemporaryDirectory() as folder:
            project = make_project(Path(folder) / name, tables, card_of(tables), {"tasks": tasks})
            snapshot = snapshot_of(project)
            infos = [info for task in tasks for info in train_seeds(project, task, snapshot, range(1))]
            print_task(f"{name}, ± over folds", infos, PUBLISHED.get(name, {}))
            compared[name] = infos
    print_margins(compared, folds=True)


def card_of(tables: dict[str, pa.Table]) -> str:
    """The schema card; columns that say the split are no features."""
    folds = [f"      fold_{fold}: {{type: ignored, stored: VARCHAR}}" for fold in range(1, NUM_FOLDS + 1)]
    attributes = "attributes" in tables["atoms"].column_names
    line = '      attributes: {type: vector, stored: "DOUBLE[]"}' if attributes else ""
    return CARD.format(folds="\n".join(folds), attributes=line)


def tables_of(name: str) -> dict[str, pa.Table]:
    """Molecules with their class and a column for each fold, atoms, and bonds in both directions."""
    classes, owners, elements, attributes = [], [], [], []
    bonds: list[tuple[int, int]] = []
    with gzip.open(SHARED / "tu" / name / f"{name}.txt.gz", "rt") as lines:
        for number in range(int(next(lines))):
            num_atoms, label = next(lines).split()
            classes.append(f"class {label}")
            start = len(owners)
            for atom in range(start, start + int(num_atoms)):
                tag, degree, *rest = next(lines).split()
                owners.append(number)
                elements.append(f"tag {tag}")
                bonds += [(atom, start + int(other)) for other in rest[: int(degree)]]
                attributes.append([float(value) for value in rest[int(degree) :]])
    molecules = {"molecule_id": range(len(classes)), "class": classes}
    rows = pq.read_table(SHARED / "tu" / name / "test_fold.parquet").to_pylist()
    fold_of = {row["graph"]: row["test_fold"] for row in rows}
    for fold in range(1, NUM_FOLDS + 1):
        parts = {fold: "test", fold % NUM_FOLDS + 1: "validation"}
        molecules[f"fold_{fold}"] = [
            parts.get(fold_of[graph], "train") if graph in fold_of else "none" for graph in range(len(classes))
        ]
    atoms = {"atom_id": range(len(owners)), "molecule_id": owners, "element": elements}
    if attributes[0]:
        atoms["attributes"] = attributes
    begin, end = zip(*bonds, strict=True)
    links = {"bond_id": range(len(bonds)), "begin_atom": begin, "end_atom": end}
    found = {"molecules": molecules, "atoms": atoms, "bonds": links}
    return {
        table: pa.table({column: pa.array(list(values)) for column, values in columns.items()})
        for table, columns in found.items()
    }


if __name__ == "__main__":
    main()
