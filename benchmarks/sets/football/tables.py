"""Tables of international football: teams, matches as known before they begin, and what each side made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

SOURCE = Path(__file__).resolve().parents[4] / "shared" / "data" / "football-internationals"
KEY = ["date", "home_team", "away_team"]


def main() -> None:
    """Write them below ``.kincast/tables`` beside this file."""
    folder = Path(__file__).parent / ".kincast" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    rows = pyarrow.csv.read_csv(SOURCE / "results.csv.gz")
    played = rows.filter(pc.is_valid(rows["home_score"]))
    difference = pc.subtract(played["home_score"], played["away_score"]).to_numpy()
    result = np.where(difference > 0, "home", np.where(difference < 0, "away", "draw"))
    known = [*KEY, "tournament", "city", "country", "neutral"]
    pq.write_table(played.select(known).append_column("result", pa.array(result)), folder / "matches.parquet")
    home, away = (side(played, *ends) for ends in (("home", "away"), ("away", "home")))
    pq.write_table(pa.concat_tables([home, away]), folder / "sides.parquet")
    teams = pc.unique(pa.chunked_array([*played["home_team"].chunks, *played["away_team"].chunks]))
    pq.write_table(pa.table({"team": teams}), folder / "teams.parquet")


def side(played: pa.Table, own: str, other: str) -> pa.Table:
    """What a side made of each match."""
    columns = {name: played[name] for name in KEY}
    columns |= {"team": played[f"{own}_team"], "opponent": played[f"{other}_team"]}
    columns |= {"goals": played[f"{own}_score"], "conceded": played[f"{other}_score"]}
    at_home = pa.array(np.full(len(played), own == "home"))
    return pa.table({**columns, "at_home": pc.and_(at_home, pc.invert(played["neutral"]))})


if __name__ == "__main__":
    main()
