"""Tables of the online shop: its own, and what each line of an invoice comes to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

SOURCE = Path(__file__).resolve().parents[4] / "shared" / "data" / "online-retail"


def main() -> None:
    """Write them below ``.kincast/tables`` beside this file."""
    folder = Path(__file__).parent / ".kincast" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("customers", "products", "invoices"):
        shutil.copyfile(SOURCE / f"{name}.parquet", folder / f"{name}.parquet")
    lines = pq.read_table(SOURCE / "invoice_lines.parquet")
    amount = pc.multiply(lines["Quantity"], lines["UnitPrice"])
    pq.write_table(lines.append_column("amount", amount), folder / "invoice_lines.parquet")


if __name__ == "__main__":
    main()
