"""Ranked data: the two data sets of the ranking benchmark as projects: films and a shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from static import SHARED, make_project

from kincast.clock import DAY_US
from kincast.project import SPLIT_NAMES, Project

FILMS_CARD = """
tables:
  users:
    key: user_id
    time: null
    columns:
      user_id: {type: id, stored: INTEGER}
  movies:
    key: movie_id
    time: null
    columns:
      movie_id: {type: id, stored: INTEGER}
      title: {type: text, stored: VARCHAR}
      genres: {type: multicategorical, stored: VARCHAR, separator: "|"}
      year: {type: numerical, stored: INTEGER}
  ratings:
    key: [user_id, movie_id]
    time: rated_at
    columns:
      user_id: {type: id, stored: INTEGER}
      movie_id: {type: id, stored: INTEGER}
      rating: {type: numerical, stored: DOUBLE}
      rated_at: {type: timestamp, stored: TIMESTAMP}
links:
  - ratings.user_id -> users.user_id
  - ratings.movie_id -> movies.movie_id
"""
SHOP_CARD = """
tables:
  customers:
    key: CustomerID
    time: first_seen
    columns:
      CustomerID: {type: id, stored: INTEGER}
      Country: {type: categorical, stored: VARCHAR}
      first_seen: {type: timestamp, stored: TIMESTAMP}
  products:
    key: StockCode
    time: null
    columns:
      StockCode: {type: id, stored: VARCHAR}
      Description: {type: text, stored: VARCHAR}
  invoices:
    key: InvoiceNo
    time: InvoiceDate
    columns:
      InvoiceNo: {type: id, stored: VARCHAR}
      CustomerID: {type: id, stored: INTEGER}
      InvoiceDate: {type: timestamp, stored: TIMESTAMP}
      is_cancellation: {type: boolean, stored: BOOLEAN}
  invoice_lines:
    key: line_id
    time: {via: InvoiceNo}
    columns:
      line_id: {type: id, stored: INTEGER}
      InvoiceNo: {type: id, stored: VARCHAR}
      StockCode: {type: id, stored: VARCHAR}
      Quantity: {type: numerical, stored: INTEGER}
      UnitPrice: {type: numerical, stored: DOUBLE}
links:
  - invoices.CustomerID -> customers.CustomerID
  - invoice_lines.InvoiceNo -> invoices.InvoiceNo
  - invoice_lines.StockCode -> products.StockCode
"""
FILMS: dict[str, Any] = {
    "query": "PREDICT LIST_DISTINCT(ratings.movie_id, 0, 7, days) RANK TOP 10 FOR EACH users.user_id",
    "labels": "films_labels.parquet",
    "model": {"channels": 32, "fanout": [32, 8], "repeats": False},
    "train": {"batch_size": 64, "max_epochs": 3, "learning_rate": 0.001, "loss": "any_cross_entropy"},
}
VALIDATION_START, TEST_START, WEEK_US = "2007-01-01", "2010-01-01", 7 * DAY_US
JUDGED = tuple(10 * 2**power for power in range(9))
LEARNT = tuple(14 * 2**power for power in range(9))
SHOP: dict[str, Any] = {
    "query": "PREDICT LIST_DISTINCT(invoice_lines.StockCode WHERE invoice_lines.Quantity > 0, 0, 30, days) "
    "RANK TOP 10 FOR EACH customers.CustomerID",
    "model": {"channels": 32, "fanout": [8, 32, 1]},
    "train": {"batch_size": 256, "max_epochs": 2},
}


def films_project(folder: Path) -> Project:
    """MovieLens: the films that somebody goes on to rate within a week; the users are those of the ratings."""
    place = SHARED / "movielens-latest-small"
    rows = pyarrow.csv.read_csv(place / "ratings.csv")
    seconds = rows["timestamp"].to_numpy().astype(np.int64)
    integers = {name: rows[name].cast(pa.int32()) for name in ("userId", "movieId")}
    ratings = pa.table(
        {
            "user_id": integers["userId"],
            "movie_id": integers["movieId"],
            "rating": rows["rating"],
            "rated_at": (seconds * 1_000_000).astype("datetime64[us]"),
        }
    )
    films = pyarrow.csv.read_csv(place / "movies.csv")
    years = pc.struct_field(pc.extract_regex(films["title"], r"\((?P<year>\d{4})\)\s*$"), "year")
    movies = pa.table(
        {
            "movie_id": films["movieId"].cast(pa.int32()),
            "title": pc.replace_substring_regex(films["title"], r"\s*\(\d{4}\)\s*$", ""),
            "genres": films["genres"],
            "year": years.cast(pa.int32()),
        }
    )
    users = pa.table({"user_id": pc.unique(ratings["user_id"])})
    tables = {"users": users, "movies": movies, "ratings": ratings}
    project = make_project(folder, tables, FILMS_CARD, {"tasks": {"films": FILMS}})
    pq.write_table(film_labels(ratings), folder / "films_labels.parquet")
    return project


def film_labels(ratings: pa.Table) -> pa.Table:
    """What each user rates within a week of their 10th, 20th, 40th rating and so on; some more to learn from.

    Most users rate everything within an hour and never come back, so that a grid of anchors would meet few of them, and
    those again and again. Training windows end before the validation period, those of validation before the test.
    """
    order = ratings.sort_by([("user_id", "ascending"), ("rated_at", "ascending")])
    user, film = order["user_id"].to_numpy(), order["movie_id"].to_numpy()
    at = order["rated_at"].to_numpy().astype("datetime64[us]").astype(np.int64)
    starts = [np.datetime64(day, "us").astype(np.int64) for day in (VALIDATION_START, TEST_START)]
    ends = [*starts, at.max()]
    found: list[tuple[int, int, list[int], str]] = []
    for rows in np.split(np.arange(len(user)), np.flatnonzero(np.diff(user)) + 1):
        for number in [number for number in (*JUDGED, *LEARNT) if number < len(rows)]:
            as_of = at[rows[number - 1]]
            if as_of == at[rows[number]]:  # in the middle of what came in one second
                continue
            later = rows[(at[rows] > as_of) & (at[rows] <= as_of + WEEK_US)]
            split = int(np.searchsorted(starts, as_of, side="right"))
            late = as_of + WEEK_US > ends[split]
            if len(later) and not late and (split == 0 or number in JUDGED):
                found.append((int(user[rows[0]]), int(as_of), film[later].tolist(), SPLIT_NAMES[split]))
    users, instants, films, splits = zip(*found, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users, pa.int32()),
            "as_of": np.array(instants).astype("datetime64[us]"),
            "target": pa.array(films, pa.list_(pa.int32())),
            "split": splits,
        }
    )


def shop_project(folder: Path) -> Project:
    """Online retail: the products that a customer buys within 30 days."""
    names = ("customers", "products", "invoices", "invoice_lines")
    tables = {name: pq.read_table(SHARED / "online-retail" / f"{name}.parquet") for name in names}
    tables["invoices"] = tables["invoices"].drop_columns(["Country"])
    return make_project(folder, tables, SHOP_CARD, {"tasks": {"shop": SHOP}})


PROJECTS = {"films": films_project, "shop": shop_project}
"""Task → what makes its project in a folder."""
