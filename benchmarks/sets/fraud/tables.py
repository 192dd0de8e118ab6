"""Tables and labels of the fraud handbook's protocol, from the one file of transactions.

That a transaction was fraud is known seven days later: as a row of ``fraud_reports`` with that time. The labels are the
book's: transactions of 25 to 31 July to learn from, the last two days of these for validation, and of 8 to 14 August
for the test, without the cards that were known as compromised by the book's own rule; of validation too, which would
otherwise be much easier than the test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SOURCE = Path(__file__).resolve().parents[4] / "shared" / "data" / "fraud-handbook" / "transactions.parquet"
Day = np.datetime64
DAY = np.timedelta64(1, "D")
DELAY = 7 * DAY
TRAIN, VALIDATION, KNOWN = (np.datetime64(day) for day in ("2018-07-25", "2018-07-30", "2018-08-01"))
TEST, END = (np.datetime64(day) for day in ("2018-08-08", "2018-08-15"))


def main() -> None:
    """Write them below ``.kincast/tables`` beside this file."""
    folder = Path(__file__).parent / ".kincast" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    rows = pq.read_table(SOURCE, columns=["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT"])
    rows = rows.append_column("TX_FRAUD", pq.read_table(SOURCE, columns=["TX_FRAUD"])["TX_FRAUD"].cast(pa.bool_()))
    instants = rows["TX_DATETIME"].to_numpy()
    rows, instants = rows.filter(pa.array(instants < END)), instants[instants < END]
    fraud, cards = rows["TX_FRAUD"].to_numpy(), rows["CUSTOMER_ID"].to_numpy()
    pq.write_table(rows, folder / "transactions.parquet")
    for name in ("CUSTOMER_ID", "TERMINAL_ID"):
        entities = pa.table({name: np.unique(rows[name].to_numpy())})
        pq.write_table(entities, folder / f"{name.removesuffix('_ID').lower()}s.parquet")
    reports = rows.filter(pa.array(fraud)).select(["TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID"])
    reports = reports.append_column("REPORTED_AT", pa.array(instants[fraud] + DELAY))
    pq.write_table(reports, folder / "fraud_reports.parquet")
    split = np.full(len(rows), "none", dtype=object)
    split[(instants >= TRAIN) & (instants < VALIDATION)] = "train"
    for name, start, end in (("validation", VALIDATION, KNOWN), ("test", TEST, END)):
        within = (instants >= start) & (instants < end)
        split[within & ~known_cards(instants, cards, fraud, start, end)] = name
    labels = pa.table(
        {
            "TRANSACTION_ID": rows["TRANSACTION_ID"],
            "as_of": rows["TX_DATETIME"],
            "target": rows["TX_FRAUD"],
            "split": pa.array(split, pa.string()),
        }
    )
    pq.write_table(labels.filter(pa.array(split != "none")), folder.parent / "labels.parquet")


def known_cards(
    instants: NDArray[np.datetime64], cards: NDArray[np.int32], fraud: NDArray[np.bool_], start: Day, end: Day
) -> NDArray[np.bool_]:
    """[n] whether the card was known as compromised on the day of its transaction, by the book's rule.

    Known on a day are the cards with a fraud in the training period, which is the week that ends a week before the
    first day looked at, or on a day after it, up to eight days before.

    Args:
        instants, cards, fraud: [n] of transactions.
        start, end: only days from one to before the other are looked at.
    """
    days = instants.astype("datetime64[D]")
    known = np.zeros(len(cards), bool)
    for day in np.arange(start, end, DAY):
        compromised = np.unique(cards[fraud & (days >= start - 2 * DELAY) & (days <= day - DELAY - DAY)])
        known[days == day] = np.isin(cards[days == day], compromised)
    return known


if __name__ == "__main__":
    main()
