"""Edge-level tasks: the sign of the next rating between two people, and whom somebody writes to next.

    python benchmarks/trust.py [--sets bitcoinotc,bitcoinalpha,messages] [--seeds 3]

Ratings (Bitcoin OTC and Alpha): split by time, 80 / 10 / 10 %; a rating sees what happened before it, the signs of
earlier ratings among it (``label_history``). Rules on the same rows: the shares of positive signs that the one rated
got and the rater gave until then, and what the one rated had given the rater.

Messages (CollegeMsg): the ten most likely to be written to within a week, against popularity and one's own partners.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray
from static import SHARED, make_project
from tasks import print_margins, print_task, snapshot_of, train_seeds

from kincast.graph.snapshot import Snapshot
from kincast.project import Project
from kincast.train.prepare import prepare

Floats = NDArray[np.float64]
PEOPLE = """
tables:
  people:
    key: person_id
    time: null
    columns:
      person_id: {type: id, stored: INTEGER}
"""
RATINGS = (
    PEOPLE
    + """
  ratings:
    key: rating_id
    time: rated_at
    columns:
      rating_id: {type: id, stored: INTEGER}
      rater: {type: id, stored: INTEGER}
      rated: {type: id, stored: INTEGER}
      value: {type: numerical, stored: INTEGER}
      rated_at: {type: timestamp, stored: TIMESTAMP}
links:
  - ratings.rater -> people.person_id
  - ratings.rated -> people.person_id
"""
)
MESSAGES = (
    PEOPLE
    + """
  partners:
    key: partner_id
    time: null
    columns:
      partner_id: {type: id, stored: INTEGER}
  messages:
    key: message_id
    time: sent_at
    columns:
      message_id: {type: id, stored: INTEGER}
      sender: {type: id, stored: INTEGER}
      receiver: {type: id, stored: INTEGER}
      sent_at: {type: timestamp, stored: TIMESTAMP}
links:
  - messages.sender -> people.person_id
  - messages.receiver -> partners.partner_id
"""
)
SIGN = {
    "query": "PREDICT ratings.value > 0 FOR EACH ratings.rating_id",
    "ties": "strict",
    "model": {"channels": 32, "fanout": [1, 16, 1], "label_history": 1, "dropout": 0.2},
    "train": {"batch_size": 256, "max_epochs": 8, "patience": 3},
}
NEXT = {
    "query": "PREDICT LIST_DISTINCT(messages.receiver, 0, 7, days) RANK TOP 10 FOR EACH people.person_id",
    "model": {"channels": 32, "fanout": [24, 8]},
    "train": {"max_epochs": 12, "patience": 4},
}


def main() -> None:
    """Train each task and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="bitcoinotc,bitcoinalpha,messages")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    compared = {}
    for name in given.sets.split(","):
        is_sign = name != "messages"
        tables, card, task = (ratings(name), RATINGS, SIGN) if is_sign else (messages(), MESSAGES, NEXT)
        with tempfile.TemporaryDirectory() as folder:
            project = make_project(Path(folder) / name, tables, card, {"tasks": {name: task}})
            snapshot = snapshot_of(project)
            compared[name] = train_seeds(project, name, snapshot, range(given.seeds))
            print_task(name, compared[name], {}, sign_rules(project, name, snapshot) if is_sign else {})
    print_margins(compared)


def ratings(name: str) -> dict[str, pa.Table]:
    """People and their ratings of each other, in the order of time."""
    file = SHARED / "bitcoin-trust" / f"soc-sign-{name}.csv.gz"
    rows = pc.read_csv(file).sort_by([("time", "ascending")])
    instants = np.round(rows["time"].to_numpy() * 1e6).astype("datetime64[us]")
    return _tables("rating", rows["from"], rows["to"], instants, ("rater", "rated", "rated_at"), rows["feature"])


