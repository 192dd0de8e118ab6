"""Keys, links, times and meanings found in the rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from kincast.card import card_text, column_place, key_place, link_place, parse_card, time_place
from kincast.schema import Column, Link, RowTime, SemanticType
from kincast.source.base import Source
from kincast.source.infer import Inferred, infer_schema
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_schema

MakeSource = Callable[..., Source]


@pytest.fixture
def draw() -> random.Random:
    return random.Random(5)


def column(inferred: Inferred, table: str, name: str) -> Column:
    return inferred.schema.table(table).column(name)


def test_the_tiny_shop(tmp_path: Path) -> None:
    inferred = infer_schema(open_source(str(tiny_database(tmp_path))))
    expected = tiny_schema()
    for table in expected:
        found = inferred.schema.table(table.name)
        assert (found.key, found.time) == (table.key, table.time)
        assert {c.name: c.type for c in found.columns} == {c.name: c.type for c in table.columns}
    assert set(inferred.schema.links) == set(expected.links)
    assert parse_card(card_text(inferred.schema, inferred.evidence)) == inferred.schema


def test_every_decision_has_its_evidence(tmp_path: Path) -> None:
    inferred = infer_schema(open_source(str(tiny_database(tmp_path))))
    for table in inferred.schema:
        assert inferred.evidence[key_place(table.name)]
        assert inferred.evidence[time_place(table.name)]
        for each in table.columns:
            assert inferred.evidence[column_place(table.name, each.name)]
    for link in inferred.schema.links:
        assert inferred.evidence[link_place(link)]


def test_keys_by_name_and_uniqueness(arrow_source: MakeSource) -> None:
    source = arrow_source(
        {
            "people": {"mail": [f"a{i}@x" for i in range(30)], "person_id": range(30), "amount": range(100, 130)},
            "seasons": {"year": range(1950, 1980), "url": [f"http://x/{i}" for i in range(30)]},
            "measures": {"value": [i + 0.5 for i in range(30)], "at": [date(2024, 1, 1 + i) for i in range(30)]},
            "loose": {"note": ["a note of several words"] * 30},
        }
    )
    schema = infer_schema(source).schema
    assert schema.table("people").key == ("person_id",)
    assert schema.table("seasons").key == ("year",)
    assert schema.table("measures").key == ()
    assert schema.table("loose").key == ()


def test_a_key_with_a_few_duplicates_is_still_the_key(arrow_source: MakeSource) -> None:
    source = arrow_source({"orders": {"order_id": [*range(299), 0], "amount": [1.5] * 300}})
    inferred = infer_schema(source)
    assert inferred.schema.table("orders").key == ("order_id",)
    assert "1 of 300 rows share one" in inferred.evidence[key_place("orders")]


def test_composite_keys_only_where_chance_does_not_explain_them(arrow_source: MakeSource, draw: random.Random) -> None:
    pairs = [(user, item) for user in range(40) for item in range(40) if (user + item) % 2]
    few = draw.sample([(user, item) for user in range(1000) for item in range(1000)], 40)
    source = arrow_source(
        {
            "ratings": {"user_id": [p[0] for p in pairs], "item_id": [p[1] for p in pairs], "stars": [3] * len(pairs)},
            "views": {"user_id": [p[0] for p in few], "item_id": [p[1] for p in few]},
        }
    )
    inferred = infer_schema(source)
    assert inferred.schema.table("ratings").key == ("user_id", "item_id")
    assert inferred.schema.table("views").key == ()


def test_natural_composite_keys_that_other_tables_have_too(arrow_source: MakeSource, draw: random.Random) -> None:
    days = [date(2024, 1, 1) + timedelta(i) for i in range(200)]
    games = [(day, f"team {draw.randrange(50)}", f"team {draw.randrange(50)}") for day in days]
    goals = [draw.choice(games[:150]) for _ in range(300)]
    source = arrow_source(
        {
            "games": {"date": [g[0] for g in games], "home": [g[1] for g in games], "away": [g[2] for g in games]},
            "goals": {
                "date": [g[0] for g in goals],
                "home": [g[1] for g in goals],
                "away": [g[2] for g in goals],
                "minute": [draw.randrange(90) for _ in goals],
            },
        }
    )
    schema = infer_schema(source).schema
    assert schema.table("games").key == ("date", "home", "away")
    assert schema.table("goals").key == ()
    assert schema.links == (Link("goals", ("date", "home", "away"), "games", ("date", "home", "away")),)


def test_links_by_name_and_values(arrow_source: MakeSource, draw: random.Random) -> None:
    people = draw.sample(range(1000), 100)
    source = arrow_source(
        {
            "people": {"id": people, "parent_id": [draw.choice([*people, None]) for _ in people]},
            "teams": {"team_id": [f"t{i}" for i in range(20)]},
            "games": {
                "game_id": range(300),
                "home_team_id": [f"t{draw.randrange(20)}" for _ in range(300)],
                "away_team_id": [f"t{draw.randrange(20)}" for _ in range(300)],
                "person": [str(draw.choice(people)) for _ in range(300)],
                "personId": [float(draw.choice(people)) for _ in range(300)],
                "chosen_id": [draw.choice(people) for _ in range(300)],
                "goals": [draw.randrange(5) for _ in range(300)],
                "team_number": [draw.randrange(20) for _ in range(300)],
                "status_id": [draw.randrange(3) for _ in range(300)],
            },
            "movies": {"movieId": range(50), "title": [f"The movie number {i}" for i in range(50)]},
            "links": {"movieId": range(50), "imdb": range(1000, 1050)},
        }
    )
    inferred = infer_schema(source)
    assert {link.name for link in inferred.schema.links} == {
        "people.parent_id -> people.id",
        "games.home_team_id -> teams.team_id",
        "games.away_team_id -> teams.team_id",
        "games.personId -> people.id",
        "games.chosen_id -> people.id",  # by its values alone: all in a key with gaps
        "links.movieId -> movies.movieId",
    }
    # Few values without a table of their own are a category, not a name.
    assert column(inferred, "games", "status_id").type is SemanticType.CATEGORICAL


def test_values_that_any_numbering_has_are_no_evidence(arrow_source: MakeSource) -> None:
    source = arrow_source({"a": {"id": range(100)}, "b": {"id": range(500), "other_id": [i % 90 for i in range(500)]}})
    assert infer_schema(source).schema.links == ()


def test_names_without_the_values_are_no_link(arrow_source: MakeSource) -> None:
    source = arrow_source({"people": {"id": range(100)}, "orders": {"id": range(100), "person_id": range(5000, 5100)}})
    assert infer_schema(source).schema.links == ()


def test_texts_named_after_a_table_with_a_role_before(arrow_source: MakeSource) -> None:
    teams = [f"team {number}" for number in range(30)]
    games = {"game": range(300), "home_team": teams * 10, "best_team": ["nobody", *teams[1:]] * 10}
    schema = infer_schema(arrow_source({"teams": {"team": teams}, "games": games})).schema
    assert [link.name for link in schema.links] == ["games.home_team -> teams.team", "games.best_team -> teams.team"]


def test_links_with_orphans_say_so(arrow_source: MakeSource) -> None:
    values = [*range(90), *range(500, 510)]
    inferred = infer_schema(arrow_source({"people": {"id": range(100)}, "orders": {"person_id": values * 2}}))
    (link,) = inferred.schema.links
    assert inferred.evidence[link_place(link)] == "90.0 % of 100 values found; 20 rows point nowhere"


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([1_700_000_000 + i for i in range(30)], "epoch_s"),
        ([1_700_000_000.25 + i for i in range(30)], "epoch_s"),
        ([1_700_000_000_000 + i for i in range(30)], "epoch_ms"),
        ([1_700_000_000_000_000 + i for i in range(30)], "epoch_us"),
        ([20_240_101 + i for i in range(30)], "%Y%m%d"),
        ([f"2024-01-{i + 1:02}T10:00:00Z" for i in range(30)], None),
        ([f"{i + 1:02}/01/2024" for i in range(30)], "%d/%m/%Y"),
        ([f"01/{i + 1:02}/2024 10:30" for i in range(30)], "%m/%d/%Y %H:%M"),
        ([f"{i + 1:02}.01.2024 10:30:00" for i in range(30)], "%d.%m.%Y %H:%M:%S"),
        ([f"{i + 1:02} Jan 2024" for i in range(30)], "%d %b %Y"),
    ],
)
def test_times_in_text_and_numbers(arrow_source: MakeSource, values: list[object], form: str | None) -> None:
    inferred = infer_schema(arrow_source({"events": {"timestamp": values, "x": [1.5] * 30}}))
    assert column(inferred, "events", "timestamp").type is SemanticType.TIMESTAMP
    assert column(inferred, "events", "timestamp").format == form
    assert inferred.schema.table("events").time == RowTime("timestamp")


def test_ambiguous_dates_say_so(arrow_source: MakeSource) -> None:
    inferred = infer_schema(arrow_source({"t": {"day": [f"0{i % 9 + 1}/02/2024" for i in range(30)]}}))
    assert column(inferred, "t", "day").format == "%d/%m/%Y"
    assert "could be %m/%d/%Y too" in inferred.evidence[column_place("t", "day")]


@pytest.mark.parametrize("values", [["1:26.572", "2:01.1"], ["+49 30 123456", "+49 30 654321"], ["10-20", "30-40"]])
def test_texts_with_digits_that_are_no_dates(arrow_source: MakeSource, values: list[str]) -> None:
    inferred = infer_schema(arrow_source({"t": {"v": values * 15}}))
    assert column(inferred, "t", "v").type is not SemanticType.TIMESTAMP


def test_which_date_is_the_time_of_a_row(arrow_source: MakeSource) -> None:
    days = [date(2024, 1, 1) + timedelta(i) for i in range(40)]
    years = [day - timedelta(9000) for day in days]
    source = arrow_source(
        {
            "people": {"person_id": range(40), "dob": years, "signup_date": days, "last_seen": days},
            "plants": {"plant_id": range(40), "founded": years},
            "things": {"thing_id": range(40), "updated_at": days, "expires": days, "sold_at": [None] * 39 + [days[0]]},
            "prices": {"valid_from": days, "valid_to": [day + timedelta(9) for day in days], "price": [1.5] * 40},
        }
    )
    schema = infer_schema(source).schema
    assert schema.table("people").time == RowTime("signup_date")
    assert schema.table("plants").time is None
    assert schema.table("things").time is None
    assert schema.table("prices").time == RowTime("valid_from")
    assert schema.table("prices").end_time == "valid_to"


def test_a_date_that_facts_come_before_is_no_beginning(arrow_source: MakeSource) -> None:
    days = [datetime(2024, 1, 1) + timedelta(i) for i in range(100)]
    source = arrow_source(
        {
            "people": {"person_id": range(10), "date": [days[90]] * 10},
            "orders": {"order_id": range(100), "person_id": [i % 10 for i in range(100)], "ordered_at": days},
        }
    )
    inferred = infer_schema(source)
    assert inferred.schema.table("people").time is None
    assert inferred.evidence[time_place("people")] == "no time: 90% of orders come before rather than after date"


def test_date_and_time_of_day(arrow_source: MakeSource) -> None:
    days = [date(2024, 1, 1) + timedelta(i) for i in range(30)]
    source = arrow_source(
        {
            "races": {"race_id": range(30), "date": days, "time": ["14:00:00Z"] * 30},
            "other": {"other_id": range(30), "date": days, "time": ["1:26.572"] * 30},
        }
    )
    schema = infer_schema(source).schema
    assert schema.table("races").time == RowTime("date", "time")
    assert schema.table("other").time == RowTime("date")


def test_time_through_the_link_to_what_came_last(arrow_source: MakeSource, draw: random.Random) -> None:
    start = datetime(2024, 1, 1)
    source = arrow_source(
        {
            "products": {"product_id": range(20), "created_at": [start + timedelta(i) for i in range(20)]},
            "orders": {"order_id": range(50), "ordered_at": [start + timedelta(30 + i) for i in range(50)]},
            "lines": {
                "line_id": range(200),
                "product_id": [draw.randrange(20) for _ in range(200)],
                "order_id": [draw.randrange(50) for _ in range(200)],
            },
            "notes": {"note_id": range(200), "line_id": range(200)},
            "seldom": {"seldom_id": range(50), "order_id": [i if i < 40 else None for i in range(50)]},
        }
    )
    schema = infer_schema(source).schema
    assert schema.table("lines").time == RowTime(via="order_id")
    assert schema.table("notes").time == RowTime(via="line_id")
    assert schema.table("seldom").time is None  # its rows without an order would be rejected


def test_what_columns_mean(arrow_source: MakeSource, draw: random.Random) -> None:
    rows = 200
    genres = ["drama", "comedy", "war", "crime", "music"]
    source = arrow_source(
        {
            "things": pa.table(
                {
                    "thing_id": range(rows),
                    "url": [f"https://x/{i}" for i in range(rows)],
                    "genres": ["|".join(draw.sample(genres, draw.randrange(1, 4))) for _ in range(rows)],
                    "text": [f"A sentence, with a comma, about {i} and more" for i in range(rows)],
                    "colour": [draw.choice(["red", "green"]) for _ in range(rows)],
                    "flag": [draw.randrange(2) for _ in range(rows)],
                    "type": [draw.randrange(6) for _ in range(rows)],
                    "amount": [draw.random() for _ in range(rows)],
                    "count": [draw.randrange(6) for _ in range(rows)],
                    "session_uuid": [f"{draw.getrandbits(64):x}" for _ in range(rows)],
                    "nothing": pa.nulls(rows, pa.float64()),
                }
            )
        }
    )
    inferred = infer_schema(source)
    assert {c.name: c.type.value for c in inferred.schema.table("things").columns} == {
        "thing_id": "id",
        "url": "ignored",
        "genres": "multicategorical",
        "text": "text",
        "colour": "categorical",
        "flag": "boolean",
        "type": "categorical",
        "amount": "numerical",
        "count": "numerical",
        "session_uuid": "id",
        "nothing": "ignored",
    }
    assert column(inferred, "things", "genres").separator == "|"


def test_empty_tables_and_circles(arrow_source: MakeSource) -> None:
    empty = pa.table({"order_id": pa.array([], pa.int64()), "person_id": pa.array([], pa.int64())})
    source = arrow_source(
        {
            "orders": empty,
            "people": {"person_id": range(30), "order_id": pa.nulls(30, pa.int64())},
        }
    )
    schema = infer_schema(source).schema
    assert schema.table("orders").key == ("order_id",)
    assert {link.name for link in schema.links} == {
        "orders.person_id -> people.person_id",
        "people.order_id -> orders.order_id",
    }
    assert [table.name for table in schema.in_time_order()] == ["orders", "people"]
