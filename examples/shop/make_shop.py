"""Make the four tables of the shop from the derived tables of the Online Retail data.

    python make_shop.py FOLDER_WITH_THE_DERIVED_TABLES [TARGET]

The result is the same, byte for byte, each time it is made with the same version of pyarrow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

QUERIES = {
    "customers": """
        SELECT CustomerID AS customer_id, Country AS country, first_seen FROM customers ORDER BY customer_id
    """,
    "products": """
        SELECT StockCode AS product_id, trim(Description) AS description FROM products ORDER BY product_id
    """,
    "invoices": """
        SELECT InvoiceNo AS invoice_id, CustomerID AS customer_id, InvoiceDate AS invoiced_at, Country AS country,
            is_cancellation,
            (SELECT CAST(sum(Quantity * CAST(UnitPrice AS DECIMAL(18, 3))) AS DOUBLE) FROM invoice_lines AS lines
             WHERE lines.InvoiceNo = invoices.InvoiceNo) AS total
        FROM invoices ORDER BY invoiced_at, invoice_id
    """,
    "invoice_lines": """
        SELECT line_id, InvoiceNo AS invoice_id, StockCode AS product_id, Quantity AS quantity, UnitPrice AS unit_price
        FROM invoice_lines ORDER BY line_id
    """,
}


def main(source: Path, target: Path) -> None:
    """Write the tables as Parquet files."""
    with duckdb.connect() as connection:
        for name in QUERIES:
            connection.read_parquet(str(source / f"{name}.parquet")).create_view(name)
        for name, query in QUERIES.items():
            rows = connection.sql(query).to_arrow_table()
            pq.write_table(rows, target / f"{name}.parquet", compression="zstd", compression_level=19)
            sys.stdout.write(f"{name}: {rows.num_rows:,} rows\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent)