def messages() -> dict[str, pa.Table]:
    """People, the same people as those written to, which a link needs as a table of its own, and messages."""
    with gzip.open(SHARED / "collegemsg" / "CollegeMsg.txt.gz", "rt") as lines:
        rows = np.loadtxt(lines, dtype=np.int64)
    instants = (rows[:, 2] * 1_000_000).astype("datetime64[us]")
    found = _tables("message", rows[:, 0], rows[:, 1], instants, ("sender", "receiver", "sent_at"))
    return {**found, "partners": found["people"].rename_columns(["partner_id"])}


def _tables(
    what: str,
    src: pa.ChunkedArray | NDArray[np.int64],
    dst: pa.ChunkedArray | NDArray[np.int64],
    instants: NDArray[np.datetime64],
    names: tuple[str, str, str],
    value: pa.ChunkedArray | None = None,
) -> dict[str, pa.Table]:
    ends = [np.asarray(end, np.int32) for end in (src, dst)]
    columns = {f"{what}_id": np.arange(len(instants), dtype=np.int32)}
    columns |= dict(zip(names, [*ends, instants], strict=True))
    if value is not None:
        columns["value"] = np.asarray(value, np.int32)
    people = {"person_id": np.unique(np.concatenate(ends))}
    return {"people": pa.table(people), f"{what}s": pa.table(columns)}


def sign_rules(project: Project, name: str, snapshot: Snapshot) -> dict[str, dict[str, list[float]]]:
    """AUROC on the test rows of what was known of the two people before each rating."""
    prepared = prepare(project, name, snapshot)
    labels = prepared.labels
    columns = snapshot.columns("ratings", ["rater", "rated", "value", "rated_at"])
    rater, rated = (columns[end].to_numpy().astype(np.int64) for end in ("rater", "rated"))
    sign = (columns["value"].to_numpy() > 0).astype(np.float64)
    seconds = columns["rated_at"].cast(pa.int64()).to_numpy()
    mean = float(sign[labels.rows[labels.split == 0]].mean())
    got, gave = share_before(rated, sign, seconds, mean), share_before(rater, sign, seconds, mean)
    found = {
        "share of positive ratings got": got,
        "share of positive ratings given": gave,
        "both, added": got + gave,
        "sign of the rating back": signs_back(rater, rated, sign, mean),
    }
    test = labels.of(2)
    return {rule: {"auroc": [prepared.judge.value(test.target, own[test.rows])]} for rule, own in found.items()}


def signs_back(rater: NDArray[np.int64], rated: NDArray[np.int64], sign: Floats, mean: float) -> Floats:
    """[n] the last sign that the one rated had given the rater before; ``mean`` where there is none."""
    last: dict[tuple[int, int], float] = {}
    found = np.full(len(sign), mean)
    for place, (one, other) in enumerate(zip(rater.tolist(), rated.tolist(), strict=True)):
        found[place] = last.get((other, one), mean)
        last[one, other] = float(sign[place])
    return found


def share_before(keys: NDArray[np.int64], sign: Floats, instants: NDArray[np.int64], mean: float) -> Floats:
    """[n] share of positive signs among earlier rows of the same key, drawn to ``mean`` by one row of it.

    Args:
        keys, sign, instants: [n] in the order of time.
        mean: of all signs in training.
    """
    order = np.lexsort((instants, keys))
    own, signs, times = keys[order], sign[order], instants[order]
    first = np.r_[True, own[1:] != own[:-1]]
    group = np.maximum.accumulate(np.where(first, np.arange(len(own)), 0))
    tie = np.maximum.accumulate(np.where(first | np.r_[True, times[1:] != times[:-1]], np.arange(len(own)), 0))
    sums = np.r_[0.0, np.cumsum(signs)]
    shares = np.empty(len(own))
    shares[order] = (sums[tie] - sums[group] + mean) / (tie - group + 1)
    return shares


if __name__ == "__main__":
    main()
