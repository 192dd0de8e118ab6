"""Inference on real databases, against what their descriptions say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kincast.schema import RowTime, Schema, SemanticType
from kincast.source.infer import infer_schema
from kincast.source.open import open_source

SharedData = Callable[[str], Path]
SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"


def infer(folder: Path) -> Schema:
    return infer_schema(open_source(str(folder))).schema


def links(schema: Schema) -> set[str]:
    return {link.name for link in schema.links}


def keys(schema: Schema) -> dict[str, str]:
    return {table.name: ", ".join(table.key) for table in schema}


def times(schema: Schema) -> dict[str, RowTime | None]:
    return {table.name: table.time for table in schema}


def test_shop() -> None:
    schema = infer(SHOP)
    assert keys(schema) == {
        "customers": "customer_id",
        "invoice_lines": "line_id",
        "invoices": "invoice_id",
        "products": "product_id",
    }
    assert links(schema) == {
        "invoice_lines.invoice_id -> invoices.invoice_id",
        "invoice_lines.product_id -> products.product_id",
        "invoices.customer_id -> customers.customer_id",
    }
    assert times(schema) == {
        "customers": RowTime("first_seen"),
        "invoice_lines": RowTime(via="invoice_id"),
        "invoices": RowTime("invoiced_at"),
        "products": None,
    }


def test_f1(shared_data: SharedData) -> None:
    schema = infer(shared_data("f1"))
    assert keys(schema) == {
        "circuits": "circuitId",
        "constructors": "constructorId",
        "drivers": "driverId",
        "seasons": "year",
        "status": "statusId",
        "races": "raceId",
        "results": "resultId",
        "sprint_results": "resultId",
        "qualifying": "qualifyId",
        "driver_standings": "driverStandingsId",
        "constructor_standings": "constructorStandingsId",
        "constructor_results": "constructorResultsId",
        "pit_stops": "raceId, driverId, stop",
    }
    targets = {
        "raceId": "races",
        "driverId": "drivers",
        "constructorId": "constructors",
        "statusId": "status",
        "circuitId": "circuits",
        "year": "seasons",
    }
    truth = {
        "races": "circuitId year",
        "results": "raceId driverId constructorId statusId",
        "sprint_results": "raceId driverId constructorId statusId",
        "qualifying": "raceId driverId constructorId",
        "driver_standings": "raceId driverId",
        "constructor_standings": "raceId constructorId",
        "constructor_results": "raceId constructorId",
        "pit_stops": "raceId driverId",
    }
    assert links(schema) == {
        f"{table}.{name} -> {targets[name]}.{name}" for table, names in truth.items() for name in names.split()
    }
    timeless = dict.fromkeys(["circuits", "constructors", "drivers", "seasons", "status"])
    through_races = {table: RowTime(via="raceId") for table in truth if table != "races"}
    assert times(schema) == timeless | through_races | {"races": RowTime("date", "time")}
    assert schema.table("drivers").column("dob").type is SemanticType.TIMESTAMP
    assert all(table.column("url").type is SemanticType.IGNORED for table in schema if table.has_column("url"))


def test_stackexchange(shared_data: SharedData) -> None:
    schema = infer(shared_data("stackexchange-travel"))
    assert set(keys(schema).values()) == {"Id"}
    assert links(schema) == {
        "Badges.UserId -> Users.Id",
        "Comments.PostId -> Posts.Id",
        "Comments.UserId -> Users.Id",
        "PostLinks.PostId -> Posts.Id",
        "PostLinks.RelatedPostId -> Posts.Id",
        "Posts.AcceptedAnswerId -> Posts.Id",
        "Posts.LastEditorUserId -> Users.Id",
        "Posts.OwnerUserId -> Users.Id",
        "Posts.ParentId -> Posts.Id",
        "Tags.ExcerptPostId -> Posts.Id",
        "Tags.WikiPostId -> Posts.Id",
        "Votes.PostId -> Posts.Id",
        "Votes.UserId -> Users.Id",
    }
    created = {name: RowTime("CreationDate") for name in ("Comments", "PostLinks", "Posts", "Users", "Votes")}
    assert times(schema) == created | {"Badges": RowTime("Date"), "Tags": None}


@pytest.mark.parametrize(
    ("name", "keys_", "links_", "times_"),
    [
        (
            "movielens-latest-small",
            {"links": "movieId", "movies": "movieId", "ratings": "userId, movieId", "tags": ""},
            {f"{table}.movieId -> movies.movieId" for table in ("links", "ratings", "tags")},
            {"links": None, "movies": None, "ratings": RowTime("timestamp"), "tags": RowTime("timestamp")},
        ),
        (
            "football-internationals",
            {
                "results": "date, home_team, away_team",
                "shootouts": "date, home_team, away_team",
                "goalscorers": "",
                "former_names": "",
            },
            {
                f"{table}.(date, home_team, away_team) -> results.(date, home_team, away_team)"
                for table in ("goalscorers", "shootouts")
            },
            {
                "results": RowTime("date"),
                "shootouts": RowTime("date"),
                "goalscorers": RowTime("date"),
                "former_names": RowTime("start_date"),
            },
        ),
        (
            "fraud-handbook",
            {"transactions": "TRANSACTION_ID"},
            set(),
            {"transactions": RowTime("TX_DATETIME")},
        ),
    ],
)
def test_others(
    shared_data: SharedData, name: str, keys_: dict[str, str], links_: set[str], times_: dict[str, RowTime | None]
) -> None:
    schema = infer(shared_data(name))
    assert (keys(schema), links(schema), times(schema)) == (keys_, links_, times_)


def test_bars_separate_genres(shared_data: SharedData) -> None:
    genres = infer(shared_data("movielens-latest-small")).table("movies").column("genres")
    assert (genres.type, genres.separator) == (SemanticType.MULTICATEGORICAL, "|")
